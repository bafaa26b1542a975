"""What a device draws: energies of operations and bytes, and what passes while nothing happens."""

from .base import Spec


class Power(Spec):
    """Energies in joules for each operation or byte, power in watts."""
