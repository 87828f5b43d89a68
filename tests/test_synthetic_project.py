"""The kind of project that PyStack3D brings along: nothing found in it is worse by default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parity_projects import corrected, stored, write_project
from reference import output_array, run_reference
from scipy import ndimage

from pystack3d_dask.core.typing import Array

SLICES, SIZE = 60, 90
JUMPS = {14: 10, 24: -10, 34: 10}  # pixels along x, from this slice on
STEPS: dict[str, dict[str, Any]] = {
    "cropping": {"area": [20, 20 + SIZE, 0, SIZE]},
    "bkg_removal": {
        "dim": 3,
        "orders": [1, 1, 1],
        "cross_terms": True,
        "skip_factors": [5, 5, 5],
        "threshold_min": 5,
    },
    "intensity_rescaling": {"nbins": 256, "filter_size": -1},
    "registration_calculation": {
        "threshold": 0.5,
        "nb_blocks": [1, 1],
        "transformation": "TRANSLATION",
    },
    "registration_transformation": {"subpixel": False, "mode": "edge", "cropping": True},
}


def synthetic_stack() -> Array:
    """Return blobs in the dark that jump, lose contrast, and lie on a background, 8-bit."""
    rng = np.random.default_rng(3)
    noise = ndimage.gaussian_filter(rng.normal(size=(SLICES, SIZE, SIZE)), 4)
    values = ndimage.gaussian_filter((noise > 0).astype(float), 2, mode="mirror").clip(0, 1) / 2
    values[values < 0.02] = 0
    moved = 0
    for k, image in enumerate(values):
        moved += JUMPS.get(k, 0)
        image[...] = ndimage.shift(image, (0, moved), order=1, cval=0)
    for first, last, contrast in ((42, 45, 0.7), (47, 50, 0.4), (53, 56, 0.6)):
        values[first:last] *= contrast
    z, y, x = np.meshgrid(*(np.linspace(0, 1, n) for n in values.shape), indexing="ij")
    values += np.where(values > 0.05, 0.5 * x * y[:, ::-1] * z, 0)
    return (np.pad(values, ((0, 0), (0, 0), (20, 0))) * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Array]:
    """Return the shifts (x, y) against the slice before that each way finds."""
    folder = tmp_path_factory.mktemp("synthetic")
    stack = {".": synthetic_stack()}
    run_reference(write_project(folder / "reference", stack, STEPS))
    matrices = output_array(folder / "reference", "registration_calculation", "tmats.npy")
    shifts = {"reference": matrices.reshape(SLICES, 3, 3)[:, :2, 2]}
    for name, settings in (("default", {}), ("source", {"precision": "source"})):
        directory: Path = write_project(folder / name, stack, STEPS, **settings)
        corrected(directory)
        fit = stored(directory, "fits", "registration_calculation", "0")
        shifts[name] = fit["pairwise"][:, 0, :2, 2]
    return shifts


def wrong(shifts: Array) -> Array:
    """Return by how many pixels each shift is off, at most along an axis."""
    expected = np.zeros((SLICES, 2))
    expected[[*JUMPS], 0] = [*JUMPS.values()]
    return np.abs(shifts - expected).max(axis=1)


def test_no_motion_is_invented_by_default(found):
    still = np.setdiff1d(np.arange(SLICES), [*JUMPS])
    for way in ("default", "source"):
        assert wrong(found[way])[still].max() < 1.5, way


def test_jumps_are_found_by_default_where_the_reference_finds_them(found):
    seen = wrong(found["reference"]) < 1
    assert wrong(found["default"])[seen].max() < 1.5
    assert np.sum(wrong(found["default"]) >= 1) <= np.sum(~seen)
