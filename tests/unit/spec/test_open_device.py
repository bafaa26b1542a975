"""Devices with overrides."""

from pathlib import Path

import pytest

import hdasim
from hdasim.errors import SpecError
from hdasim.spec.load import open_device


@pytest.mark.parametrize("prefix", ["", "device."])
def test_overrides_go_with_and_without_the_name_of_the_section(tmp_path: Path, prefix: str) -> None:
    file = tmp_path / "chip.yaml"
    for text in ("preset: ador\n", "device: {preset: ador}\n"):
        file.write_text(text, encoding="utf-8")
        device, _ = open_device(file, [f"{prefix}core_count=16", f"{prefix}area.links.count=8"])
        assert device.core_count == 16 and device.area is not None and device.area.links is not None
        assert (device.area.links.kind, device.area.links.count) == ("PCIe4", 8)
    device, _ = open_device("ador", [f"{prefix}preset=a100"])
    assert device.core_count == 108


@pytest.mark.parametrize(
    ("override", "message"),
    [("core_count", r"^--set core_count: expected KEY=VALUE"), ("core_cont=3", r"^--set core_cont=3: core_cont: unknown key"),
     ("area.links.kind=PCIe9", r"^--set area.links.kind=PCIe9: area.links.kind: unknown 'PCIe9'.*; use .*PCIe5")],
)  # fmt: skip
def test_overrides_that_do_not_fit(override: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        open_device("ador", [override])


def test_a_folder_with_the_name_of_a_preset_is_not_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ador", "ador-llama3-8b", "chip"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    assert open_device("ador")[0].name == "ador"
    assert hdasim.load("ador-llama3-8b").name == "ador-llama3-8b"
    with pytest.raises(SpecError, match="this is a directory"):
        open_device("chip")
