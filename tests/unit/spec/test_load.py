"""Loading: presets and what overrides them, models from configs, units in place, and the way back."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from hdasim.errors import CoreError, SpecError, TraceError
from hdasim.spec.hardware import ConstantUtilization, LogUtilization
from hdasim.spec.load import expanded, load, load_device, load_workload, locate, open_experiment, preset_path, presets
from hdasim.spec.workload import PoissonArrival, RampArrival, TraceArrival

SAMPLE = Path(__file__).resolve().parents[2] / "cli" / "sample.yaml"
LLAMA = preset_path("models", "llama3-8b")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(text: str, name: str = "m.yaml") -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text, encoding="utf-8")
    return name


def document(**sections: str) -> str:
    parts = {
        "device": "{preset: ador}",
        "model": "{preset: llama3-8b}",
        "workload": "{arrival: {kind: poisson, request_rate: 10}, num_prompts: 5, "
        "lengths: {kind: fixed, input_len: 8, output_len: 8}}",
    } | sections
    return write("".join(f"{key}: {text}\n" for key, text in parts.items()))


def test_the_sample_by_hand() -> None:
    e = load(SAMPLE)
    assert (e.name, e.seed) == ("ador-llama3-8b", 0)
    assert (e.device.frequency, e.device.core_count, e.device.global_memory) == (1.5e9, 32, 16 * 2**20)
    assert (e.device.core.local_memory, e.device.dram.capacity, e.device.dram.bandwidth) == (2 * 2**20, 80 * 2**30, 2e12)
    assert e.device.p2p is not None
    assert (e.device.p2p.bandwidth, e.device.p2p.latency) == (64e9, 1e-6)
    assert e.workload.arrival == PoissonArrival(request_rate=10)
    assert (e.slo.ttft, e.slo.tpot, e.slo.e2el) == (0.2, 0.05, None)
    assert (e.serving.scheduler, e.serving.max_num_seqs, e.model.name) == ("ador", 256, "llama3-8b")


@pytest.mark.parametrize("name", presets("experiments"))
def test_every_shipped_experiment_loads(name: str) -> None:
    assert load(name).name == name


def test_a_preset_is_overridden_key_by_key() -> None:
    ador = load_device("ador")
    e = load(document(device="{preset: ador, core_count: 16, core: {mac_tree: {lanes: 8}}, noc: {columns: 4}}"))
    assert (e.device.core_count, e.device.noc.columns) == (16, 4)
    assert e.device.core.mac_tree is not None
    assert (e.device.core.mac_tree.width, e.device.core.mac_tree.lanes) == (16, 8)
    assert e.device.core.systolic_array == ador.core.systolic_array
    assert e.device.name == "ador"


def test_a_part_of_a_preset_can_be_taken_away() -> None:
    assert load(document(device="{preset: ador, core: {mac_tree: null}}")).device.core.mac_tree is None


def test_another_kind_replaces_the_presets() -> None:
    assert isinstance(load_device("ador").dram.utilization, LogUtilization)
    e = load(document(device="{preset: ador, dram: {utilization: {kind: constant, value: 0.8}}}"))
    assert e.device.dram.utilization == ConstantUtilization(value=0.8)
    e = load(document(device="{preset: ador, dram: {utilization: {maximum: 0.8}}}"))
    assert isinstance(e.device.dram.utilization, LogUtilization)
    assert (e.device.dram.utilization.maximum, e.device.dram.utilization.slope) == (0.8, 0.0825)


def test_overrides() -> None:
    e = load(document(), ["device.core_count=64", "device.dram.bandwidth=3 TB/s", "serving.max_num_seqs=1e2", "slo={ttft: 1 s}",
                          "name=a=b", "device.core_count=8"])  # fmt: skip
    assert (e.device.core_count, e.device.dram.bandwidth, e.serving.max_num_seqs, e.slo.ttft, e.name) == (
        8,
        3e12,
        100,
        1.0,
        "a=b",
    )


def test_a_preset_on_the_command_line_replaces_the_files_overrides() -> None:
    file = document(device="{preset: ador, core_count: 16}")
    assert load(file, ["device.frequency=1 GHz", "device.preset=a100"]).device.core_count == load_device("a100").core_count
    assert load(file, ["device.frequency=1 GHz", "device.preset=a100"]).device.frequency == 1e9
    assert load(file, ["model.preset=opt-125m"]).model.name == "opt-125m"


def test_an_override_can_be_blamed_on_an_option() -> None:
    with pytest.raises(SpecError, match=r"^--seed -1: seed: must be at least 0, got -1$"):
        load(document(), [("seed=-1", "--seed -1")])


def test_model_overrides() -> None:
    plain = load(document()).model
    e = load(document(model="{preset: llama3-8b, num_hidden_layers: 4, weight_bytes: 1, kv_cache_bytes: 0.5}"))
    assert (e.model.num_hidden_layers, e.model.weight_bytes, e.model.attention_weight_bytes) == (4, 1.0, 1.0)
    assert (e.model.kv_cache_bytes, e.model.activation_bytes) == (0.5, plain.activation_bytes)
    e = load(document(model="{preset: llama3-8b, weight_bytes: 1, attention_weight_bytes: 2}"))
    assert (e.model.weight_bytes, e.model.attention_weight_bytes) == (1.0, 2.0)


def test_a_config_is_found_beside_the_file() -> None:
    config = json.loads(LLAMA.read_text(encoding="utf-8"))
    write(json.dumps({**config, "num_hidden_layers": 3}), "deep/my-model/config.json")
    write(json.dumps(config), "deep/other.json")
    write(Path(document(model="{config: my-model/config.json}")).read_text(encoding="utf-8"), "deep/m.yaml")
    e = load("deep/m.yaml")
    assert (e.model.name, e.model.num_hidden_layers) == ("my-model", 3)
    assert load("deep/m.yaml", ["model={config: other.json}"]).model.name == "other"


def test_a_config_in_place() -> None:
    config = json.loads(LLAMA.read_text(encoding="utf-8"))
    e = load(document(model=json.dumps({**config, "name": "mine"})))
    assert (e.model.name, e.model.hidden_size) == ("mine", 4096)


def test_yaml_traps_in_place() -> None:
    e = load(document(device="{preset: ador, frequency: 1e9, core_count: 1:30, dram: {capacity: 1.0e+11}}"))
    assert (e.device.frequency, e.device.core_count, e.device.dram.capacity) == (1e9, 90, 1e11)
    with pytest.raises(SpecError, match="name: expected text, got false; put it in quotes"):
        load(document(name="no"))


@pytest.mark.parametrize("name", [*presets("experiments"), str(SAMPLE)])
def test_the_expanded_specification_is_the_same_experiment(name: str, folder: Path) -> None:
    e = load(name, ["workload.num_prompts=7", "seed=3"])
    (folder / "out").mkdir()
    write(expanded(e, folder / "out"), "out/spec.yaml")
    assert load("out/spec.yaml") == e


@pytest.mark.parametrize("rate", ["inf", "0.1", "1e-7", "123456789.123456789"])
def test_numbers_survive_the_way_back(rate: str, folder: Path) -> None:
    e = load(
        document(), [f"workload.arrival.request_rate={rate}", "device.p2p.latency=0.1 us", "device.frequency=1.2345678901 GHz"]
    )
    write(expanded(e, folder), "again.yaml")
    assert load("again.yaml") == e


def test_traces_are_relative_to_the_file(folder: Path) -> None:
    text = Path(document(workload="{arrival: {kind: trace, path: t.csv}}")).read_text(encoding="utf-8")
    write(text, "deep/m.yaml")

    def path(source: str, *overrides: str) -> str:
        arrival = load(source, overrides).workload.arrival
        assert isinstance(arrival, TraceArrival)
        return arrival.path

    assert path("deep/m.yaml") == "deep/t.csv"
    assert path(str(folder / "deep" / "m.yaml")) == "deep/t.csv"
    assert path("deep/m.yaml", f"workload.arrival.path={folder}/x.csv") == "x.csv"
    assert path("deep/m.yaml", "workload.arrival.path=/elsewhere/x.csv") == "/elsewhere/x.csv"


def test_workload_files() -> None:
    workload, seed = load_workload(write("workload: {arrival: {kind: trace, path: t.csv}}\nseed: 5\n", "deep/w.yaml"))
    assert (workload.arrival, seed) == (TraceArrival(path="deep/t.csv"), 5)


def test_devices_from_files() -> None:
    assert load_device(SAMPLE).core_count == 32
    assert load_device(write("preset: ador\ncore_count: 4\n")).core_count == 4
    with pytest.raises(SpecError, match=r"m\.yaml:2: core_count: must be at least 1, got 0"):
        load_device(write("preset: ador\ncore_count: 0\n"))
    with pytest.raises(SpecError, match=r"no\.yaml: cannot read: no such file"):
        load_device("no.yaml")


def test_later_errors_find_their_place() -> None:
    _, opened = open_experiment(document(workload="{arrival: {kind: trace, path: t.csv}}"), ["device.noc.columns=4"])
    for error, place in (
        (SpecError("x", ("device", "noc", "columns")), "--set device.noc.columns=4: device.noc.columns: x"),
        (SpecError("x", ("device", "p2p")), f"{preset_path('hardware', 'ador')}:LINE: device.p2p: x"),
        (SpecError("x", ("serving", "device_count")), "m.yaml:1: serving.device_count: x"),
        (SpecError("x", place="there"), "there: x"),
        (TraceError("t.csv:2: x"), "m.yaml:3: t.csv:2: x"),
        (CoreError("x"), "m.yaml: the simulator refuses these sizes (x); stay nearer to real models and hardware"),
    ):
        with pytest.raises(type(error)) as caught, locate(opened):
            raise error
        assert re.fullmatch(re.escape(place).replace("LINE", r"\d+"), str(caught.value))


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"device": "ador"}, r"m\.yaml:1: device: expected a mapping of keys, got 'ador'; .* write device: \{preset: ador\}"),
        ({"device": "{preset: null}"}, r"m\.yaml:1: device\.preset: unknown preset None; known: a100,"),
        ({"device": "{preset: [1]}"}, r"m\.yaml:1: device\.preset: unknown preset \[1\]"),
        ({"device": "{preset: ../models/x}"}, r"m\.yaml:1: device\.preset: unknown preset"),
        ({"model": "llama3-8b"}, r"m\.yaml:2: model: expected \{preset: NAME\} or \{config: PATH\}, got 'llama3-8b'"),
        ({"model": "{presett: llama3-8b}"}, r"m\.yaml:2: model\.presett: unknown key 'presett' \(did you mean 'preset'\?\)"),
        ({"model": "{config: 3}"}, r"m\.yaml:2: model\.config: expected the path of a config\.json, got 3"),
        ({"model": "{preset: llama3-8b, hidden_size: 0}"}, r"m\.yaml:2: model\.hidden_size: must be an integer from 1"),
        ({"seed": "1.5"}, r"m\.yaml:4: seed: expected a whole number, got 1\.5"),
        ({"seed": "9007199254740992"}, r"m\.yaml:4: seed: must be at most 9007199254740991, got 9007199254740992"),
        ({"name": f"'{'x' * 300}'"}, r"m\.yaml:4: name: must have from 1 to 200 characters, got 300"),
        ({"serving": "{tp_method: x}"}, r"serving\.tp_method: unknown 'x'; use all_gather or all_reduce or megatron"),
        ({"workload": "{arrival: 3}"}, r"workload\.arrival: expected a mapping with kind: "),
        ({"workload": "{arrival: {kind: trace, path: ''}}"}, r"workload\.arrival\.path: must have at least 1 characters, got 0"),
        ({"workload": "{arrival: {kind: poisson, request_rate: 1}, lengths: {kind: quantiles, input: [[0, 1]], output: []}}"},
         r"workload\.lengths\.input: must have at least 2 entries, got 1"),
        ({"workload": "{arrival: {kind: poisson, request_rate: 1}, num_prompts: 2, lengths: {kind: quantiles, "
          "input: [[0, 2], [1, 1]], output: [[0, 1], [1, 1]]}}"}, r"m\.yaml:3: workload\.lengths\.input: tokens must not fall"),
    ],
)  # fmt: skip
def test_refusals(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        load(document(**sections))
    assert len(str(caught.value).splitlines()) == 1


def test_times_of_a_ramp_take_units(folder: Path) -> None:
    ramp = "workload.arrival={kind: ramp, rates: [[0 s, 2], [1 min, 10], [90, 4]]}"
    lengths = "workload.lengths={kind: fixed, input_len: 8, output_len: 8}"
    arrival = load("ador-llama3-8b", [ramp, lengths, "workload.num_prompts=9"]).workload.arrival
    assert isinstance(arrival, RampArrival) and arrival.rates == ((0, 2), (60, 10), (90, 4))
