"""What holds for every test."""

import os

from hypothesis import settings

# A deadline for each example measures how busy the machine is. A failure is printed so
# that it can be repeated anywhere; in CI there is no earlier run's database to build on.
settings.register_profile("hub", deadline=None, print_blob=True)
settings.register_profile("hub-ci", settings.get_profile("hub"), database=None)
settings.load_profile("hub-ci" if os.environ.get("CI") else "hub")
