"""A device's operator tables, beside its data sheet."""

from typing import Annotated

from msgspec import Meta

from .base import Spec


class Profile(Spec):
    """Measured times of one device's operators take the place of the engine; links, memory and name stay the device's.

    `path` is a folder with dense.csv, attention.csv, per_sequence.csv (and moe.csv, skew.csv), one with such folders tp1, tp2, ..
    for each tensor-parallel size, or Vidur's with mlp.csv and attention.csv. A step outside the tables is an error unless
    `extrapolate`: then the line through the last two points counts, and the result says how many steps it was.
    """

    path: Annotated[str, Meta(min_length=1, max_length=4096)]
    extrapolate: bool = False
