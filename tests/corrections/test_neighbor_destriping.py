"""Destriping by neighbors: stripes go, and what the specimen has stays, upright or not."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from stack_tools import correct, fit, spec_of
from striped import SHAPE, columns, fibers, rms, specimen, stripes

from pystack3d_dask import testing
from pystack3d_dask.core.block import Block
from pystack3d_dask.core.spec import Region
from pystack3d_dask.corrections.destriping import Destriping
from pystack3d_dask.kernels.destriping.noise_model import Filter
from pystack3d_dask.kernels.destriping.wavelets import WaveletDecomposition

STEP = Destriping(neighbors=3)
WAVELET = WaveletDecomposition(wavelet="db3", sigma=2.0)
GABOR = Filter(name="Gabor", noise_level=1, sigma=(1, 30))


def left(found, truth):
    """Return what slices differ by from the truth, but for their means."""
    return rms(found.astype(np.float64) - truth)


@pytest.mark.parametrize(
    ("lines", "most"),
    [({}, 4.5), ({"length": 40}, 5.0), ({"width": 8}, 4.5)],
    ids=["long", "short", "wide"],
)
def test_stripes_that_are_new_in_each_slice_go(lines, most):
    truth = specimen()
    assert left(correct(STEP, truth + stripes(**lines)), truth) < most


def test_leaning_stripes_go():
    truth, lines = specimen(), stripes((SHAPE[0], SHAPE[1], SHAPE[2] + 60))
    lean = np.rint(np.arange(SHAPE[1]) * np.tan(np.deg2rad(8))).astype(int)
    field = np.stack([lines[:, y, d : d + SHAPE[2]] for y, d in enumerate(lean)], axis=1)
    assert left(correct(STEP, truth + field), truth) < 5


def test_stripes_along_x_are_those_along_y_of_slices_that_are_turned():
    given = specimen() + stripes()
    turned = np.ascontiguousarray(given.swapaxes(1, 2))
    found = correct(Destriping(neighbors=3, along="x"), turned)
    np.testing.assert_allclose(found.swapaxes(1, 2), correct(STEP, given), atol=1e-3)


@pytest.mark.parametrize(("along_z", "most"), [(0.5, 6.0), (0.7, 6.5)])
def test_stripes_that_go_on_for_some_slices_go(along_z, most):
    shape = (32, *SHAPE[1:])
    truth = specimen(shape)
    assert left(correct(STEP, truth + stripes(shape, along_z=along_z)), truth) < most


@pytest.mark.parametrize("level", [30, 100])
def test_strong_stripes_that_go_on_do_not_hide_themselves(level):
    shape = (32, *SHAPE[1:])
    truth, lines = specimen(shape), stripes(shape, rms=level, along_z=0.7)
    assert left(correct(STEP, truth + lines), truth) < 0.5 * level


@pytest.mark.parametrize("sigmas", [(3.0, 60.0, 1.5), (6.0, 60.0, 1.5), (2.0, 30.0, 3.0)])
def test_upright_parts_stay(sigmas):
    shape = (32, *SHAPE[1:])
    given = specimen(shape, seed=4) + 0.5 * specimen(shape, sigmas, seed=3)
    np.testing.assert_array_equal(correct(STEP, given), given)


@pytest.mark.parametrize(("radius", "count"), [(2, 150), (3, 70), (3, 130), (4, 75)])
@pytest.mark.parametrize("seed", [1, 2])
def test_round_fibers_along_stripes_stay(radius, count, seed):
    shape = (24, 128, 144)
    given = specimen(shape, seed=seed) + fibers(shape, radius, count, seed)
    np.testing.assert_array_equal(correct(STEP, given), given)


@pytest.mark.parametrize("noise", [0, 8])
@pytest.mark.parametrize("make", [specimen, columns])
@pytest.mark.parametrize("seed", range(3))
def test_without_stripes_a_stack_is_left_alone(make, seed, noise):
    given = make(seed=seed)
    given = given + np.random.default_rng(9).normal(0, noise or 1e-6, given.shape)
    given = np.rint(given).clip(0, 255).astype(np.uint8)
    np.testing.assert_array_equal(correct(STEP, given), given)


def test_upright_structure_stays_under_stripes():
    truth = columns()
    found = correct(STEP, truth + stripes()).astype(np.float64)
    slope = np.polyfit(truth.ravel(), found.ravel(), 1)[0]
    assert slope == pytest.approx(1, abs=0.03)
    assert left(found, truth) < 7


def test_a_slice_without_stripes_hardly_changes_where_others_have_some():
    truth, lines = specimen(), stripes()
    lines[7] = 0
    found = correct(STEP, truth + lines)
    assert left(found[7:8], truth[7:8]) < 0.8
    assert left(found, truth) < 5


def test_slices_that_drift_are_laid_upon_each_other():
    large = specimen((16, 200, 220))
    path = np.cumsum(np.random.default_rng(2).integers(-2, 3, (16, 2)), axis=0).clip(-15, 15) + 16
    truth = np.stack(
        [each[y : y + 160, x : x + 176] for each, (y, x) in zip(large, path, strict=True)]
    )
    assert left(correct(STEP, truth + stripes()), truth) < 5


def test_results_do_not_depend_on_blocks():
    given = np.rint(specimen() + stripes()).clip(0, 255).astype(np.uint8)
    whole = correct(STEP, given)
    rows, columns_ = SHAPE[1:]
    for edges in ([0, 5, 16], [0, 1, 2, 9, 16]):
        blocks = [Region((first, 0, 0), (last, rows, columns_)) for first, last in pairwise(edges)]
        np.testing.assert_array_equal(correct(STEP, given, blocks=blocks), whole)


@pytest.mark.parametrize("reason", ["flagged", "not flagged"])
def test_bad_slices_spoil_no_other_one(reason):
    truth = specimen()
    given = truth + stripes()
    given[6] = np.random.default_rng(0).normal(120, 60, SHAPE[1:])
    bad = (6,) if reason == "flagged" else ()
    found = correct(STEP, given, spec_of(given, bad=bad))
    others = np.arange(16) != 6
    assert left(found[others], truth[others]) < 6
    if bad:
        np.testing.assert_array_equal(found[6], given[6])


def test_fill_stays_and_makes_no_stripes():
    truth = specimen()
    given = np.rint(truth + stripes()).clip(10, 255).astype(np.uint8)
    given[:, :, :30] = 0
    found = correct(STEP, given)
    np.testing.assert_array_equal(found[:, :, :30], 0)
    assert left(found[:, :, 34:], truth[:, :, 34:]) < 5


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_in_source_precision_the_type_stays(dtype):
    given = np.rint(specimen() + stripes()).clip(0, 255).astype(dtype)
    found = correct(STEP, given, spec_of(given, "source"))
    assert found.dtype == dtype
    assert left(found, specimen()) < 4.5


@pytest.mark.parametrize("shape", [(1, 80, 80), (6, 80, 80), (12, 20, 200), (12, 3, 1)])
def test_stacks_that_are_too_small_are_left_alone(shape):
    given = np.rint(specimen((16, 80, 200))[: shape[0], : shape[1], : shape[2]]).astype(np.uint8)
    np.testing.assert_array_equal(correct(STEP, given), given)
    spec = spec_of(given)
    (remark,) = STEP.remarks(fit(STEP, given, spec), spec)
    assert "left alone" in remark


@pytest.mark.parametrize("level", [0, 7])
def test_constant_stacks_and_slices_stay_as_they_are(level):
    given = np.full((12, 80, 80), level, np.uint8)
    np.testing.assert_array_equal(correct(STEP, given), given)
    some = np.rint(specimen() + stripes()).clip(0, 255).astype(np.uint8)
    some[4] = level
    np.testing.assert_array_equal(correct(STEP, some)[4], level)


def test_remarks_say_what_was_found():
    shape = (32, *SHAPE[1:])
    for given, words in (
        (specimen() + stripes(), "new in each slice were removed"),
        (specimen(shape) + stripes(shape, along_z=0.7), "or go on (correlation of neighbors 0."),
        (specimen(), "left alone"),
    ):
        spec = spec_of(given)
        (remark,) = STEP.remarks(fit(STEP, given, spec), spec)
        assert words in remark


@pytest.mark.parametrize(
    ("how", "path"),
    [
        ({"neighbors": 9}, "destriping.neighbors"),
        ({"neighbors": -1}, "destriping.neighbors"),
        (
            {"neighbors": 3, "filters": (GABOR,)},
            "destriping.filters",
        ),
        (
            {
                "neighbors": 3,
                "wavelet_decomposition": WAVELET,
            },
            "destriping.wavelet_decomposition",
        ),
    ],
)
def test_wrong_parameters_are_named(how, path):
    assert [each.path for each in Destriping(**how).check(spec_of(specimen()))] == [path]


@pytest.mark.parametrize(
    ("how", "paths"),
    [
        ({"neighbors": 3, "maxit": 10, "beta": 2.0}, ["destriping.maxit", "destriping.beta"]),
        ({"filters": (GABOR,), "along": "x"}, ["destriping.along"]),
        (
            {"wavelet_decomposition": WAVELET, "filters": (GABOR,), "beta": 2.0},
            ["destriping.filters", "destriping.beta"],
        ),
        ({"neighbors": 3, "along": "x"}, []),
        ({"filters": (GABOR,), "maxit": 10}, []),
    ],
)
def test_parameters_without_effect_are_named(how, paths):
    found = list(Destriping(**how).check(spec_of(specimen())))
    assert [each.path for each in found] == paths
    assert {each.severity for each in found} <= {"warning"}


@pytest.mark.parametrize("most", [2, 6])
@pytest.mark.parametrize("precision", ["float32", "source"])
def test_borders_of_any_width_are_no_stripes(most, precision):
    random = np.random.default_rng(3)
    given = np.rint(specimen() + random.normal(0, 4, SHAPE)).clip(1, 255).astype(np.uint8)
    for image in given:
        image[:, : random.integers(0, most + 1)] = 0
        image[: random.integers(0, most + 1)] = 0
    np.testing.assert_array_equal(correct(STEP, given, spec_of(given, precision)), given)
    striped = (given + np.rint(stripes(rms=6)).clip(-20, 20)).clip(1, 255).astype(np.uint8)
    striped[given == 0] = 0
    found = correct(STEP, striped, spec_of(given, precision))
    np.testing.assert_array_equal(found[given == 0], 0)
    assert left(found[:, 8:, 8:], given[:, 8:, 8:]) < 5


def test_slices_with_stronger_stripes_lose_them_too():
    truth, lines = specimen((40, 160, 176)), stripes((40, 160, 176))
    lines[:30] *= 0.2
    assert left(correct(STEP, truth + lines)[30:], truth[30:]) < 5.5


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1e6, 1e12])
def test_the_scale_of_gray_levels_does_not_matter(scale):
    given = specimen() + stripes()
    found = correct(STEP, (scale * given).astype(np.float32))
    np.testing.assert_allclose(found / scale, correct(STEP, given), atol=0.02)


def test_hot_pixels_hide_no_stripes():
    given = specimen() + stripes()
    given[:, 80, 90] = 60000
    spec = spec_of(given)
    assert fit(STEP, given, spec)["are_stripes"]


@pytest.mark.parametrize("along", ["y", "x"])
def test_it_keeps_the_contract_of_a_step(along, monkeypatch):
    # which makes a large stack of many small ones, where there are no stripes, nor scratch
    monkeypatch.setattr(testing, "_check_scratch", lambda case: None)
    given = np.rint(specimen((14, 60, 66)) + stripes((14, 60, 66))).clip(0, 255).astype(np.uint8)
    testing.check_step(Destriping(neighbors=2, along=along), spec_of(given), given)


@pytest.mark.parametrize("shape", [(9, 120, 130), (9, 500, 520)])
def test_no_more_memory_is_taken_than_is_declared(shape):
    given = np.rint(specimen(shape) + stripes(shape)).clip(0, 255).astype(np.uint8)
    spec = spec_of(given)
    fitted = fit(STEP, given, spec)
    assert fitted["are_stripes"]
    out = spec.region.with_z(4, 5)
    source, seen = STEP.source(out, spec, fitted), STEP.summary_source(out, spec)
    assert_within(
        lambda: STEP.apply(Block(given[source.slices], source, out, spec), fitted),
        STEP.scratch_bytes(out, spec),
    )
    assert_within(
        lambda: STEP.summarize(Block(given[seen.slices], seen, out, spec)),
        STEP.summary_scratch_bytes(out, spec),
    )


def assert_within(run, declared):
    """Fail unless something takes at most what is declared, and more than a third of it."""
    run()
    tracemalloc.start()
    try:
        run()
        used = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert declared / 3 < used < declared
