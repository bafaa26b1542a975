"""Collectives against NCCL on real GPUs."""

from pathlib import Path
from statistics import median

import pytest

from benchmarks.collectives import fit_kind, read, times
from hdasim.spec.hardware import P2P
from hdasim.spec.load import load_device
from hdasim.validate.silicon import against_data

SHARED = Path(__file__).resolve().parents[3] / "shared" / "reference"
TABLES = [SHARED / "noc" / "nccl_latency_table.csv", SHARED / "silicon" / "collectives_aiconfigurator.csv"]
pytestmark = pytest.mark.skipif(not all(map(Path.is_file, TABLES)), reason="../shared/reference is not beside this checkout")


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.stem)
def test_the_median_error_is_below_15_percent_on_every_gpu(table: Path) -> None:
    medians = {name: median(errors) for name, errors in against_data(table, "collective").groups()}
    gpus = {"a100": 0.07, "h100": 0.09, "l40s": 0.14, "rtx-pro-6000": 0.09, "all": 0.09}
    for name, most in gpus.items():
        assert medians[name] < most, name
    assert sum(value < 0.15 for value in medians.values()) > 0.85 * len(medians)


def test_a_gpu_that_was_not_fitted_is_predicted() -> None:
    """H100 from the constants that A100 alone gives, and the launch of the other GPUs."""
    cases = read(TABLES[0])
    links: dict[str, P2P] = {gpu: p2p for gpu in cases if (p2p := load_device(gpu).p2p)}
    link, _ = fit_kind("nvlink", links, cases, without="h100")
    predicted = times(P2P(bandwidth=450e9, kind="nvlink", nvls_efficiency=0.85), link, cases["h100"])
    assert median(abs(p / seconds - 1) for p, (_, seconds) in zip(predicted, cases["h100"], strict=True)) < 0.10
