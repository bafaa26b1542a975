"""Power and energy of what has served: averages, peak, and joules by part, phase and token; None where energies are not known."""

from typing import Any

from ..core.layout import ENERGY_PARTS, PHASES
from .engine import Served


def pool_power(served: Served, index: int, duration: float, prompt_tokens: int, output_tokens: int) -> dict[str, Any] | None:
    """What the devices of one pool drew over a run of `duration` seconds, in which the whole cluster took so many tokens.

    While a stage of a replica runs a step, each of its devices draws counts x joules and its static power; between steps its idle
    power. Watts are per device: ``average_w`` over the run, ``step_w`` while steps run, ``peak_w`` the highest average of any
    step; ``of_tdp`` are the same as shares of the data sheet's limit, and ``above_tdp`` is the share of the time of steps whose
    power exceeds it: a chip would clock down there, which is not modelled. Joules are of all devices of the pool. Of phases, see
    csrc/program.h: attention counts to its own, all else of a mixed step by its tokens; idle time to neither.
    """
    pool, own = served.pools[index], served.instances == index
    machine = pool.machine
    known = machine.energies
    if known is None or pool.profile is not None or not duration:
        return None
    totals = served.totals[own]
    devices = machine.device_count * len(machine.stages) * pool.ranks * pool.instances
    ran = sum(float(time[::2].sum()) for time, mine in zip(served.program_time, own, strict=True) if mine)
    busy = ran * machine.device_count * pool.ranks  # seconds of single devices
    idle = known.idle * max(duration * devices - busy, 0.0)
    parts = dict(zip(ENERGY_PARTS, totals["energy"].sum(axis=0).tolist(), strict=True))
    working = sum(parts.values())
    phases = dict(zip(PHASES, totals["phase_energy"].sum(axis=0).tolist(), strict=True))
    watts = {
        "average_w": (working + idle) / (duration * devices),
        "step_w": working / busy if busy else None,
        "peak_w": float(totals["max_power"].max()) if busy else None,
    }
    tdp = machine.device.power.tdp if machine.device.power else None
    time, over = float(totals["time"].sum()), float(totals["over_limit"].sum())
    return {
        "devices": devices, **watts, "tdp_w": tdp,
        "of_tdp": {name.removesuffix("_w"): value / tdp if tdp and value is not None else None for name, value in watts.items()},
        "above_tdp": over / time if tdp and time else None,
        "energy_j": working + idle, "by_part_j": {**parts, "idle": idle}, "by_phase_j": {**phases, "idle": idle},
        **_per_token(working + idle, phases, prompt_tokens, output_tokens),
    }  # fmt: skip


def total_power(pools: list[dict[str, Any] | None], prompt_tokens: int, output_tokens: int) -> dict[str, Any] | None:
    """The same of several pools together, as far as it means something; None if it is not known of all."""
    known = [pool for pool in pools if pool is not None]
    if len(known) < len(pools):
        return None
    devices, energy = sum(pool["devices"] for pool in known), sum(pool["energy_j"] for pool in known)
    sums = {key: {name: sum(pool[key][name] for pool in known) for name in known[0][key]} for key in ("by_part_j", "by_phase_j")}
    average = sum(pool["average_w"] * pool["devices"] for pool in known) / devices
    phases = {name: sums["by_phase_j"][name] for name in PHASES}
    return {
        "devices": devices, "average_w": average, "energy_j": energy, **sums,
        **_per_token(energy, phases, prompt_tokens, output_tokens),
    }  # fmt: skip


def _per_token(energy: float, phases: dict[str, float], prompts: int, outputs: int) -> dict[str, float | None]:
    """Joules of everything per output token and per token of either kind, of phases per token of theirs, and tokens per joule."""
    return {
        "joules_per_output_token": energy / outputs if outputs else None,
        "joules_per_token": energy / (prompts + outputs) if prompts + outputs else None,
        "prefill_joules_per_prompt_token": phases["prefill"] / prompts if prompts else None,
        "decode_joules_per_output_token": phases["decode"] / outputs if outputs else None,
        "tokens_per_joule": (prompts + outputs) / energy if energy else None,
        "output_tokens_per_joule": outputs / energy if energy else None,
    }
