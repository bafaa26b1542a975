"""What the operators that are kernels of a GPU share: types of operands, and predictions from the core's records."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hdasim.core.layout import KERNEL_CAUSES, TYPES
from hdasim.device.gpu import record
from hdasim.errors import SpecError
from hdasim.predict.cells import Cells, Ints
from hdasim.predict.operator import Prediction
from hdasim.spec.hardware import Device
from hdasim.spec.load import load_device, presets
from hdasim.text import choice

WHY = ("tile_m", "tile_n", "split", "waves", "launch_us", "compute_us", "dram_us", "l2_us")


class Type(NamedTuple):
    """Operands: bytes of an activation and of a weight, and what the tensor cores compute in."""

    activation: float
    weight: float
    compute: str


#: fp4 weights carry a scale of a byte for every 16 of them (NVFP4).
TYPES_OF_OPERANDS = {
    "bf16": Type(2, 2, "bf16"),
    "fp8": Type(1, 1, "fp8"),
    "int8": Type(1, 1, "int8"),
    "fp4": Type(0.5625, 0.5625, "fp4"),
    "w8a16": Type(2, 1, "bf16"),
    "w4a16": Type(2, 0.5, "bf16"),
}
_OTHER_NAMES = {
    "fp16": "bf16", "float16": "bf16", "bfloat16": "bf16", "half": "bf16", "fp8_block": "fp8", "float8": "fp8",
    "fp8_e4m3": "fp8", "float8_e4m3fn": "fp8", "nvfp4": "fp4", "mxfp4": "fp4", "int8_wo": "w8a16", "int4_wo": "w4a16",
}  # fmt: skip
_ORDER = tuple(TYPES_OF_OPERANDS)


def operands(text: str, name: str, known: Iterable[str] = TYPES_OF_OPERANDS) -> str:
    """The one of `known` that a word such as float16 means."""
    word = text.strip().lower()
    return choice(_OTHER_NAMES.get(word, word), name, known)


def types(cells: Cells, device: Device, name: str = "dtype") -> Ints:
    """Places in `TYPES_OF_OPERANDS` of a column; bf16 where it is empty."""

    def place(text: str) -> int:
        word = operands(text, name)
        compute = TYPES_OF_OPERANDS[word].compute
        assert device.gpu is not None
        if compute != "bf16" and not getattr(device.gpu.rates, compute):
            what = f"got {word}, for which {device.name} has no tensor cores"
            raise SpecError(f"{what}; use w8a16 or w4a16 for weights that are widened", (name,))
        return _ORDER.index(word)

    return cells.meaning(name, place, default=0)


def column(places: Ints, part: int) -> NDArray[np.float64]:
    """Bytes of activations (0) or weights (1) of `types`."""
    return np.array([TYPES_OF_OPERANDS[word][part] for word in _ORDER], np.float64)[places]


def compute_types(places: Ints) -> Ints:
    """Places in `layout.TYPES`."""
    return np.array([TYPES[TYPES_OF_OPERANDS[word].compute] for word in _ORDER], np.int64)[places]


def check(device: Device) -> None:
    """`SpecError` if the device is no GPU."""
    if device.gpu is None:
        names = ", ".join(name for name in presets("hardware") if load_device(name).gpu is not None)
        raise SpecError(
            f"{device.name} is no GPU, and only kernels of GPUs are predicted one by one; use hdasim step for whole steps, "
            f"or one of {names}", ("gpu",)
        )  # fmt: skip
    record(device)


def prediction(kernels: NDArray[np.void]) -> Prediction:
    """Items of `layout.KERNEL` as a prediction."""
    why = {name: kernels[name.removesuffix("_us")] for name in WHY}
    return Prediction(kernels["time"], kernels["bound"], kernels["cause"], KERNEL_CAUSES, kernels["launch"], why)
