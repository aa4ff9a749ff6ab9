import heapq
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.probes.lanes import Lane, Run
from hub.probes.schedule import Schedule

T0 = 1_800_000_000_000
INTERVAL = 30_000


def make(
    *,
    live: int = 256,
    doubtful: int = 1024,
    asked: int = 32,
    confirm: int = 256,
    per_host: int = 4,
    demote_after_ms: int = 500,
    jitter: float = 0.1,
    fresh_per_s: float = 1e9,
    start_per_s: float | None = None,
    unhealthy_after: int = 2,
) -> Schedule:
    return Schedule(
        interval_ms=INTERVAL,
        jitter=jitter,
        limits={
            Lane.LIVE: live,
            Lane.DOUBTFUL: doubtful,
            Lane.ASKED: asked,
            Lane.CONFIRM: confirm,
        },
        per_host=per_host,
        demote_after_ms=demote_after_ms,
        random=Random(11),
        fresh_per_s=fresh_per_s,
        start_per_s=start_per_s if start_per_s is not None else fresh_per_s,
        unhealthy_after=unhealthy_after,
    )


def started(schedule: Schedule, now_ms: int, limit: int = 1000) -> list[str]:
    return [run.id for run in schedule.start(now_ms, limit)]


def started_by_second(schedule: Schedule) -> list[int]:
    """The number of starts in each second of an interval, at a tick of 10 ms."""
    seconds = [0] * (INTERVAL // 1000)
    for passed_ms in range(10, INTERVAL + 10, 10):
        seconds[(passed_ms - 10) // 1000] += len(schedule.start(T0 + passed_ms, 10_000))
    return seconds


def test_a_new_endpoint_is_due_at_once():
    schedule = make()
    schedule.add("a:1", "a", T0, spread=False)
    assert schedule.next_wake_ms(T0) == T0
    (run,) = schedule.start(T0, 10)
    assert (run.id, run.lane, run.lateness_ms) == ("a:1", Lane.DOUBTFUL, 0)
    assert schedule.start(T0 + 60_000, 10) == []


def test_a_fleet_that_was_added_at_once_is_spread_evenly_over_the_next_interval():
    schedule = make(live=10_000)
    for number in range(3000):
        schedule.add(f"h{number}:1", f"h{number}", T0 - 100, spread=True)
    for ms in range(-100, 0):
        for run in schedule.start(T0 + ms, 10_000):
            schedule.finish(run, T0 + ms, ok=True)
    per_second = started_by_second(schedule)
    assert sum(per_second) > 2900, "all except those whose random time has passed"
    assert max(per_second) < 150
    assert min(per_second) > 60


def test_a_thousand_are_probed_within_3_s_of_a_start_at_a_steady_pace():
    schedule = make(fresh_per_s=400)
    for number in range(1000):
        schedule.add(f"h{number}:1", f"h{number}", T0, spread=True)
    per_tick = []
    for passed_ms in range(5, 3000, 5):
        runs = schedule.start(T0 + passed_ms, 1000)
        per_tick.append(len(runs))
        for run in runs:
            schedule.finish(run, T0 + passed_ms, ok=True)
    assert per_tick[0] == 32
    assert max(per_tick[1:]) < 10
    assert not schedule.queued(Lane.DOUBTFUL)


def test_endpoints_registered_later_are_probed_at_a_slower_pace():
    schedule = make(fresh_per_s=100, start_per_s=1000)
    for number in range(132):
        schedule.add(f"h{number}:1", f"h{number}", T0, spread=number < 82)
    assert len(schedule.start(T0, 1000)) == 32
    assert len(schedule.start(T0 + 30, 1000)) == 30
    assert len(schedule.start(T0 + 50, 1000)) == 20
    assert len(schedule.start(T0 + 150, 1000)) == 10


def test_ten_thousand_are_probed_within_an_interval_of_a_start():
    schedule = make(fresh_per_s=400)
    for number in range(10_000):
        schedule.add(f"h{number}:1", f"h{number}", T0, spread=True)
    seen = set()
    for passed_ms in range(5, INTERVAL, 5):
        for run in schedule.start(T0 + passed_ms, 8):
            seen.add(run.id)
            schedule.finish(run, T0 + passed_ms, ok=True)
    assert len(seen) == 10_000


def test_the_next_time_counts_from_the_start_with_jitter():
    schedule = make()
    dues = []
    schedule.add("a:1", "a", T0, spread=False)
    now = T0
    for _ in range(200):
        (run,) = schedule.start(now, 10)
        due = schedule.finish(run, now + 4000, ok=True)
        assert due is not None
        dues.append(due - now)
        now = due
    assert 27_000 <= min(dues) < 28_000
    assert 32_000 < max(dues) <= 33_000


def proven(schedule: Schedule, *ids: str, at: int = T0) -> None:
    """Adds endpoints whose first probe has succeeded."""
    for id_ in ids:
        schedule.add(id_, id_.partition(":")[0], at, spread=False)
        for run in schedule.start(at, 1000):
            schedule.finish(run, at, ok=True)


def test_a_failed_probe_is_repeated_soon_in_its_own_lane_until_unhealthy():
    schedule = make(jitter=0.0, doubtful=0 + 1, unhealthy_after=3)
    proven(schedule, "a:1")
    now = T0 + INTERVAL
    for _ in range(2):
        (run,) = schedule.start(now, 10)
        due = schedule.finish(run, now + 5000, ok=False)
        assert due is not None
        assert 1000 <= due - (now + 5000) <= 1500
        now = due
    (run,) = schedule.start(now, 10)
    assert run.lane is Lane.CONFIRM
    due = schedule.finish(run, now + 1, ok=False)
    assert due == now + INTERVAL, "it is unhealthy now and has its regular time"
    (run,) = schedule.start(due, 10)
    assert run.lane is Lane.DOUBTFUL
    schedule.finish(run, due, ok=True)
    (run,) = schedule.start(due + INTERVAL, 10)
    assert run.lane is Lane.LIVE
    assert schedule.finish(run, due + INTERVAL, ok=False) <= due + INTERVAL + 1500


def test_a_repeated_probe_overtakes_hanging_ones_and_is_never_later_than_the_regular_one():
    schedule = make(jitter=0.0, doubtful=1)
    schedule.add("hangs:1", "hangs", T0, spread=False)
    schedule.start(T0, 10)
    proven(schedule, "a:1", at=T0)
    # No slot was free for it in the lane of never-probed endpoints.
    schedule.ask("a:1", T0)
    (run,) = schedule.start(T0, 10)
    due = schedule.finish(run, T0 + INTERVAL - 100, ok=False)
    assert due == T0 + INTERVAL
    (run,) = schedule.start(due, 10)
    assert (run.id, run.lane) == ("a:1", Lane.CONFIRM)


def test_a_failure_that_explains_itself_is_not_repeated():
    schedule = make(jitter=0.0)
    proven(schedule, "a:1")
    (run,) = schedule.start(T0 + INTERVAL, 10)
    assert schedule.finish(run, T0 + INTERVAL, ok=False, repeat=False) == T0 + 2 * INTERVAL


def test_a_probe_that_could_not_be_made_is_not_a_failure():
    schedule = make(jitter=0.0)
    proven(schedule, "a:1")
    (run,) = schedule.start(T0 + INTERVAL, 10)
    assert schedule.finish(run, T0 + INTERVAL, ok=None) == T0 + 2 * INTERVAL
    (run,) = schedule.start(T0 + 2 * INTERVAL, 10)
    assert run.lane is Lane.LIVE


def test_repeats_add_at_most_a_quarter_to_the_probes_when_everything_fails():
    hosts = fleet_of(10_000)
    simulation = Simulation(make(fresh_per_s=400), hosts, set())
    simulation.run(66)
    simulation.refusing = set(hosts)
    simulation.run(30)
    assert 10_000 <= sum(simulation.probed.values()) <= 10_000 * 1.3
    assert simulation.most_started_in_a_tick <= 32


def test_in_a_small_fleet_witnesses_keep_their_own_rhythm():
    schedule = make(jitter=0.0)
    proven(schedule, "dead:1", at=T0 - 5_000)
    proven(schedule, *(f"h{n}:1" for n in range(20)), at=T0)
    now = T0 + INTERVAL - 5_000
    (run,) = schedule.start(now, 10)
    schedule.finish(run, now, ok=False)
    assert schedule.next_wake_ms(now) == now
    schedule.start(now, 0)
    witnesses = schedule.start(now + 250, 100)
    assert len(witnesses) == 4
    assert {run.lane for run in witnesses} == {Lane.LIVE}
    for run in witnesses:
        assert schedule.finish(run, now + 251, ok=True) == T0 + INTERVAL
    # However many fail, there is only one round every half second.
    (run, *others) = schedule.start(T0 + INTERVAL, 100)
    assert len(others) >= 19
    schedule.finish(run, T0 + INTERVAL, ok=False)
    for run in others:
        schedule.finish(run, T0 + INTERVAL, ok=False)
    assert schedule.start(T0 + INTERVAL + 999, 100) == [], "no endpoint that answered is left"


def test_a_large_fleet_needs_no_witnesses():
    schedule = make(jitter=0.0)
    for n in range(240):
        proven(schedule, f"h{n}:1", at=T0 + n)
    schedule.ask("h0:1", T0 + 10_000)
    (run,) = schedule.start(T0 + 10_000, 10)
    schedule.finish(run, T0 + 10_000, ok=False)
    assert schedule.start(T0 + 10_999, 10) == []


def test_a_sidecars_report_makes_an_endpoint_due_now_and_only_once():
    schedule = make(jitter=0.0)
    proven(schedule, "a:1")
    schedule.hasten("a:1", T0 + 10_000)
    schedule.hasten("a:1", T0 + 10_000)
    (run,) = schedule.start(T0 + 10_000, 10)
    assert (run.id, run.lane) == ("a:1", Lane.CONFIRM)
    # The probe in flight began before the report, so the endpoint is probed once more.
    schedule.hasten("a:1", T0 + 10_001)
    schedule.hasten("a:1", T0 + 10_002)
    assert schedule.finish(run, T0 + 10_003, ok=False) == T0 + 10_003
    (run,) = schedule.start(T0 + 10_003, 10)
    assert schedule.finish(run, T0 + 10_004, ok=True) == T0 + 10_003 + INTERVAL


def test_a_sidecars_report_does_not_bypass_the_pace_of_first_probes():
    schedule = make(fresh_per_s=1)
    for n in range(100):
        schedule.add(f"h{n}:1", f"h{n}", T0, spread=False)
        schedule.hasten(f"h{n}:1", T0)
    assert len(schedule.start(T0, 1000)) == 32


def test_not_before_defers_a_probe_and_lateness_is_not_made_up_for():
    schedule = make(jitter=0.0)
    schedule.add("a:1", "a", T0, spread=False)
    (run,) = schedule.start(T0, 1)
    assert schedule.finish(run, T0 + 5, ok=False, not_before_ms=T0 + 90_000) == T0 + 90_000
    (run,) = schedule.start(T0 + 200_000, 1)
    assert run.lateness_ms == 110_000
    assert schedule.finish(run, T0 + 200_005, ok=True) == T0 + 230_000


def test_not_after_advances_a_probe_but_never_beyond_not_before():
    schedule = make(jitter=0.0)
    schedule.add("a:1", "a", T0, spread=False)
    (run,) = schedule.start(T0, 1)
    assert schedule.finish(run, T0 + 5, ok=False, not_after_ms=T0 + 1_005) == T0 + 1_005
    (run,) = schedule.start(T0 + 1_005, 1)
    due = schedule.finish(
        run, T0 + 1_010, ok=False, not_before_ms=T0 + 90_000, not_after_ms=T0 + 2_000
    )
    assert due == T0 + 90_000


def test_a_lane_keeps_its_limit_and_continues_as_slots_become_free():
    schedule = make(doubtful=3)
    for number in range(5):
        schedule.add(f"h{number}:1", f"h{number}", T0, spread=False)
    runs = schedule.start(T0, 100)
    assert [run.id for run in runs] == ["h0:1", "h1:1", "h2:1"]
    assert schedule.queued(Lane.DOUBTFUL) == 2
    assert schedule.start(T0 + 1, 100) == []
    schedule.finish(runs[1], T0 + 2, ok=True)
    assert started(schedule, T0 + 2) == ["h3:1"]


def test_a_host_keeps_its_share_and_others_overtake_it():
    schedule = make(per_host=2)
    for port in range(4):
        schedule.add(f"busy:{port}", "busy", T0, spread=False)
    schedule.add("calm:1", "calm", T0, spread=False)
    runs = schedule.start(T0, 100)
    assert [run.id for run in runs] == ["busy:0", "busy:1", "calm:1"]
    schedule.finish(runs[0], T0 + 1, ok=True)
    assert started(schedule, T0 + 1) == ["busy:2"]


def test_removing_a_probe_that_waits_for_its_host_does_not_strand_the_rest():
    schedule = make(per_host=1)
    for port in range(4):
        schedule.add(f"h:{port}", "h", T0, spread=False)
    (run,) = schedule.start(T0, 100)
    schedule.finish(run, T0 + 1, ok=True)
    schedule.remove("h:1")
    (second,) = schedule.start(T0 + 1, 100)
    assert second.id == "h:2"
    schedule.finish(second, T0 + 2, ok=True)
    assert started(schedule, T0 + 2) == ["h:3"]


def test_a_removed_or_replaced_run_frees_its_slot_and_is_not_scheduled():
    schedule = make(doubtful=1)
    schedule.add("a:1", "a", T0, spread=False)
    (old,) = schedule.start(T0, 10)
    schedule.add("a:1", "a", T0 + 1, spread=False)
    assert schedule.start(T0 + 1, 10) == []
    assert schedule.finish(old, T0 + 2, ok=True) is None
    (new,) = schedule.start(T0 + 2, 10)
    schedule.remove("a:1")
    assert schedule.finish(new, T0 + 3, ok=True) is None
    assert len(schedule) == 0
    assert schedule.running(Lane.DOUBTFUL) == 0


def test_ask_bypasses_full_lanes_and_does_not_probe_twice():
    schedule = make(doubtful=1)
    schedule.add("a:1", "a", T0, spread=False)
    schedule.add("b:1", "b", T0, spread=True)
    assert started(schedule, T0) == ["a:1"]
    schedule.ask("b:1", T0)
    schedule.ask("a:1", T0)
    (run,) = schedule.start(T0, 10)
    assert (run.id, run.lane) == ("b:1", Lane.ASKED)
    due = schedule.finish(run, T0 + 10, ok=True)
    assert due is not None
    assert started(schedule, due - 1) == []
    assert started(schedule, due) == ["b:1"]


def test_a_slow_live_probe_gives_its_slot_to_the_next():
    schedule = make(live=1, jitter=0.0)
    for name in "ab":
        schedule.add(f"{name}:1", name, T0, spread=False)
    for run in schedule.start(T0, 10):
        schedule.finish(run, T0, ok=True)
    now = T0 + INTERVAL
    (hanging,) = schedule.start(now, 10)
    assert hanging.lane is Lane.LIVE
    assert schedule.next_wake_ms(now) == now + 500
    assert schedule.start(now + 499, 10) == []
    (following,) = schedule.start(now + 500, 10)
    assert hanging.lane is Lane.DOUBTFUL
    assert following.lane is Lane.LIVE
    assert schedule.running(Lane.DOUBTFUL) == schedule.running(Lane.LIVE) == 1


def test_churn_does_not_grow_the_heap():
    schedule = make()
    for _ in range(5000):
        schedule.add("a:1", "a", T0, spread=True)
    assert len(schedule._heap) <= 2 * 1 + 65


class Simulation:
    """Drives a schedule in ticks of 10 ms: some endpoints answer at once, some hang for 5 s."""

    def __init__(self, schedule: Schedule, hosts: dict[str, str], hanging: set[str]) -> None:
        self.schedule = schedule
        self.hanging = hanging
        self.refusing: set[str] = set()
        self.now = T0
        self.lateness: dict[Lane, int] = dict.fromkeys(Lane, 0)
        self.live_lateness = 0
        self.probed: Counter[str] = Counter()
        self.most_running = 0
        self.most_started_in_a_tick = 0
        self._flights: list[tuple[int, int, Run]] = []
        for id_, host in hosts.items():
            schedule.add(id_, host, T0, spread=True)

    def run(self, seconds: float) -> None:
        self.live_lateness = 0
        self.probed.clear()
        end = self.now + int(seconds * 1000)
        while self.now < end:
            self.now += 10
            while self._flights and self._flights[0][0] <= self.now:
                finished_ms, _, run = heapq.heappop(self._flights)
                ok = run.id not in self.hanging and run.id not in self.refusing
                self.schedule.finish(run, finished_ms, ok=ok)
            runs = self.schedule.start(self.now, 32)
            self.most_started_in_a_tick = max(self.most_started_in_a_tick, len(runs))
            for run in runs:
                self.probed[run.id] += 1
                takes_ms = 5000 if run.id in self.hanging else 10
                heapq.heappush(self._flights, (self.now + takes_ms, run.ticket, run))
                if run.id not in self.hanging:
                    self.live_lateness = max(self.live_lateness, run.lateness_ms)
            self.most_running = max(self.most_running, len(self._flights))


def fleet_of(count: int) -> dict[str, str]:
    return {f"h{n}:1": f"h{n}" for n in range(count)}


def test_5000_hanging_endpoints_of_10000_do_not_delay_healthy_ones():
    hosts = fleet_of(10_000)
    hanging = set(list(hosts)[::2])
    simulation = Simulation(make(fresh_per_s=400), hosts, hanging)
    # In the first round each endpoint has its turn, and 833 hang at a time.
    simulation.run(33)
    assert all(simulation.probed[id_] >= 1 for id_ in hosts)
    simulation.run(66)
    assert simulation.live_lateness <= 50
    assert all(simulation.probed[id_] >= 1 for id_ in hosts)
    assert simulation.most_running <= 256 + 256 + 1024


def test_half_of_a_fleet_beginning_to_hang_does_not_delay_the_rest():
    hosts = fleet_of(10_000)
    simulation = Simulation(make(), hosts, set())
    simulation.run(33)
    simulation.hanging = set(list(hosts)[::2])
    simulation.run(40)
    assert simulation.live_lateness <= 50


def test_nothing_accumulates_when_everything_hangs_and_recovery_takes_two_intervals():
    hosts = fleet_of(10_000)
    simulation = Simulation(make(), hosts, set(hosts))
    simulation.run(120)
    assert simulation.most_running <= 256 + 256 + 1024
    assert max(simulation.probed.values()) <= 5 + 1
    simulation.hanging = set()
    simulation.run(66)
    assert set(simulation.probed) == set(hosts)
    assert simulation.most_started_in_a_tick <= 32


def test_hanging_neighbours_on_one_host_do_not_delay_a_healthy_endpoint():
    hosts = {f"h:{port}": "h" for port in range(40)}
    living = {"h:0", "h:20", "h:39"}
    simulation = Simulation(make(), hosts, set(hosts) - living)
    # Before their first success the healthy endpoints queue with the others.
    simulation.run(120)
    simulation.run(120)
    assert simulation.live_lateness <= 50
    assert simulation.most_running <= 4 + 4 + 4


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("AARUHFSSS"), st.integers(0, 5), st.integers(0, 4000)),
        max_size=80,
    )
)
def test_slots_are_neither_lost_nor_exceeded_whatever_happens(steps):
    schedule = make(live=2, doubtful=3, asked=1, confirm=2, per_host=2)
    now = T0
    flights: list[Run] = []
    for action, number, wait in steps:
        now += wait
        id_ = f"h{number % 2}:{number}"
        if action == "H" and id_ in schedule._entries:
            schedule.hasten(id_, now)
        elif action == "A":
            schedule.add(id_, f"h{number % 2}", now, spread=wait % 2 == 0)
        elif action == "R":
            schedule.remove(id_)
        elif action == "U":
            try:
                schedule.ask(id_, now)
            except KeyError:
                continue
        elif action == "F" and flights:
            schedule.finish(flights.pop(number % len(flights)), now, ok=wait % 3 == 0)
        else:
            flights += schedule.start(now, 4)
        assert sum(schedule.running(lane) for lane in Lane) == len(flights)
        assert schedule.running(Lane.LIVE) <= 2
        assert schedule.running(Lane.DOUBTFUL) <= 3
        assert schedule.running(Lane.ASKED) <= 1
        assert schedule.running(Lane.CONFIRM) <= 2
    for run in flights:
        schedule.finish(run, now, ok=True)
    # Nothing is stranded: every scheduled endpoint is probed again.
    seen: set[str] = set()
    for _ in range(60):
        now += 1000
        for run in schedule.start(now, 100):
            seen.add(run.id)
            schedule.finish(run, now, ok=True)
    assert len(seen) == len(schedule)


def test_ask_for_an_unknown_endpoint_raises_key_error():
    with pytest.raises(KeyError):
        make().ask("a:1", T0)


def test_first_probes_come_at_a_steady_pace_and_delay_no_others():
    schedule = make(jitter=0.0, fresh_per_s=10)
    schedule.add("old:1", "old", T0, spread=False)
    (run,) = schedule.start(T0, 1000)
    schedule.finish(run, T0, ok=False, repeat=False)
    due = T0 + INTERVAL
    for n in range(100):
        schedule.add(f"new-{n}:1", f"new-{n}", due - 1000, spread=False)
    assert len(schedule.start(due - 1000, 1000)) == 32
    assert schedule.queued(Lane.DOUBTFUL) == 68
    assert schedule.next_wake_ms(due - 1000) == due - 900
    assert schedule.start(due - 901, 1000) == []
    assert started(schedule, due - 900) == ["new-32:1"]
    schedule.remove("new-33:1")
    # Endpoints that were probed before go first; the others come at their own pace.
    assert started(schedule, due) == ["old:1", *(f"new-{n}:1" for n in range(34, 43))]
    assert len(schedule.start(due + 100_000, 1000)) == 32
    assert len(schedule.start(due + 102_000, 1000)) == 20


def test_a_fleet_of_any_size_is_probed_within_an_interval_without_bursts():
    schedule = make(doubtful=30_000, fresh_per_s=10)
    for n in range(30_000):
        schedule.add(f"h{n}:1", f"h{n}", T0, spread=False)
    per_second = started_by_second(schedule)
    assert sum(per_second) == 30_000
    assert max(per_second) <= 1.25 * 1000 + 32
