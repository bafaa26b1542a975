"""The public names, however the package's modules were imported before."""

import subprocess
import sys

import pytest

import hdasim


@pytest.mark.parametrize("name", hdasim.__all__)
def test_public_names_exist(name: str) -> None:
    assert getattr(hdasim, name) is not None


@pytest.mark.parametrize(
    "before",
    ["", "import hdasim.simulate", "import hdasim.report.files", "hdasim.simulate", "from hdasim.simulate import Result"],
)
def test_simulate_is_the_function(before: str) -> None:
    code = f"import hdasim; {before}\nassert callable(hdasim.simulate) and callable(hdasim.simulate) and callable(hdasim.step)\n"
    code += "from hdasim import simulate; from hdasim.simulate import simulate as same; assert simulate is same"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_importing_the_package_is_quick() -> None:
    code = "import hdasim, sys; assert not {'numpy', 'networkx', 'msgspec', 'yaml', 'rich'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'simulat'"):
        _ = hdasim.simulat
