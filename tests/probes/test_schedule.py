import heapq
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.probes.schedule import Lane, Run, Schedule

T0 = 1_800_000_000_000
INTERVAL = 30_000


def make(
    *,
    live: int = 256,
    doubtful: int = 1024,
    asked: int = 32,
    per_host: int = 4,
    demote_after_ms: int = 500,
    jitter: float = 0.1,
    fresh_per_s: float = 1e9,
) -> Schedule:
    return Schedule(
        interval_ms=INTERVAL,
        jitter=jitter,
        limits={Lane.LIVE: live, Lane.DOUBTFUL: doubtful, Lane.ASKED: asked},
        per_host=per_host,
        demote_after_ms=demote_after_ms,
        random=Random(11),
        fresh_per_s=fresh_per_s,
    )


def started(schedule: Schedule, now_ms: int, limit: int = 1000) -> list[str]:
    return [run.id for run in schedule.start(now_ms, limit)]


def started_by_second(schedule: Schedule) -> list[int]:
    """How many are started in each second of an interval, at a tick of 10 ms."""
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


def test_a_fleet_is_spread_evenly_over_one_interval():
    schedule = make(doubtful=10_000, per_host=10_000)
    for number in range(3000):
        schedule.add(f"h{number}:1", f"h{number}", T0, spread=True)
    per_second = started_by_second(schedule)
    assert sum(per_second) == 3000
    assert max(per_second) < 150
    assert min(per_second) > 60


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


def test_not_before_defers_and_lateness_is_not_caught_up():
    schedule = make(jitter=0.0)
    schedule.add("a:1", "a", T0, spread=False)
    (run,) = schedule.start(T0, 1)
    assert schedule.finish(run, T0 + 5, ok=False, not_before_ms=T0 + 90_000) == T0 + 90_000
    (run,) = schedule.start(T0 + 200_000, 1)
    assert run.lateness_ms == 110_000
    assert schedule.finish(run, T0 + 200_005, ok=True) == T0 + 230_000


def test_not_after_is_sooner_and_never_before_what_it_must_wait_for():
    schedule = make(jitter=0.0)
    schedule.add("a:1", "a", T0, spread=False)
    (run,) = schedule.start(T0, 1)
    assert schedule.finish(run, T0 + 5, ok=False, not_after_ms=T0 + 1_005) == T0 + 1_005
    (run,) = schedule.start(T0 + 1_005, 1)
    due = schedule.finish(
        run, T0 + 1_010, ok=False, not_before_ms=T0 + 90_000, not_after_ms=T0 + 2_000
    )
    assert due == T0 + 90_000


def test_a_lane_starts_no_more_than_its_limit_and_goes_on_as_slots_free():
    schedule = make(doubtful=3)
    for number in range(5):
        schedule.add(f"h{number}:1", f"h{number}", T0, spread=False)
    runs = schedule.start(T0, 100)
    assert [run.id for run in runs] == ["h0:1", "h1:1", "h2:1"]
    assert schedule.queued(Lane.DOUBTFUL) == 2
    assert schedule.start(T0 + 1, 100) == []
    schedule.finish(runs[1], T0 + 2, ok=True)
    assert started(schedule, T0 + 2) == ["h3:1"]


def test_a_host_has_no_more_than_its_share_and_others_pass_by():
    schedule = make(per_host=2)
    for port in range(4):
        schedule.add(f"busy:{port}", "busy", T0, spread=False)
    schedule.add("calm:1", "calm", T0, spread=False)
    runs = schedule.start(T0, 100)
    assert [run.id for run in runs] == ["busy:0", "busy:1", "calm:1"]
    schedule.finish(runs[0], T0 + 1, ok=True)
    assert started(schedule, T0 + 1) == ["busy:2"]


def test_removing_what_waits_for_its_host_does_not_strand_the_rest():
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


def test_asking_passes_full_lanes_and_does_not_probe_twice():
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


def test_a_live_probe_that_takes_long_gives_its_slot_to_the_next():
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
    """Drives a schedule by ticks of 10 ms: some endpoints answer at once, some hang for 5 s."""

    def __init__(self, schedule: Schedule, hosts: dict[str, str], hanging: set[str]) -> None:
        self.schedule = schedule
        self.hanging = hanging
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
                self.schedule.finish(run, finished_ms, ok=run.id not in self.hanging)
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


def test_half_of_ten_thousand_hanging_delays_no_living_one():
    hosts = fleet_of(10_000)
    hanging = set(list(hosts)[::2])
    simulation = Simulation(make(), hosts, hanging)
    # The first round too: nobody has been proven yet, and 833 hang at a time.
    simulation.run(33)
    assert simulation.live_lateness <= 50
    simulation.run(66)
    assert simulation.live_lateness <= 50
    assert all(simulation.probed[id_] >= 1 for id_ in hosts)
    assert simulation.most_running <= 256 + 1024


def test_half_of_a_proven_fleet_beginning_to_hang_delays_no_living_one():
    hosts = fleet_of(10_000)
    simulation = Simulation(make(), hosts, set())
    simulation.run(33)
    simulation.hanging = set(list(hosts)[::2])
    simulation.run(40)
    assert simulation.live_lateness <= 50


def test_when_everything_hangs_nothing_piles_up_and_recovery_takes_two_intervals():
    hosts = fleet_of(10_000)
    simulation = Simulation(make(), hosts, set(hosts))
    simulation.run(120)
    assert simulation.most_running <= 256 + 1024
    assert max(simulation.probed.values()) <= 5
    simulation.hanging = set()
    simulation.run(66)
    assert set(simulation.probed) == set(hosts)
    assert simulation.most_started_in_a_tick <= 32


def test_hanging_neighbours_on_one_host_do_not_delay_a_living_one():
    hosts = {f"h:{port}": "h" for port in range(40)}
    living = {"h:0", "h:20", "h:39"}
    simulation = Simulation(make(), hosts, set(hosts) - living)
    # Unproven, the living ones queue with the others: let them be found out first.
    simulation.run(120)
    simulation.run(120)
    assert simulation.live_lateness <= 50
    assert simulation.most_running <= 8


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("AARUFSSS"), st.integers(0, 5), st.integers(0, 4000)),
        max_size=80,
    )
)
def test_slots_are_neither_lost_nor_exceeded_whatever_happens(steps):
    schedule = make(live=2, doubtful=3, asked=1, per_host=2)
    now = T0
    flights: list[Run] = []
    for action, number, wait in steps:
        now += wait
        id_ = f"h{number % 2}:{number}"
        if action == "A":
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
    for run in flights:
        schedule.finish(run, now, ok=True)
    # Nothing is stranded: everyone scheduled comes around again.
    seen: set[str] = set()
    for _ in range(60):
        now += 1000
        for run in schedule.start(now, 100):
            seen.add(run.id)
            schedule.finish(run, now, ok=True)
    assert len(seen) == len(schedule)


def test_asking_for_the_unknown_is_a_key_error():
    with pytest.raises(KeyError):
        make().ask("a:1", T0)


def test_endpoints_never_asked_come_at_a_steady_pace_and_hold_up_nobody():
    schedule = make(jitter=0.0, fresh_per_s=10)
    schedule.add("old:1", "old", T0, spread=False)
    (run,) = schedule.start(T0, 1000)
    schedule.finish(run, T0, ok=False)
    due = T0 + INTERVAL
    for n in range(100):
        schedule.add(f"new-{n}:1", f"new-{n}", due - 1000, spread=False)
    assert len(schedule.start(due - 1000, 1000)) == 32
    assert schedule.queued(Lane.DOUBTFUL) == 68
    assert schedule.next_wake_ms(due - 1000) == due - 900
    assert schedule.start(due - 901, 1000) == []
    assert started(schedule, due - 900) == ["new-32:1"]
    schedule.remove("new-33:1")
    # Who has been asked before goes first; the others come at their pace meanwhile.
    assert started(schedule, due) == ["old:1", *(f"new-{n}:1" for n in range(34, 43))]
    assert len(schedule.start(due + 100_000, 1000)) == 32
    assert len(schedule.start(due + 102_000, 1000)) == 20


def test_a_fleet_however_large_is_asked_within_an_interval_and_in_no_burst():
    schedule = make(doubtful=30_000, fresh_per_s=10)
    for n in range(30_000):
        schedule.add(f"h{n}:1", f"h{n}", T0, spread=False)
    per_second = started_by_second(schedule)
    assert sum(per_second) == 30_000
    assert max(per_second) <= 1.25 * 1000 + 32
