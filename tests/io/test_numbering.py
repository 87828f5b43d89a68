"""Notes on the numbers in names of slices."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from stacks import write_params

from pystack3d_dask import open_stack
from pystack3d_dask.io.numbering import notes_on_channels, notes_on_names

TWELVE = range(1, 13)
# ways to name slice k of n in a stack, by what a microscopist or a system does
UNPADDED: dict[str, Callable[[int], str]] = {
    "plain": lambda k: f"s{k}.tif",
    "copies of Windows": lambda k: f"img ({k}).tif" if k > 1 else "img.tif",
    "copies of macOS": lambda k: f"img copy {k}.tif" if k > 1 else "img copy.tif",
    "dotted": lambda k: f"scan1.{k}.tif",
    "version": lambda k: f"v1.0.{k}.tif",
    "the first without a number": lambda k: f"s{k - 1}.tif" if k > 1 else "s.tif",
    "mixed padding": lambda k: f"s{k:0{1 + k % 3}d}.tif",
    "mixed case": lambda k: f"{'Img' if k % 2 else 'img'}_{k}.TIF",
    "signed positions": lambda k: f"z={k * 0.01 - 0.055:.4f}um.tif",
    "signed counts": lambda k: f"z_{k - 6}.tif",
    "dashes that are signs": lambda k: f"pos {k - 6:+d}.tif",
    "positions without padding": lambda k: f"z={k * 1.5:.2f}um.tif",
    "exponents": lambda k: f"z={k * 2e-5:.1e}um.tif",
    "day before month": lambda k: f"{[30, 31, 1][k % 3]:02d}.{3 + (k % 3 == 2):02d}_{k:03d}.tif",
    "positions that go up and down": lambda k: f"slice_{k:04d}_z={k % 7:.4f}um.tif",
    "a count behind other numbers": lambda k: f"run{9 - k % 2}_{k:03d}.tif",
}


@pytest.mark.parametrize("way", UNPADDED)
def test_names_that_sort_otherwise_than_they_count_are_told(way: str) -> None:
    names = sorted(map(UNPADDED[way], TWELVE))
    assert names != [UNPADDED[way](k) for k in TWELVE] or "up and down" in way
    notes = notes_on_names(names)
    assert any("slices are taken in the order of their names" in note for note in notes)


@given(
    count=st.integers(2, 120),
    first=st.integers(0, 100),
    step=st.integers(1, 9),
    before=st.from_regex(r"[A-Za-z_ -]{0,8}", fullmatch=True).filter(lambda t: t[-1:] != "_"),
    after=st.sampled_from(["", "_ESB", "um", "_x", " (bse)"]),
    suffixes=st.lists(st.sampled_from([".tif", ".TIF", ".tiff", ".Tif"]), min_size=1, max_size=4),
)
def test_padded_counts_draw_no_note_whatever_else_is_in_the_names(
    count: int, first: int, step: int, before: str, after: str, suffixes: list[str]
) -> None:
    names = [
        f"{before}{first + k * step:05d}{after}{suffixes[k % len(suffixes)]}" for k in range(count)
    ]
    assert notes_on_names(sorted(names)) == []


@given(st.permutations(range(12)), st.integers(0, 3))
def test_every_order_but_that_of_the_numbers_is_told(order: list[int], width: int) -> None:
    names = [f"s{k:0{width}d}.tif" for k in order]
    told = any("in the order of their names" in note for note in notes_on_names(names))
    assert told == (order != sorted(order))


@given(st.lists(st.integers(0, 10**6), unique=True, min_size=1, max_size=30), st.data())
def test_any_names_are_taken_apart(numbers: list[int], data: st.DataObject) -> None:
    names = data.draw(
        st.lists(st.text(max_size=20), min_size=1, max_size=len(numbers), unique=True)
    )
    notes_on_names(sorted(f"{a}{b}.tif" for a, b in zip(names, numbers, strict=False)))


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["a.tif"],
        ["a.tif", "b.tif"],
        [f"slice_{k:04d}.tif" for k in range(12)],
        [f"slice-{k:04d}.tif" for k in range(12)],
        [f"slice - {k:04d}.tif" for k in range(12)],
        [f"slice_{k:04d}.tif" for k in range(0, 24, 2)],
        [f"2026-03-0{1 + k // 5}_{k:03d}.tif" for k in range(12)],
        [f"2026-03-01 12-{k // 6:02d}-{k % 6 * 10:02d}.tif" for k in range(24)],
        [f"slice_{k:04d}_z={z:.4f}um.tif" for k, z in enumerate((0, 0.01, 0.05, 0.07))],
        [f"slice_{k:04d}_z={z:.4f}um.tif" for k, z in enumerate((0.05, 0.04, 0.01, -0.01))],
        [f"slice_{k:04d}_id{k**5 % 10007}.tif" for k in range(40)],
        ["z=0.0000um.tif", "z=0.0100um.tif", "z=0.0500um.tif", "z=0.0700um.tif"],
        ["a9.tif", "b10.tif", "c2.tif"],
        ["z=0.25um.tif", "z=0.5um.tif", "z=0.75um.tif", "z=1um.tif"],
        ["d0.25.tif", "d0.5.tif", "d0.75.tif", "d1.tif"],
        ["d0.05.tif", "d0.1.tif", "d0.15.tif", "d0.2.tif"],
        [f"image{k}.tif" for k in (3, 7, 8)],
        [f"image{k}{'ab'[k == 3]}.tif" for k in range(1, 6)],
        ["x" + "9" * length + ".tif" for length in (4000, 4001)],
        ["s00.tif", "s01.TIF", "s02.tiff", "s03.TIFF"],
        ["overview.tif", "s001.tif", "s002.tif", "s003.tif"],
    ],
    ids=lambda names: names[-1][:30] if names else "none",
)
def test_names_that_count_as_they_sort_draw_no_note(names):
    assert not notes_on_names(sorted(names))


def test_the_note_names_the_first_slice_out_of_order_and_the_remedy() -> None:
    (note,) = notes_on_names(sorted(f"img{k}.tif" for k in TWELVE))
    assert "img10.tif as number 1, where img2.tif would be" in note
    assert "same count of digits" in note


def test_decimals_that_sort_otherwise_than_they_count_are_told():
    (note,) = notes_on_names(sorted(f"z={z}um.tif" for z in ("0", "0.0125", "0.025")))
    assert "z=0.0125um.tif as number 0, where z=0um.tif would be" in note


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ([0, 1, 2, 4, 5], "missing: 3"),
        ([0, 10, 20, 40], "missing: 30"),
        ([*range(10), *range(17, 30)], "missing: 10 to 16"),
        ([*range(10), 10**12], "missing: 10 to 999999999999"),
        ([1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15, 17, 18], "missing: 4, 8, 12, ..."),
    ],
)
def test_numbers_that_are_left_out_are_told(numbers, told):
    (note,) = notes_on_names([f"slice_{k:014d}_z={k * 0.01:.4f}um.tif" for k in numbers])
    assert note.endswith(told)


def test_a_gap_among_copies_and_unpadded_names_is_told() -> None:
    copies = ["img.tif", *(f"img ({k}).tif" for k in (2, 3, 4, 6, 7))]
    assert any(note.endswith("missing: 5") for note in notes_on_names(sorted(copies)))
    plain = [f"s{k}.tif" for k in range(12) if k != 4]
    assert any(note.endswith("missing: 4") for note in notes_on_names(sorted(plain)))


@pytest.mark.parametrize(
    "names",
    [
        ["s001.tif", "s002.tif", "s002.tiff", "s003.tif"],
        ["s1.tif", "s02.tif", "s2.tif", "s3.tif"],
        [f"slice_{k:04d}_z={0.01 * z:.4f}um.tif" for z, k in enumerate([0, 1, 2, 2, 3, 4])],
    ],
)
def test_the_same_number_twice_is_told(names: list[str]) -> None:
    assert any("there twice: " in note for note in notes_on_names(sorted(names)))


def test_channels_in_one_directory_are_told() -> None:
    names = sorted(f"s{k:03d}_{channel}.tif" for k in range(5) for channel in ("ESB", "SE2"))
    (note,) = notes_on_names(names)
    assert note.startswith("names count 2 times from s000_ESB.tif, s000_SE2.tif")


def test_channels_whose_slices_have_other_numbers_are_told() -> None:
    a = [f"a_{k:03d}.tif" for k in (1, 2, 3, 5)]
    b = [f"b_{k:03d}.tif" for k in (1, 2, 4, 5)]
    notes = notes_on_channels({"ESB": a, "SE2": b})
    assert "ESB/a_003.tif is taken with SE2/b_004.tif" in notes[-1]
    assert re.match("SE2: by the numbers .* missing: 3", notes[1])
    shifted = [f"b_{k:03d}.tif" for k in (2, 3, 4, 6)]
    assert not [n for n in notes_on_channels({"ESB": a, "SE2": shifted}) if "together" in n]


def test_slices_stay_in_the_order_of_their_names_and_commands_tell(
    tmp_path: Path, call: Any
) -> None:
    for k in TWELVE:
        tifffile.imwrite(tmp_path / f"scan1.{k}.tif", np.full((16, 16), k, "uint8"))
    write_params(tmp_path, [])
    with pytest.warns(UserWarning, match="order of their names"):
        stack = open_stack(tmp_path)
    assert stack[0, :, 0, 0].values.tolist() == [1, 10, 11, 12, *range(2, 10)]
    assert "scan1.10.tif as number 1" in call("plan", tmp_path).err
    assert call("run", tmp_path, "--workers", 0).status == 0
    (remark,) = json.loads((tmp_path / "process" / "summary.json").read_text())["remarks"]
    assert "scan1.10.tif as number 1" in remark
