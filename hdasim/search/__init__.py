"""Searches: many simulations that answer one question."""
