"""The base of all specification types, and the number types that carry a unit.

A field typed with one of the quantity types below accepts ``"80 GiB"`` as well as a bare SI number; `hdasim.spec.load` converts
the text before msgspec validates, and the JSON Schema says so.
"""

from typing import Annotated, Any, dataclass_transform

import msgspec
from msgspec import Meta


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Immutable, hashable, strict about its keys. Frozen structs are memo keys."""


def _quantity(unit: str, **bounds: Any) -> Any:
    return Meta(
        **bounds,
        extra={"unit": unit},
        extra_json_schema={"type": ["number", "string"], "description": f"SI number or text with a unit, base unit {unit}"},
    )


PositiveBytes = Annotated[float, _quantity("B", gt=0)]
Bytes = Annotated[float, _quantity("B", ge=0)]
BytesPerSecond = Annotated[float, _quantity("B/s", gt=0)]
Hertz = Annotated[float, _quantity("Hz", gt=0)]
Seconds = Annotated[float, _quantity("s", ge=0)]
PositiveSeconds = Annotated[float, _quantity("s", gt=0)]
RequestRate = Annotated[float, _quantity("1/s", gt=0)]

PositiveInt = Annotated[int, Meta(ge=1)]
NonNegativeInt = Annotated[int, Meta(ge=0)]
Fraction = Annotated[float, Meta(gt=0, le=1)]
PositiveFloat = Annotated[float, Meta(gt=0)]
