"""Runs one attack: `python -m tests.torture.attacks NAME TARGET`; `attacked` starts it."""

from tests.torture.attacks.catalogue import GRPC, OTHERS
from tests.torture.attacks.target import main

if __name__ == "__main__":
    main(GRPC | OTHERS)
