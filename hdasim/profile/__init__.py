"""Devices as operator tables: readers, and what the C core interpolates in."""
