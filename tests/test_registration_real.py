"""Registration of real stacks, where they are at hand: ``shared/data`` beside the checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from parity_projects import corrected, run_both, stored, write_project
from real_images import MEDULLA, NOISY, PC12, needs
from scipy import ndimage

from pystack3d_dask.core.typing import Array
from pystack3d_dask.corrections.registration_calculation import ALIKE
from pystack3d_dask.demo import shift_error
from pystack3d_dask.kernels.registration.affine import cumulated
from pystack3d_dask.pipeline import Pipeline

FIT = ("fits", "registration_calculation", "0")

MODELS = {
    "TRANSLATION": "translation",
    "RIGID_BODY": "rigid-body",
    "SCALED_ROTATION": "scaled-rotation",
    "AFFINE": "affine",
}
"""Transformations, and what ImageJ's results are called."""

needs_pc12 = needs(PC12)
every_model = pytest.mark.parametrize("model", MODELS)


def registration(model: str, **transformation: Any) -> dict[str, dict[str, Any]]:
    return {
        "registration_calculation": {"transformation": model, "nb_blocks": [1, 1]},
        "registration_transformation": transformation,
    }


@needs_pc12
@every_model
def test_splines_give_what_imagej_gives(tmp_path: Path, model: str) -> None:
    moving = registration(model, interpolation="spline")
    project = write_project(tmp_path, {".": unregistered()}, moving)
    np.testing.assert_allclose(corrected(project)[0], imagej(model), rtol=1e-7, atol=1)


@needs_pc12
@every_model
def test_bilinear_pixels_are_as_near_to_imagej_as_those_of_the_reference(
    tmp_path: Path, model: str
) -> None:
    moving = registration(model, mode="constant")
    ((ours, theirs),) = run_both(tmp_path, moving, {".": unregistered()}).results()
    project = write_project(tmp_path / "rounded", {".": unregistered()}, moving)
    expected = imagej(model)
    for result in (ours, corrected(project)[0]):
        # Nearly all of it is what bilinear interpolation takes from fine grain, here more and
        # there less, as fractions of pixels fall; where the image lies shows without the grain.
        assert rms(result, expected) <= 1.001 * rms(theirs, expected)
        assert rms(coarse(result), coarse(expected)) <= rms(coarse(theirs), coarse(expected))


@pytest.mark.slow
@needs(MEDULLA)
def test_injected_shifts_are_found_on_top_of_what_moved_before(tmp_path: Path) -> None:
    undamaged = tifffile.imread(MEDULLA)[200:240]
    wandering, jittering = (
        injected(len(undamaged), (4.0, -3.0)),
        injected(len(undamaged), (0.0, 0.0)),
    )
    still, one, two = (
        found_shifts(tmp_path / name, shifted(undamaged, shifts))
        for name, shifts in (
            ("still", np.zeros_like(wandering)),
            ("wandering", wandering),
            ("jittering", jittering),
        )
    )
    # From slice to slice against the undamaged stack; not from the first slice on, because
    # something in its pixels is fixed to their grid and holds unmoved slices back a little.
    assert shift_error(steps(one) - steps(still), steps(wandering)) < 0.15
    assert shift_error(steps(two) - steps(still), steps(jittering)) < 0.15
    # Both damaged stacks are off that grid: the same path comes out of them.
    assert shift_error(one - two, wandering - jittering) < 0.3


@needs(NOISY)
@pytest.mark.parametrize("model", ["TRANSLATION", "RIGID_BODY"])
def test_slices_drowned_in_noise_are_still_like_their_neighbors(tmp_path: Path, model: str) -> None:
    project = write_project(tmp_path, {".": tifffile.imread(NOISY)}, registration(model))
    Pipeline.from_toml(project).run()
    alike = stored(project, *FIT)["correlation"][1:]
    assert alike.min() > 3 * ALIKE  # none is told of as unlike those before
    if model == "TRANSLATION":
        moved = paths(project)
        assert np.abs(np.diff(moved, axis=0)).max() < 2.5  # jitter is up to 2 pixels
        assert 4 < np.linalg.norm(moved[-1]) < 10  # the slow drift


def injected(count: int, drift: tuple[float, float]) -> Array:
    """Return jitter, and a drift to the end, in pixels down and to the right."""
    shifts = np.random.default_rng([count, int(any(drift))]).normal(0, 0.7, (count, 2))
    shifts += np.linspace(0, 1, count)[:, None] * np.array(drift)
    return np.asarray(shifts - shifts[0])


def shifted(stack: Array, shifts: Array, margin: int = 12) -> Array:
    """Return the stack moved, without its margin."""
    inside = slice(margin, -margin)
    images = [
        ndimage.shift(image.astype(float), shift, order=5, mode="mirror")[inside, inside]
        for image, shift in zip(stack, shifts, strict=True)
    ]
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)


def found_shifts(directory: Path, stack: Array) -> Array:
    project = write_project(directory, {".": stack}, registration("TRANSLATION"))
    Pipeline.from_toml(project).run()
    return paths(project)


def paths(project: Path) -> Array:
    """Return how far each slice moved from the first, down and to the right."""
    matrices = cumulated(stored(project, *FIT)["pairwise"][:])
    return np.asarray(matrices[:, 0, :2, 2][:, ::-1])


def steps(shifts: Array) -> Array:
    """Return how far each slice moved from the one before."""
    return np.diff(shifts, axis=0)


def rms(images: Array, others: Array) -> float:
    return float(np.sqrt(np.mean(np.square(images.astype(float) - others))))


def coarse(images: Array) -> Array:
    """Return images without their grain and their borders, which are empty here and there."""
    blurred = ndimage.gaussian_filter(images.astype(float), (0, 1, 1))
    return np.asarray(blurred[:, 16:-16, 16:-16])


def unregistered() -> Array:
    return np.asarray(tifffile.imread(PC12 / "pc12-unreg.tif"))


def imagej(model: str) -> Array:
    return np.asarray(tifffile.imread(PC12 / f"pc12-reg-{MODELS[model]}.tif").astype(float))
