"""Runs mutmut over some modules or a random sample of changes, and prints a table.

    python scripts/mutation.py [PATTERN…] [--sample COUNT] [--seed SEED] [--processes COUNT]

A PATTERN is the name of a module, with `*` for any text: `hub.registry.selection.*`. Without
one, all modules count that `[tool.mutmut]` in pyproject.toml names. A sample has the same
changes for the same seed and sources. Outcomes of earlier runs in mutants/ are kept and are
part of the table; remove the directory to begin again.
"""

import argparse
import fnmatch
import math
import random
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

NOTICED = frozenset({"killed", "timeout", "caught by type check"})
MISSED = frozenset({"survived", "no tests"})
"""All other outcomes, such as a crash of the test process, say nothing of the tests."""

# Of a normal distribution, this many standard deviations around the mean hold 95 %.
_Z = 1.959964


def module_of(change: str) -> str:
    """The module of a change: "hub.registry.vram" of "hub.registry.vram.x_plan__mutmut_3"."""
    return change.partition("__mutmut_")[0].rpartition(".")[0]


def interval(noticed: int, of: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share, by Wilson's score."""
    if not of:
        return 0.0, 1.0
    share, square = noticed / of, _Z * _Z
    middle = (share + square / (2 * of)) / (1 + square / of)
    half = _Z / (1 + square / of) * math.sqrt(share * (1 - share) / of + square / (4 * of * of))
    return max(0.0, middle - half), min(1.0, middle + half)


def table(outcomes: Iterable[tuple[str, str]]) -> str:
    """A Markdown table of (change, outcome) pairs, one row per module."""
    changes: Counter[str] = Counter()
    noticed: Counter[str] = Counter()
    for change, outcome in outcomes:
        if outcome in NOTICED | MISSED:
            changes[module_of(change)] += 1
            noticed[module_of(change)] += outcome in NOTICED
    lines = ["| module | changes | noticed | share |", "| --- | ---: | ---: | ---: |"]
    for module in sorted(changes):
        name = f"`{module.removeprefix('hub.').replace('.', '/')}.py`"
        lines.append(_row(name, changes[module], noticed[module]))
    lines.append(_row("together", changes.total(), noticed.total()))
    low, high = interval(noticed.total(), changes.total())
    lines.append(
        f"\n95 % confidence, if this is a random sample: {100 * low:.1f} to {100 * high:.1f} %"
    )
    return "\n".join(lines)


def _row(name: str, changes: int, noticed: int) -> str:
    return f"| {name} | {changes:,} | {noticed:,} | {100 * noticed / max(changes, 1):.0f} % |"


def chosen(changes: Sequence[str], count: int | None, seed: int) -> list[str]:
    """All changes, or a sample of them without repetition; the same for the same seed."""
    if count is None or count >= len(changes):
        return list(changes)
    return sorted(random.Random(seed).sample(sorted(changes), count))


def _changes(file: Path) -> list[str]:
    from mutmut.mutation.file_mutation import mutate_file_contents
    from mutmut.utils.format_utils import get_mutant_name

    mutated = mutate_file_contents(str(file), file.read_text(encoding="utf-8"))
    return [get_mutant_name(file, name) for name in mutated.mutant_names]


def _files(patterns: Sequence[str]) -> Iterator[Path]:
    """The files that mutmut may change and whose module fits one of the patterns."""
    settings = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["tool"]["mutmut"]
    for file in sorted(Path("hub").rglob("*.py")):
        module = ".".join(file.with_suffix("").parts)
        if any(fnmatch.fnmatch(str(file), each) for each in settings["only_mutate"]) and any(
            fnmatch.fnmatch(module, each) for each in patterns
        ):
            yield file


def _outcomes(files: Iterable[Path], of: frozenset[str]) -> Iterator[tuple[str, str]]:
    from mutmut.mutation.data import SourceFileMutationData
    from mutmut.stats import status_by_exit_code

    for file in files:
        data = SourceFileMutationData(path=file)
        data.load()
        for change, code in data.exit_code_by_key.items():
            if change in of:
                yield change, status_by_exit_code[code]


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code of mutmut."""
    parser = argparse.ArgumentParser(prog="mutation", description=__doc__)
    parser.add_argument("patterns", nargs="*", default=["*"], metavar="PATTERN")
    parser.add_argument("--sample", type=int, help="how many changes, drawn at random")
    parser.add_argument("--seed", type=int, default=1, help="what the sample follows from")
    parser.add_argument("--processes", type=int, default=1, help="how many tests run at once")
    given = parser.parse_args(arguments)

    files = list(_files(given.patterns or ["*"]))
    changes = [change for file in files for change in _changes(file)]
    if not changes:
        print(f"no module fits {' '.join(given.patterns)}", file=sys.stderr)
        return 2
    wanted = chosen(changes, given.sample, given.seed)
    print(f"{len(wanted):,} of {len(changes):,} changes", flush=True)
    names = wanted if given.sample is not None else [f"{module}.*" for module in _modules(files)]
    command = ["mutmut", "run", "--max-children", str(given.processes), *names]
    code = subprocess.run(command, check=False).returncode
    outcomes = list(_outcomes(files, frozenset(wanted)))
    for change, outcome in outcomes:
        if outcome not in NOTICED:
            print(f"{outcome}: {change}")
    print(table(outcomes))
    return code


def _modules(files: Iterable[Path]) -> list[str]:
    return [".".join(file.with_suffix("").parts) for file in files]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
