"""Command line: each command is parse -> call one function -> print. stdout is the result, stderr progress.

Commands import what they need in order: first the specification, so that a mistake in it is answered at once, then the simulator,
then what prints.
"""

import argparse
import os
import re
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import __version__, cli_capacity
from .cli_compare import compare_parser
from .cli_cost import cost_parser
from .cli_parts import EXIT_INTERNAL, EXIT_INTERRUPTED, EXIT_OK, EXIT_USER
from .cli_parts import Parser as _Parser
from .cli_parts import add as _add
from .cli_parts import out as _out
from .cli_parts import warn_of_borrowed as _warn_of_borrowed
from .cli_parts import whole as _whole
from .cli_search import search_parser
from .cli_trace import trace_parser
from .errors import HdasimError, SpecError

_MOST_TOKENS, _MOST_SEQUENCES = 2**31, 2**20


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="hdasim", description="Simulate LLM serving: chip + model + traffic -> latency, throughput, utilisation.",
        epilog="example:\n  hdasim run ador-llama3-8b\n  hdasim run --help",
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"hdasim {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    _run_parser(commands)
    _capacity_parser(commands)
    _step_parser(commands)
    _compile_parser(commands)
    _systolic_parser(commands)
    _noc_parser(commands)
    _predict_parser(commands)
    cost_parser(commands, _console)
    compare_parser(commands, _console)
    _validate_parser(commands)
    trace_parser(commands)
    search_parser(commands, _console)
    _add(commands, "presets", _presets, "list what ships", "hdasim presets\nhdasim presets --json")
    schemas = _add(commands, "schema", _schema, "JSON Schema of the experiment file", "hdasim schema > hdasim.schema.json")
    schemas.add_argument("--search", action="store_true", help="that of search files instead")
    return parser


def _experiment_arguments(parser: Any) -> None:
    parser.add_argument("file", metavar="FILE", help="experiment file (model.yaml) or the name of a shipped experiment")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="override a key, e.g. device.core_count=64; may be given often")  # fmt: skip


def _run_parser(commands: Any) -> None:
    parser = _add(commands, "run", _run, "simulate serving and print the table (the main job)",
                  "hdasim run ador-llama3-8b\n"
                  "hdasim run model.yaml --request-rate 8 --num-prompts 500 --output-dir out")  # fmt: skip
    _experiment_arguments(parser)
    parser.add_argument("--output-dir", metavar="DIR",
                        help="where result.json, requests.csv, steps.csv, spec.yaml go (results/NAME)")  # fmt: skip
    parser.add_argument("--no-steps", action="store_true", help="do not write steps.csv (long runs: about 300 bytes a step)")
    parser.add_argument("--seed", metavar="N", help="same as --set seed=N")
    parser.add_argument("--trace", metavar="FILE", help="replay the arrivals and lengths of this trace in place of the workload")
    parser.add_argument("--request-rate", metavar="R", help=(
        "requests per second (inf: all at once); a trace is replayed at the speed that gives this rate"))  # fmt: skip
    parser.add_argument("--num-prompts", metavar="N", help="number of requests; of a trace, the first N")
    parser.add_argument("--goodput", nargs="+", default=[], metavar="GOAL:MS",
                        help="service levels in ms, e.g. ttft:200 tpot:50 e2el:9000")  # fmt: skip


def _capacity_parser(commands: Any) -> None:
    parser = _add(commands, "capacity", lambda args: cli_capacity.run(args, _console),
                  "the highest request rate that meets the service levels", cli_capacity.EXAMPLE)  # fmt: skip
    _experiment_arguments(parser)
    cli_capacity.add_arguments(parser)


def _step_parser(commands: Any) -> None:
    parser = _add(commands, "step", _step, "one step, operator by operator",
                  "hdasim step ador-llama3-8b --phase decode --batch-size 32 --isl 1024")  # fmt: skip
    _experiment_arguments(parser)
    parser.add_argument("--phase", choices=("prefill", "decode", "mixed"), required=True)
    parser.add_argument("--batch-size", type=_whole(_MOST_SEQUENCES), required=True, metavar="B", help="sequences")
    parser.add_argument("--isl", "--input-len", type=_whole(_MOST_TOKENS), required=True, metavar="N",
                        help="prompt tokens, or cached tokens in decode")  # fmt: skip
    parser.add_argument("--exact", action="store_true", help="execute every core and layer (same answer, slower)")


def _compile_parser(commands: Any) -> None:
    parser = _add(commands, "compile", _compile, "print the memory map and the cores' instruction streams",
                  "hdasim compile ador-llama3-8b --tokens 1 1024")  # fmt: skip
    _experiment_arguments(parser)
    parser.add_argument("--tokens", type=_whole(_MOST_SEQUENCES), nargs="+", metavar="T",
                        help="tokens in the steps to show (1 and max_num_batched_tokens)")  # fmt: skip


def _systolic_parser(commands: Any) -> None:
    parser = _add(commands, "systolic", _systolic, "what SCALE-Sim 3.0.0 reports, number for number",
                  "hdasim systolic cases.csv --output out.csv\n"
                  "hdasim systolic --scalesim-config scale.cfg --topology gemm.csv --output-dir out")  # fmt: skip
    parser.description += (
        "\n\nEither for a table of cases, or for SCALE-Sim's own files: then its three reports,\n"
        "but not its traces, are written to DIR/RUN_NAME."
    )
    parser.add_argument("file", metavar="CASES.csv", nargs="?", help=(
        "columns array_rows, array_cols, dataflow (ws, os, is), M, N, K, ifmap_sram_kb, filter_sram_kb, ofmap_sram_kb, "
        "bandwidth_mode (CALC, USER), ifmap_bw, filter_bw, ofmap_bw (words per cycle, for USER); others are kept"))  # fmt: skip
    parser.add_argument("--output", metavar="OUT.csv", help="the table with the results; errors go to a last column")
    parser.add_argument("--resume", action="store_true", help=(
        "keep the rows of OUT.csv with the same inputs and no error, whichever version made them"))  # fmt: skip
    parser.add_argument("--scalesim-config", metavar="CFG", help="SCALE-Sim's configuration, such as scale.cfg")
    parser.add_argument("--topology", metavar="CSV", help="SCALE-Sim's layers: GEMMs or convolutions, told by their fields")
    parser.add_argument("--output-dir", metavar="DIR", help="where the folder RUN_NAME with the reports goes, once all is done")
    parser.add_argument("--workers", type=_whole(1024), metavar="N",
                        help="threads (one per processor); the results do not depend on it")  # fmt: skip
    parser.add_argument("--max-lines", type=_whole(10**15), default=10**11, metavar="N",  # cases.MAX_LINES
                        help="refuse cases of more stall-free cycles than this (10^11)")  # fmt: skip
    parser.set_defaults(complain=parser.error)


def _noc_parser(commands: Any) -> None:
    parser = _add(commands, "noc", _noc, "cycles of collectives and message schedules on networks on chip",
                  "hdasim noc cases.csv --output out.csv")  # fmt: skip
    parser.description += (
        "\n\nColumns topology (mesh8x8, torus4x4, ring16, xbar32, cmesh4x4c4, edges:0-1,1-2), router_cfg\n"
        "(R1: 3 cycles, R2: 4), packet_flits, then chunk_flits and collective, or messages such as\n"
        "0>1:64;1>2:64@5|0 (source>target:flits@delay|messages to wait for); num_vcs and vc_buf_flits\n"
        "if not 8. Adds cycles, bound_cycles and, where they are missing, the loads. Or, between devices,\n"
        "ASTRA-sim's topology, npus, bandwidth_GiBps, latency_ns, chunk_bytes, schedule: adds time_ns, bound_ns.\n"
        "Every other column is kept."
    )
    parser.add_argument("file", metavar="CASES.csv", help="one case a row")
    parser.add_argument("--output", required=True, metavar="OUT.csv", help="the table with the results, errors in a last column")
    parser.add_argument("--resume", action="store_true", help="keep the rows of OUT.csv with the same inputs and no error")
    parser.add_argument("--workers", type=_whole(1024), default=os.cpu_count() or 1, metavar="N",
                        help="threads (one per processor); the results do not depend on it")  # fmt: skip
    parser.add_argument("--max-work", type=_whole(10**15), default=10**8, metavar="N",  # noc.cases.MAX_WORK
                        help="refuse cases whose flits cross more links and ports than this (5 x 10^8)")  # fmt: skip


def _predict_parser(commands: Any) -> None:
    parser = _add(commands, "predict", _predict, "times of single operators on a device, for a table of cases",
                  "hdasim predict cases.csv --op gemm --hardware h100 --output out.csv\n"
                  "hdasim predict cases.csv --op gemm --dtype fp8 --hardware h100 --output out.csv --explain")  # fmt: skip
    parser.description += (
        "\n\nColumns by operator (in brackets: optional):\n"
        "  gemm                  m, n, k [dtype, output_dtype, source_dtype, copies]\n"
        "  attention_context     batch, seq_len, q_heads, kv_heads, head_dim [past, window, kv_dtype]\n"
        "  attention_generation  batch, kv_len, q_heads, kv_heads, head_dim [window, kv_dtype]\n"
        "  moe                   num_tokens, hidden_size, inter_size, topk, num_experts\n"
        "                        [moe_tp_size, moe_ep_size, distribution, dtype]\n"
        "  elementwise           op, num_tokens and the widths that it needs of hidden, ffn_per_gpu,\n"
        "                        q_heads_per_gpu, kv_heads_per_gpu, head_dim [model]\n"
        "  collective            op (all_reduce, all_gather, reduce_scatter, alltoall, send_recv),\n"
        "                        num_gpus (or n_gpus, num_workers), message_bytes (or bytes; as in nccl-tests)\n"
        "Types are bf16 (or fp16), fp8, int8, fp4, w8a16, w4a16; bf16 where a row and --dtype name none.\n"
        "All but collective need a GPU. Adds time_us, bound_us, bottleneck and keeps every other column."
    )
    parser.add_argument("file", metavar="CASES.csv", help="one case a row, all on the same hardware")
    parser.add_argument("--op", required=True, metavar="OP", help="the operator")
    parser.add_argument("--hardware", metavar="NAME|FILE", required=True, help="a preset, or a file with a device")
    parser.add_argument("--output", metavar="OUT.csv", required=True, help="the table with the times; errors go to a last column")
    parser.add_argument("--dtype", metavar="TYPE", default="",
                        help="type of operands (of attention: of its cache) in rows without one")  # fmt: skip
    parser.add_argument("--explain", action="store_true", help="add columns on how the time comes about: tile, waves, parts")


def _validate_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "validate", help="compare with references", description="Compare with references. Exit status 1: something differs.",
        allow_abbrev=False, epilog="example:\n  hdasim validate scalesim --live 100",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    references = parser.add_subparsers(dest="reference", metavar="REFERENCE", required=True, parser_class=_Parser)
    scalesim = _add(references, "scalesim", _validate_scalesim, "SCALE-Sim 3.0.0, given outputs or run beside us",
                    "hdasim validate scalesim --data gemm_ws_os_is.csv\n"
                    "hdasim validate scalesim --live 100 --seed 1   # needs pip install 'hdasim[validate]'")  # fmt: skip
    source = scalesim.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", metavar="PATH", help=(
        "a table of cases with SCALE-Sim's outputs, or a folder of such tables and of runs with files and reports"))  # fmt: skip
    source.add_argument("--live", type=_whole(10**6), metavar="N", help="run SCALE-Sim itself on N random layers")
    scalesim.add_argument("--seed", type=_whole(2**53 - 1, least=0), default=0, metavar="S", help="of the layers (0)")
    scalesim.add_argument("--kind", choices=("mixed", "gemm", "conv"), default="mixed", help="of the layers (mixed)")
    booksim = _add(references, "booksim", _validate_booksim, "BookSim 2's cycles and ASTRA-sim's times",
                   "hdasim validate booksim --data shared/reference/noc")  # fmt: skip
    booksim.add_argument("--data", metavar="PATH", required=True, help=(
        "a folder with booksim_micro.csv, booksim_collectives.csv, astra_congestion_aware.csv, or one of them"))  # fmt: skip
    silicon = _add(references, "silicon", _validate_silicon, "times measured on hardware that ships as a preset",
                   "hdasim validate silicon --data shared/reference/silicon --output-dir out\n"
                   "hdasim validate silicon --data nccl_latency_table.csv --op collective")  # fmt: skip
    silicon.add_argument("--data", metavar="PATH", required=True, help=(
        "a table with the columns of hdasim predict and times in microseconds (latency_us, median_us, or trtllm_us, vllm_us, "
        "sglang_us, of which the fastest counts), or a folder of such tables; the GPU is that of its column gpu, system, node or "
        "device, or of the file's name, such as gemm_h100_sxm_fp8.csv, which may name the type too"))  # fmt: skip
    silicon.add_argument("--op", metavar="OP", help="only this operator of hdasim predict, or batch, serving or layer")
    silicon.add_argument("--output-dir", metavar="DIR", help=(
        "where errors.csv, worst.csv and the plots of predicted against measured times go"))  # fmt: skip
    vllm = _add(references, "vllm", _validate_vllm, "a recorded vLLM run, replayed",
                "hdasim validate vllm --data rtxpro6000_llama-3.1-8b --plot run.html\n"
                "hdasim validate vllm --data rtxpro6000_llama-3.1-8b --hardware h100   # without its profile")  # fmt: skip
    vllm.add_argument("--data", metavar="DIR", required=True, help="a run's folder: requests.csv, meta.json, maybe profile/tpN")
    vllm.add_argument("--profile", metavar="PATH", help="operator tables in place of the run's own")
    vllm.add_argument("--hardware", metavar="NAME", help=(
        "preset or file of the device, if the folder names none; without --profile its engine predicts steps"))  # fmt: skip
    vllm.add_argument("--model", metavar="CONFIG", help="config.json of the model, if no preset has its name")
    vllm.add_argument("--plot", metavar="OUT.html", help="write a page with both distributions and what ran and waited")


def _run_overrides(args: argparse.Namespace) -> list[str | tuple[str, str]]:
    """`--set` and the short options of `run` as overrides; what an option sets, errors blame on the option."""
    overrides: list[str | tuple[str, str]] = []
    if args.trace is not None:
        path = _quoted(os.path.abspath(args.trace))
        overrides.append((f"workload={{arrival: {{kind: trace, path: {path}}}}}", f"--trace {args.trace}"))
    overrides += args.set
    for option in ("seed", "request_rate", "num_prompts"):
        value = getattr(args, option)
        if value is not None:
            overrides.append((f"{_KEYS[option]}={value}", f"--{option.replace('_', '-')} {value}"))
    for goal in args.goodput:
        name, colon, milliseconds = goal.partition(":")
        if not colon or name not in ("ttft", "tpot", "e2el"):
            raise SpecError("expected GOAL:MS with goal ttft, tpot or e2el, such as ttft:200", place=f"--goodput {goal}")
        overrides.append((f"slo.{name}={_quoted(milliseconds + ' ms')}", f"--goodput {goal}"))
    return overrides


_KEYS = {"seed": "seed", "request_rate": "workload.arrival.request_rate", "num_prompts": "workload.num_prompts"}


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _console() -> Any:
    from rich.console import Console

    class Pipe(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # for `main`; rich would exit with 1

    if sys.stdout.isatty():
        return Pipe(width=max(160, Console().width), soft_wrap=True)  # a narrow terminal wraps what would else be cut
    return Pipe(force_terminal=False, no_color=True, width=160, soft_wrap=True)


def _run(args: argparse.Namespace) -> int:
    from .spec.load import locate, open_experiment

    started = time.perf_counter()
    experiment, document = open_experiment(args.file, _run_overrides(args))

    from .report.files import StepsFile, make_folder, result_document, to_json, write_run
    from .report.progress import Reporter
    from .simulate import several_instances, simulate

    name = re.sub(r"[^\w.+-]+", "-", experiment.name).strip(".-") or "experiment"
    folder = Path(args.output_dir if args.output_dir is not None else Path("results") / name)
    make_folder(folder)
    with Reporter() as reporter, locate(document):
        if args.no_steps:
            result = simulate(experiment, reporter, keep_steps=False)
        else:
            with StepsFile(folder, several_instances(experiment)) as steps:
                result = simulate(experiment, reporter, sink=steps, keep_steps=False)
    write_run(result, folder)
    if args.json:
        _out(to_json(result_document(result)))
    else:
        from .report.table import print_result

        print_result(result, _console())
    _warn_of_borrowed(experiment)
    note = "interrupted; what was done is saved" if result.served.interrupted else "done"
    spent = time.perf_counter() - started
    sys.stderr.write(f"{note}: {result.summary['steps']:,} steps in {spent:.2f} s, files in {folder}\n")
    return EXIT_INTERRUPTED if result.served.interrupted else EXIT_OK


def _step(args: argparse.Namespace) -> int:
    from .spec.load import locate, open_experiment

    experiment, document = open_experiment(args.file, args.set)

    from .report.files import to_json
    from .report.table import print_step, step_head, step_rows
    from .simulate import step

    with locate(document):
        machine, record, ops = step(experiment, args.phase, args.batch_size, args.isl, exact=args.exact)
    rows = step_rows(machine, record, ops)
    group = experiment.serving.group(experiment.device.name, replicas=False)
    title = f"{experiment.model.name} on {group}: {args.phase}, {args.batch_size} x {args.isl}"
    if args.json:
        _out(to_json({"title": title, **step_head(machine, record, rows), "operators": rows}))
    else:
        print_step(title, machine, record, rows, _console())
    _warn_of_borrowed(experiment)
    return EXIT_OK


def _compile(args: argparse.Namespace) -> int:
    import dataclasses

    from .spec.load import locate, open_experiment

    experiment, document = open_experiment(args.file, args.set)

    from .compiler.text import describe
    from .device.latency import build
    from .report.files import to_json
    from .simulate import refuse_profile

    with locate(document):
        refuse_profile(experiment)
    most = experiment.serving.max_num_batched_tokens
    tokens = args.tokens or [1, most]
    for count in tokens:
        if not 1 <= count <= most:
            raise SpecError(f"a step has 1 to {most} tokens (serving.max_num_batched_tokens)", place=f"--tokens {count}")
    with locate(document):
        machine = build(experiment)
    text = ""
    for stage, numbers in machine.distinct_stages().items():
        title = f"Stage {', '.join(map(str, numbers))} of {len(machine.stages)}\n" if len(machine.stages) > 1 else ""
        text += title + describe(stage.compiled, stage.core, machine.device, tokens, most)
    if machine.link is not None:
        each = machine.link.compiled.ops[0].sync_bytes
        text += f"Between stages\n p2p   send $T x {each:,.0f} B, each device to its peer\n"
    if args.json:
        first, *others = (dataclasses.asdict(stage.compiled) for stage in machine.stages)
        rest = {"stages": [first, *others]} if others else first
        _out(to_json({**rest, "text": text.splitlines()}))
    else:
        _out(text)
    return EXIT_OK


def _systolic(args: argparse.Namespace) -> int:
    table = {"CASES.csv": args.file, "--output": args.output, "--resume": args.resume or None}
    own = {"--scalesim-config": args.scalesim_config, "--topology": args.topology, "--output-dir": args.output_dir}
    first, second = ([name for name, value in form.items() if value is not None] for form in (table, own))
    if first and second:
        args.complain(f"{first[0]} and {second[0]} exclude each other; give a table of cases or SCALE-Sim's own files")
    if not first and not second:
        args.complain("give CASES.csv and --output, or --scalesim-config, --topology and --output-dir")
    missing = [name for name in (table if first else own) if name not in (*first, *second, "--resume")]
    if missing:
        args.complain(f"{(first or second)[0]} needs {' and '.join(missing)} too")
    return _systolic_table(args) if first else _systolic_run(args)


def _systolic_table(args: argparse.Namespace) -> int:
    from .report.progress import Reporter
    from .scalesim import table

    with Reporter() as reporter:
        done = table.run(Path(args.file), Path(args.output), args.workers, args.max_lines, args.resume, reporter.show)
    return _tabulated(done, args.json)


def _systolic_run(args: argparse.Namespace) -> int:
    from .report.progress import Reporter
    from .scalesim import files

    paths = Path(args.scalesim_config), Path(args.topology), Path(args.output_dir)
    with Reporter() as reporter:
        done = files.run(*paths, args.workers, args.max_lines, reporter.show)
    if args.json:
        from .report.files import to_json

        _out(to_json(done.document()))
    else:
        files.print_layers(done, _console())
    return EXIT_OK


def _noc(args: argparse.Namespace) -> int:
    from .noc import table
    from .report.progress import Reporter

    with Reporter() as reporter:
        done = table.run(Path(args.file), Path(args.output), args.workers, args.max_work, args.resume, reporter.show)
    return _tabulated(done, args.json)


def _tabulated(done: Any, json: bool) -> int:
    """Print what became of a table that can be resumed (`hdasim.sheet.Outcome`)."""
    for line in done.complaints():
        sys.stderr.write(" ".join(line.split()) + "\n")
    if json:
        from .report.files import to_json

        _out(to_json(done.document()))
    else:
        _out(f"{done.summary()}\n")
    if done.interrupted:
        sys.stderr.write("interrupted; what was done is saved, --resume does the rest\n")
        return EXIT_INTERRUPTED
    return EXIT_USER if done.errors else EXIT_OK


def _predict(args: argparse.Namespace) -> int:
    from .predict import table

    done = table.run(
        Path(args.file), Path(args.output), args.op, args.hardware, dtype=args.dtype, explain=args.explain
    )  # fmt: skip
    for line in done.complaints():
        sys.stderr.write(" ".join(line.split()) + "\n")
    if args.json:
        from .report.files import to_json

        _out(to_json(done.document()))
    else:
        _out(f"{done.summary()}\n")
    return EXIT_USER if done.errors else EXIT_OK


def _validated(args: argparse.Namespace, done: Any, show: Callable[[Any, Any], None]) -> int:
    """Print a validation; its exit code tells whether it holds."""
    if args.json:
        from .report.files import to_json

        _out(to_json([row.document() for row in done.rows]))
        sys.stderr.write("".join(f"{line}\n" for line in done.summary()))
    else:
        show(done, _console())
    return EXIT_OK if done.holds else EXIT_INTERNAL


def _validate_scalesim(args: argparse.Namespace) -> int:
    from .report.progress import Reporter
    from .validate import scalesim

    if args.data is not None:
        done = scalesim.against_data(Path(args.data))
    else:
        with Reporter() as reporter:
            done = scalesim.live(args.live, args.seed, args.kind, reporter.show)
    return _validated(args, done, scalesim.print_validation)


def _validate_booksim(args: argparse.Namespace) -> int:
    from .report.progress import Reporter
    from .validate import booksim

    with Reporter() as reporter:
        done = booksim.against_data(Path(args.data), reporter.show)
    return _validated(args, done, booksim.print_validation)


def _validate_silicon(args: argparse.Namespace) -> int:
    from .report.files import make_folder, to_json
    from .report.progress import Reporter
    from .validate import silicon, silicon_report

    folder = None if args.output_dir is None else Path(args.output_dir)
    if folder is not None:
        make_folder(folder)
    with Reporter() as reporter:
        done = silicon.against_data(Path(args.data), args.op or "", reporter.show)
    if folder is not None:
        silicon_report.write_report(done.measured, folder)
    if args.json:
        _out(to_json([row.document() for row in done.rows]))
    else:
        silicon.print_validation(done, _console())
    for line in done.skipped_lines():
        sys.stderr.write(" ".join(line.split()) + "\n")
    return EXIT_OK


def _validate_vllm(args: argparse.Namespace) -> int:
    from .report.files import to_json
    from .report.progress import Reporter
    from .text import check_writable, write_whole
    from .validate import vllm

    if args.plot is not None:
        check_writable(Path(args.plot))
    profile, model = (None if path is None else Path(path) for path in (args.profile, args.model))
    with Reporter() as reporter:
        done = vllm.against_data(Path(args.data), profile=profile, hardware=args.hardware, model=model, progress=reporter)
    if args.plot is not None:
        write_whole(Path(args.plot), vllm.plot(done))
    if args.json:
        _out(to_json(done.document()))
        sys.stderr.write("".join(f"{line}\n" for line in done.remarks))
    else:
        vllm.print_validation(done, _console())
    return EXIT_OK


def _presets(args: argparse.Namespace) -> int:
    from .report.files import to_json
    from .spec.load import presets

    names = {kind: presets(kind) for kind in ("experiments", "searches", "hardware", "models", "slo")}
    if args.json:
        _out(to_json(names))
    else:
        for kind, known in names.items():
            wrap = textwrap.TextWrapper(100, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
            _out(f"{kind}:\n{wrap.fill(' '.join(known))}\n")
    return EXIT_OK


def _schema(args: argparse.Namespace) -> int:
    from .report.files import to_json
    from .spec.schema import schema, search_schema

    _out(to_json(search_schema() if args.search else schema()))
    return EXIT_OK


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns 0 ok, 1 internal error, 2 user error, 130 interrupted; a user error is one line on stderr."""
    args = _parser().parse_args(argv)
    try:
        code: int = args.function(args)
        sys.stdout.flush()
        return code
    except HdasimError as error:
        if args.debug:
            raise
        sys.stderr.write(f"{' '.join(str(error).split())}\n")
        return EXIT_USER
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except MemoryError:
        sys.stderr.write("out of memory; use a smaller input (requests, cases, layers, max_num_batched_tokens)\n")
        return EXIT_USER
