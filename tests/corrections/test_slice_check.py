"""Bad slices are found by what they show, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest
from ruler.bad_slices import (
    Blank,
    Duplicated,
    Exposed,
    NoiseOnly,
    OutOfFocus,
    ShiftedInside,
)
from stack_tools import correct, fit, spec_of
from stacks import porous

from pystack3d_dask.core.chain import Chain
from pystack3d_dask.core.stack_fit import finished
from pystack3d_dask.corrections.bkg_removal import BackgroundRemoval
from pystack3d_dask.corrections.clahe import CLAHE
from pystack3d_dask.corrections.equalization import Equalization
from pystack3d_dask.corrections.intensity_rescaling import IntensityRescaling
from pystack3d_dask.corrections.intensity_rescaling_area import IntensityRescalingArea
from pystack3d_dask.corrections.percentile_clipping import PercentileClipping
from pystack3d_dask.corrections.slice_check import SliceCheck, bad_slices
from pystack3d_dask.testing import check_step

STEP = SliceCheck()
SIDE = 160
BAD = {
    "noise": (NoiseOnly(), "unlike"),
    "blank": (Blank(1.0), "blank"),
    "half blank": (Blank(0.5), "blank"),
    "blank rows": (Blank(0.03), "blank"),
    "blank columns": (Blank(0.1, rows=False), "blank"),
    "out of focus": (OutOfFocus(1.5), "less sharp"),
    "far out of focus": (OutOfFocus(4.0), "less sharp"),
    "duplicated": (Duplicated(), "once more"),
    "overexposed": (Exposed(1.5), "brighter|more contrast|clipped"),
    "underexposed": (Exposed(0.55), "darker|less contrast"),
    "shifted inside": (ShiftedInside(12), "unlike"),
}


def spoilt(stack, kind, places):
    """Return a stack in which some slices are bad."""
    out = stack.copy()
    for z in places:
        image = kind.spoil(out, z, np.random.default_rng(z))
        out[z] = np.rint(np.clip(image, 0, 255))
    return out


def found(stack):
    """Return the slices that are found bad, and why."""
    return STEP.bad_content(fit(STEP, stack, spec_of(stack)))


@pytest.mark.parametrize(("kind", "reason"), BAD.values(), ids=BAD)
def test_bad_slices_are_found_with_the_reason(kind, reason):
    stack = spoilt(porous(side=SIDE), kind, [7, 16])
    bad = found(stack)
    assert [*bad] == [7, 16]
    assert all(any(part in why for part in reason.split("|")) for why in bad.values())


def test_bad_slices_that_follow_each_other_are_all_found():
    stack = spoilt(porous(side=SIDE), NoiseOnly(), [9, 10, 11])
    assert [*found(stack)] == [9, 10, 11]


def test_the_first_and_the_last_slice_can_be_bad():
    stack = spoilt(porous(side=SIDE), NoiseOnly(), [0, 23])
    assert [*found(stack)] == [0, 23]


@pytest.mark.parametrize("seed", range(4))
def test_a_porosity_that_changes_makes_no_slice_bad(seed):
    assert not found(porous(side=SIDE, seed=seed))


def test_another_specimen_from_some_slice_on_makes_no_slice_bad():
    stack = np.concatenate([porous(12, SIDE, seed=0), porous(12, SIDE, seed=1)])
    assert not found(stack)


def test_a_stack_that_does_not_change_along_z_has_no_duplicates():
    assert not found(np.repeat(porous(1, SIDE), 24, axis=0))


def test_a_wide_gap_before_the_last_slice_does_not_make_it_bad():
    stack = porous(30, SIDE)
    assert not found(np.concatenate([stack[:20], stack[22:23]]))


def test_drift_and_jumps_of_brightness_make_no_slice_bad():
    rng = np.random.default_rng(0)
    stack = porous(side=SIDE, moves=np.rint(np.cumsum(rng.normal(0, 2, (24, 2)), 0)).astype(int))
    gain = rng.uniform(0.9, 1.1, (24, 1, 1))
    assert not found(np.rint(np.clip(stack * gain, 0, 255)).astype(np.uint8))


def test_slices_that_become_blurred_little_by_little_are_not_bad():
    stack = porous(side=SIDE).astype(float)
    blurred = [
        OutOfFocus(2.5 * z / 24).spoil(stack, z, np.random.default_rng(0)) for z in range(24)
    ]
    noise = np.random.default_rng(1).normal(0, 3, stack.shape)
    assert not found(np.rint(np.clip(blurred + noise, 0, 255)).astype(np.uint8))


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_every_type_is_judged_alike(dtype):
    stack = spoilt(porous(side=SIDE), NoiseOnly(), [5])
    stack = spoilt(stack, OutOfFocus(2.0), [13])
    factor = 100 if dtype != "float32" else 0.01
    bad = found((stack * np.float64(factor)).astype(dtype))
    assert [*bad] == [5, 13]


@pytest.mark.parametrize("shape", [(4, 60, 60), (6, 3, 60), (8, 1, 1), (7, 5, 5)])
def test_what_is_too_small_to_be_judged_is_not(shape):
    stack = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    assert not found(stack)


def test_fewer_than_five_slices_are_told_not_to_be_judged():
    stack = porous(4)
    spec = spec_of(stack)
    (remark,) = STEP.remarks(fit(STEP, stack, spec), spec)
    assert "too few" in remark


def test_remarks_and_chart_name_bad_slices():
    stack = spoilt(porous(side=SIDE), NoiseOnly(), [5, 6])
    spec = spec_of(stack)
    fitted = fit(STEP, stack, spec)
    first, second = STEP.remarks(fitted, spec)
    assert first == "slice_check: 2 of 24 slices are bad, and take no part in later fits"
    assert second.endswith("like each other: slice 5, slice 6")
    (chart,) = STEP.charts({}, spec, fitted)
    assert set(chart.flags) == {5, 6}
    assert (fitted["score"] > 1).nonzero()[0].tolist() == [5, 6]


def test_with_precision_source_bad_slices_are_only_listed():
    stack = spoilt(porous(side=SIDE), NoiseOnly(), [5])
    spec = spec_of(stack, precision="source")
    fitted = fit(STEP, stack, spec)
    assert bad_slices(fitted) == [5]
    assert Chain((STEP,), spec, {STEP.name: fitted}).levels[-1].bad == ()
    assert "listed only" in next(STEP.remarks(fitted, spec))


@pytest.mark.parametrize(
    "step",
    [
        BackgroundRemoval(method="classes"),
        BackgroundRemoval(orders=(1, 1, 1), skip_factors=(8, 8, 1)),
        BackgroundRemoval(method="local", size=(20, 20, 3)),
        PercentileClipping(),
    ],
    ids=["classes", "polynomial", "local", "percentiles"],
)
def test_bad_slices_take_no_part_in_what_is_fitted_to_the_stack(step):
    stack = porous()
    fits = []
    for kind in (NoiseOnly(), Blank(1.0)):
        bad = spoilt(stack, kind, [4, 11])
        fits.append(fit(step, bad, spec_of(bad, bad=(4, 11))))
    assert fits[0].keys() == fits[1].keys()
    for key, value in fits[0].items():
        np.testing.assert_array_equal(value, fits[1][key], err_msg=key)


@pytest.mark.parametrize("bad", [(5,), (0, 1, 2, 3), (11,), tuple(range(11))], ids=len)
@pytest.mark.parametrize(
    "step",
    [
        BackgroundRemoval(method="classes"),
        BackgroundRemoval(orders=(1, 1, 1), skip_factors=(4, 4, 3), skip_averaging=True),
        CLAHE(size=(20.0, 20.0, 1.0)),
        Equalization(),
        IntensityRescaling(filter_size=3),
        IntensityRescaling(method="neighbors"),
        IntensityRescalingArea(),
        PercentileClipping(),
    ],
    ids=lambda step: f"{step.name}-{getattr(step, 'method', '')}",
)
def test_every_fit_goes_without_bad_slices_wherever_they_lie(step, bad):
    stack = porous(12, 80)
    assert np.isfinite(correct(step, stack, spec_of(stack, bad=bad))).all()


def test_a_bad_slice_draws_no_histogram_of_the_slices_around_it():
    stack = porous()
    step = IntensityRescaling(filter_size=5)
    alone = fit(step, stack, spec_of(stack, bad=(11,)))
    bad = spoilt(stack, NoiseOnly(), [11])
    spoiled = fit(step, bad, spec_of(bad, bad=(11,)))
    for key, value in alone.items():
        np.testing.assert_array_equal(value, spoiled[key], err_msg=key)


def test_slices_take_part_where_none_is_good():
    stack = porous(5)
    spec = spec_of(stack, bad=tuple(range(5)))
    summaries = {z: {"count": np.array(z)} for z in range(5)}

    class Counts(BackgroundRemoval):
        def finalize(self, summaries, spec, partial=None):
            return {"seen": np.array([*summaries])}

    assert finished(Counts(), summaries, spec, None)["seen"].tolist() == [0, 1, 2, 3, 4]


def test_the_contract_is_kept():
    check_step(STEP)
