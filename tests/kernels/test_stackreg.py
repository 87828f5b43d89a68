"""What StackReg finds, and how it resamples."""

from __future__ import annotations

import numpy as np
import pytest
from stack_tools import largest_error, posed, turned

from pystack3d_dask.kernels.registration.stackreg import SMALLEST, register, transform

SHAPE = (70, 90)
MOTIONS = {
    "TRANSLATION": turned(0, (0, 0), (2.3, -1.4)),
    "RIGID_BODY": turned(2.0, (30, 30), (1.5, -2.0)),
    "SCALED_ROTATION": turned(1.0, (45, 35), (0.5, 1.0)) @ np.diag([1.02, 1.02, 1]),
    "AFFINE": np.array([[1.02, 0.01, -1], [-0.02, 0.99, 1.5], [0, 0, 1]]),
}


@pytest.mark.parametrize("transformation", MOTIONS)
def test_it_finds_where_a_point_of_the_reference_is_in_the_image(transformation):
    motion = MOTIONS[transformation]
    reference, image = posed([np.eye(3), motion], SHAPE)
    found = register(reference, image, transformation)
    assert found.dtype == np.float64
    assert largest_error(found, motion, SHAPE) < 0.15


def test_nothing_is_remembered_between_calls():
    reference, image, other = posed([np.eye(3), *list(MOTIONS.values())[1:3]], SHAPE)
    alone = register(reference, image, "RIGID_BODY")
    register(other, reference, "AFFINE")
    register(other, reference, "RIGID_BODY")
    np.testing.assert_array_equal(register(reference, image, "RIGID_BODY"), alone)


def test_any_memory_layout_will_do():
    reference, image = posed([np.eye(3), MOTIONS["RIGID_BODY"]], SHAPE)
    expected = register(reference, image, "RIGID_BODY")
    wide = np.asfortranarray(reference), np.repeat(image, 2, axis=1)[:, ::2]
    np.testing.assert_array_equal(register(*wide, "RIGID_BODY"), expected)


@pytest.mark.parametrize("transformation", MOTIONS)
def test_the_smallest_images_are_registered(transformation):
    reference, image = posed([np.eye(3), turned(0, (0, 0), (1, 0))], (SMALLEST, SMALLEST))
    assert np.isfinite(register(reference, image, transformation)).all()


def test_splines_take_a_texture_back():
    motion = MOTIONS["AFFINE"]
    reference, image = posed([np.eye(3), motion], SHAPE)
    found = transform(image, motion)
    inner = found[6:-6, 6:-6] - reference[6:-6, 6:-6]
    assert np.abs(inner).max() < 2.5
    np.testing.assert_allclose(transform(image, np.eye(3)), image, atol=1e-3)
