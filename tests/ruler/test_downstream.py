"""Segmentations of volumes whose pores and cells are known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from ruler.downstream import (
    cells,
    cells_of,
    central,
    dice,
    faces,
    pores_of,
    porous,
    through,
    tortuosity,
)
from scipy import ndimage

SHAPE = (20, 48, 56)


def sponge(share: float = 0.4) -> np.ndarray:
    """Return a volume in which pores, dark, fill a share and reach through if it is large."""
    field = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=SHAPE), 3)
    return np.where(field < np.quantile(field, share), 60.0, 180.0)


def noisy(volume: np.ndarray, seed: int = 1, sigma: float = 8.0) -> np.ndarray:
    return volume + np.random.default_rng(seed).normal(0, sigma, volume.shape)


def tissue(cells_across: int = 3) -> np.ndarray:
    """Return squares with dark membranes between them."""
    volume = np.full((4, 40 * cells_across, 40 * cells_across), 160.0)
    for k in range(cells_across + 1):
        for axis in (1, 2):
            line = np.clip(40 * k + np.arange(-2, 2), 0, volume.shape[axis] - 1)
            volume[(slice(None),) * axis + (line,)] = 60.0
    return volume


def chain(places: list[tuple[int, int]], shape: tuple[int, int]) -> np.ndarray:
    """Return a channel of single voxels in a slab, between corners that share a row or column."""
    mask = np.zeros((1, *shape), bool)
    for (y, x), (other_y, other_x) in pairwise(places):
        rows, columns = sorted((y, other_y)), sorted((x, other_x))
        mask[0, rows[0] : rows[1] + 1, columns[0] : columns[1] + 1] = True
    return mask


def test_a_volume_agrees_with_itself():
    found = porous(noisy(sponge()), noisy(sponge()))
    same = found.dice, found.surface, found.tortuosity_x, found.tortuosity_z
    assert same == pytest.approx((1, 1, 1, 1))
    assert (found.porosity, *found.profile_largest, *found.profile_rms) == pytest.approx((0,) * 7)
    assert found.phase == "pores"


def test_gain_and_offset_change_no_pores():
    found = porous(0.7 * noisy(sponge()) + 30, noisy(sponge()))
    assert found.dice > 0.9999


def test_other_noise_changes_few_pores():
    found = porous(noisy(sponge(), seed=2), noisy(sponge(), seed=1))
    assert 0.99 < found.dice < 1
    assert found.tortuosity_x == pytest.approx(1, abs=0.02)


def test_shading_moves_the_porosity_profile_across_it():
    shading = np.linspace(-50, 50, SHAPE[2])
    found = porous(noisy(sponge()) + shading, noisy(sponge()))
    across_z, across_y, across_x = found.profile_rms
    assert across_x > 3 * max(across_y, across_z)
    assert found.profile_largest[2] > 5
    assert found.dice < 0.99


def test_the_solid_stands_in_for_pores_that_do_not_reach_through():
    found = porous(noisy(sponge(0.08)), noisy(sponge(0.08)))
    assert found.phase == "solid"
    assert (found.tortuosity_x, found.tortuosity_z) == pytest.approx((1, 1))


def test_a_result_whose_pores_are_cut_off_has_no_tortuosity():
    closed = sponge()
    closed[10:14] = 180.0
    found = porous(noisy(closed), noisy(sponge()))
    assert found.phase == "pores"
    assert np.isnan(found.tortuosity_z)
    assert found.tortuosity_x > 0


def test_noise_that_the_threshold_lets_through_adds_surface():
    assert porous(noisy(sponge(), sigma=300), noisy(sponge())).surface > 1.5


def test_pores_are_what_is_dark():
    volume = sponge()
    assert dice(pores_of(noisy(volume)), volume < 100) > 0.93


def test_dice_of_masks():
    one, other = np.zeros((2, 1, 1, 4), bool)
    assert dice(one, other) == 1
    one[..., :2] = other[..., 1:3] = True
    assert dice(one, other) == 0.5
    assert dice(one, ~one) == 0


def test_a_cube_has_six_faces():
    mask = np.zeros((5, 6, 8), bool)
    mask[1:4, 1:4, 2:5] = True
    assert faces(mask) == pytest.approx(6 * 9 / mask.size)


def test_the_central_box_is_128_voxels_at_most():
    box = central(np.empty((32, 560, 200), bool))
    assert box == (slice(0, 32), slice(216, 344), slice(36, 164))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_straight_channels_have_a_tortuosity_of_one(axis):
    mask = np.zeros((20, 20, 20), bool)
    mask[4:9, 4:9] = mask[12:15, 2:18] = True
    assert tortuosity(np.moveaxis(mask, 2, axis), axis) == pytest.approx(1, rel=1e-3)


def test_an_empty_box_has_a_tortuosity_of_one():
    assert tortuosity(np.ones((7, 8, 9), bool), 0) == pytest.approx(1, rel=1e-3)


def test_a_zigzag_has_the_squared_length_of_its_path_over_the_straight_one():
    mask = chain([(1, 0), (1, 5), (9, 5), (9, 10), (3, 10), (3, 19)], (12, 20))
    assert mask.sum() == 34
    assert tortuosity(mask, 2) == pytest.approx((34 / 20) ** 2, rel=1e-3)


def test_dead_ends_add_to_the_share_but_carry_nothing():
    straight = chain([(1, 0), (1, 19)], (12, 20))
    branched = straight | chain([(1, 7), (10, 7)], (12, 20))
    isolated = straight | chain([(6, 3), (6, 12)], (12, 20))
    assert tortuosity(branched, 2) == pytest.approx(29 / 20, rel=1e-3)
    assert tortuosity(isolated, 2) == pytest.approx(30 / 20, rel=1e-3)


def test_layers_in_series_and_in_parallel_conduct_as_theory_says():
    mask = np.ones((1, 8, 20), bool)
    mask[:, :4, 10:] = False  # half as wide in the second half; the flow spreads around the corner
    assert 1.2 < tortuosity(mask, 2) * 15 / (0.75 * 20) < 1.3


def test_voxels_connect_by_faces_only():
    mask = np.zeros((1, 4, 4), bool)
    mask[0, 0, :2] = mask[0, 1, 2:] = True
    assert not through(mask, 2).any()
    assert np.isnan(tortuosity(mask, 2))


def test_cells_agree_with_themselves():
    found = cells(noisy(tissue()), noisy(tissue()))
    assert (found.rand_error, found.count) == pytest.approx((0, 1))


def test_cells_are_counted():
    assert [labels.max() for labels in cells_of(noisy(tissue(3)))] == [9] * 4


def test_other_noise_changes_few_cells():
    assert cells(noisy(tissue(), seed=2), noisy(tissue(), seed=1)).rand_error < 0.03


def test_a_membrane_that_is_lost_joins_two_cells():
    open_wall = tissue()
    open_wall[:, 2:38, 35:45] = 160.0
    found = cells(noisy(open_wall), noisy(tissue()))
    assert found.count == pytest.approx(8 / 9)
    assert 0.05 < found.rand_error < 0.2


def test_at_most_eight_slices_are_segmented_into_cells():
    assert len(cells_of(np.tile(tissue(2), (5, 1, 1)))) == 7
