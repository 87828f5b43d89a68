"""Specimens: functions of the position with the structure that their names promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from real_images import DATA, MEDULLA, needs
from ruler.acquired import WHITE
from ruler.specimens import GENERATED, Real, specimen
from scipy import ndimage

SHAPE = 12, 96, 112
EACH = pytest.mark.parametrize("name", GENERATED)


@EACH
def test_a_generated_specimen_is_decided_by_its_seed(name: str) -> None:
    first, again, other = (specimen(name, seed, SHAPE).at(3) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).mean() > 2


@EACH
def test_gray_levels_are_float32_between_black_and_white(name: str) -> None:
    image = specimen(name, 1, SHAPE).at(5)
    assert image.shape == SHAPE[1:]
    assert image.dtype == np.float32
    assert 0 < image.min()
    assert image.max() < WHITE


@EACH
def test_a_place_has_one_value_wherever_the_slice_begins(name: str) -> None:
    seen = specimen(name, 1, SHAPE)
    near, far = seen.at(2.25, 1.5, 0.25), seen.at(2.25, 4.5, 2.25)
    np.testing.assert_allclose(near[3:, 2:], far[:-3, :-2], atol=0.05)
    np.testing.assert_array_equal(
        seen.pores(2.25, 1.5, 0.25), seen.at(2.25, 1.5, 0.25) < GENERATED[name][1] * WHITE
    )


@EACH
def test_a_specimen_changes_little_over_a_small_way(name: str) -> None:
    seen = specimen(name, 1, SHAPE)
    here = seen.at(4)
    for place in ((4.01, 0, 0), (4, 0.01, 0), (4, 0, 0.01)):
        assert 0 < np.abs(seen.at(*place) - here).max() < 5


@EACH
def test_the_dark_class_is_darker_than_the_rest(name: str) -> None:
    seen = specimen(name, 3, SHAPE)
    image, pores = seen.at(6), seen.pores(6)
    assert 0.01 < pores.mean() < 0.7
    assert image[~pores].mean() - image[pores].mean() > 40


def test_porosity_grows_from_a_tenth_to_four_tenths_along_z() -> None:
    porosity = [
        [specimen("gradient", seed, (20, 128, 128)).pores(z).mean() for z in range(20)]
        for seed in range(6)
    ]
    mean = np.mean(porosity, axis=0)
    assert mean[0] == pytest.approx(0.1, abs=0.03)
    assert mean[-1] == pytest.approx(0.4, abs=0.04)
    assert np.polyfit(range(20), mean, 1)[0] == pytest.approx(0.3 / 19, rel=0.15)


def test_one_giant_pore_holds_a_quarter_of_the_middle_slice() -> None:
    names, _ = ndimage.label(specimen("giant", 1, (12, 160, 160)).pores(5.5))
    sizes = np.sort(np.bincount(names.ravel())[1:]) / names.size
    assert 0.2 < sizes[-1] < 0.4
    assert sizes[:-1].max(initial=0) < 0.02


def test_upright_structure_stays_along_y_and_z_and_changes_along_x() -> None:
    seen = specimen("upright", 1, (12, 160, 160))
    image = seen.at(0)
    solid = ~(seen.pores(0) | seen.pores(4) | seen.pores(0, 8))

    def alike(other: np.ndarray) -> float:
        return float(np.corrcoef(image[:, :-8][solid[:, :-8]], other[solid[:, :-8]])[0, 1])

    assert alike(seen.at(4)[:, :-8]) > 0.6
    assert alike(seen.at(0, 8)[:, :-8]) > 0.5
    assert alike(image[:, 8:]) < 0.3


def test_layers_differ_from_row_to_row_rather_than_from_column_to_column() -> None:
    image = specimen("layers", 1, (12, 256, 256)).at(0)
    assert image.mean(axis=1).std() > 2 * image.mean(axis=0).std()


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    path = tmp_path / "stack.tif"
    volume = np.random.default_rng(0).integers(0, 256, (5, 20, 24), np.uint8)
    tifffile.imwrite(path, volume, photometric="minisblack")
    return path


def test_a_real_stack_is_itself_at_its_voxels_and_linear_between_slices(stack: Path) -> None:
    volume = tifffile.imread(stack).astype(np.float32)
    seen = Real("some", stack, volume.shape)
    np.testing.assert_allclose(seen.at(3), volume[3], atol=1e-2)
    np.testing.assert_allclose(seen.at(2.25), 0.75 * volume[2] + 0.25 * volume[3], atol=1e-2)
    np.testing.assert_allclose(seen.at(1, 2, 3)[:-2, :-3], volume[1, 2:, 3:], atol=1e-2)


def test_a_real_stack_is_cubic_in_the_plane(tmp_path: Path) -> None:
    path = tmp_path / "wave.tif"
    x = np.arange(40)
    wave = np.rint(100 * (1 + np.sin(2 * np.pi * x / 10)))
    tifffile.imwrite(path, np.tile(wave, (3, 40, 1)).astype(np.uint8), photometric="minisblack")
    between = Real("wave", path, (3, 40, 40)).at(1, 0, 0.5)[20, 5:-5]
    expected = 100 * (1 + np.sin(2 * np.pi * (x + 0.5) / 10))[5:-5]
    assert np.abs(between - expected).max() < 2  # a line would be 5 off


def test_a_real_stack_is_reflected_beyond_its_sides(stack: Path) -> None:
    volume = tifffile.imread(stack).astype(np.float32)
    seen = Real("some", stack, (9, 30, 24))
    np.testing.assert_allclose(seen.at(6), seen.at(2), atol=1e-2)
    np.testing.assert_allclose(seen.at(0)[20:], volume[0, 18:8:-1], atol=1e-2)


def test_a_single_image_is_the_same_at_all_depths(tmp_path: Path) -> None:
    path = tmp_path / "one.tif"
    tifffile.imwrite(path, np.arange(400, dtype=np.uint8).reshape(20, 20))
    seen = Real("one", path, (4, 20, 20))
    np.testing.assert_array_equal(seen.at(0), seen.at(2.5))


def test_the_seed_decides_where_an_excerpt_of_a_real_stack_begins(stack: Path) -> None:
    starts = {Real("some", stack, (2, 10, 30), seed).start for seed in range(20)}
    assert len(starts) > 10
    assert {start[2] for start in starts} == {0}
    assert max(start[0] for start in starts) == 3


def test_pores_of_a_real_stack_are_its_dark_half(tmp_path: Path) -> None:
    path = tmp_path / "halves.tif"
    halves = np.where(np.arange(40) < 20, 60, 180) + np.zeros((3, 40, 1))
    tifffile.imwrite(path, halves.astype(np.uint8), photometric="minisblack")
    pores = Real("halves", path, (3, 40, 40)).pores(1)
    assert pores[:, :18].all()
    assert not pores[:, 22:].any()


def test_a_stack_of_16_bits_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.tif"
    tifffile.imwrite(path, np.zeros((3, 8, 8), np.uint16), photometric="minisblack")
    with pytest.raises(ValueError, match="3 axes of uint16, expected 2 or 3 of uint8"):
        Real("deep", path, (3, 8, 8)).at(0)


def test_an_unknown_texture_and_a_missing_folder_are_named() -> None:
    with pytest.raises(ValueError, match="'wood', expected one of porous, cellular"):
        specimen("wood", 0, SHAPE)
    with pytest.raises(ValueError, match="'medulla' is a real stack, give the folder"):
        specimen("medulla", 0, SHAPE)


@needs(MEDULLA)
def test_real_tissue_has_dark_membranes() -> None:
    seen = specimen("medulla", 0, (4, 200, 200), DATA)
    assert 0.1 < seen.pores(1.5).mean() < 0.6
    assert seen.at(1.5)[~seen.pores(1.5)].mean() > seen.at(1.5)[seen.pores(1.5)].mean() + 30
