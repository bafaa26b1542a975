"""The requests of a run as arrays, and their statistics."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Requests:
    """The requests of a run, one row each, in order of arrival.

    Attributes
    ----------
    arrival_s
        Arrival times in seconds, float64 of shape (n,), not falling; the first is 0.0.
    input_len
        Prompt tokens, int64 of shape (n,), each at least 1.
    output_len
        Generated tokens, int64 of shape (n,), each at least 1.
    """

    arrival_s: Floats
    input_len: Ints
    output_len: Ints
    hash_ids: Ints | None = None
    hash_offsets: Ints | None = None
    hash_block: int = 0
    hash_outputs: bool = False
    parent: Ints | None = None

    def __len__(self) -> int:
        return len(self.arrival_s)


def describe(requests: Requests) -> dict[str, float | None]:
    """Return the statistics by which traces are compared.

    Returns
    -------
    dict
        ``rows``, ``span_s`` (first to last arrival), ``request_rate`` (rows / span, 1/s), ``cv`` (std / mean of the gaps),
        ``iod10`` and ``peak10`` (variance / mean and max / mean of the counts in 10 s bins from the first arrival on), and
        ``{input,output}_{mean,p50,p90,p99,max}`` in tokens. Percentiles are linear (numpy). Where all requests come at one time,
        ``request_rate`` and ``cv`` are None.

    Raises
    ------
    ValueError
        If there are no requests.
    """
    if len(requests) == 0:
        raise ValueError("no requests to describe")
    arrival = requests.arrival_s - requests.arrival_s[0]
    span = float(arrival[-1])
    gaps = np.diff(arrival)
    counts = _counts(arrival, 10.0)
    result: dict[str, float | None] = {
        "rows": len(requests),
        "span_s": span,
        "request_rate": len(requests) / span if span > 0 else None,
        "cv": float(gaps.std() / gaps.mean()) if span > 0 else None,
        "iod10": counts[1] / counts[0],
        "peak10": counts[2] / counts[0],
    }
    for side, tokens in (("input", requests.input_len), ("output", requests.output_len)):
        result[f"{side}_mean"] = float(tokens.mean())
        for percent in (50, 90, 99):
            result[f"{side}_p{percent}"] = float(np.percentile(tokens, percent))
        result[f"{side}_max"] = int(tokens.max())
    return result


def _counts(arrival_s: Floats, width_s: float) -> tuple[float, float, float]:
    """Return mean, variance and maximum of the arrivals per bin of `width_s` seconds; empty bins count, without storing them."""
    filled = np.unique(np.floor(arrival_s / width_s), return_counts=True)[1].astype(np.float64)
    bins = np.floor(arrival_s[-1] / width_s) + 1
    mean = len(arrival_s) / bins
    variance = (np.sum((filled - mean) ** 2) + (bins - len(filled)) * mean**2) / bins
    return float(mean), float(variance), float(filled.max())
