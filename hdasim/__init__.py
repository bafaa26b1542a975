"""hdasim: cycle-approximate simulation of LLM serving on hardware that may not exist yet.

>>> import hdasim
>>> result = hdasim.simulate(hdasim.load("model.yaml"))
>>> result.summary["mean_ttft_ms"]

Names are resolved on first use, so that ``import hdasim`` and ``--help`` stay quick.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
_PUBLIC = {
    "load": ".spec.load", "simulate": ".simulate", "step": ".simulate", "Result": ".simulate", "Experiment": ".spec.experiment",
    "HdasimError": ".errors", "SpecError": ".errors", "CapacityError": ".errors", "TraceError": ".errors", "CoreError": ".errors",
    "MissingExtra": ".errors",
}  # fmt: skip
__all__ = ["CapacityError", "CoreError", "Experiment", "HdasimError", "MissingExtra", "Result", "SpecError", "TraceError", "__version__",
           "load", "simulate", "step"]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'hdasim' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name], __name__), name)
