"""The demonstration stack: the same for one seed, with the defects that it announces."""

from __future__ import annotations

import tomllib
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy import ndimage
from stacks import WHOLE_CHAIN

from pystack3d_dask.core.registry import registry
from pystack3d_dask.core.typing import Array
from pystack3d_dask.demo import VOXEL_SIZE, DemoStack, params_toml, score, score_result
from pystack3d_dask.errors import ParameterError
from pystack3d_dask.lazy.corrections import open_result
from pystack3d_dask.pipeline import Pipeline

SMALL = DemoStack(shape=(12, 96, 80), shift=4)
CLEAN = replace(SMALL, border=0, shift=0, uneven=0, curtaining=0, shading=0, flicker=0, noise=0)
TEXTURES = pytest.mark.parametrize("texture", ["porous", "cellular"])
ORDER = [*WHOLE_CHAIN, "cropping_final"]


def specimen(stack: DemoStack, k: int) -> Array:
    """Return what slice ``k`` would show if it had not moved."""
    return stack.specimen(stack.z[k], (slice(0, stack.shape[1]), slice(0, stack.shape[2])))


@TEXTURES
def test_slices_depend_on_seed_and_index_only(texture):
    stack = replace(SMALL, texture=texture)
    forwards = [stack.slice(k) for k in range(12)]
    backwards = [replace(stack).slice(k) for k in reversed(range(12))]
    np.testing.assert_array_equal(forwards, backwards[::-1])
    assert not np.array_equal(stack.slice(3), replace(stack, seed=1).slice(3))
    assert not np.array_equal(stack.z, replace(stack, seed=1).z)


@TEXTURES
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("size", [(64, 64), (97, 131), (256, 256)])
def test_pixels_fill_their_type_without_clipping(texture, dtype, size):
    stack = DemoStack(shape=(6, *size), texture=texture, dtype=dtype)
    top = np.iinfo(dtype).max
    slices = np.stack([stack.slice(k) for k in range(6)])
    assert slices.dtype == dtype
    assert slices.shape == stack.shape
    assert np.ptp(slices) > top / 2
    assert np.isin(slices, [0, top]).mean() < 0.005


def test_without_defects_the_stack_is_the_truth():
    assert CLEAN.truth_shape == CLEAN.shape
    np.testing.assert_allclose(CLEAN.z, CLEAN.truth_z, atol=1e-9)
    for k, true in enumerate(CLEAN.truth()):
        np.testing.assert_allclose(CLEAN.slice(k), true, atol=0.51)


@TEXTURES
def test_undoing_the_shifts_gives_the_truth(texture):
    stack = replace(CLEAN, texture=texture, shift=4)
    assert np.abs(stack.shifts).max() == pytest.approx(4)
    for k in (3, 7, 11):
        image = stack.slice(k).astype(float)
        inside = slice(6, -6), slice(6, -6)
        moved = ndimage.shift(image, -stack.shifts[k], order=3)[inside]
        still, true = image[inside], stack.specimen(stack.z[k])[inside]
        # Edges are a pixel wide, too steep for splines.
        assert np.std(moved - true) < 5
        assert np.std(still - true) > 2 * np.std(moved - true)


def test_undoing_brightness_background_and_curtains_leaves_the_noise():
    stack = replace(SMALL, shift=0, border=0, dtype="uint16")
    for k in (0, 5, 11):
        undone = (stack.slice(k) - stack.offsets[k]) / stack.gains[k]
        undone -= stack.background(k) + stack.curtains(k)
        noise = undone - stack.specimen(stack.z[k])
        assert abs(noise.mean()) < 0.002 * 65535
        assert 0.4 * stack.noise < noise.std() / 65535 < stack.noise
        np.testing.assert_allclose(stack.face(k), stack.specimen(stack.z[k]), atol=1)


@pytest.mark.parametrize(
    ("defect", "injected"),
    [
        ("curtaining", lambda stack, k: stack.face(k) + stack.curtains(k)),
        ("shading", lambda stack, k: stack.face(k) + stack.background(k)),
        ("flicker", lambda stack, k: stack.face(k) * stack.gains[k] + stack.offsets[k]),
        ("uneven", lambda stack, k: specimen(stack, k)),
        ("border", lambda stack, k: stack.face(k)),
    ],
)
def test_each_defect_can_be_switched_on_alone_and_is_known(defect, injected):
    stack = replace(CLEAN, **{defect: getattr(SMALL, defect)})
    changed = 0.0
    for k in range(12):
        np.testing.assert_allclose(stack.slice(k), injected(stack, k), atol=0.51)
        changed = max(changed, np.abs(stack.slice(k).astype(float) - CLEAN.slice(k)).mean())
    assert changed > 1


def test_switching_a_defect_off_leaves_the_others():
    off = replace(SMALL, shading=0, noise=0)
    np.testing.assert_array_equal(off.shifts, SMALL.shifts)
    np.testing.assert_array_equal(off.z, SMALL.z)
    np.testing.assert_array_equal(off.gains, SMALL.gains)
    np.testing.assert_array_equal(off.curtains(5), SMALL.curtains(5))


def test_the_view_shows_the_specimen_in_every_slice():
    stack = replace(CLEAN, border=0.1, shift=3)
    alone = replace(stack, border=0)
    for k in range(12):
        np.testing.assert_array_equal(stack.slice(k)[stack.view], alone.slice(k)[stack.view])
    rows, columns = stack.view
    assert stack.slice(0)[: rows.start - 6, columns].min() > 140
    assert stack.slice(0)[:, : columns.start - 6].max() < 60


def test_truth_lies_a_voxel_apart_and_as_far_as_the_stack():
    stack = replace(SMALL, uneven=1)
    np.testing.assert_allclose(np.diff(stack.truth_z), VOXEL_SIZE)
    assert stack.truth_z[0] == stack.z[0] == 0
    assert stack.z[-1] - VOXEL_SIZE < stack.truth_z[-1] <= stack.z[-1] + 1e-9
    truth = list(stack.truth())
    assert np.shape(truth) == stack.truth_shape
    np.testing.assert_array_equal(truth[3], stack.specimen(3 * VOXEL_SIZE))


def test_detectors_see_the_same_specimen_with_another_contrast():
    one, other = SMALL, replace(SMALL, detector=1)
    np.testing.assert_array_equal(one.shifts, other.shifts)
    np.testing.assert_array_equal(one.z, other.z)
    assert not np.array_equal(one.gains, other.gains)
    first, second = one.specimen(0.05), other.specimen(0.05)
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.9
    assert np.abs(first - second).max() > 10


def test_blank_slices_are_blank_and_the_others_unchanged():
    stack = replace(SMALL, blank=(4,))
    assert not stack.slice(4).any()
    np.testing.assert_array_equal(stack.slice(5), SMALL.slice(5))
    np.testing.assert_array_equal(stack.specimen(stack.z[4]), SMALL.specimen(SMALL.z[4]))


@pytest.mark.parametrize("shape", [(1, 64, 64), (2, 65, 91), (3, 2000, 64)])
def test_any_size_and_a_single_slice_will_do(shape, tmp_path):
    stack = DemoStack(shape=shape)
    assert stack.slice(shape[0] - 1).shape == shape[1:]
    assert next(stack.truth()).shape == stack.truth_shape[1:]
    assert min(stack.truth_shape[1:]) > 0.65 * min(shape[1:])
    Pipeline.from_toml(stack.write(tmp_path / "demo")).plan()


def test_memory_does_not_grow_with_the_number_of_slices(tmp_path):
    def peak(name: str, slices: int) -> int:
        stack = DemoStack(shape=(slices, 200, 200))
        stack.slice(0)
        tracemalloc.start()
        for _ in stack.truth():
            pass
        stack.write(tmp_path / name)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    image = 200 * 200 * 4
    peak("compiles", 2)
    few, many = peak("few", 4), peak("many", 24)
    assert few < 20 * image
    assert many < few + 3 * image


def test_written_project_holds_the_slices_and_fitting_parameters(tmp_path: Path):
    directory = SMALL.write(tmp_path / "new" / "demo", compression="deflate")
    names = [f"slice_{k:04d}_z={z:.4f}um.tif" for k, z in enumerate(SMALL.z)]
    assert sorted(path.name for path in directory.iterdir()) == ["params.toml", *names]
    np.testing.assert_array_equal(tifffile.imread(directory / names[11]), SMALL.slice(11))
    spec = Pipeline.from_toml(directory).project.source.specs[0]
    np.testing.assert_allclose(spec.z, SMALL.z, atol=1e-9)
    assert spec.pixel_size == pytest.approx((VOXEL_SIZE, VOXEL_SIZE))


def test_parameters_name_the_steps_that_there_are_with_a_table_each():
    params = tomllib.loads(params_toml(SMALL))
    steps = params["process_steps"]
    assert steps == [name for name in ORDER if name in registry()]
    assert {key for key, value in params.items() if isinstance(value, dict)} == set(steps)
    left, right, bottom, top = params["cropping"]["area"]
    assert (slice(96 - top, 96 - bottom), slice(left, right)) == SMALL.view


def test_every_channel_is_a_directory(tmp_path: Path):
    directory = SMALL.write(tmp_path / "demo", channels=("ESB", "SE2"))
    for detector, channel in enumerate(("ESB", "SE2")):
        (path,) = (directory / channel).glob("slice_0007_*.tif")
        expected = replace(SMALL, detector=detector).slice(7)
        np.testing.assert_array_equal(tifffile.imread(path), expected)
    assert Pipeline.from_toml(directory).project.source.channels == ("ESB", "SE2")


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
        DemoStack(
            shape=(0, 40, 80),
            seed=-1,
            texture="fluffy",
            dtype="int8",
            flicker=2,
            shift=9,
            blank=(3,),
        )
    paths = [problem.path for problem in caught.value.problems]
    assert paths == ["shape", "shape", "seed", "texture", "dtype", "shift", "flicker", "blank"]


@TEXTURES
def test_the_chain_mends_background_and_brightness(tmp_path: Path, texture):
    stack = replace(
        CLEAN, shape=(20, 256, 256), texture=texture, border=0.06, shading=0.3, flicker=0.1
    )
    pipeline = Pipeline.from_toml(
        stack.write(tmp_path / "demo"), steps=["cropping", "bkg_removal", "intensity_rescaling"]
    )
    pipeline.run()
    after = score_result(open_result(tmp_path / "demo")[0], stack)
    before = score(stack.uncorrected(), stack.truth(stack.z))
    assert after.rmse < before.rmse / 2
    assert after.jumps < before.jumps / 2
