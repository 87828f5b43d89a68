"""Brightness by neighbors: jumps go, and what the specimen does stays."""

from __future__ import annotations

import numpy as np
import pytest
from stack_tools import correct, fit, spec_of
from stacks import PORE, SOLID, porous

from pystack3d_dask.core.spec import Region
from pystack3d_dask.corrections.intensity_rescaling import IntensityRescaling

STEP = IntensityRescaling(method="neighbors")
ANCHORED = IntensityRescaling(method="neighbors", anchor="auto")


def brightened(stack, gain, offset):
    """Return a stack of other gains and offsets."""
    levels = stack * np.reshape(gain, (-1, 1, 1)) + np.reshape(offset, (-1, 1, 1))
    return np.rint(np.clip(levels, 0, 255)).astype(np.uint8)


def jumping(count, seed=0):
    """Return gains and offsets that jump."""
    rng = np.random.default_rng(seed)
    return rng.uniform(0.9, 1.1, count), rng.uniform(-8, 8, count)


def error(found, truth):
    """Return the rms error after the best linear gray scale."""
    line = np.polyfit(found.ravel(), truth.ravel(), 1)
    return float(np.sqrt(np.mean((np.polyval(line, found) - truth) ** 2)))


def profile(stack):
    """Return the mean gray level of each slice."""
    return stack.mean(axis=(1, 2), dtype=np.float64)


@pytest.mark.parametrize("seed", range(3))
def test_jumps_go_and_the_porosity_stays(seed):
    truth = porous(seed=seed)
    given = brightened(truth, *jumping(24, seed))
    found = correct(STEP, given)
    assert error(given, truth.astype(float)) > 4
    assert error(found, truth.astype(float)) < 0.9
    rise = np.polyfit(np.arange(24), profile(found), 1)[0]
    assert rise == pytest.approx(np.polyfit(np.arange(24), profile(truth), 1)[0], rel=0.08)


def test_gammas_are_undone_as_far_as_lines_go():
    truth = porous()
    gamma = np.random.default_rng(4).uniform(0.88, 1.14, (24, 1, 1))
    given = np.rint(255 * (truth / 255) ** gamma).astype(np.uint8)
    assert error(correct(STEP, given), truth.astype(float)) < 1.2
    assert error(given, truth.astype(float)) > 4


def test_a_histogram_would_take_the_porosity_for_brightness():
    truth = porous()
    given = brightened(truth, *jumping(24))
    by_histogram = correct(IntensityRescaling(filter_size=-1), given)
    assert error(by_histogram, truth.astype(float)) > 5 * error(
        correct(STEP, given), truth.astype(float)
    )


@pytest.mark.parametrize("precision", ["float32", "source"])
def test_a_stack_without_jumps_is_left_alone(precision):
    stack = porous()
    np.testing.assert_array_equal(correct(STEP, stack, spec_of(stack, precision)), stack)
    (remark,) = STEP.remarks(fit(STEP, stack, spec_of(stack)), spec_of(stack))
    assert "left alone" in remark


def test_slices_that_move_are_compared_where_they_show_the_same():
    moves = np.cumsum(np.random.default_rng(1).integers(-3, 4, (24, 2)), axis=0).clip(-18, 18)
    truth = porous(moves=moves)
    found = correct(STEP, brightened(truth, *jumping(24)))
    assert error(found, truth.astype(float)) < 0.9


def drifting(count=24):
    """Return a gain that changes slowly."""
    return 1 + 0.1 * np.sin(np.linspace(0.5, 6, count))


@pytest.mark.parametrize("seed", range(3))
def test_a_slow_gain_goes_too_where_it_is_the_detectors(seed):
    truth = porous(seed=seed, side=200)
    given = brightened(truth, drifting(), np.zeros(24))
    assert error(correct(ANCHORED, given), truth.astype(float)) < 0.35 * error(
        given.astype(float), truth.astype(float)
    )
    spec = spec_of(given)
    assert "a detector drifts: undone" in [*ANCHORED.remarks(fit(ANCHORED, given, spec), spec)][1]


def test_a_slow_gain_stays_without_an_anchor():
    given = brightened(porous(side=200), drifting(), np.zeros(24))
    found = fit(STEP, given, spec_of(given))
    np.testing.assert_array_equal(found["slow_factor"], 1)
    np.testing.assert_array_equal(found["slow_amount"], 0)


@pytest.mark.parametrize("seed", range(3))
def test_a_porosity_that_changes_is_no_slow_gain(seed):
    truth = porous(seed=seed, side=200)
    np.testing.assert_array_equal(correct(ANCHORED, truth), truth)


def test_a_material_that_changes_along_z_is_no_slow_gain():
    truth = porous(side=200).astype(float)
    share = np.clip((truth - PORE) / (SOLID - PORE), 0, 1)
    given = np.rint(truth + share * 15 * np.sin(np.linspace(0, 5, 24))[:, None, None])
    fitted = fit(ANCHORED, given.astype(np.uint8), spec_of(given.astype(np.uint8)))
    np.testing.assert_array_equal(fitted["slow_factor"], 1)
    np.testing.assert_array_equal(fitted["slow_amount"], 0)


def test_bad_slices_change_no_other_one():
    truth = porous()
    gain, offset = jumping(24)
    given = brightened(truth, gain, offset)
    alone = fit(STEP, given, spec_of(given))
    bad = given.copy()
    bad[8] = np.random.default_rng(0).integers(0, 255, bad[8].shape)
    bad[15] = 0
    spoilt = fit(STEP, bad, spec_of(bad))
    good = ~np.isin(np.arange(24), [8, 15])
    after = [each["scale"] * gain / np.median(each["scale"] * gain) for each in (alone, spoilt)]
    np.testing.assert_allclose(after[1][good], after[0][good], atol=0.03)
    assert (spoilt["scale"][15], spoilt["offset"][15]) == (1, 0)


def test_fill_stays():
    truth = porous()
    given = brightened(truth, *jumping(24))
    given[:, :30], given[:, :, -20:] = 0, 0
    found = correct(STEP, given)
    np.testing.assert_array_equal(found[given == 0], 0)
    assert error(found[given > 0], truth[given > 0].astype(float)) < 0.9


def test_a_material_without_noise_is_no_fill():
    truth = porous()
    truth[truth < (PORE + SOLID) / 2] = PORE
    given = brightened(truth, np.where(np.arange(24) % 7 == 3, 0.8, 1), np.zeros(24))
    np.testing.assert_allclose(correct(STEP, given), truth, atol=1)


@pytest.mark.parametrize("step", [STEP, ANCHORED], ids=["none", "auto"])
@pytest.mark.parametrize("shape", [(1, 60, 60), (2, 60, 60), (5, 3, 60), (4, 1, 1), (6, 24, 24)])
def test_what_cannot_be_judged_is_left_alone(shape, step):
    stack = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    np.testing.assert_array_equal(correct(step, stack), stack)
    (*_, remark) = step.remarks(fit(step, stack, spec_of(stack)), spec_of(stack))
    assert "left alone" in remark


@pytest.mark.parametrize("step", [STEP, ANCHORED], ids=["none", "auto"])
def test_a_pattern_that_hardly_varies_is_left_alone(step):
    stack = np.full((20, 60, 60), 100, np.uint8)
    stack[:, 20:22, 30:33] = 140  # less than a part of a slice that tells its level
    np.testing.assert_array_equal(correct(step, stack), stack)


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_every_type_is_corrected_alike(dtype):
    truth = porous()
    given = brightened(truth, *jumping(24))
    factor = 100 if dtype != "float32" else 0.01
    found = correct(STEP, (given * np.float64(factor)).astype(dtype)) / factor
    assert error(found, truth.astype(float)) < 0.9


def test_blocks_do_not_matter():
    stack = brightened(porous(), *jumping(24))
    whole = correct(STEP, stack)
    frame = Region.full(stack.shape)
    blocks = [frame.with_z(k, min(k + 5, 24)) for k in range(0, 24, 5)]
    np.testing.assert_array_equal(correct(STEP, stack, blocks=blocks), whole)


@pytest.mark.parametrize("neighbors", [0, 9])
def test_a_number_of_neighbors_that_cannot_be_is_named(neighbors):
    step = IntensityRescaling(method="neighbors", neighbors=neighbors)
    (problem,) = step.check(spec_of(porous()))
    assert problem.path == "intensity_rescaling.neighbors"
    assert "1 to 8" in problem.message


def test_gains_are_shown():
    stack = brightened(porous(), *jumping(24))
    spec = spec_of(stack)
    fitted = fit(STEP, stack, spec)
    (chart,) = STEP.charts({}, spec, fitted)
    assert len(chart.panels["gain"][""]) == 24
    assert set(chart.flags) == set(np.flatnonzero(fitted["scale"] != 1).tolist())
    (remark,) = STEP.remarks(fitted, spec)
    assert "of 24 slices" in remark


ANCHORS = {"gray level": 100.0, "area": (0, 40, 0, 200)}


@pytest.mark.parametrize("anchor", ANCHORS.values(), ids=ANCHORS)
@pytest.mark.parametrize("way", ["factor", "amount"])
def test_what_anchors_keeps_its_level(anchor, way):
    truth = porous(side=200)
    truth[:, :, :40] = SOLID  # as a protective layer
    change = drifting()
    given = (
        brightened(truth, change, np.zeros(24))
        if way == "factor"
        else brightened(truth, np.ones(24), 100 * (change - 1))
    )
    step = IntensityRescaling(method="neighbors", anchor=anchor)
    found = correct(step, given)
    assert error(found, truth.astype(float)) < 0.35 * error(
        given.astype(float), truth.astype(float)
    )
    spec = spec_of(given)
    shown = list(anchor) if isinstance(anchor, tuple) else anchor
    assert f"as anchor = {shown} shows: undone" in [*step.remarks(fit(step, given, spec), spec)][1]


def test_an_anchor_that_keeps_its_level_changes_nothing():
    truth = porous(side=200)
    step = IntensityRescaling(method="neighbors", anchor=100.0)
    np.testing.assert_array_equal(correct(step, truth), truth)


def test_an_anchor_that_no_slice_shows_changes_nothing():
    given = brightened(porous(side=200), drifting(), np.zeros(24))
    step = IntensityRescaling(method="neighbors", anchor=300.0)
    spec = spec_of(given)
    fitted = fit(step, given, spec)
    np.testing.assert_array_equal(fitted["slow_factor"], 1)
    assert "in 0 of 24 slices" in [*step.remarks(fitted, spec)][1]


def test_an_anchor_must_be_in_the_image():
    spec = spec_of(porous())
    outside = IntensityRescaling(method="neighbors", anchor=(5000, 6000, 0, 10))
    (problem,) = outside.check(spec)
    assert problem.path == "intensity_rescaling.anchor"
