"""A device: equal cores (systolic array, MAC tree, vector unit, local memory), global memory, DRAM, NoC and device links.

One template describes accelerators such as ADOR and, as an approximation, GPUs and TPUs: a GPU's SM is a core whose tensor units
are small arrays, its L2 the global memory through which cores exchange data (``noc: {topology: shared}``).
"""

from typing import Annotated, Literal

from msgspec import Meta

from ..units import show
from .area import Area
from .base import (
    MAX_CORES,
    MAX_ROUTED_CORES,
    BufferFlits,
    Bytes,
    BytesPerSecond,
    Concentration,
    CoreCount,
    Cycles,
    Fraction,
    Hertz,
    PacketFlits,
    PositiveBytes,
    PositiveCycles,
    PositiveFloat,
    Seconds,
    Side,
    Spec,
    VirtualChannels,
    Width,
)
from .gpu import Gpu
from .power import Power

CoreIndex = Annotated[int, Meta(ge=0, lt=MAX_CORES)]


class SystolicArray(Spec):
    """`lanes` weight-stationary arrays of `rows` x `cols` multiply-accumulate cells in each core; rows hold K, columns N."""

    rows: Side
    cols: Side
    lanes: Side = 1
    dataflow: Literal["ws"] = "ws"


class MacTree(Spec):
    """`lanes` adder trees of `width` multipliers in each core.

    With `lanes_split`, lanes without reuse of the same weight work on other outputs. Without it 32 trees of width 16 at 1.5 GHz
    consume 1.536 TB/s at batch 1, 77 % of ADOR's 2 TB/s, and the published 90 % is out of reach (papers.md 3.3).
    """

    width: Side
    lanes: Side
    lanes_split: bool = True


class VectorUnit(Spec):
    """`width` lanes, one operation each per cycle; an exponential takes `exp_ops` operations.

    The default of 4 (range reduction, table look-up, two multiply-adds) is an assumption: no source states ADOR's vector unit.
    """

    width: Width
    exp_ops: Side = 4


class Core(Spec):
    systolic_array: SystolicArray
    vector_unit: VectorUnit
    local_memory: PositiveBytes
    mac_tree: MacTree | None = None


class ConstantUtilization(Spec, tag="constant", tag_field="kind"):
    """DRAM sustains the share `value` of its peak bandwidth."""

    value: Fraction


class LogUtilization(Spec, tag="log", tag_field="kind"):
    """clamp(slope * ln(x) + intercept, minimum, maximum), x = GB streamed by the step on this device.

    Defaults: ADOR's logarithmic fit, calibrated on OPT-1.3B (2.623 GB, 0.64) and OPT-30B (59.92 GB, 0.90); papers.md 3.4.
    """

    slope: PositiveFloat = 0.0825
    intercept: Annotated[float, Meta(ge=-1e9, le=1e9)] = 0.5625
    minimum: Fraction = 0.05
    maximum: Fraction = 0.90


class OverheadUtilization(Spec, tag="overhead", tag_field="kind"):
    """A share `maximum` of the peak, and `layer_time` of standstill after every layer (papers.md 3.4, alternative model)."""

    maximum: Fraction = 0.90
    layer_time: Seconds = 15e-6


class Dram(Spec):
    capacity: PositiveBytes
    bandwidth: BytesPerSecond
    utilization: ConstantUtilization | LogUtilization | OverheadUtilization = LogUtilization()


class Noc(Spec):
    """Network between cores.

    `link_width` is in bytes per cycle, of a link and of a core's port. Delays are cycles: `router_delay` per router, `link_delay`
    per link, `port_delay` for injection and ejection together; the defaults are BookSim 2's look-ahead router (zero load
    4 h + 6 + L - 1). `columns` is the width of a mesh or torus, of a cmesh that of its routers, each of which serves
    `concentration` cores; it does not follow core_count, so that adding a core does not reshape the network.

    Routers have `virtual_channels` for each input port, each with a buffer of `buffer_flits` flits of `link_width` bytes;
    messages are cut into packets of at most `packet_flits`. Tori and rings keep half the virtual channels for packets that have
    passed the dateline.

    `edges` lists pairs of cores, joined in both directions. `routes` lists paths such as [0, 1, 3], which replace the shortest
    path (lowest neighbour first) from every core on them to the last one.
    """

    topology: Literal["mesh", "torus", "ring", "crossbar", "cmesh", "edges", "shared"] = "mesh"
    columns: CoreCount = 8
    concentration: Concentration = 1
    link_width: Width = 128
    router_delay: PositiveCycles = 3
    link_delay: Cycles = 1
    port_delay: Cycles = 3
    virtual_channels: VirtualChannels = 8
    buffer_flits: BufferFlits = 8
    packet_flits: PacketFlits = 16
    edges: tuple[tuple[CoreIndex, CoreIndex], ...] = ()
    routes: tuple[tuple[CoreIndex, ...], ...] = ()

    def __post_init__(self) -> None:
        if self.routes and self.topology != "edges":
            raise ValueError(f"routes: a {self.topology} has its own routes; remove them, or use topology edges")
        if self.concentration > 1 and self.topology != "cmesh":
            raise ValueError(f"concentration: a {self.topology} has one core for each router; use topology cmesh")
        if self.edges and self.topology != "edges":
            raise ValueError(f"edges: a {self.topology} has its own links; remove them, or use topology edges")
        if self.router_delay + self.link_delay < 2:
            raise ValueError("link_delay: a router and its link take 2 cycles at least; make one of them longer")
        if self.virtual_channels < 2 and self.topology in ("torus", "ring"):
            raise ValueError(f"virtual_channels: a {self.topology} needs at least 2, one on either side of its dateline")


class P2P(Spec):
    """Links of one device to the others: `bandwidth` of all of them per direction, `latency` per message.

    Messages get the share `efficiency` of the bandwidth (headers, flow control). On a `switch` all devices exchange at full
    bandwidth, on a `ring` each has half of it towards each neighbour, `fully_connected` ones an equal part towards every other.

    With a `kind`, collectives among GPUs take the time that NCCL takes on links of that kind (`hdasim.device.collectives`):
    `collective_launch` passes in every one beside the steps of its algorithm; `nvls_efficiency` is the share of the links' rate
    that all-reduce in the switch (NVLS) sustains, none where the switch cannot add; without peer-to-peer access between the
    devices of a host, the rate of each falls as (2 / devices)^contention beyond two. Without a `kind`, collectives are the
    textbook's ring.
    """

    bandwidth: BytesPerSecond
    latency: Seconds = 1e-6
    efficiency: Fraction = 1.0
    topology: Literal["switch", "ring", "fully_connected"] = "switch"
    kind: Literal["nvlink", "pcie", "infiniband"] | None = None
    collective_launch: Seconds = 4.2e-6
    nvls_efficiency: Fraction | None = None
    contention: Annotated[float, Meta(ge=0, le=4)] | None = None

    def __post_init__(self) -> None:
        if self.kind is not None and self.topology != "switch":
            raise ValueError(f"topology: links of kind {self.kind} take NCCL's time on a switch; remove topology, or kind")


class Device(Spec):
    """The whole device.

    `prefetch`: weights and cached keys of the next operator load while the current one runs, as a compiled program does; without
    it a transfer starts with its operator (GPU kernels). `launch_overhead` passes before every operator.
    `dataflow` of GEMMs over cores: ``latency`` cuts weights by columns, each core reads its own from the nearest DRAM channel,
    and all-gathers inputs; ``throughput`` cuts inputs by rows and broadcasts weights; ``row_split`` cuts weights by rows and
    reduces partial results; ``auto`` takes the best of these and of grids of the first two for every number of tokens.
    `global_memory_bandwidth` defaults to what the NoC ports of all cores take together. With `gpu`, operators are a GPU's
    kernels, one after the other, whose times csrc/gpu.h predicts. Without `area` or `power` these stay unknown.
    """

    frequency: Hertz
    core_count: CoreCount
    core: Core
    global_memory: Bytes
    dram: Dram
    name: str = "custom"
    global_memory_bandwidth: BytesPerSecond | None = None
    noc: Noc = Noc()
    p2p: P2P | None = None
    launch_overhead: Seconds = 0.0
    prefetch: bool = True
    dataflow: Literal["auto", "latency", "throughput", "row_split"] = "auto"
    gpu: Gpu | None = None
    area: Area | None = None
    power: Power | None = None

    def __post_init__(self) -> None:
        if self.gpu is not None and self.noc.topology != "shared":
            raise ValueError("gpu: cores of a GPU exchange data through L2; set noc.topology to shared, or gpu to null")
        if self.gpu is not None and self.gpu.shared_memory > self.core.local_memory:
            room = show(self.core.local_memory, "B")
            raise ValueError(f"gpu: shared_memory is a part of core.local_memory; set it to at most {room}")
        routers = -(-self.core_count // self.noc.concentration)
        if routers > MAX_ROUTED_CORES and self.noc.topology not in ("crossbar", "shared"):
            raise ValueError(
                f"core_count: {self.core_count} needs more than {MAX_ROUTED_CORES} routers, the most that a {self.noc.topology} "
                f"can have; use fewer cores, or topology crossbar or shared"
            )

    @property
    def global_bandwidth(self) -> float:
        """Bytes/s of global memory; if not given, what the NoC ports of all cores take together."""
        if self.global_memory_bandwidth is not None:
            return self.global_memory_bandwidth
        return self.core_count * self.noc.link_width * self.frequency

    @property
    def peak_macs_per_second(self) -> tuple[float, float]:
        """Peak multiply-accumulates per second of all (systolic arrays, MAC trees)."""
        array, tree = self.core.systolic_array, self.core.mac_tree
        rate = self.core_count * self.frequency
        return rate * array.rows * array.cols * array.lanes, rate * tree.width * tree.lanes if tree else 0.0

    @property
    def peak_flops(self) -> float:
        """Peak operations per second, two per multiply-accumulate, arrays and trees together."""
        return 2.0 * sum(self.peak_macs_per_second)
