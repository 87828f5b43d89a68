"""Evidence that generated stacks with a single defect, and without any, give."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from pystack3d_dask.demo.stack import DemoStack
from pystack3d_dask.evidence import Sample, look

CLEAN = dict.fromkeys(("border", "shift", "uneven", "curtaining", "shading", "flicker"), 0.0)


def sampled(
    seed: int = 1, texture: Literal["cellular", "porous"] = "cellular", **defects: float
) -> Sample:
    stack = DemoStack((20, 320, 320), seed=seed, texture=texture, noise=0.011, **CLEAN | defects)
    slices = np.stack([stack.slice(k) for k in range(20)]).astype(np.float32)
    return Sample((slices,), tuple(slices[::3]), tuple(stack.z))


def found(sample: Sample) -> set[str]:
    """Return the corrections that are switched on, but for the check, which always is."""
    on = {name for name, finding in look(sample).items() if finding.is_found}
    assert "slice_check" in on
    return on - {"slice_check"}


def test_a_stack_without_defects_asks_for_no_correction():
    assert found(sampled()) == set()


@pytest.mark.parametrize(
    ("defect", "steps"),
    [
        ({"shift": 3.0}, {"registration_calculation", "registration_transformation"}),
        ({"curtaining": 0.04}, {"destriping"}),
        ({"uneven": 0.5}, {"resampling"}),
    ],
)
def test_a_single_defect_asks_for_its_correction_alone(defect, steps):
    assert found(sampled(**defect)) == steps


def test_where_brightness_jumps_the_run_decides_about_a_background():
    looked = look(sampled(flicker=0.06))
    on = {name for name, finding in looked.items() if finding.is_found}
    assert on == {"slice_check", "intensity_rescaling", "bkg_removal"}
    assert "looks again in the run" in looked["bkg_removal"].reason


def test_a_gain_that_drifts_asks_for_rescaling():
    sample = sampled(texture="porous")
    gains = np.linspace(0.85, 1.15, len(sample.overviews))
    drifting = tuple(image * gain for image, gain in zip(sample.overviews, gains, strict=True))
    finding = look(replace(sample, overviews=drifting))["intensity_rescaling"]
    assert finding.is_found
    assert "together along z" in finding.reason


def test_a_bright_material_that_changes_alone_does_not():
    sample = sampled(texture="porous")
    middle = np.median(sample.overviews[0])
    changing = tuple(
        np.where(image > middle, image + 3 * k, image).astype(np.float32)
        for k, image in enumerate(sample.overviews)
    )
    assert not look(replace(sample, overviews=changing))["intensity_rescaling"].is_found


def test_the_filter_has_the_angle_of_the_stripes():
    (gabor,) = look(sampled(curtaining=0.04))["destriping"].values["filters"]
    assert abs(gabor["theta"]) < 1
    assert gabor["sigma"][1] > 5 * gabor["sigma"][0]


def test_a_background_is_found_where_the_specimen_changes():
    random = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:240j, -1:1:240j]
    field = 60 * x * x + 30 * y
    images = [random.normal(100, 20, (240, 240)).astype(np.float32) for _ in range(8)]
    with_field = tuple((image + field).astype(np.float32) for image in images)
    assert found(Sample((np.stack(images[:5]),), with_field)) == {"bkg_removal"}
    assert found(Sample((np.stack(images[:5]),), tuple(images))) == set()


def test_a_gradient_of_the_share_of_dark_material_is_no_background():
    random = np.random.default_rng(0)
    share = np.linspace(0.05, 0.95, 240)
    images = [
        np.where(random.uniform(size=(240, 240)) < share, 60.0, 180.0).astype(np.float32)
        + random.normal(0, 4, (240, 240)).astype(np.float32)
        for _ in range(8)
    ]
    assert found(Sample((np.stack(images[:5]),), tuple(images))) == set()


@pytest.mark.parametrize("shape", [(1, 40, 40), (2, 100, 100), (5, 1, 3), (6, 64, 2000)])
@pytest.mark.parametrize("make", [np.zeros, np.ones])
def test_stacks_that_show_nothing_ask_for_nothing(shape, make):
    slices = make(shape, np.float32)
    assert found(Sample((slices,), tuple(slices))) == set()


def bordered(sample: Sample, level: float, width: int) -> Sample:
    def framed(image):
        return np.pad(image, [(width, 0), (0, width)], constant_values=level).astype(np.float32)

    runs = tuple(np.stack([framed(image) for image in run]) for run in sample.runs)
    return replace(sample, runs=runs, overviews=tuple(map(framed, sample.overviews)))


@pytest.mark.parametrize("level", [0, 255])
@pytest.mark.parametrize("width", [12, 300])
def test_a_border_of_one_gray_level_is_fill(level, width):
    finding = look(bordered(sampled(), level, width))["fill"]
    assert finding.is_found
    assert finding.values["fill"] == [level]


def test_without_its_border_a_stack_asks_for_what_it_did():
    for defects in ({}, {"curtaining": 0.04}):
        sample = sampled(**defects)
        assert found(bordered(sample, 0, 60)) == found(sample) | {"fill"}


def test_segmented_slices_are_no_padding():
    y, x = np.mgrid[:200, :200]
    disk = (255.0 * (np.hypot(y - 100, x - 100) < 60)).astype(np.float32)
    assert found(Sample((np.stack([disk] * 5),), (disk,) * 8)) == set()


def test_what_is_clipped_is_no_fill():
    sample = sampled(texture="porous")
    dark = float(np.quantile(sample.runs[0], 0.4))
    clipped = replace(sample, overviews=tuple(np.maximum(s, dark) for s in sample.overviews))
    assert not look(clipped)["fill"].is_found
