"""Constants of the kernel models of each GPU generation, from tables of measured kernels.

    python -m benchmarks.calibrate --data shared/reference/silicon                 # fit all, beside what ships, with residuals
    python -m benchmarks.calibrate --data shared/reference/silicon --generation hopper --write
    python -m benchmarks.calibrate --data shared/reference/silicon --hold-out      # each GPU with every other generation's

A fit starts from the values in its script, never from those that ship. Residuals are |predicted / fastest framework - 1|; "across
halves" are of rows that the fit did not see: of one random half with constants of the other. `--write` puts what was fitted into
hdasim/presets/generations/NAME.yaml and leaves the rest of the file alone.
"""

import argparse
from pathlib import Path
from types import ModuleType

from benchmarks import calibrate_attention, calibrate_cdna2, calibrate_experts, calibrate_gemm, calibrate_shares, calibrate_vector
from benchmarks.generation_file import FOLDER, Changes, rewrite
from benchmarks.measured import Errors, Fit, shipped
from hdasim.spec.load import load_device

#: Each with MEASURED, a mapping from generations, and fit and errors.
MODELS: dict[str, ModuleType] = {
    "gemm": calibrate_gemm, "attention": calibrate_attention, "experts": calibrate_experts, "vector": calibrate_vector,
}  # fmt: skip
GENERATIONS = (*calibrate_gemm.MEASURED, *calibrate_cdna2.MEASURED)


def device(model: str, generation: str) -> str:
    """The preset on whose rows a generation is fitted."""
    found = MODELS[model].MEASURED[generation]
    return found if isinstance(found, str) else str(found[0])


def calibrate(data: Path, generation: str, models: list[str]) -> Changes:
    """Fit, print, and give what is new for the generation's file."""
    changes: Changes = {}
    few = generation in calibrate_cdna2.MEASURED
    gpu = calibrate_cdna2.MEASURED[generation] if few else calibrate_gemm.MEASURED[generation][0]
    for model in models:
        module = calibrate_cdna2 if few and model == "gemm" else MODELS[model]
        if generation in module.MEASURED:
            fit: Fit = module.fit(data, generation)
            constants = {name: fit.constants[name] for name in fit.fitted}
            _print_constants(f"\n{generation} {model}, fitted on {gpu}", constants, shipped(gpu, model))
            _print_errors(fit.errors)
            as_shipped = module.errors(data, generation, shipped(gpu, model))
            _print_errors({f"{name}, as shipped": as_shipped[name] for name in _groups(model, as_shipped)})
            changes[model] = constants
            continue
        print(f"\n{generation} {model}: no fit, as there are no or too few measurements of {gpu}; see the generation's file")
        if model in calibrate_shares.SHARES and not few:
            value, ratios = calibrate_shares.unmeasured(data, generation, model)
            changes[model] = {calibrate_shares.SHARES[model][0]: value}
            title = f"  but its share of DRAM's peak: that of GEMMs, {_list(ratios)}"
            _print_constants(title, changes[model], shipped(gpu, model))
    if "gemm" in models and not few:
        changes[""] = {"sustained": _print_shares(data, generation)}
    return changes


def _print_shares(data: Path, generation: str) -> float:
    ratio, rows = calibrate_shares.sustained(data, generation)
    share, thin = calibrate_shares.streaming(data, generation)
    device = load_device(calibrate_gemm.MEASURED[generation][0])
    assert device.gpu is not None
    few = "" if rows >= calibrate_shares.FEWEST else ": too few; the fit follows rows with filled operands"
    print(f"\n{generation} sustained {ratio:.3g}, shipped {device.gpu.sustained:.3g} ({rows} GEMMs{few})")
    print(f"{generation} streaming of GEMMs {share:.3g} of DRAM's peak ({thin} GEMMs)")
    return ratio


def _groups(model: str, errors: Errors) -> list[str]:
    """Groups but those of single kernels."""
    return list(errors)[: 1 if model == "vector" else None]


def _list(ratios: dict[str, float]) -> str:
    return ", ".join(f"{ratio:.3g} times on {name}" for name, ratio in ratios.items())


def _print_constants(title: str, constants: dict[str, float], ships: dict[str, float]) -> None:
    print(f"{title}\n  {'':20}{'fitted':>12}{'shipped':>12}")
    for name, value in constants.items():
        print(f"  {name:20}{value:12.4g}{ships[name]:12.4g}")


def _print_errors(errors: Errors) -> None:
    for name, each in errors.items():
        percent = "  ".join(f"{key} {100 * each[key]:5.1f} %" for key in ("median", "p90", "signed"))
        print(f"  {name:42}{each['rows']:7.0f} rows  {percent}")


def hold_out(data: Path, models: list[str]) -> None:
    """Print the errors of each GPU's tables with the constants that ship of every generation that was fitted."""
    for model in models:
        module = MODELS[model]
        print(f"\n{model}: errors of the rows of a GPU with constants fitted on another")
        print(f"  {'rows of':14}{'constants of':16}{'':30}{'rows':>8}{'median':>9}{'p90':>9}{'signed':>9}")
        for generation in module.MEASURED:
            for source in module.MEASURED:
                errors: Errors = module.errors(data, generation, shipped(device(model, source), model), source)
                for name in _groups(model, errors):
                    e = errors[name]
                    own = "(its own)" if source == generation else source
                    numbers = "".join(f"{100 * e[key]:7.1f} %" for key in ("median", "p90", "signed"))
                    print(f"  {device(model, generation):14}{own:16}{name:30}{e['rows']:8.0f}{numbers}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the tables")
    parser.add_argument("--generation", choices=GENERATIONS, help="only this one")
    parser.add_argument("--model", choices=tuple(MODELS), help="only this one")
    parser.add_argument("--write", action="store_true", help="rewrite the constants that ship")
    parser.add_argument("--hold-out", action="store_true", help="in place of fits: GPUs with constants that ship of others")
    args = parser.parse_args()
    models = [args.model] if args.model else list(MODELS)
    if args.hold_out:
        hold_out(args.data, models)
        return
    for generation in [args.generation] if args.generation else GENERATIONS:
        changes = calibrate(args.data, generation, models)
        if args.write:
            path = FOLDER / f"{generation}.yaml"
            path.write_text(rewrite(path.read_text(encoding="utf-8"), changes), encoding="utf-8")
            print(f"\nwrote {path}")


if __name__ == "__main__":
    main()
