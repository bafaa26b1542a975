"""Where the constants of `hdasim.device.collectives` come from, and how well they carry over to a GPU that they have not seen.

    python -m benchmarks.collectives --data nccl_latency_table.csv

fits per kind of link hop, pair_setup, pair and ramp (pcie: and crossing), and per GPU its collective_launch, to minimise the
mean of 2 (sqrt(1 + e^2) - 1), e = ln(predicted / measured) / 0.1, and prints them. Then it leaves each GPU out in turn: the rest
gives the constants, the GPU left out gets its data sheet and the median launch of the others, and is predicted. What the others
cannot know is then taken from physics: two devices share a port of the host (crossing 1/2) if the RTX PRO 6000 is left out,
no contention if the L40S is.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from hdasim.device.collectives import LINKS, Link, collective_times
from hdasim.spec.hardware import P2P
from hdasim.spec.load import load_device
from hdasim.validate.silicon import against_data

Floats = NDArray[np.float64]
FITTED = ("hop", "pair_setup", "pair", "ramp")


class Case(NamedTuple):
    """`op` on `devices` devices; `size` in bytes by the convention of `hdasim.device.collectives.SIZES`."""

    op: str
    devices: int
    size: int


Cases = list[tuple[Case, float]]


def read(path: Path) -> dict[str, Cases]:
    """Cases and measured seconds by preset."""
    cases: dict[str, Cases] = {}
    for row in against_data(path, "collective").rows:
        gpu, op, devices = row.quantity.split()
        size = int(row.case.split()[-2])
        cases.setdefault(gpu, []).append((Case(op, int(devices), size), row.reference * 1e-6))
    return cases


def times(p2p: P2P, link: Link, cases: Cases) -> Floats:
    out = np.empty(len(cases))
    for op in {case.op for case, _ in cases}:
        rows = [i for i, (case, _) in enumerate(cases) if case.op == op]
        devices, size = ([cases[i][0][field] for i in rows] for field in (1, 2))
        out[rows] = collective_times(p2p, op, devices, size, link).time
    return out


def fit(links: dict[str, P2P], cases: dict[str, Cases], start: Link, crossing: bool) -> tuple[Link, dict[str, float]]:
    """Constants of the kind of link that all GPUs in `links` have, and the launch of each."""
    names = [*FITTED, *(["crossing"] if crossing else [])]
    gpus = list(links)
    measured = np.log(np.concatenate([[seconds for _, seconds in cases[gpu]] for gpu in gpus]))

    def residuals(logs: Floats) -> Floats:
        values = np.exp(logs)
        link = replace(start, **dict(zip(names, values[: len(names)].tolist(), strict=True)))
        launches = values[len(names) :].tolist()
        predicted = [
            times(msgspec.structs.replace(links[gpu], collective_launch=launch), link, cases[gpu])
            for gpu, launch in zip(gpus, launches, strict=True)
        ]
        out: Floats = np.log(np.concatenate(predicted)) - measured
        return out

    logs = np.log([*(getattr(start, name) for name in names), *[4e-6] * len(gpus)])
    values = np.exp(least(residuals, logs)).tolist()
    link = replace(start, **dict(zip(names, values[: len(names)], strict=True)))
    return link, dict(zip(gpus, values[len(names) :], strict=True))


def least(residuals: Callable[[Floats], Floats], x: Floats, rounds: int = 60) -> Floats:
    """Levenberg-Marquardt on the residuals / 0.1, weighted for the soft L1 loss."""

    def loss(e: Floats) -> float:
        return float(np.sum(np.sqrt(1 + (e / 0.1) ** 2)))

    e, damping = residuals(x), 1e-2
    for _ in range(rounds):
        slopes = np.stack([(residuals(x + step) - e) / 1e-5 for step in 1e-5 * np.eye(x.size)], axis=1)
        weight = 1 / np.sqrt(1 + (e / 0.1) ** 2)
        normal, gradient = slopes.T @ (slopes * weight[:, None]), slopes.T @ (e * weight)
        while damping < 1e9:
            tried = x - np.linalg.solve(normal + damping * np.diag(np.diag(normal) + 1e-9), gradient)
            new = residuals(tried)
            if loss(new) < loss(e):
                x, e, damping = tried, new, damping / 5
                break
            damping *= 5
    return x


def show(name: str, predicted: Floats, cases: Cases) -> None:
    errors = np.abs(predicted / np.array([seconds for _, seconds in cases]) - 1)
    columns = f"median {np.median(errors):6.1%}  mean {errors.mean():6.1%}  largest {errors.max():6.1%}"
    print(f"{name:44} {len(cases):5} cases  {columns}")


def fit_kind(kind: str, links: dict[str, P2P], cases: dict[str, Cases], without: str = "") -> tuple[Link, dict[str, float]]:
    used = {gpu: p2p for gpu, p2p in links.items() if p2p.kind == kind and gpu != without}
    crossing = kind == "pcie" and any(p2p.contention is None for p2p in used.values())
    start = LINKS[kind] if crossing or kind != "pcie" else replace(LINKS[kind], crossing=0.5)
    return fit(used, cases, start, crossing)


def main() -> None:
    parser = argparse.ArgumentParser(description="Fit the constants of collectives and leave each GPU out in turn.")
    parser.add_argument("--data", type=Path, required=True, metavar="CSV", help="nccl_latency_table.csv")
    cases = read(parser.parse_args().data)
    links = {gpu: p2p for gpu in cases if (p2p := load_device(gpu).p2p)}
    launches: dict[str, float] = {}
    for kind in dict.fromkeys(p2p.kind for p2p in links.values() if p2p.kind):
        link, mine = fit_kind(kind, links, cases)
        launches |= mine
        print(f"{kind}: " + ", ".join(f"{name} {getattr(link, name):.3g}" for name in (*FITTED, "crossing")))
        print("  launch: " + ", ".join(f"{gpu} {1e6 * launch:.2f} us" for gpu, launch in mine.items()))
    for gpu, p2p in links.items():
        assert p2p.kind
        show(f"{gpu}, as shipped", times(p2p, LINKS[p2p.kind], cases[gpu]), cases[gpu])
    for gpu, p2p in links.items():
        assert p2p.kind
        link, _ = fit_kind(p2p.kind, links, cases, without=gpu)
        launch = float(np.median([others for name, others in launches.items() if name != gpu]))
        unseen = msgspec.structs.replace(p2p, collective_launch=launch, contention=None)
        show(f"{gpu}, left out", times(unseen, link, cases[gpu]), cases[gpu])
        for n in (2, 4, 8):
            some = [case for case in cases[gpu] if case[0].devices == n]
            show(f"{gpu}, left out, {n} GPUs", times(unseen, link, some), some)
        known = msgspec.structs.replace(unseen, collective_launch=launches[gpu])
        show(f"{gpu}, left out but for its launch", times(known, link, cases[gpu]), cases[gpu])
        if p2p.contention is not None:
            known = msgspec.structs.replace(unseen, contention=p2p.contention)
            show(f"{gpu}, left out but for its contention", times(known, link, cases[gpu]), cases[gpu])


if __name__ == "__main__":
    main()
