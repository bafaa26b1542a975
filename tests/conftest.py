"""Hypothesis without deadlines (machines differ) and with fixed examples (a run can be repeated)."""

from hypothesis import settings

settings.register_profile("hdasim", deadline=None, derandomize=True)
settings.load_profile("hdasim")
