"""A10, A11 and A12: ADOR against A100 at one batch, with every baseline and with the one that the published TBT would need.

Ratios are the baseline's time over ADOR's. TBT is a decode step of the whole batch; TTFT a prompt alone on an idle device, which
is what a chip can do, and beside it the step that computes a prompt while the rest of the batch decodes. Area efficiency is the
ratio of times x the ratio of dies (papers.md 4), so the published TTFT ratio is 1.93 / (826 / 516).
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from hdasim.cost.area import die_area
from hdasim.spec.base import DeviceCount, Fraction, PositiveFloat, Spec
from hdasim.spec.load import load_device

from .baselines import Parts, execute, needed_share, solve_attention
from .inputs import Count, Loader, Tolerance, blame
from .kernels import Reached, reached
from .knee import refine
from .tensor_parallel import IDEAL

Name = Annotated[str, Meta(min_length=1)]
Names = Annotated[tuple[Name, ...], Meta(max_length=8)]
#: What marks steps in which exchanges between devices take no time.
HIDDEN = "exchanges hidden"
#: Dies that the paper prints, mm2: A100 and ADOR.
PRINTED_DIES = (826.0, 516.0)
#: Bandwidths between devices in which the published ratio is looked for, bytes/s per direction.
LINKS = (1e9, 1e13)


class Published(Spec):
    """Ratios that the paper prints."""

    tbt: PositiveFloat
    area_efficiency_ttft: PositiveFloat | None = None
    area_efficiency_tbt: PositiveFloat | None = None


class Solve(Spec):
    """The baseline whose attention is solved for; everything else gets the share `weights` of its peak bandwidth."""

    device: Name
    weights: Fraction


class Versus(Spec):
    """The experiment file."""

    batch_size: Count
    input_lens: Annotated[tuple[Count, ...], Meta(min_length=1, max_length=8)]
    published: Published
    baselines: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=4)]
    solve: Solve | None = None
    model: str = "llama3-8b"
    device: str = "ador"
    device_count: DeviceCount = 1
    tolerance: Tolerance = 0.15
    mac_tree_area: Name = "ador"
    silicon: str | None = None
    designs: Names = ()
    batches: Annotated[tuple[Count, ...], Meta(max_length=32)] = ()

    @property
    def settings(self) -> dict[str, Any]:
        return {"serving.device_count": self.device_count}


@dataclass(frozen=True)
class Case:
    """One length of prompts. Keys of the dictionaries are devices; `hidden` is ADOR's decode step if exchanges took no time."""

    input_len: int
    decode: dict[str, Parts]
    prompt: dict[str, Parts]
    beside: dict[str, Parts]
    hidden: Parts | None
    hidden_prompt: Parts | None
    solved: float | None
    solved_hidden: float | None
    needed: dict[str, float | None]
    links: dict[str, float | None]
    measured: list[Reached] = field(default_factory=list)


@dataclass(frozen=True)
class Found:
    """Everything that was executed, and dies in mm2 by option of the MAC tree and device."""

    sweep: Versus
    cases: list[Case]
    dies: dict[str, dict[str, float]]
    curve: list[dict[str, Any]]
    note: str = ""

    def area_ratio(self, baseline: str, option: str | None = None) -> float:
        dies = self.dies[option or self.sweep.mac_tree_area]
        return dies[baseline] / dies[self.sweep.device]

    @property
    def published_ttft(self) -> float | None:
        """What the published area efficiency says about TTFT, with the printed dies."""
        efficiency = self.sweep.published.area_efficiency_ttft
        return efficiency and efficiency * PRINTED_DIES[1] / PRINTED_DIES[0]


def ratios_of(case: Case, found: Found) -> list[tuple[str, str, str, float]]:
    """(quantity, condition, baseline, ratio): times of the baseline over ADOR's."""
    sweep = found.sweep
    mine, result = sweep.device, []
    for b in sweep.baselines:
        batch = f"batch {sweep.batch_size}"
        result.append(("TBT", batch, b, case.decode[b].seconds / case.decode[mine].seconds))
        if case.hidden:
            result.append(("TBT", f"{batch}, ADOR's {HIDDEN}", b, case.decode[b].seconds / case.hidden.seconds))
        result.append(("TTFT", "one prompt", b, case.prompt[b].seconds / case.prompt[mine].seconds))
        if case.hidden_prompt:
            result.append(("TTFT", f"one prompt, ADOR's {HIDDEN}", b, case.prompt[b].seconds / case.hidden_prompt.seconds))
        beside = f"one prompt beside {max(sweep.batch_size - 1, 1)} that decode"
        result.append(("TTFT", beside, b, case.beside[b].seconds / case.beside[mine].seconds))
    return result


def published_of(quantity: str, found: Found) -> tuple[float | None, float | None]:
    """Ratio of times and area efficiency that the paper prints."""
    p = found.sweep.published
    return (p.tbt, p.area_efficiency_tbt) if quantity == "TBT" else (found.published_ttft, p.area_efficiency_ttft)


def _decode(load: Loader, sweep: Versus, input_len: int, **settings: Any) -> Parts:
    return execute(load.with_(sweep.settings | settings), "decode", sweep.batch_size, input_len)


def _beside(load: Loader, sweep: Versus, input_len: int) -> Parts:
    """A step that computes a whole prompt while the others of the batch decode."""
    others = max(sweep.batch_size - 1, 1)
    own = sweep.settings | {"serving.max_num_batched_tokens": others + input_len}
    return execute(load.with_(own), "mixed", others, input_len)


def _links(load: Loader, sweep: Versus, input_len: int, seconds: float) -> float | None:
    """The least bandwidth between devices with which ADOR's decode step takes at most `seconds`; None if none does."""

    def time(bandwidth: float) -> float:
        return _decode(load, sweep, input_len, **{"device.p2p.bandwidth": bandwidth}).seconds

    low, high = LINKS
    return None if time(high) > seconds else low if time(low) <= seconds else refine(time, low, high, seconds, 1e-3)


def evaluate(sweep: Versus, loaders: dict[str, Loader], input_len: int, data: Path | None) -> Case:
    """Execute every device's steps at one length, and solve."""
    mine, target = loaders[sweep.device], sweep.published.tbt
    decode = {name: _decode(load, sweep, input_len) for name, load in loaders.items()}
    hidden = hidden_prompt = None
    links: dict[str, float | None] = {}
    if sweep.device_count > 1:
        hidden = _decode(mine, sweep, input_len, **IDEAL)
        hidden_prompt = execute(mine.with_(sweep.settings | IDEAL), "prefill", 1, input_len)
        links = {b: _links(mine, sweep, input_len, decode[b].seconds / target) for b in sweep.baselines}

    def solve(parts: Parts) -> float | None:
        if sweep.solve is None:
            return None
        load = loaders[sweep.solve.device]
        seconds = target * parts.seconds
        return solve_attention(load, sweep.settings, sweep.solve.weights, seconds, sweep.batch_size, input_len)

    with blame("solve", "device"):
        solved = solve(decode[sweep.device])
        solved_hidden = solve(hidden) if hidden else None
    best = hidden or decode[sweep.device]
    experiment = mine.with_(sweep.settings)
    model, layers = experiment.model, experiment.model.num_hidden_layers
    moved = decode[sweep.device].attention_bytes / layers
    group = model.num_attention_heads / model.num_key_value_heads
    return Case(
        input_len=input_len, decode=decode, hidden=hidden, hidden_prompt=hidden_prompt,
        prompt={name: execute(load.with_(sweep.settings), "prefill", 1, input_len) for name, load in loaders.items()},
        beside={name: _beside(load, sweep, input_len) for name, load in loaders.items()},
        solved=solved, solved_hidden=solved_hidden,
        needed={b: needed_share(decode[b], target * best.seconds) for b in sweep.baselines} if sweep.solve else {}, links=links,
        measured=reached(data, sweep.batch_size, moved, group, model.head_dim) if data else [],
    )  # fmt: skip


def curve(sweep: Versus, loaders: dict[str, Loader]) -> list[dict[str, Any]]:
    """TBT over batches at the first length, as ADOR's figure 15; a design that the model does not fit is left out."""
    points = []
    for name, load in loaders.items():
        for batch in sweep.batches:
            parts = execute(load.with_(sweep.settings), "decode", batch, sweep.input_lens[0])
            points.append({"device": name, "batch": batch, "input_len": sweep.input_lens[0], "phase": "decode",
                           "ms": 1e3 * parts.seconds})  # fmt: skip
    return points


def _silicon(sweep: Versus, file: Path, data: Path | None) -> tuple[Path | None, str]:
    """The folder of measured kernels, and what to say if there is none."""
    if data is not None:
        return data, ""
    if sweep.silicon is None:
        return None, "No table of measured kernels was given (key silicon, or --data DIR)."
    folder = (file.parent / sweep.silicon).resolve()
    return (
        (folder, "")
        if folder.is_dir()
        else (None, f"No measured kernels: {sweep.silicon} is not there (--data DIR names another).")
    )


def found_in(sweep: Versus, file: Path, data: Path | None = None) -> Found:
    """Execute everything that the experiment `file` asks for; `data` is a folder of measured kernels instead of the file's."""
    keys = {sweep.device: ("device",), **{b: ("baselines", i) for i, b in enumerate(sweep.baselines)}}
    loaders = {device: Loader(sweep.model, device, {"device": key}) for device, key in keys.items()}
    if sweep.solve and sweep.solve.device not in loaders:
        loaders[sweep.solve.device] = Loader(sweep.model, sweep.solve.device, {"device": ("solve", "device")})
    folder, note = _silicon(sweep, file, data)
    cases = []
    for i, input_len in enumerate(sweep.input_lens):
        with blame("input_lens", i):
            cases.append(evaluate(sweep, loaders, input_len, folder))
    with blame("mac_tree_area"):
        options = dict.fromkeys((sweep.mac_tree_area, "ador", "synthesis"))
        dies = {o: {d: die_area(load_device(d), o).total for d in loaders} for o in options}
    designs = {d: Loader(sweep.model, d, {"device": ("designs", i)}) for i, d in enumerate(sweep.designs)}
    return Found(sweep, cases, dies, curve(sweep, loaders | designs), note)
