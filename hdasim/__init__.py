"""hdasim: cycle-approximate simulation of LLM serving on hardware that may not exist yet.

>>> import hdasim
>>> result = hdasim.simulate(hdasim.load("model.yaml"))
>>> result.summary["mean_ttft_ms"]

Names are resolved on first use, so that ``import hdasim`` and ``--help`` stay quick.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

__version__ = "0.1.0"
_PUBLIC = {
    "load": ".spec.load", "simulate": ".simulate", "step": ".simulate", "Result": ".simulate",
    "Experiment": ".spec.experiment", "HdasimError": ".errors", "SpecError": ".errors", "CapacityError": ".errors",
    "TraceError": ".errors", "CoreError": ".errors",
}  # fmt: skip
__all__ = ["CapacityError", "CoreError", "Experiment", "HdasimError", "Result", "SpecError", "TraceError",
           "__version__", "load", "simulate", "step"]  # fmt: skip


class _Package(ModuleType):
    """`hdasim.simulate` is the function, though the import system sets it to the module of that name on importing it."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value.simulate if name == "simulate" and isinstance(value, ModuleType) else value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'hdasim' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name], __name__), name)
