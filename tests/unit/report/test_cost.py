"""The table of a device on a terminal."""

import pytest
from rich.console import Console

from hdasim.cost.experiment import Group
from hdasim.cost.summary import device_cost
from hdasim.report.cost import parts_of, print_cost
from hdasim.spec.load import load_device


def printed(name: str, *, terminal: bool) -> str:
    console = Console(width=160, force_terminal=terminal, color_system=None, record=True)
    print_cost([Group(name, 1, device_cost(load_device(name)))], None, console)
    return console.export_text()


def test_a_terminal_gets_a_stacked_bar() -> None:
    text = printed("ador", terminal=True)
    assert "█" * 100 in text and "█" * 101 not in text
    assert "█ control  █ vector ALUs  █ systolic arrays  █ MAC trees" in text
    assert "█" not in printed("ador", terminal=False)
    assert "█" not in printed("l40s", terminal=True)


@pytest.mark.parametrize("name", ["ador", "a100", "mi210"])
def test_the_parts_are_the_die(name: str) -> None:
    costs = device_cost(load_device(name))
    assert sum(area for _, area, _, _ in parts_of(costs)) == pytest.approx(costs["die_total_mm2"])


def test_names_are_not_taken_for_markup() -> None:
    console = Console(width=160, record=True)
    print_cost([Group("[red]chip[/red]", 1, device_cost(load_device("ador")))], None, console)
    assert "[red]chip[/red]" in console.export_text()
