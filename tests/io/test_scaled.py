"""Sources with voxels of a size that was given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiff_files import SHAPE, image, opened, write

from pystack3d_dask.io.wrappers.mended import Mended, Picked, acquisition
from pystack3d_dask.io.wrappers.scaled import LONGEST, SHORTEST, Scaled, check_voxel_size

PIXELS = image("uint8", (6, *SHAPE))


def tiff(folder: Path, **options: Any) -> Any:
    write(folder, PIXELS, **options)
    return opened(folder)


def test_what_is_given_counts_and_pixels_stay(tmp_path: Path) -> None:
    plain = tiff(tmp_path, resolution=(1e4, 1e4), resolutionunit=3)
    source = Scaled(plain, (0.02, 0.03, 0.05))
    (spec,) = source.specs
    assert (plain.specs[0].pixel_size, plain.specs[0].z) == ((1.0, 1.0), None)
    assert spec.pixel_size == (0.03, 0.02)  # rows are as far apart as pixels are high
    assert spec.z == pytest.approx([0.05 * k for k in range(6)])
    np.testing.assert_array_equal(source.read(0, spec.region), PIXELS)
    assert source.fingerprint == plain.fingerprint
    assert acquisition(source) is plain


def test_without_a_distance_slices_stay_where_they_are(tmp_path: Path) -> None:
    source = Scaled(tiff(tmp_path), (0.02, 0.03))
    assert source.specs[0].z is None
    assert source.specs[0].pixel_size == (0.03, 0.02)


def test_a_slice_lies_where_it_was_acquired_whichever_others_are_kept(tmp_path: Path) -> None:
    source = Scaled(tiff(tmp_path), (1, 1, 2))
    assert source.selected(2, 5).specs[0].z == (4, 6, 8)
    assert source.selected(2, 5).selected(1, 3).specs[0].z == (6, 8)
    assert source.selected(-2, 2).specs[0].z == (0, 2)
    assert Scaled(source.source.selected(2, 5), (1, 1, 2), first=2).specs[0].z == (4, 6, 8)
    assert Picked(source, (0, 4)).specs[0].z == (0, 8)


def test_what_stands_in_between_slices_depends_on_where_they_lie(tmp_path: Path) -> None:
    plain = tiff(tmp_path)
    near, far = (Scaled(plain, (1, 1, distance)) for distance in (1, 2))
    assert Mended(near, "keep").fingerprint == Mended(far, "keep").fingerprint
    assert Mended(near, "interpolate").fingerprint != Mended(far, "interpolate").fingerprint


def test_contradictions_are_told(tmp_path: Path) -> None:
    plain = tiff(tmp_path, resolution=(1e4, 1e4), resolutionunit=3)
    assert list(Scaled(plain, (1.0, 1.001, 7)).contradictions()) == []
    told = Scaled(Scaled(plain, (1, 1, 0.5)), (1, 1.2, 0.6)).contradictions()
    assert list(told) == [
        "pixels of 1 x 1.2 µm (x, y) are taken, the images tell 1 x 1 µm (x, y)",
        "slices 0.6 µm apart are taken, names or metadata tell 0.5 µm on average",
    ]


def test_slices_that_all_lie_in_one_place_contradict_no_distance(tmp_path: Path) -> None:
    plain = Scaled(tiff(tmp_path), (1, 1, 0.5))
    together = [replace(spec, z=(0.0,) * 6) for spec in plain.specs]
    stack = SimpleNamespace(specs=together)
    told = Scaled(stack, (2, 2)).contradictions()  # type: ignore[arg-type]
    assert list(told) == ["pixels of 2 x 2 µm (x, y) are taken, the images tell 1 x 1 µm (x, y)"]


@given(st.lists(st.floats(SHORTEST, LONGEST), min_size=2, max_size=3))
def test_sizes_of_two_or_three_lengths_are_taken(size: list[float]) -> None:
    assert list(check_voxel_size(size)) == size


@pytest.mark.parametrize("size", [[], [1], [1] * 4, [1, 0], [1, -1, 1], [1, np.nan], [1, np.inf]])
def test_others_are_refused(size: list[float]) -> None:
    with pytest.raises(ValueError, match=r"\[x, y\] or \[x, y, z\], each from .* found \["):
        check_voxel_size(size)
