"""What was acknowledged, what a hub has afterwards, and the table of both."""

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Value = str | None
"""A record's value; None if there is no such record."""


@dataclass
class Loss:
    """Acknowledged writes that are gone, and removed records that are back."""

    lost: int = 0
    resurrected: int = 0
    examples: list[str] = field(default_factory=list)

    def __iadd__(self, other: "Loss") -> "Loss":
        self.lost += other.lost
        self.resurrected += other.resurrected
        self.examples += other.examples
        return self


class Ledger:
    """The acknowledged value of each record, and the writes whose answer never came.

    One writer at a time writes a record, so that its order of values is known.
    """

    def __init__(self) -> None:
        self.acknowledged: dict[str, Value] = {}
        self.writes = 0
        self._unanswered: dict[str, Value] = {}

    async def write(self, key: str, value: Value, call: Awaitable[object]) -> None:
        """Awaits a write. If it fails, the hub may have done it or not."""
        self._unanswered[key] = value
        await call
        self.acknowledged[key] = value
        self.writes += 1
        del self._unanswered[key]

    def live(self) -> list[str]:
        """The keys of the records that exist for certain."""
        return [
            key
            for key, value in self.acknowledged.items()
            if value is not None and key not in self._unanswered
        ]

    def settle(self, found: Mapping[str, str]) -> Loss:
        """Compares the ledger with what the hub has, and goes on from there."""
        loss = Loss()
        for key, wanted in self.acknowledged.items():
            value = found.get(key)
            if value == wanted or (key in self._unanswered and value == self._unanswered[key]):
                continue
            if wanted is None:
                loss.resurrected += 1
            else:
                loss.lost += 1
            loss.examples.append(f"{key}: acknowledged {wanted!r}, found {value!r}")
        for key in self.acknowledged.keys() | self._unanswered.keys():
            self.acknowledged[key] = found.get(key)
        self._unanswered.clear()
        return loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One torture: how often, what was looked at, and what came of it.

    `lost` counts acknowledged writes that are gone, removed records that are back, and
    false verdicts; it must be 0. `seen` says what else happened.
    """

    torture: str
    times: int
    checked: str
    lost: int
    seen: str = ""
    details: str = ""
    """a table of its own, which is printed below the others"""


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| torture | times | checked | lost | seen |", "| --- | ---: | --- | ---: | --- |"]
    lines += [
        f"| {row.torture} | {row.times:,} | {row.checked} | {row.lost} | {row.seen} |"
        for row in rows
    ]
    return "\n".join(lines)


def total(rows: Iterable[Row]) -> int:
    """How much was lost in all."""
    return sum(row.lost for row in rows)


@dataclass(frozen=True, slots=True)
class Scale:
    """How often and how many: all for `make torture`, a share for `make test`."""

    kills: int = 200
    damages: int = 40
    sidecars: int = 10_000
    stopped_s: float = 20.0
    writers: int = 3
    soak_s: float = 1_800.0
    soak_period_s: float = 60.0
    churn: int = 2
    ring_events: int = 4_096
    attacks: tuple[str, ...] = ("",)
    """parts of the names of the attacks to run"""
    attack_s: float = 4.0
    again: bool = True
    """whether a measurement that misses its goal is made again"""


def settings_file(directory: Path, **sections: Mapping[str, object]) -> str:
    """A configuration without rate limits, because writers must be fast; returns its path."""
    values = {"rate_limits": {"enabled": False}, "log": {"level": "error"}} | dict(sections)
    lines = []
    for name, section in values.items():
        lines.append(f"[{name}]")
        for key, value in section.items():
            lines.append(f"{key} = {_toml(value)}")
    path = directory / "hub.toml"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)
