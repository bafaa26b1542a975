"""Comparison with references: other simulators, measured silicon, real serving runs."""
