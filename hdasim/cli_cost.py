"""`hdasim cost`: area, price and peak rate of a device, of the devices of an experiment, or of a table of devices."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .cli_parts import EXIT_OK, EXIT_USER, add, out
from .errors import SpecError

EXAMPLE = (
    "hdasim cost ador --mac-tree-area ador\n"
    "hdasim cost a100 --set area.links.count=6 --output-dir out\n"
    "hdasim cost devices.csv --output costs.csv"
)  # fmt: skip


def cost_parser(commands: Any, console: Callable[[], Any]) -> None:
    """Add the command."""
    parser = add(commands, "cost", lambda args: run(args, console), "die area, cost and peak rate", EXAMPLE)
    parser.description += (
        "\n\nAreas are LLMCompass's (Zhang et al., ISCA 2024), with MAC trees counted in one of two ways. FILE is a device,\n"
        "an experiment, whose devices are added up, or a table with the columns\n"
        "  process_nm, cores_physical, lanes_per_core, array_h, array_w, vector_width, int32_alus_per_lane,\n"
        "  fp16_alus_per_lane, fp32_alus_per_lane, fp64_alus_per_lane, regfiles_per_lane, registers_per_file,\n"
        "  register_bits, regfile_ports, local_sram_KB, global_buffer_MB, mem_protocol, mem_channels_physical,\n"
        "  mem_capacity_GB, link_type, links_per_device [mac_tree_width, mac_tree_lanes, mac_tree_area, host_type,\n"
        "  host_links, memory_price, sram_cell_um2]\n"
        "of which every other column is kept."
    )
    parser.add_argument("file", metavar="NAME|FILE", help="hardware preset, device file, experiment, or table of devices (.csv)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="override a key, e.g. area.mac_tree_area=ador; may be given often")  # fmt: skip
    parser.add_argument("--mac-tree-area", choices=("synthesis", "ador"), help="how MAC trees are counted")
    parser.add_argument("--output", metavar="OUT.csv", help="of a table of devices: where it goes with its results")
    parser.add_argument("--output-dir", metavar="DIR", help="where cost.json and cost.html go")
    parser.set_defaults(complain=parser.error)


def run(args: argparse.Namespace, console: Callable[[], Any]) -> int:
    """Print what FILE costs; the exit code."""
    if args.file.lower().endswith(".csv") or args.output is not None:
        return _table(args)
    name, groups, total = _groups(args)

    from .report.cost import print_cost
    from .report.cost_page import cost_page
    from .report.files import make_folder, to_json
    from .text import write_whole

    document = _document(name, groups, total)
    if args.output_dir is not None:
        folder = Path(args.output_dir)
        make_folder(folder)
        write_whole(folder / "cost.json", to_json(document))
        write_whole(folder / "cost.html", cost_page(name, groups))
        sys.stderr.write(f"done: files in {folder}\n")
    if args.json:
        out(to_json(document))
    else:
        print_cost(groups, total, console())
    return EXIT_OK


def _table(args: argparse.Namespace) -> int:
    if args.output is None:
        args.complain("a table of devices needs --output OUT.csv")
    given = {"--set": args.set, "--mac-tree-area": args.mac_tree_area, "--output-dir": args.output_dir}
    for option, value in given.items():
        if value:
            args.complain(f"{option} does not go with a table of devices; use its columns" if option != "--output-dir"
                          else "--output-dir does not go with a table of devices; give --output OUT.csv")  # fmt: skip

    from .cost import table

    done = table.run(Path(args.file), Path(args.output))
    for line in done.complaints():
        sys.stderr.write(" ".join(line.split()) + "\n")
    if args.json:
        from .report.files import to_json

        out(to_json(done.document()))
    else:
        out(f"{done.summary()}\n")
    return EXIT_USER if done.errors else EXIT_OK


def _groups(args: argparse.Namespace) -> tuple[str, list[Any], dict[str, Any] | None]:
    """The name of what is asked for, its groups of equal devices, and what several devices cost together."""
    from .cost.experiment import Group, experiment_cost
    from .cost.summary import device_cost
    from .spec.load import locate, open_device, open_experiment

    option = args.mac_tree_area
    if not _is_experiment(args.file):
        device, document = open_device(args.file, args.set)
        with locate(document):
            return device.name, [Group(device.name, 1, device_cost(device, option))], None
    experiment, document = open_experiment(args.file, args.set)
    with locate(document):
        return experiment.name, *experiment_cost(experiment, option)


def _is_experiment(source: str) -> bool:
    """Whether a file or name stands for an experiment; `SpecError` if for nothing."""
    from .spec.convert import meant
    from .spec.document import Document
    from .spec.load import presets

    if os.path.exists(source):
        return bool({"model", "workload", "serving", "cluster"} & set(Document.read(Path(source)).data))
    if Path(source).name != source or Path(source).suffix:
        return False
    devices, experiments = presets("hardware"), presets("experiments")
    if source not in devices and source not in experiments:
        hint = meant(source, [*devices, *experiments]) or f"; shipped hardware: {', '.join(devices)}"
        raise SpecError(f"no such file, and neither hardware nor an experiment of that name ships{hint}", place=source)
    return source in experiments


def _document(name: str, groups: list[Any], total: dict[str, Any] | None) -> dict[str, Any]:
    """Of one kind of device its figures; of several a list of them. With `total` where there may be several devices."""
    if total is None:
        costs: dict[str, Any] = groups[0].costs
        return costs
    pools = [{"title": group.title, "devices": group.count, **group.costs} for group in groups]
    return {"name": name, **(pools[0] | {"name": name, "device": pools[0]["name"]} if len(pools) == 1 else {"pools": pools}),
            "total": total}  # fmt: skip
