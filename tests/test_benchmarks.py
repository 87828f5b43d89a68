"""The comparison of both programs runs, and its steps agree; what it times is not tested."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROW = re.compile(
    r"^(?P<name>\S.*?) +[\d.]+ s +[\d.]+ s +x *[\d.]+ +\d+ MiB +\d+ MiB"
    r" +(?P<equal>[\d.]+)% equal, at most (?P<apart>\S+)",
    re.MULTILINE,
)
LEVELS = 1  # each step may round otherwise, on equal input


@pytest.mark.slow
def test_a_small_comparison_has_a_line_for_each_step_and_the_steps_agree():
    script = ROOT / "benchmarks" / "compare_pystack3d.py"
    size = ["--slices", "4", "--size", "128", "--rounds", "1", "--workers", "1"]
    done = subprocess.run(
        [sys.executable, str(script), *size], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = {
        row["name"]: (float(row["equal"]), float(row["apart"])) for row in ROW.finditer(done.stdout)
    }
    assert list(rows) == [
        "cropping",
        "bkg_removal",
        "intensity_rescaling",
        "intensity_rescaling_area",
        "registration_calculation",
        "registration_transformation",
        "destriping",
        "resampling",
        "the chain of 7 steps",
    ]
    chain = rows.pop("the chain of 7 steps")
    assert chain[0] > 50, done.stdout
    for name, (equal, apart) in rows.items():
        assert equal > 99, f"{name}\n{done.stdout}"
        assert apart <= LEVELS, f"{name}\n{done.stdout}"
