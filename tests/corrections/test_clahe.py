"""Contrast limited adaptive histogram equalization, against scikit-image and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import textured
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.exposure import equalize_adapthist
from stack_tools import correct, spec_of

from pystack3d_dask.corrections.clahe import CLAHE
from pystack3d_dask.kernels.intensity.clahe import Bins, Tiles, clipped, count_tiles

SHAPE = (16, 48, 40)


def shaded(dtype: str = "uint8", shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Return texture whose brightness and contrast fall toward a corner."""
    z, y, x = (np.linspace(0, 1, n) for n in shape)
    weight = 1 - 0.6 * (z[:, None, None] + y[:, None] + x) / 3
    values = textured(shape, "uint16") * weight
    return (values / 200).astype(dtype) if dtype == "uint8" else values.astype(dtype)


def stretched(values: np.ndarray) -> np.ndarray:
    values = values - values.min()
    return values / values.max()


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("kernel", [None, (12, 10), (13, 7)])
def test_slices_by_themselves_are_those_of_scikit_image(dtype, kernel):
    images = shaded(dtype)
    size = None if kernel is None else kernel[::-1]
    found = correct(CLAHE(scope="slice", size=size, clip_limit=0.02), images)
    top = np.iinfo(dtype).max
    for image, corrected in zip(images, found, strict=True):
        exact = equalize_adapthist(stretched(image.astype(np.float32)), kernel, 0.02)
        np.testing.assert_allclose(corrected, exact * top, rtol=1e-6)
        # of integers it makes other integers first: some levels fall into the next bin
        difference = np.abs(corrected / top - equalize_adapthist(image, kernel, 0.02))
        assert difference.mean() < 0.02
        assert difference.max() < 0.1


@pytest.mark.parametrize("kernel", [(16, 48, 40), (8, 24, 20)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_stack_is_near_what_scikit_image_makes_of_a_volume(dtype, kernel):
    """Its tiles are the same here; it rounds counts and bins, and stretches the result."""
    images = shaded(dtype, (32, 96, 80))
    found = correct(CLAHE(size=kernel[::-1], clip_limit=0.02), images)
    expected = equalize_adapthist(images, kernel, 0.02)
    difference = np.abs(stretched(found) - expected)
    before = np.abs(stretched(images.astype(float)) - expected)
    assert difference.mean() < 0.015 < 0.09 < before.mean()
    assert difference.max() < 0.1
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.999


def plain(images: np.ndarray, counts: tuple[int, int, int], clip_limit: float) -> np.ndarray:
    """Return the equalized 8-bit stack, voxel by voxel, from the words of the method."""
    edges = [np.arange(n + 1) * extent // n for n, extent in zip(counts, images.shape, strict=True)]
    maps = {}
    for tile in np.ndindex(*counts):
        box = tuple(slice(e[k], e[k + 1]) for e, k in zip(edges, tile, strict=True))
        found = np.bincount(images[box].ravel(), minlength=256).astype(float)
        limit = max(clip_limit, 1 / 256) * found.sum()
        low, high = 0.0, limit  # what every bin is raised by, to end at the same sum
        for _ in range(80):
            rise = (low + high) / 2
            below = np.minimum(found + rise, limit).sum() < found.sum()
            low, high = (rise, high) if below else (low, rise)
        maps[tile] = np.cumsum(np.minimum(found + low, limit)) / found.sum()
    centers = [(e[:-1] + e[1:] - 1) / 2 for e in edges]
    out = np.empty(images.shape)
    for voxel in np.ndindex(*images.shape):
        corners = []
        for position, center in zip(voxel, centers, strict=True):
            place = np.interp(position, center, np.arange(len(center)))
            first = min(int(place), max(len(center) - 2, 0))
            second = min(first + 1, len(center) - 1)
            corners.append([(first, 1 - (place - first)), (second, place - first)])
        out[voxel] = 255 * sum(
            a * b * c * maps[i, j, k][images[voxel]]
            for i, a in corners[0]
            for j, b in corners[1]
            for k, c in corners[2]
        )
    return out


@pytest.mark.parametrize("counts", [(1, 1, 1), (2, 3, 2), (5, 4, 6)])
def test_values_of_a_stack_are_those_of_the_method(counts):
    images = shaded(shape=(10, 20, 18))
    size = tuple(extent / count for extent, count in zip((18, 20, 10), counts[::-1], strict=True))
    found = correct(CLAHE(size=size, clip_limit=0.03), images)
    np.testing.assert_allclose(found, plain(images, counts, 0.03), atol=2e-3)


def test_contrast_comes_from_the_surroundings():
    images = shaded("uint16", (16, 64, 64)).astype(float)
    bright, dark = (slice(0, 4), *[slice(0, 16)] * 2), (slice(12, 16), *[slice(48, 64)] * 2)
    found = correct(CLAHE(size=(16, 16, 4), clip_limit=0.05), images.astype(np.uint16))
    before = [images[corner].std() for corner in (bright, dark)]
    after = [found[corner].std() for corner in (bright, dark)]
    assert before[0] / before[1] > 1.5
    assert after[0] / after[1] < 1.2


def test_slices_change_alike_in_three_dimensions():
    images = np.broadcast_to(shaded()[0], SHAPE).copy()
    found = correct(CLAHE(), images)
    np.testing.assert_array_equal(found, np.broadcast_to(found[0], SHAPE))


def test_a_size_in_micrometers_is_one_in_voxels_of_this_spacing():
    images = shaded()
    z = tuple(0.05 * k for k in range(SHAPE[0]))
    spec = spec_of(images, z=z, pixel_size=(0.02, 0.01))
    in_um = correct(CLAHE(size=(0.1, 0.24, 0.2), size_unit="um"), images, spec)
    in_voxels = correct(CLAHE(size=(10, 12, 4)), images, spec)
    np.testing.assert_array_equal(in_um, in_voxels)


def test_the_range_of_other_types_takes_a_look_unless_it_is_given():
    images = shaded("uint16")
    limits = float(images.min()), float(images.max())
    assert CLAHE().fit_rounds(spec_of(images)) == 2
    assert CLAHE().fit_rounds(spec_of(shaded())) == 1
    assert CLAHE(range_bins=limits).fit_rounds(spec_of(images)) == 1
    found = correct(CLAHE(), images)
    np.testing.assert_array_equal(found, correct(CLAHE(range_bins=limits), images))
    assert found.max() > 60_000


@pytest.mark.parametrize(
    ("dtype", "scope"),
    # all levels of 8 bits are bins, in one of which such a stack is moved a little
    [("uint8", "slice"), ("uint16", "slice"), ("uint16", "stack"), ("float32", "stack")],
)
def test_a_single_value_is_unchanged(dtype, scope):
    images = np.full(SHAPE, 77.7, dtype)
    np.testing.assert_array_equal(correct(CLAHE(scope=scope), images), images)


def test_a_smaller_limit_gives_less_contrast():
    found = [correct(CLAHE(clip_limit=limit), shaded()).std() for limit in (0.004, 0.01, 1.0)]
    assert found == sorted(found)
    assert found[0] < 0.8 * found[2]


@given(
    counts=hnp.arrays(np.int64, (3, 16), elements=st.integers(0, 10**6)),
    clip_limit=st.floats(1e-6, 1),
)
def test_clipping_keeps_the_sum_and_the_limit(counts, clip_limit):
    counts[:, 0] += 1
    found = clipped(counts, clip_limit)
    total = counts.sum(axis=1)
    np.testing.assert_allclose(found.sum(axis=1), total, rtol=1e-6)
    assert np.all(found <= (max(clip_limit, 1 / 16) * total[:, None]) * (1 + 1e-9))
    assert np.all(np.diff(np.take_along_axis(found, np.argsort(counts), 1)) >= 0)


@given(st.data())
def test_tiles_cover_the_stack_and_hardly_differ(data):
    shape = data.draw(st.tuples(*[st.integers(1, 50)] * 3))
    counts = tuple(data.draw(st.integers(1, extent)) for extent in shape)
    tiles = Tiles(counts, shape)
    for axis, (count, extent) in enumerate(zip(counts, shape, strict=True)):
        sizes = np.bincount(tiles.of_voxels(axis), minlength=count)
        assert sizes.sum() == extent
        assert np.ptp(sizes) <= 1


def test_values_beyond_the_range_count_in_the_outer_bins():
    tiles = Tiles((1, 1, 2), (1, 1, 4))
    found = count_tiles(np.array([[-9.0, 0.5, 1.5, 99.0]]), tiles, Bins(2, (0.0, 2.0)))
    np.testing.assert_array_equal(found, [[[2, 0], [0, 2]]])


@pytest.mark.parametrize(
    ("parameters", "path"),
    [
        ({"nbins": 1}, "nbins"),
        ({"clip_limit": 0.0}, "clip_limit"),
        ({"clip_limit": 1.5}, "clip_limit"),
        ({"size": (10.0, 10.0)}, "size"),
        ({"size": (10.0, 0.0, 5.0)}, "size"),
        ({"size": (10.0, 10.0, 5.0), "scope": "slice"}, "size"),
        ({"size": (1.0, 1.0, 1.0), "nbins": 65536}, "size"),
        ({"size": (0.1, 0.1, 0.1), "size_unit": "um"}, "size_unit"),
        ({"range_bins": (9.0, 9.0)}, "range_bins"),
        ({"range_bins": (0.0, 9.0), "scope": "slice"}, "range_bins"),
    ],
)
def test_wrong_parameters_are_named(parameters, path):
    (problem,) = CLAHE(**parameters).check(spec_of(shaded()))
    assert problem.path == f"clahe.{path}"
