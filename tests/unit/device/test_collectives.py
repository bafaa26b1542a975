"""Collectives: numbers by hand, and what must hold for all of them."""

import numpy as np
import pytest

from hdasim.device.collectives import OPS, collective_seconds, collective_times
from hdasim.spec.hardware import P2P
from hdasim.spec.load import load_device, presets

A100 = P2P(bandwidth=300e9, kind="nvlink", collective_launch=9e-6)
H100 = P2P(bandwidth=450e9, kind="nvlink", collective_launch=4.5e-6, nvls_efficiency=0.85)
PCIE = P2P(bandwidth=64e9, kind="pcie", collective_launch=4e-6)


def test_a_device_without_a_kind_runs_the_textbook_ring() -> None:
    # 8 devices, 1 us, 1 GB/s: 2 x 7 steps of 1 us and of 8000 / 8 B = 1 us
    assert collective_seconds(P2P(bandwidth=1e9, latency=1e-6), "all_reduce", 8, 8000) == pytest.approx(28e-6)


@pytest.mark.parametrize(("op", "devices", "size", "microseconds"), [
    # alpha = 9 + 2 x 0.78 = 10.56; x = 2.4 x 1 MB / 2 / 243 GB/s = 4.938; 1.15 sqrt(alpha x) = 8.305
    ("all_reduce", 2, 1e6, 23.8028),
    # alpha = 9 + 7 x 0.78 = 14.46; x = 7.4 MB / 243 GB/s = 30.453; 1.15 sqrt = 24.132
    ("all_gather", 8, 8e6, 69.0448),
    ("reduce_scatter", 8, 8e6, 69.0448),
    # alpha = 9 + 2.2 + 3 x 0.23 = 11.89; x = 3.4 MB / 243 GB/s = 13.992; 1.15 sqrt = 14.833
    ("alltoall", 4, 4e6, 40.7146),
    # alpha = 9 + 2.2 + 0.23 = 11.43; x = 2.43 MB / 243 GB/s = 10
    ("send_recv", 2, 2.43e6, 21.43),
])  # fmt: skip
def test_nvlink_by_hand(op: str, devices: int, size: float, microseconds: float) -> None:
    assert collective_seconds(A100, op, devices, size) * 1e6 == pytest.approx(microseconds, rel=1e-5)


def test_all_reduce_in_the_switch_by_hand() -> None:
    # 9/8 of 364.5 MB at 364.5 GB/s x 0.85: 1323.53 us; 25 us before; 1.15 sqrt(25 x 1323.53) = 209.19
    large = collective_times(H100, "all_reduce", 8, 364.5e6)
    assert large.time * 1e6 == pytest.approx(1557.716, rel=1e-6)
    assert large.bound * 1e6 == pytest.approx(911.25)  # 9/8 x 364.5 MB at 450 GB/s
    # small messages go round the ring: 4.5 + 14 x 0.78 = 15.42
    assert collective_seconds(H100, "all_reduce", 8, 0) * 1e6 == pytest.approx(15.42)


def test_the_way_through_the_host_is_shared_beyond_two() -> None:
    def transfer(p2p: P2P, n: int) -> float:
        return float(collective_times(p2p, "all_gather", n, 1e9).transfer)

    # 2.4e9 / 2 / (64 GB/s x 0.76) at 2; 4.4e9 / 4 at 0.55 of that rate at 4
    assert transfer(PCIE, 2) == pytest.approx(1.4 / 2 / (64 * 0.76))
    assert transfer(PCIE, 4) == pytest.approx(3.4 / 4 / (64 * 0.76 * 0.55))
    alone = P2P(bandwidth=32e9, kind="pcie", contention=2)
    assert transfer(alone, 2) == pytest.approx(1.4 / 2 / (32 * 0.76))
    assert transfer(alone, 8) == pytest.approx(7.4 / 8 / (32 * 0.76 / 16))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("name", [name for name in presets("hardware") if load_device(name).p2p])
def test_time_grows_with_bytes_and_devices_and_never_beats_the_bound(name: str, op: str) -> None:
    p2p = load_device(name).p2p
    assert p2p is not None
    devices = np.array([[2]] if op == "send_recv" else [[2], [3], [4], [6], [8], [72], [1000]])
    size = np.concatenate([[0, 1], 2.0 ** np.arange(1, 41)])
    times = collective_times(p2p, op, devices, size)
    assert times.time.shape == (devices.size, size.size) and np.isfinite(times.time).all()
    assert (np.diff(times.time, axis=1) >= 0).all()
    if op != "all_reduce" or p2p.nvls_efficiency is None:  # in the switch, more devices leave each less of the sum to send back
        assert (np.diff(times.time, axis=0) > 0).all()
    assert (times.bound <= times.time).all()
    rate = size[-1] / times.time[:, -1]
    assert (rate <= (p2p.bandwidth * devices[:, 0] / (devices[:, 0] - 1))).all()


@pytest.mark.parametrize(("op", "devices", "size"), [("broadcast", 2, 1), ("all_reduce", 1, 1), ("all_gather", 2, -1)])
def test_what_is_no_collective_is_refused(op: str, devices: int, size: int) -> None:
    with pytest.raises(ValueError, match=r"unknown op|at least 2"):
        collective_seconds(A100, op, devices, size)
