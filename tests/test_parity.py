"""With precision = "source" our steps give what the reference gives, alone and in chains.

Every case is run once by each program, on an 8-bit and a 16-bit stack. ESB and SE2 are
two channels of one project, "." is a project with the slices beside its parameters.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from parity_projects import (
    DARK,
    Pair,
    Parameters,
    Steps,
    assert_alike,
    corrected,
    defective_stack,
    run_both,
    stored,
    write_project,
)
from reference import output_array, reference_coefs, reference_stats

from pystack3d_dask.core.typing import Array

ONE_8_BIT = {".": defective_stack("uint8")}
ONE_16_BIT = {".": defective_stack("uint16")}
WHOLE = [0, 99999, 0, 99999]

CROPPING: dict[str, Steps] = {
    "whole": {"cropping": {"area": WHOLE}, "cropping_final": {"area": WHOLE}},
    "inner": {
        "cropping": {"area": [5, 70, 10, 60]},
        "cropping_final": {"area": [10, 50, 5, 31]},
    },
    "open": {
        "cropping": {"area": [7, 99999, 0, 55]},
        "cropping_final": {"area": [0, 40, 9, 99999]},
    },
}

BACKGROUND_3D: dict[str, Parameters] = {
    "huber": {
        "orders": [1, 2, 1],
        "cross_terms": True,
        "skip_factors": [3, 4, 2],
        "threshold_min": DARK,
        "weight_func": "HuberT",
    },
    "hampel, mean kept": {
        "orders": [2, 2, 1],
        "cross_terms": False,
        "skip_factors": [4, 3, 1],
        "threshold_min": DARK,
        "weight_func": "Hampel",
        "preserve_avg": True,
    },
    "squares": {
        "orders": [1, 1, 2],
        "cross_terms": True,
        "skip_factors": [5, 2, 3],
        "weight_func": "None",
    },
    "basis": {
        "poly_basis": "1 + x + y + x*y + z**2 + x**2*z",
        "dim": 3,
        "skip_factors": [2, 3, 5],
        "threshold_min": DARK,
        "weight_func": "Hampel",
    },
}
BACKGROUND_3D_8_BIT: Parameters = {
    "orders": [2, 1, 1],
    "cross_terms": True,
    "skip_factors": [2, 2, 2],
    "threshold_min": 30,
    "threshold_max": 160,
    "preserve_avg": True,
}
BACKGROUND_3D_16_BIT: Parameters = {
    "orders": [3, 2, 2],
    "cross_terms": True,
    "skip_factors": [4, 4, 1],
    "threshold_min": 5000,
    "threshold_max": 50000,
}
MORE_BACKGROUND_3D: dict[str, Parameters] = {
    f"{weights}, {cross_terms}, {preserve_avg}": {
        "orders": [2, 1, 2],
        "cross_terms": cross_terms,
        "skip_factors": [3, 2, 4],
        "threshold_min": DARK,
        "weight_func": weights,
        "preserve_avg": preserve_avg,
    }
    for weights, cross_terms, preserve_avg in itertools.product(
        ["HuberT", "Hampel", "None"], [True, False], [True, False]
    )
}

BACKGROUND_2D: dict[str, Parameters] = {
    "huber": {
        "orders": [2, 1],
        "cross_terms": True,
        "skip_factors": [3, 3],
        "threshold_min": DARK,
    },
    "hampel": {
        "orders": [1, 3],
        "cross_terms": False,
        "skip_factors": [2, 2],
        "threshold_min": DARK,
        "weight_func": "Hampel",
    },
    "squares": {
        "poly_basis": "1 + x*y + y**2",
        "dim": 2,
        "skip_factors": [5, 5],
        "weight_func": "None",
    },
}
BACKGROUND_2D_16_BIT: Parameters = {
    "orders": [2, 2],
    "cross_terms": True,
    "skip_factors": [4, 4],
    "threshold_min": 5000,
    "threshold_max": 50000,
}

RESCALING = [(256, -1), (256, 10), (200, 3), (64, 25), (200, 1), (64, 4)]
MORE_RESCALING = [
    pair
    for pair in itertools.product([256, 200, 64], [-1, 1, 3, 4, 10, 25])
    if pair not in RESCALING
]

RESCALING_AREA: dict[str, Parameters] = {
    "area": {"area": [10, 60, 5, 50], "threshold_min": DARK, "factors_range": [0.8, 1.2]},
    "whole, factors at their limits": {"area": WHOLE, "factors_range": [0.97, 1.05]},
}
RESCALING_AREA_16_BIT: Parameters = {
    "area": [0, 33, 20, 99999],
    "threshold_min": 9000,
    "threshold_max": 45000,
    "factors_range": [0.5, 2.0],
}

CROP: Parameters = {"area": [4, 76, 3, 61]}
FINAL: Parameters = {"area": [2, 60, 0, 50]}
FIT: Parameters = {
    "orders": [1, 2, 1],
    "cross_terms": True,
    "skip_factors": [3, 4, 2],
    "threshold_min": DARK,
}
FIT_2D: Parameters = {
    "orders": [1, 2],
    "cross_terms": True,
    "skip_factors": [3, 3],
    "threshold_min": DARK,
}
RESCALE: Parameters = {"nbins": 256, "filter_size": 5}
AREA: Parameters = {"area": [5, 55, 5, 45], "threshold_min": DARK, "factors_range": [0.8, 1.2]}

CHAINS: dict[str, tuple[Steps, Parameters]] = {
    "usual": ({"cropping": CROP, "bkg_removal": FIT, "intensity_rescaling": RESCALE}, {}),
    "rescaled before": (
        {"intensity_rescaling": RESCALE, "bkg_removal": FIT, "cropping_final": FINAL},
        {},
    ),
    "slices chosen": (
        {"cropping": CROP, "bkg_removal": FIT, "intensity_rescaling": RESCALE},
        {"ind_min": 2, "ind_max": 14},
    ),
    "two rescalings": (
        {
            "cropping": CROP,
            "intensity_rescaling_area": AREA,
            "bkg_removal": FIT_2D,
            "intensity_rescaling": {"nbins": 200, "filter_size": -1},
            "cropping_final": FINAL,
        },
        {"ind_min": 3, "ind_max": 400},
    ),
    "area last": (
        {
            "bkg_removal": {**FIT, "preserve_avg": True},
            "intensity_rescaling": RESCALE,
            "cropping": CROP,
            "intensity_rescaling_area": AREA,
        },
        {},
    ),
}

SLOW_CHAINS = ("rescaled before", "slices chosen")


def cases(
    step: str,
    quick: Iterable[tuple[str, Parameters, dict[str, Array] | None]],
    slow: Iterable[tuple[str, Parameters, dict[str, Array] | None]] = (),
) -> list[Any]:
    """Return the cases of a step, each to be run once by both programs."""
    marked = [(quick, ()), (slow, (pytest.mark.slow,))]
    return [
        pytest.param(({step: parameters}, channels), id=name, marks=marks)
        for group, marks in marked
        for name, parameters, channels in group
    ]


def run_case(request: pytest.FixtureRequest, factory: pytest.TempPathFactory) -> Pair:
    steps, channels = request.param
    return run_both(factory.mktemp("parity"), steps, channels)


@pytest.fixture(
    scope="module",
    params=cases(
        "bkg_removal",
        [
            *((name, values, None) for name, values in BACKGROUND_3D.items()),
            ("one 8-bit channel", BACKGROUND_3D_8_BIT, ONE_8_BIT),
            ("one 16-bit channel", BACKGROUND_3D_16_BIT, ONE_16_BIT),
        ],
        ((name, values, None) for name, values in MORE_BACKGROUND_3D.items()),
    ),
)
def background_3d(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return run_case(request, tmp_path_factory)


@pytest.fixture(
    scope="module",
    params=cases(
        "bkg_removal",
        [
            *((name, values, None) for name, values in BACKGROUND_2D.items()),
            ("one 16-bit channel", BACKGROUND_2D_16_BIT, ONE_16_BIT),
        ],
    ),
)
def background_2d(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return run_case(request, tmp_path_factory)


@pytest.fixture(
    scope="module",
    params=cases(
        "intensity_rescaling",
        *(
            [
                (f"{nbins} bins, {size} slices", {"nbins": nbins, "filter_size": size}, None)
                for nbins, size in pairs
            ]
            for pairs in (RESCALING, MORE_RESCALING)
        ),
    ),
)
def rescaling(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return run_case(request, tmp_path_factory)


@pytest.fixture(
    scope="module",
    params=cases(
        "intensity_rescaling_area",
        [
            *((name, values, None) for name, values in RESCALING_AREA.items()),
            ("one 16-bit channel", RESCALING_AREA_16_BIT, ONE_16_BIT),
        ],
    ),
)
def rescaling_area(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Pair:
    return run_case(request, tmp_path_factory)


def assert_same_statistics(pair: Pair) -> None:
    """Check minimum, maximum and mean of each slice: before the only step, after it, and cast."""
    (step,) = pair.steps
    source, done = (stored(pair.ours, "figures", level) for level in ("source", step))
    for index, (name, stack) in enumerate(pair.channels.items()):
        ours = [source["raw"][index], done["raw"][index], done["cast"][index]]
        expected = reference_stats(pair.reference, step, name)
        absolute = 1e-5 * float(stack.max())
        np.testing.assert_allclose(np.stack(ours, axis=1), expected, rtol=1e-5, atol=absolute)


@pytest.mark.parametrize("steps", CROPPING.values(), ids=CROPPING)
def test_cropped_stacks_are_identical(tmp_path, steps):
    pair = run_both(tmp_path, steps)
    for step in steps:
        for ours, expected in pair.outputs(step):
            assert_alike(ours, expected, levels=0, equal=1)


@pytest.mark.parametrize("channels", [ONE_8_BIT, ONE_16_BIT], ids=["8-bit", "16-bit"])
def test_cropping_one_channel_gives_identical_stacks_and_statistics(tmp_path, channels):
    pair = run_both(tmp_path, {"cropping": {"area": [11, 42, 0, 33]}}, channels)
    ((ours, expected),) = pair.results()
    assert_alike(ours, expected, levels=0, equal=1)
    figures = stored(pair.ours, "figures", "cropping")
    after = np.stack([figures["raw"][0], figures["cast"][0]], axis=1)
    expected = reference_stats(pair.reference, "cropping")[:, 1:]  # ours read the area only
    np.testing.assert_allclose(after, expected, rtol=1e-5)


def test_background_of_a_stack_leaves_the_same_values(background_3d):
    for ours, expected in background_3d.results():
        assert_alike(ours, expected, levels=1, equal=0.995)


def test_background_of_a_stack_has_the_same_coefficients(background_3d):
    preserves_average = background_3d.steps["bkg_removal"].get("preserve_avg", False)
    for index, name in enumerate(background_3d.channels):
        fit = stored(background_3d.ours, "fits", "bkg_removal", str(index))
        coefficients, powers = reference_coefs(background_3d.reference, channel=name)
        np.testing.assert_array_equal(fit["powers"], powers)
        ours = np.array(fit["coefficients"])
        if preserves_average:  # the reference then saves the constant that it subtracts
            ours[0] -= fit["offset"][()]
        tolerance = 1e-6 * np.abs(coefficients).max()
        np.testing.assert_allclose(ours, coefficients[0], rtol=0, atol=tolerance)


def test_background_of_a_stack_has_the_same_statistics(background_3d):
    assert_same_statistics(background_3d)


def test_background_of_each_slice_leaves_the_same_values(background_2d):
    for ours, expected in background_2d.results():
        assert_alike(ours, expected, levels=1, equal=0.995)


def test_background_of_each_slice_has_the_same_coefficients(background_2d):
    ours = stored(background_2d.ours, "figures", "bkg_removal")["coefficients"]
    for index, name in enumerate(background_2d.channels):
        expected, _ = reference_coefs(background_2d.reference, channel=name)
        tolerance = 1e-6 * np.abs(expected).max()
        np.testing.assert_allclose(ours[index], expected, rtol=0, atol=tolerance)


def test_background_of_each_slice_has_the_same_statistics(background_2d):
    assert_same_statistics(background_2d)


def test_rescaled_values_are_the_same(rescaling):
    for ours, expected in rescaling.results():
        assert_alike(ours, expected, levels=1, equal=0.999)


def test_rescaling_has_the_same_statistics(rescaling):
    assert_same_statistics(rescaling)


def test_values_rescaled_by_an_area_are_the_same(rescaling_area):
    for ours, expected in rescaling_area.results():
        assert_alike(ours, expected, levels=1, equal=0.999)


def test_rescaling_by_an_area_has_the_same_factors(rescaling_area):
    step = "intensity_rescaling_area"
    for index, name in enumerate(rescaling_area.channels):
        ours = stored(rescaling_area.ours, "fits", step, str(index))["factors"]
        expected = output_array(rescaling_area.reference, step, "factors.npy", name)
        np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_rescaling_by_an_area_has_the_same_statistics(rescaling_area):
    assert_same_statistics(rescaling_area)


@pytest.mark.parametrize(
    ("steps", "settings"),
    [
        pytest.param(*case, id=name, marks=pytest.mark.slow if name in SLOW_CHAINS else ())
        for name, case in CHAINS.items()
    ],
)
def test_chains_leave_nearly_the_same_values_after_every_step(tmp_path, steps, settings):
    pair = run_both(tmp_path, steps, **settings)
    for step in steps:
        for ours, expected in pair.outputs(step):
            assert_alike(ours, expected, levels=3, equal=0.99)


@pytest.mark.parametrize("precision", ["source", "float32"])
def test_cropping_behind_a_background_per_slice_keeps_the_pixels_of_its_area(tmp_path, precision):
    final = {"cropping_final": {"area": [2, 60, 0, 50]}}
    full, cropped = (
        corrected(write_project(tmp_path / name, ONE_8_BIT, steps, precision=precision))
        for name, steps in [
            ("full", {"bkg_removal": FIT_2D}),
            ("cropped", {"bkg_removal": FIT_2D} | final),
        ]
    )
    np.testing.assert_array_equal(cropped, full[:, :, -50:, 2:60])


@pytest.mark.parametrize("precision", ["source", "float32"])
def test_largest_number_of_samples_binds_in_float32_only(tmp_path, precision):
    for name, limits in [("free", {}), ("limited", {"max_samples": 200})]:
        steps = {"bkg_removal": {**FIT, **limits}}
        project = write_project(tmp_path / name, ONE_8_BIT, steps, precision=precision)
        corrected(project)
    free, limited = (
        stored(tmp_path / name, "fits", "bkg_removal", "0")["samples"][()]
        for name in ("free", "limited")
    )
    assert limited == free if precision == "source" else limited <= 200 < free
