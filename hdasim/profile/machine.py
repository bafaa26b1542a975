"""A profile on disk and an experiment -> the C profile of one rank."""

from pathlib import Path

from ..core._core import Profile
from ..errors import SpecError
from ..spec.experiment import Experiment
from ..spec.profile import Profile as ProfileSpec
from . import llmservingsim, vidur
from .build import build
from .tables import Tables

#: Tables and their axes, in the order of hda_outside_place_t.
_AXES = ("new tokens", "cached tokens", "decoding sequences", "tokens of context")
_PLACES = (
    "tokens in a step", "sequences that emit a token", "tokens of all ranks",
    *(f"{axis} in a step without prompts" for axis in _AXES), *(f"{axis} in a step with prompts" for axis in _AXES),
)  # fmt: skip


def read(path: Path, ranks: int) -> Tables:
    """The tables of one rank of `ranks` (tensor_parallel_size), from a folder in any form; `SpecError` if there are none."""
    own = path / f"tp{ranks}"
    if (own / "dense.csv").exists():
        return llmservingsim.read(own)
    if (path / "dense.csv").exists():
        if path.name.startswith("tp") and path.name[2:].isdigit() and int(path.name[2:]) != ranks:
            raise SpecError(f"holds operators of one of {path.name[2:]} devices; the run has {ranks}", place=str(path))
        return llmservingsim.read(path)
    if (path / "mlp.csv").exists():
        return vidur.read(path, ranks)
    others = sorted(p.name for p in path.glob("tp*") if (p / "dense.csv").exists()) if path.is_dir() else []
    if others:
        raise SpecError(f"no folder tp{ranks}, for one of {ranks} devices; there are {', '.join(others)}", place=str(path))
    raise SpecError(
        "no profile; give a folder with dense.csv and attention.csv, with tp1, tp2, .. that have them, or with Vidur's mlp.csv",
        place=str(path),
    )


def profile(experiment: Experiment, spec: ProfileSpec) -> Profile:
    """The C profile of one rank of the experiment; `SpecError` if the tables cannot be read or do not fit the model."""
    serving = experiment.serving
    if serving.pipeline_parallel_size > 1:
        raise SpecError("a profile knows no pipeline; set pipeline_parallel_size to 1", ("serving", "pipeline_parallel_size"))
    tables = read(Path(spec.path), serving.device_count)
    return build(tables, experiment.model, serving, experiment.device, extrapolate=spec.extrapolate)


def outside(core: Profile) -> str:
    """What lay outside the tables, in words; empty if nothing did."""
    steps, place, value, most = core.outside
    if not steps:
        return ""
    end = f"the profile ends at {most:,g}" if most else "nothing was measured near"
    return f"{steps:,} steps outside the profile, the first with {value:,g} {_PLACES[place]}, where {end}"
