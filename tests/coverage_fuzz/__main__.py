"""Fuzzes targets with atheris, which keeps what reaches new code.

    python -m tests.coverage_fuzz [--seconds S] [--runs COUNT] [--seed SEED] [--keep] [TARGET…]

Each target runs in a process of its own, begins with its corpus and stops at the first fault,
whose input it writes to build/fuzz/. --keep adds what it found to the corpus in the tree.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.coverage_fuzz.targets import CORPUS, TARGETS, corpus

# A corpus is read in each run of the tests, and by people.
_KEPT, _KEPT_BYTES = 150, 600
_FAULTS = Path("build/fuzz")


def main() -> int:
    parser = argparse.ArgumentParser(prog="coverage_fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", choices=[[], *TARGETS])
    parser.add_argument("--seconds", type=int, default=0, help="for how long, each; 0: no limit")
    parser.add_argument("--runs", type=int, default=-1, help="how many inputs; -1: no limit")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="add what was found to the corpus")
    given = parser.parse_args()
    failed = [name for name in given.targets or TARGETS if not _fuzz(name, given)]
    print(f"faults: {', '.join(failed) or 'none'}")
    return bool(failed)


def _fuzz(name: str, given: argparse.Namespace) -> bool:
    _FAULTS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        for i, one in enumerate(corpus(name)):
            (Path(directory) / f"kept-{i:04}").write_bytes(one)
        print(f"{name}:", flush=True)
        options = {
            "atheris_runs": given.runs,
            "max_total_time": given.seconds,
            "seed": given.seed,
            "max_len": 4096,
            "artifact_prefix": f"{_FAULTS}/{name}-",
            "verbosity": 0,
            "print_final_stats": 1,
        }
        command = [sys.executable, "-m", "tests.coverage_fuzz.instrumented", name, directory]
        command += [f"-{option}={value}" for option, value in options.items()]
        ended = subprocess.run(command, check=False)
        if given.keep and ended.returncode == 0:
            _keep(name, {one.read_bytes() for one in Path(directory).iterdir()})
    return ended.returncode == 0


def _keep(name: str, found: set[bytes]) -> None:
    """Adds the smallest of the new inputs to the corpus, up to its bound."""
    kept = corpus(name)
    new = sorted((one for one in found - {*kept} if 0 < len(one) <= _KEPT_BYTES), key=len)
    lines = "".join(f"{one.hex()}\n" for one in (*kept, *new)[:_KEPT])
    (CORPUS / f"{name}.hex").write_text(lines, encoding="ascii")


if __name__ == "__main__":
    sys.exit(main())
