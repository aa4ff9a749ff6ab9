"""Runs one target under atheris: `python -m tests.coverage_fuzz.instrumented TARGET …`.

The other arguments are those of libFuzzer (https://llvm.org/docs/LibFuzzer.html#options).
"""

import sys

import atheris

with atheris.instrument_imports(include=["hub"]):
    from tests.coverage_fuzz.targets import TARGETS

if __name__ == "__main__":
    program, name, *arguments = sys.argv
    atheris.Setup([program, *arguments], TARGETS[name])
    atheris.Fuzz()
