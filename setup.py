"""The C core as one extension. Metadata is in pyproject.toml.

Environment: HDASIM_SANITIZE=1 (ASan and UBSan), HDASIM_COVERAGE=1 (gcov), HDASIM_DEBUG=1 (Cython bounds checks, no optimisation).
"""

import os
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup


def switched(name: str) -> bool:
    return os.environ.get(name, "0") not in ("", "0")


# No contraction into fused multiply-adds and no fast math: the same file and seed give the same bytes on every machine.
compile_args = ["-std=c11", "-O3", "-ffp-contract=off", "-Wall", "-Wextra"]
link_args: list[str] = []
directives: dict[str, bool] = {}
if switched("HDASIM_SANITIZE"):
    compile_args += ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
    link_args += ["-fsanitize=address,undefined"]
if switched("HDASIM_COVERAGE"):
    compile_args += ["-O0", "--coverage"]
    link_args += ["--coverage"]
if switched("HDASIM_DEBUG"):
    compile_args += ["-g", "-O0"]
    directives = {"boundscheck": True, "wraparound": True}

core = Extension(
    "hdasim.core._core",
    ["hdasim/core/_core.pyx", *sorted(glob("csrc/*.c"))],
    include_dirs=["csrc"],
    depends=[*glob("csrc/*.h"), *glob("hdasim/core/*.pxi")],
    extra_compile_args=compile_args,
    extra_link_args=link_args,
    libraries=["m"],
)
setup(
    ext_modules=cythonize([core], compiler_directives=directives),
    # traces/ stands beside the package in the source tree and inside it once installed
    packages=[*find_packages(include=["hdasim", "hdasim.*"]), "hdasim.presets.traces"],
    package_dir={"hdasim.presets.traces": "traces"},
    include_package_data=False,
    package_data={"hdasim": ["py.typed", "core/*.pyi", "presets/*/*"], "hdasim.presets.traces": ["*"]},
)
