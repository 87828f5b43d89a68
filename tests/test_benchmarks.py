"""The benchmarks run, and what they compare agrees; what they time is not tested."""

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
pytestmark = pytest.mark.slow


def output(script: str, *arguments: str) -> str:
    """Return what a benchmark prints."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / script), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def cells(table: str) -> list[list[str]]:
    """Return the cells of a table's rows, without those of its head."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_a_small_comparison_has_a_line_for_each_step_and_the_steps_agree():
    size = ["--slices", "4", "--size", "128", "--rounds", "1", "--workers", "1"]
    printed = output("compare_pystack3d.py", *size)
    rows = {
        row["name"]: (float(row["equal"]), float(row["apart"])) for row in ROW.finditer(printed)
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
        "the others together",
        "the chain of 7 steps",
    ]
    for several in ("the others together", "the chain of 7 steps"):
        assert rows.pop(several)[0] > 50, printed
    for name, (equal, apart) in rows.items():
        assert equal > 99, f"{name}\n{printed}"
        assert apart <= LEVELS, f"{name}\n{printed}"


def test_both_programs_remove_the_same_noise():
    rows = cells(output("destriping.py", "--sizes", "128", "--rounds", "1"))
    assert [row[1] for row in rows] == [
        "stripes along y",
        "stripes along x",
        "stripes at 2 degrees",
        "stripes at 30 degrees",
        "short stripes along y",
        "white noise",
    ]
    for row in rows:
        equal = re.fullmatch(r"([\d.]+)% equal, at most [01] apart", row[-1])
        assert equal is not None, row
        assert float(equal[1]) > 99.5, row
        theirs, ours = row[5].split(", ")
        assert theirs == ours


def test_the_code_for_gpus_gives_the_same_slices_on_numpy():
    printed = output("gpu_destriping.py", "--cpu", "--slices", "2", "--size", "128")
    equal = re.search(r"equal ([\d.]+)%, at most [01] apart", printed)
    assert equal is not None, printed
    assert float(equal[1]) > 99.5


def test_stacks_of_several_lengths_have_a_line_each():
    size = ["--size", "128", "--distinct", "3"]
    rows = cells(output("scaling.py", "slices", "--counts", "2", "5", "--workers", "1", *size))
    assert [row[:2] for row in rows] == [["2", "1"], ["5", "1"]]
    rows = cells(output("scaling.py", "workers", "--counts", "1", "--slices", "3", *size))
    assert [row[:2] for row in rows] == [["3", "1"]]
    uses = ["--uses", "share", "--slices", "3", "--workers", "1"]
    rows = cells(output("scaling.py", "gpus", *uses, *size))
    assert [row[:3] for row in rows] == [["3", "1", "share"]]


def test_small_blocks_are_counted():
    printed = output("scaling.py", "blocks", "--count", "70", "--workers", "1")
    assert printed.startswith("70 blocks, 1 workers")


def test_sharper_schemes_keep_more_and_flicker_less():
    size = ["--shape", "6", "128", "128", "--seeds", "1", "--cases", "porous: drift"]
    ((_, *figures),) = cells(output("flicker.py", *size))
    kept, flicker = zip(
        *(map(float, each.rstrip(" %").split(", ")) for each in figures), strict=True
    )
    assert kept == tuple(sorted(kept))
    assert flicker == tuple(sorted(flicker, reverse=True))


def test_both_methods_find_known_shifts():
    rows = cells(output("registration.py", "--sizes", "128", "--pairs", "2"))
    assert len(rows) == 9
    for row in rows:
        assert all(float(error) < 0.5 for error in row[-1].split(", ")), row
