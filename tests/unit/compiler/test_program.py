"""Compiled programs: weights, memory map, shards, collectives between devices, text."""

import msgspec
import pytest

from hdasim.compiler.program import compile_program
from hdasim.compiler.text import describe
from hdasim.device.latency import build
from hdasim.errors import CapacityError, SpecError
from hdasim.spec.experiment import Experiment
from hdasim.spec.load import load, load_device, presets
from hdasim.spec.serving import Serving


def experiment(model: str = "llama3-8b", **serving: object) -> Experiment:
    e = load("ador-llama3-8b", [f"model.preset={model}", "device.dram.capacity=4 TB"])
    return msgspec.structs.replace(e, serving=Serving(**serving))


@pytest.mark.parametrize("name", presets("models"))
def test_weights_of_the_program_are_the_weights_of_the_model(name: str) -> None:
    e = experiment(name)
    compiled = compile_program(e)
    assert compiled.memory.weights == pytest.approx(e.model.weight_total_bytes, rel=1e-9)
    # a page of 16 tokens of keys and values in all layers
    assert compiled.memory.page_bytes == 16 * e.model.kv_bytes_per_token


def test_memory_map_by_hand() -> None:
    # llama3-8b on ador: 8.03 G parameters x 2 B = 16.06 GB; 0.9 x 80 GB usable; page 16 x 131072 B = 2 MiB
    m = compile_program(load("ador-llama3-8b")).memory
    assert m.weights == pytest.approx(16.06e9, rel=1e-3)
    assert m.usable == 72e9
    assert m.page_bytes == 2 * 2**20
    # activations: 2048 tokens x (4096 + 28672) x 2 B exceed half of 16 MiB
    assert m.activations == 2048 * (4096 + 28672) * 2
    assert m.page_count == int((72e9 - m.weights - m.activations) // m.page_bytes)


# papers.md 3.8: KB received per layer and device, LLaMA3-70B, one token, for 2, 4, 8, 16 devices
VOLUMES = {
    ("all_gather", "direct"): (52, 78, 91, 97.5),
    ("all_reduce", "direct"): (104, 312, 728, 1560),
    ("all_reduce", "ring"): (104, 156, 182, 195),
    ("megatron", "direct"): (32, 96, 224, 480),
    ("megatron", "ring"): (32, 48, 56, 60),
}


@pytest.mark.parametrize(("method", "algorithm"), VOLUMES)
@pytest.mark.parametrize("index", range(4))
def test_tensor_parallel_volumes(method: str, algorithm: str, index: int) -> None:
    devices = 2 ** (index + 1)
    e = experiment("llama3-70b", device_count=devices, tp_method=method, tp_algorithm=algorithm)
    machine = build(e)
    _, ops = machine.step([1], [100], 1)
    layer = sum(r["p2p_bytes"] for op, r in zip(machine.compiled.ops, ops, strict=True) if op.rows == "tokens") / 80
    assert layer / 1024 == pytest.approx(VOLUMES[method, algorithm][index])


def test_kv_heads_are_replicated_when_fewer_than_devices() -> None:
    assert [compile_program(experiment("llama3-70b", device_count=d)).memory.page_bytes for d in (1, 8, 16)] == [
        16 * 327680, 16 * 327680 / 8, 16 * 327680 / 8,
    ]  # fmt: skip


@pytest.mark.parametrize("devices", [3, 5, 7])
def test_heads_that_do_not_divide_are_refused(devices: int) -> None:
    with pytest.raises(SpecError, match=r"num_attention_heads 32 is not divisible by \d devices"):
        compile_program(experiment(device_count=devices))


def test_a_model_too_large_says_how_many_devices_hold_it() -> None:
    e = msgspec.structs.replace(load("ador-llama3-8b", ["model.preset=llama3-70b"]), device=load_device("ador"))
    with pytest.raises(CapacityError, match=r"141\.10 GB for weights alone: 2 x ador by capacity.*set serving.device_count to 4"):
        compile_program(e)
    groq = msgspec.structs.replace(load("ador-llama3-8b"), device=load_device("groq-tsp"))
    with pytest.raises(CapacityError, match="73 x groq-tsp"):
        compile_program(groq)


def test_deepseek_has_two_kinds_of_layers_and_latent_rows() -> None:
    compiled = compile_program(experiment("deepseek-v3"))
    assert [(s.repeat, s.layers) for s in compiled.segments] == [(1, 0), (3, 1), (58, 1), (1, 0)]
    names = {op.name: op for op in compiled.ops}
    assert names["kv_b_proj"].rows == "latent"
    assert (names["decode_attention"].kv_heads, names["decode_attention"].group) == (1, 128)
    assert (names["decode_attention"].key_dim, names["decode_attention"].value_dim) == (576, 512)


def test_alternating_windows_repeat_as_a_pair() -> None:
    compiled = compile_program(experiment("gpt-oss-20b"))
    assert [s.repeat for s in compiled.segments] == [1, 12, 1]
    assert [b[[op.name for op in b].index("decode_attention")].window for b in compiled.blocks[1:3]] == [128, 0]


def test_text_shows_memory_mapping_and_every_core_once() -> None:
    machine = build(load("ador-llama3-8b", ["device.core_count=33"]))
    text = describe(machine.compiled, machine.core, machine.device, [1, 100], 128)
    assert "KV cache" in text
    assert "grid 1 x 33" in text
    for tokens in ("1 tokens", "100 tokens"):
        lines = [line for line in text.splitlines() if line.startswith("Cores") and line.endswith(f", {tokens}")]
        spans = [part for line in lines for part in line.removeprefix("Cores ").removesuffix(f", {tokens}").split(", ")]
        ends = [tuple(map(int, (span.split("-") * 2)[:2])) for span in spans]
        assert sorted(core for low, high in ends for core in range(low, high + 1)) == list(range(33))


def stream(text: str, operator: str) -> list[list[str]]:
    """Unit, operands and what it waits for of an operator's instructions, of the first stream in the text."""
    first = text[text.index("\nCores") :].split("\n\n")[0]
    rows = [[line[7:13].strip(), line[13:34].strip(), line[34:108].strip(), line[108:].strip()] for line in first.splitlines()]
    return [[unit, operands, waits] for unit, name, operands, waits in rows if name == operator]


def described(flow: str, *overrides: str, tokens: int = 64) -> str:
    machine = build(load("ador-llama3-8b", [f"device.dataflow={flow}", *overrides]))
    return describe(machine.compiled, machine.core, machine.device, [tokens], tokens)


def test_text_of_weights_cut_by_columns() -> None:
    text = described("latency")
    assert "qkv_proj: latency, sa+mt from local memory" in text
    units = stream(text, "o_proj")
    assert [unit for unit, *_ in units] == ["dma", "noc", "sa"]
    # attention ends tile by tile, and its results are gathered as they come
    gather = "all-gather 64 rows of 4096 over 32 cores, 1 column tiles"
    assert units[1][1:] == [gather, "tiles of prefill_attention, decode_attention"]
    assert units[2][2] == f"after {number(text, 'o_proj', 1)}"


def number(text: str, operator: str, index: int) -> str:
    """The name that others call an operator's instruction by."""
    first = text[text.index("\nCores") :].split("\n\n")[0]
    return "#" + [line.split()[0] for line in first.splitlines() if line[13:34].strip() == operator][index]


def test_text_of_weights_cut_by_rows() -> None:
    text = described("row_split")
    assert "qkv_proj: row_split, sa+mt from local memory" in text
    transfer, array, tree, reduction, addition = stream(text, "qkv_proj")
    # 4096 / 32 = 128 of 4096 weight rows x 6144 columns x 2 B = 1,572,864 B each
    assert transfer[1].startswith("stream 1,572,864 B of weights x 1 passes")
    assert array[1].startswith("[64 x 128] x [128 x ")
    assert tree[2] == array[2] == "after input_norm"
    names = [number(text, "qkv_proj", i) for i in range(5)]
    assert reduction == ["noc", "reduce-scatter fp32 sums [64 x 6144] over 32 cores", f"tiles of {names[1]}, {names[2]}"]
    assert addition == ["vu", "add the sums of 32 cores as they arrive", f"tiles of {names[3]}"]
    assert stream(text, "rotary")[0][2] == "tiles of qkv_proj"


def test_text_of_weights_that_are_broadcast() -> None:
    text = described("throughput")
    assert "qkv_proj: throughput, " in text
    units = stream(text, "qkv_proj")
    assert [unit for unit, *_ in units[:2]] == ["dma", "noc"]
    assert units[1][1:] == ["broadcast them to the 32 cores of the column group", f"packets of {number(text, 'qkv_proj', 0)}"]
    assert units[2][2] == "after input_norm"


def test_text_of_cores_that_share_a_memory() -> None:
    text = described("auto", "device.preset=h100")
    assert not any(message in text for message in ("broadcast", "all-gather", "all-reduce", "reduce-scatter", "deal queries"))
    assert stream(text, "qkv_proj")[1][1] == "write own part of the input to global memory"
    assert stream(text, "rotary")[0][2] == "after qkv_proj"  # each kernel is launched when the one before has ended


def test_text_of_exchanges_between_devices() -> None:
    text = described("latency", "serving.device_count=4")
    *_, tree, exchange = stream(text, "down_proj")
    assert tree[0] in ("sa", "mt")
    assert exchange[:2] == ["p2p", "all_reduce $T x 8,192 B"]
    assert exchange[2].startswith("tiles of #")
    # what devices have exchanged is there at once
    assert stream(text, "post_norm")[0][2] == "after o_proj"


def test_cores_with_unequal_shares_of_weight_rows_have_their_own_streams() -> None:
    text = described("row_split", "device.core_count=24")  # 4096 = 24 x 170 + 16: 16 cores own 171 rows
    spans = [line for line in text.splitlines() if line.startswith("Cores")]
    assert spans[0] == "Cores 0-7, 64 tokens"
    assert "[64 x 171] x [171 x " in text
    assert "[64 x 170] x [170 x " in text
