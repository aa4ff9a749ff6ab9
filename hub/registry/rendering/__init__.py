"""The fleet as the configuration of other programs: a pure module for each."""
