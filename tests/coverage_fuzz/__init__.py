"""Fuzzing that follows the coverage of the hub's code, by atheris."""
