"""The demonstration stack: the same for one seed, with the defects that it announces."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from pystack3d_dask.demo import DemoStack, Score, score
from pystack3d_dask.errors import ParameterError
from pystack3d_dask.spec import Array

SMALL = DemoStack(shape=(12, 96, 80), margin=5)
CLEAN = replace(SMALL, margin=0, background=0, jumps=0)
TEXTURES = pytest.mark.parametrize("texture", ["porous", "cellular"])


def correlation(one: Array, other: Array) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


@TEXTURES
def test_slices_depend_on_seed_and_index_only(texture):
    stack = replace(SMALL, texture=texture)
    forwards = [stack.slice(z) for z in range(12)]
    backwards = [replace(stack).slice(z) for z in reversed(range(12))]
    np.testing.assert_array_equal(forwards, backwards[::-1])
    assert not np.array_equal(stack.slice(3), replace(stack, seed=1).slice(3))


@TEXTURES
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_pixels_fill_their_type_without_clipping(texture, dtype):
    stack = replace(SMALL, texture=texture, dtype=dtype)
    top = np.iinfo(dtype).max
    truth = np.stack(list(stack.truth()))
    defective = np.stack([stack.slice(z) for z in range(12)])
    assert truth.dtype == defective.dtype == dtype
    assert truth.shape == stack.truth_shape == (12, 81, 70)
    assert defective.shape == stack.shape
    assert 0 < truth.min() < truth.max() < top
    assert np.ptp(truth) > top / 2
    assert np.isin(defective, [0, top]).mean() < 0.01


@TEXTURES
def test_neighbours_resemble_each_other_more_than_distant_slices(texture):
    stack = replace(CLEAN, texture=texture)
    first, second, last = (stack.truth_slice(z) for z in (0, 1, 11))
    assert correlation(first, second) > 0.6
    assert correlation(first, second) > correlation(first, last) + 0.2


def test_without_defects_the_stack_is_the_truth():
    assert CLEAN.truth_shape == CLEAN.shape
    np.testing.assert_array_equal(CLEAN.slice(4), CLEAN.truth_slice(4))


def test_border_surrounds_the_truth_and_is_twice_as_wide_at_the_top():
    stack = replace(SMALL, background=0, jumps=0)
    image = stack.slice(4)
    np.testing.assert_array_equal(image[10:-5, 5:-5], stack.truth_slice(4))
    assert image[:10].min() > 180
    assert max(image[-5:].max(), image[10:, :5].max(), image[10:, -5:].max()) < 80


def test_jumps_change_each_slice_by_one_factor():
    stack = replace(CLEAN, jumps=0.1, dtype="uint16")
    factors = []
    for z in range(12):
        true = stack.truth_slice(z)
        factors.append(stack.slice(z).mean() / true.mean())
        np.testing.assert_allclose(stack.slice(z), true * factors[-1], atol=1.5)
    assert np.ptp(factors) > 0.05
    assert np.abs(np.array(factors) - 1).max() <= 0.1


def test_background_is_the_polynomial_that_the_parameters_fit():
    stack = replace(CLEAN, background=0.2, dtype="uint16")
    added = np.stack([stack.slice(z).astype(float) - stack.truth_slice(z) for z in range(12)])
    z, y, x = (grid.ravel() for grid in np.mgrid[0:1:12j, 0:1:96j, 0:1:80j])
    basis = np.stack([np.ones_like(x), x, x**2, y, y**2, z], axis=1)
    fit = np.linalg.lstsq(basis, added.ravel())[0]
    # Half a level from each of the two roundings.
    assert np.abs(added.ravel() - basis @ fit).max() < 2
    assert np.ptp(added) == pytest.approx(0.2 * 65535, abs=3)


def test_written_project_holds_the_slices_and_fitting_parameters(tmp_path: Path):
    directory = SMALL.write(tmp_path / "new" / "demo")
    files = sorted(path.name for path in directory.iterdir())
    assert files == [
        "params.toml",
        *(f"slice_{z:04d}_z={z / 100:.4f}um.tif" for z in range(12)),
    ]
    np.testing.assert_array_equal(
        tifffile.imread(directory / "slice_0011_z=0.1100um.tif"), SMALL.slice(11)
    )
    params = tomllib.loads((directory / "params.toml").read_text(encoding="utf-8"))
    assert params["process_steps"] == ["cropping", "bkg_removal", "intensity_rescaling"]
    assert set(params["process_steps"]) < set(params)
    left, right, bottom, top = params["cropping"]["area"]
    assert (slice(96 - top, 96 - bottom), slice(left, right)) == SMALL.view


@pytest.mark.parametrize("name", ["precious.txt", "params.toml"])
def test_nothing_is_written_where_something_lies(tmp_path: Path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(ParameterError, match="expected a new or an empty directory"):
        SMALL.write(tmp_path)
    with pytest.raises(ParameterError, match="expected a new or an empty directory"):
        SMALL.write(tmp_path / name)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_all_wrong_parameters_are_named_at_once():
    with pytest.raises(ParameterError) as caught:
        DemoStack(shape=(0, 40, 80), seed=-1, texture="fluffy", dtype="int8", jumps=2)
    paths = [problem.path for problem in caught.value.problems]
    assert paths == ["shape", "shape", "seed", "texture", "dtype", "jumps"]


@given(gain=st.floats(0.1, 10), offset=st.floats(-1000, 1000))
def test_score_ignores_gain_and_offset(gain, offset):
    stack = replace(SMALL, shape=(3, 40, 40))
    uncorrected, truth = list(stack.uncorrected()), list(stack.truth())
    found = score((gain * image + offset for image in uncorrected), truth)
    expected = score(uncorrected, truth)
    assert found.rmse == pytest.approx(expected.rmse, rel=1e-6)
    assert found.jumps == pytest.approx(expected.jumps, rel=1e-6)
    assert score((gain * image + offset for image in truth), truth).rmse < 1e-3


def test_score_of_the_truth_is_zero():
    itself = score(SMALL.truth(), SMALL.truth())
    assert itself.rmse == pytest.approx(0, abs=1e-4)
    assert itself.jumps == pytest.approx(0, abs=1e-9)


def test_score_is_in_grey_levels_of_the_truth():
    rng = np.random.default_rng(0)
    truth = rng.normal(100, 20, (4, 64, 64))
    noise = rng.normal(0, 3, truth.shape)
    found = score(truth + noise, truth)
    # The best gain shrinks noise a little, as Wiener's does.
    assert found.rmse == pytest.approx(3 / np.hypot(1, 3 / 20), rel=0.05)
    assert found.jumps < 0.5


def test_score_of_one_constant_slice_is_the_spread_of_the_truth():
    truth = SMALL.truth_slice(0)
    found = score([np.full_like(truth, 7)], [truth])
    assert found == Score(rmse=pytest.approx(truth.std()), jumps=0)


def test_score_refuses_stacks_of_different_length():
    with pytest.raises(ValueError, match="argument"):
        score([SMALL.truth_slice(0)], SMALL.truth())
