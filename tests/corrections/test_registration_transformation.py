"""Slices moved onto each other: what of a fit is used, what appears, what is kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from stack_tools import posed, registration_fit, spec_of, turned

from pystack3d_dask.core.chain import Chain, Work
from pystack3d_dask.corrections.cropping import Cropping
from pystack3d_dask.corrections.registration_calculation import RegistrationCalculation
from pystack3d_dask.corrections.registration_transformation import RegistrationTransformation
from pystack3d_dask.corrections.resampling import Resampling
from pystack3d_dask.engine.block import run_block
from pystack3d_dask.errors import RunError
from pystack3d_dask.kernels.intensity.gray_range import fill_of_slice
from pystack3d_dask.kernels.registration.affine import identities
from pystack3d_dask.kernels.registration.warp import MODES
from pystack3d_dask.project.project import check_steps

SHAPE = (60, 72)
IMAGES = np.random.default_rng(0).integers(1, 255, (5, *SHAPE)).astype(np.uint8)
CALCULATION = RegistrationCalculation(transformation="RIGID_BODY")
SHIFTS = np.array([[0, 0], [3, -2], [-1, 4], [5, 5], [-4, 1]])  # of each slice, (x, y)
every_mode = pytest.mark.parametrize("mode", MODES)


def fit_of(pairwise, grid=(1, 1)):
    """Return a fit of registration_calculation on the whole image."""
    return registration_fit(pairwise, SHAPE, grid)


def fit_of_shifts(shifts, grid=(1, 1)):
    """Return the fit of slices that lie at these places."""
    pairwise = identities(len(shifts), grid[0] * grid[1])
    pairwise[1:, :, :2, 2] = np.diff(shifts, axis=0)[:, None]
    return fit_of(pairwise, grid)


def chain_of(fit, *between, images=IMAGES, precision="float32", **parameters):
    blocks = tuple(int(n) for n in fit["grid"])
    steps = (replace(CALCULATION, nb_blocks=blocks), *between)
    steps = (*steps, RegistrationTransformation(**parameters))
    return Chain(steps, spec_of(images, precision), {CALCULATION.name: fit})


def run(chain, images=IMAGES):
    out = chain.levels[-1]
    values = np.empty(out.shape, out.dtype)

    def emit(level, z, image):
        values[z] = image

    end = len(chain.steps)
    work = Work(reads=0, end=end, stores=(end,))
    report = run_block(chain, work, out.region, lambda region: images[region.slices], emit)
    return values, report.figures[end]


def transformed(fit, *between, images=IMAGES, **parameters):
    return run(chain_of(fit, *between, images=images, **parameters), images)[0]


def shifted(mode="constant", shifts=SHIFTS, images=IMAGES):
    """Return slices of which each is moved back by its shift."""
    rows, columns = images.shape[1:]
    pads = [np.pad(image, 30, mode=mode) for image in images]
    return np.array(
        [
            pad[30 + y : 30 + y + rows, 30 + x : 30 + x + columns]
            for pad, (x, y) in zip(pads, shifts, strict=True)
        ]
    )


@every_mode
@pytest.mark.parametrize("grid", [(1, 1), (2, 3)], ids=["whole", "blocks"])
@pytest.mark.parametrize("precision", ["float32", "source"])
def test_slices_move_back_by_whole_pixels_exactly(mode, grid, precision):
    found = transformed(fit_of_shifts(SHIFTS, grid), mode=mode, precision=precision)
    np.testing.assert_array_equal(found, shifted(mode))


def test_known_turns_are_taken_back():
    rng = np.random.default_rng(3)
    pairwise = [turned(a, (30, 25), (x, y)) for a, x, y in rng.uniform(-2, 2, (6, 3))]
    poses = [np.eye(3)]
    for matrix in pairwise[1:]:
        poses.append(matrix @ poses[-1])
    images = posed(poses, SHAPE)
    chain = chain_of(fit_of(np.array(pairwise)[:, None]), images=images)
    found, figures = run(chain, images)
    inner = found[:, 14:-14, 14:-14].astype(float)
    assert np.abs(inner - inner[0]).mean() < 1  # the other order: see test_reference_defects
    np.testing.assert_allclose([figures[z]["matrix"][0] for z in range(6)], poses, atol=1e-9)


def test_small_shifts_are_left_out_on_demand():
    shifts = np.array([[0, 0], [0.9, 3], [1.8, 6], [5.8, 5.5], [5.8, 5.5]])
    found = transformed(fit_of_shifts(shifts), subpixel=False)
    whole = np.array([[0, 0], [0, 3], [0, 6], [4, 6], [4, 6]])
    np.testing.assert_array_equal(found, shifted(shifts=whole))


def test_a_drift_is_left_in():
    drift = np.outer(np.arange(5), [2, -1])
    found = transformed(fit_of_shifts(SHIFTS + drift), constant_drift=(2.0, -1.0))
    np.testing.assert_array_equal(found, shifted())


def test_a_slow_motion_is_left_in_by_a_running_mean():
    drift = np.outer(np.arange(9), [1, 2])
    images = np.random.default_rng(1).integers(1, 255, (9, *SHAPE)).astype(np.uint8)
    found = transformed(fit_of_shifts(drift), images=images, box_size_averaging=3)
    np.testing.assert_allclose(found[1:-1], images[1:-1], atol=1e-3)
    for box in (1, 0):
        plain = transformed(fit_of_shifts(drift), images=images, box_size_averaging=box)
        np.testing.assert_array_equal(plain, shifted(shifts=drift, images=images))


def brute_force(fit, **parameters):
    """Return which pixels every slice reaches."""
    ones = np.ones_like(IMAGES)
    return (transformed(fit, images=ones, **parameters) > 0.99).all(axis=0)


def turning_fit(grid=(1, 1)):
    pairwise = identities(5, grid[0] * grid[1])
    rng = np.random.default_rng(0)
    for k in range(1, 5):
        for block in range(grid[0] * grid[1]):
            angle, x, y = rng.uniform(-1.5, 1.5, 3)
            pairwise[k, block] = turned(angle, (36, 30), (x, y))
    return fit_of(pairwise, grid)


@pytest.mark.parametrize("grid", [(1, 1), (2, 2)], ids=["whole", "blocks"])
@pytest.mark.parametrize("mode", ["constant", "edge"])
def test_cropping_keeps_the_largest_rectangle_that_all_slices_reach(grid, mode):
    fit = turning_fit(grid)
    chain = chain_of(fit, cropping=True, mode=mode)
    top, bottom, left, right = chain.fitted(1)["rectangle"]
    valid = brute_force(fit)
    assert valid[top:bottom, left:right].all()
    assert bottom - top > 40
    for grown in [(top - 1, bottom, left, right), (top, bottom + 1, left, right)]:
        rows = slice(max(grown[0], 0), grown[1])
        assert grown[0] < 0 or grown[1] > SHAPE[0] or not valid[rows, left:right].all()
    whole = transformed(fit, mode=mode)
    np.testing.assert_array_equal(run(chain)[0], whole[:, top:bottom, left:right])
    assert chain.levels[-1].origin == (top, left)


def test_cropping_after_whole_shifts_keeps_what_is_common():
    chain = chain_of(fit_of_shifts(SHIFTS), cropping=True)
    right, down = SHIFTS.max(axis=0)
    left, up = -SHIFTS.min(axis=0)
    kept = shifted()[:, up : SHAPE[0] - down, left : SHAPE[1] - right]
    np.testing.assert_array_equal(run(chain)[0], kept)


@pytest.mark.parametrize("rest", [5e-7, -5e-7])
def test_shifts_of_next_to_nothing_cost_no_row(rest):
    chain = chain_of(fit_of_shifts(SHIFTS * 0.0 + [[0, 0], *[[rest, -rest]] * 4]), cropping=True)
    assert chain.levels[-1].shape == IMAGES.shape


def test_slices_that_have_nothing_in_common_are_an_error():
    far = SHIFTS * 0 + [[0, 0], [40, 0], [0, 0], [-40, 0], [0, 0]]
    with pytest.raises(RunError, match="no pixel that every slice reaches"):
        chain_of(fit_of_shifts(far), cropping=True).levels  # noqa: B018


def test_before_the_fit_the_shape_is_a_bound():
    chain = replace(chain_of(fit_of_shifts(SHIFTS), cropping=True), fits={})
    assert chain.levels[-1].is_bound
    assert chain.levels[-1].shape == IMAGES.shape
    assert not replace(chain_of(fit_of_shifts(SHIFTS)), fits={}).levels[-1].is_bound


@pytest.mark.parametrize("grid", [(1, 1), (2, 2), (1, 3)], ids=str)
def test_a_crop_between_gives_what_a_crop_behind_gives(grid):
    area = (9, 65, 8, 50)
    fit = turning_fit(grid)
    between = transformed(fit, Cropping(area=area))
    rows, columns = slice(SHAPE[0] - 50, SHAPE[0] - 8), slice(9, 65)
    behind = transformed(fit)[:, rows, columns]
    common = transformed(fit, Cropping(area=area), images=np.ones_like(IMAGES)) > 0.999
    assert common.mean() > 0.7
    np.testing.assert_allclose(between[common], behind[common], atol=1e-2)


@pytest.mark.parametrize("interpolation", ["catmull-rom", "cubic", "lanczos3"])
@pytest.mark.parametrize("grid", [(1, 1), (2, 2)])
def test_wider_interpolation_is_nearer_to_the_truth(interpolation, grid):
    poses = [np.eye(3), turned(1.0, (30, 30), (1.3, -0.6))]
    images = posed(poses, SHAPE)
    blocks = grid[0] * grid[1]
    fit = fit_of(np.repeat(np.array(poses)[:, None], blocks, axis=1), grid)
    inner = (1, slice(6, -6), slice(6, -6))
    linear, wide = (
        np.abs(transformed(fit, images=images, interpolation=each)[inner] - images[0][inner[1:]])
        for each in ("linear", interpolation)
    )
    assert wide.mean() < 0.8 * linear.mean()


@pytest.mark.parametrize("interpolation", ["catmull-rom", "cubic", "lanczos3"])
@pytest.mark.parametrize("mode", ["constant", "edge"])
@pytest.mark.parametrize("fill", [0, 255])
def test_a_border_stays_a_border(interpolation, mode, fill):
    images = np.clip(IMAGES, 60, 200)
    images[:, :14], images[:, :, -9:] = fill, fill
    found = transformed(
        fit_of_shifts(SHIFTS * 0.3), images=images, interpolation=interpolation, mode=mode
    )
    for image in found[:, 5:-5, 5:-5]:
        is_border = image == fill
        assert is_border[:7].all()
        assert not is_border[12:, :-8].any()
        np.testing.assert_array_equal(fill_of_slice(image, np.dtype(np.uint8)), [fill])


def test_whole_pixels_keep_their_values():
    found = transformed(fit_of_shifts(SHIFTS * 1.05), interpolation="whole")
    np.testing.assert_array_equal(found, shifted(shifts=SHIFTS))


def test_bilinear_is_linear():
    fit = fit_of(np.array([np.eye(3), turned(1.0, (30, 30), (1.3, -0.6))])[:, None])
    found = transformed(fit, images=IMAGES[:2], interpolation="linear")
    np.testing.assert_array_equal(found, transformed(fit, images=IMAGES[:2]))


def test_splines_are_an_alternative():
    poses = [np.eye(3), turned(1.0, (30, 30), (1.3, -0.6))]
    images = posed(poses, SHAPE)
    fit = fit_of(np.array(poses)[:, None])
    spline = transformed(fit, images=images, interpolation="spline")
    inner = (slice(None), slice(6, -6), slice(6, -6))
    error = np.abs(spline[inner][1] - images[inner][0])
    assert error.mean() < 0.6
    linear = transformed(fit, images=images)
    assert error.mean() < np.abs(linear[inner][1] - images[inner][0]).mean()
    cropped = chain_of(fit, images=images, interpolation="spline", cropping=True)
    top, bottom, left, right = cropped.fitted(1)["rectangle"]
    np.testing.assert_array_equal(run(cropped, images)[0], spline[:, top:bottom, left:right])


def wrong(*steps):
    return [p.path for p in check_steps(steps, [spec_of(IMAGES)]) if p.severity == "error"]


def test_what_does_not_go_together_is_named():
    blocks = replace(CALCULATION, nb_blocks=(2, 2))
    move = RegistrationTransformation
    name = move.name
    halved = Resampling(dz=0.2, z_source=(0.0, 0.1, 0.2, 0.3, 0.4))
    assert wrong(CALCULATION, move()) == []
    assert wrong(CALCULATION, Cropping(area=(1, 50, 1, 50)), move()) == []
    assert wrong(move()) == wrong(move(), CALCULATION) == [name]
    assert wrong(CALCULATION, move(constant_drift=(0.0, -1e300))) == [f"{name}.constant_drift"]
    assert wrong(CALCULATION, move(box_size_averaging=10**11)) == [f"{name}.box_size_averaging"]
    assert wrong(CALCULATION, halved, move()) == [name]
    assert wrong(halved, CALCULATION, move()) == wrong(CALCULATION, move(), halved) == []
    assert wrong(blocks, move(nb_blocks=(2, 2))) == []
    assert wrong(blocks, move(nb_blocks=(2, 1))) == [f"{name}.nb_blocks"]
    assert wrong(blocks, move(interpolation="spline")) == [f"{name}.interpolation"]
    edge = move(interpolation="spline", mode="edge")
    assert wrong(CALCULATION, edge) == [f"{name}.interpolation"]
