"""Notes on the numbers in names of slices."""

from __future__ import annotations

import pytest

from pystack3d_dask.io.numbering import notes_on_names


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["a.tif"],
        ["a.tif", "b.tif"],
        [f"slice_{k:04d}.tif" for k in range(12)],
        [f"slice_{k:04d}.tif" for k in range(0, 24, 2)],
        [f"2026-03-0{1 + k // 5}_{k:03d}.tif" for k in range(12)],
        [f"slice_{k:04d}_z={z:.4f}um.tif" for k, z in enumerate((0, 0.01, 0.05, 0.07))],
        ["z=0.0000um.tif", "z=0.0100um.tif", "z=0.0500um.tif", "z=0.0700um.tif"],
        ["a9.tif", "b10.tif", "c2.tif"],
        ["z=0.25um.tif", "z=0.5um.tif", "z=0.75um.tif", "z=1um.tif"],
        [f"image{k}.tif" for k in (3, 7, 8)],
        ["x" + "9" * 4000 + ".tif"] * 2,
    ],
    ids=lambda names: names[-1][:30] if names else "none",
)
def test_names_that_count_as_they_sort_draw_no_note(names):
    assert not list(notes_on_names(sorted(names)))


def test_numbers_that_sort_otherwise_than_they_count_are_told():
    (note,) = notes_on_names(sorted(f"img{k}.tif" for k in range(1, 13)))
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
        ([*range(10), *range(17, 30)], "missing: 10, 11, 12, ..."),
        ([*range(10), 10**12], "missing: 10, 11, 12, ..."),
    ],
)
def test_numbers_that_are_left_out_are_told(numbers, told):
    (note,) = notes_on_names([f"slice_{k:014d}_z={k * 0.01:.4f}um.tif" for k in numbers])
    assert note.endswith(told)
