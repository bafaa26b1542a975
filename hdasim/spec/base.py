"""The base of all specification types, and the number types that carry a unit.

A field typed with one of the quantity types below accepts ``"80 GiB"`` as well as a bare SI number; `hdasim.spec.load` converts
the text before msgspec validates, and the JSON Schema says so.

Every number has an upper limit. The limits are far above real hardware; they turn a slip of the keyboard into an error instead of
an allocation, a division by nearly zero, or a sum that leaves the range of int64 or float64.
"""

from typing import Annotated, Any, dataclass_transform

import msgspec
from msgspec import Meta


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Immutable, hashable, strict about its keys. Frozen structs are memo keys."""


#: Cores of one device.
MAX_CORES = 4096
#: Cores of one device whose NoC is routed hop by hop (not crossbar or shared): the route table has cores^2 entries.
MAX_ROUTED_CORES = 1024
#: Rows, columns, lanes and widths of a unit.
MAX_SIDE = 4096
#: Bytes per cycle, vector lanes.
MAX_WIDTH = 1 << 20
#: Cores of one router, virtual channels of a port, flits of a virtual channel's buffer and of a packet: BookSim uses 4, 8, 8, 16.
MAX_CONCENTRATION, MAX_VIRTUAL_CHANNELS, MAX_BUFFER_FLITS, MAX_PACKET_FLITS = 64, 32, 126, 1 << 20
#: Cycles of a router, a link, a port.
MAX_DELAY = 256
#: Devices of one tensor-parallel group.
MAX_DEVICES = 65_536
#: Requests of one run: at about 200 bytes each they still fit in the memory of a workstation.
MAX_REQUESTS = 10_000_000
#: Tokens of one step, sequences of one batch, tokens of one page.
MAX_BATCH = 1 << 20
#: Bytes of one memory, and bytes per second of one memory or link: a petabyte, an exabyte per second.
MAX_BYTES, MAX_BANDWIDTH = 1e15, 1e18
#: Hertz: a terahertz.
MAX_FREQUENCY = 1e12
#: Seconds: about 30 years.
MAX_TIME = 1e9
#: Square millimetres of a die; a wafer of 300 mm has 70,686.
MAX_AREA = 1e5


#: How the description of a quantity begins in the JSON Schema.
QUANTITY = "SI number or text with a unit"


def _quantity(unit: str, **bounds: Any) -> Any:
    return Meta(**bounds, description=f"{QUANTITY}, base unit {unit}", extra={"unit": unit})


PositiveBytes = Annotated[float, _quantity("B", ge=1, le=MAX_BYTES)]
Bytes = Annotated[float, _quantity("B", ge=0, le=MAX_BYTES)]
BytesPerSecond = Annotated[float, _quantity("B/s", ge=1, le=MAX_BANDWIDTH)]
Hertz = Annotated[float, _quantity("Hz", ge=1, le=MAX_FREQUENCY)]
Seconds = Annotated[float, _quantity("s", ge=0, le=MAX_TIME)]
PositiveSeconds = Annotated[float, _quantity("s", gt=0, le=MAX_TIME)]
SquareMillimetres = Annotated[float, _quantity("mm2", gt=0, le=MAX_AREA)]
Watts = Annotated[float, _quantity("W", gt=0, le=1e6)]
#: Of one operation or byte, which take picojoules.
Joules = Annotated[float, _quantity("J", ge=0, le=1e-6)]
RequestRate = Annotated[float, _quantity("1/s", gt=0)]

CoreCount = Annotated[int, Meta(ge=1, le=MAX_CORES)]
Side = Annotated[int, Meta(ge=1, le=MAX_SIDE)]
Width = Annotated[int, Meta(ge=1, le=MAX_WIDTH)]
Cycles = Annotated[int, Meta(ge=0, le=MAX_DELAY)]
PositiveCycles = Annotated[int, Meta(ge=1, le=MAX_DELAY)]
Concentration = Annotated[int, Meta(ge=1, le=MAX_CONCENTRATION)]
VirtualChannels = Annotated[int, Meta(ge=1, le=MAX_VIRTUAL_CHANNELS)]
BufferFlits = Annotated[int, Meta(ge=1, le=MAX_BUFFER_FLITS)]
PacketFlits = Annotated[int, Meta(ge=1, le=MAX_PACKET_FLITS)]
DeviceCount = Annotated[int, Meta(ge=1, le=MAX_DEVICES)]
BatchCount = Annotated[int, Meta(ge=1, le=MAX_BATCH)]
RequestCount = Annotated[int, Meta(ge=1, le=MAX_REQUESTS)]
#: Bytes per element of a tensor, from half a bit on.
ElementBytes = Annotated[float, Meta(ge=0.0625, le=64)]

NonNegativeInt = Annotated[int, Meta(ge=0, le=2**53 - 1)]
#: A share; less than a millionth would stop the clock.
Fraction = Annotated[float, Meta(ge=1e-6, le=1)]
PositiveFloat = Annotated[float, Meta(gt=0, le=1e9)]
