"""What measured decode-attention kernels reach of an A100's DRAM bandwidth, at shapes like those of a step.

The tables are those that `hdasim validate silicon` reads: batch, kv_len, q_heads, kv_heads, head_dim, and microseconds in
`median_us` or in a column for each framework. Keys and values are 2 B: bytes = 4 x batch x kv_len x kv_heads x head_dim.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from hdasim.errors import SpecError

TABLES = ("attention_generation_a100_sxm_bf16.csv", "attention_decode_vidur_a100_fp16.csv")
#: Column of times -> who was measured.
FRAMEWORKS = {"trtllm_us": "TensorRT-LLM", "vllm_us": "vLLM", "sglang_us": "SGLang", "median_us": "Vidur's profile (2024)"}
FASTEST, ALL = "fastest of the three", "median over the three frameworks"
#: Peak DRAM bandwidth of the A100 that was measured, bytes/s (data sheet, 80 GB SXM).
PEAK = 2039e9
#: By which factor batch and bytes may differ from the step's, and queries per KV head.
NEAR, NEAR_GROUP = 4, 2


@dataclass(frozen=True)
class Reached:
    """Shares of the peak bandwidth over `count` shapes; `above` more claim more than the peak and are left out."""

    who: str
    count: int
    above: int
    median: float
    least: float
    most: float


def _near(row: dict[str, str], batch: int, moved: float, group: float, head_dim: int) -> float | None:
    """Bytes of the row's keys and values, if it is a shape like the step's."""
    b, length, q, kv, dim = (int(row[key]) for key in ("batch", "kv_len", "q_heads", "kv_heads", "head_dim"))
    size = 4.0 * b * length * kv * dim
    close = batch / NEAR <= b <= batch * NEAR and moved / NEAR <= size <= moved * NEAR
    return size if close and dim == head_dim and group / NEAR_GROUP <= q / kv <= group * NEAR_GROUP else None


def reached(folder: Path, batch: int, moved: float, group: float, head_dim: int) -> list[Reached]:
    """Each framework's shares at shapes like a step's, then those of the fastest framework of each shape and of all.

    Parameters
    ----------
    folder
        Where the tables are; those that are not there are left out.
    batch, moved, group, head_dim
        Of one layer of the step on one device: sequences, bytes of keys and values, queries per KV head, head dimension.

    Raises
    ------
    SpecError
        If the folder has none of the tables, or one of them lacks a column.
    """
    found: dict[str, list[float]] = {}
    tables = [folder / name for name in TABLES if (folder / name).is_file()]
    if not tables:
        raise SpecError(f"{folder}: none of {', '.join(TABLES)} is there", ("silicon",))
    for table in tables:
        with table.open(encoding="utf-8", newline="") as file:
            try:
                for row in csv.DictReader(file):
                    size = _near(row, batch, moved, group, head_dim)
                    if size is not None:
                        _collect(found, row, size)
            except (KeyError, ValueError) as error:
                raise SpecError(f"{table}: not a table of decode attention ({error})", ("silicon",)) from None
    results = []
    for who in (FASTEST, ALL, *FRAMEWORKS.values()):
        shares = found.get(who, [])
        real = [share for share in shares if share <= 1]
        if real:
            results.append(Reached(who, len(real), len(shares) - len(real), median(real), min(real), max(real)))
    return results


def _collect(found: dict[str, list[float]], row: dict[str, str], size: float) -> None:
    """Add the row's shares; FASTEST and ALL only over the frameworks that were measured side by side."""
    shares = {key: size / PEAK / (1e-6 * float(row[key])) for key in FRAMEWORKS if row.get(key)}
    for key, share in shares.items():
        found.setdefault(FRAMEWORKS[key], []).append(share)
    several = [share for key, share in shares.items() if key != "median_us" and share <= 1]
    if several:
        found.setdefault(FASTEST, []).append(max(several))
        found.setdefault(ALL, []).extend(several)
