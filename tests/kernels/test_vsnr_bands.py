"""Waves in bands: a few profiles make up all of them."""

from __future__ import annotations

import numpy as np
import pytest

from pystack3d_dask.kernels.destriping.wave_bands import GROUP, bands


@pytest.mark.parametrize(
    ("rows", "frequencies"),
    [
        (2000, range(21)),
        (2000, range(0, 120)),
        (2001, (0, 3, 17)),
        (37, (0, 1, 2)),
        (240, range(100, 121)),
        (2000, (0,)),
    ],
)
def test_profiles_and_mixtures_give_every_row_of_every_wave(rows, frequencies):
    found = bands(np.array(frequencies), rows)
    made = np.concatenate([found.profiles @ mixture for mixture in found.mixtures])
    y = np.arange(len(made))[:, None]
    assert len(made) >= rows + GROUP  # the first rows once more, as the sweep reads them
    angles = 2 * np.pi * y * np.array(frequencies) / rows
    waves = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
    np.testing.assert_allclose(made[:, : waves.shape[1]], waves, atol=2e-5)
    np.testing.assert_array_equal(made[:, waves.shape[1] :], 0)


def test_long_waves_take_less_work_than_one_by_one():
    assert bands(np.arange(21), 2000).operations < 42 / 2
    assert bands(np.arange(120), 2000).operations < 240 / 2


def test_the_heights_of_bands_are_of_whole_groups():
    found = bands(np.arange(21), 2000)
    assert len(found.profiles) % GROUP == found.profiles.shape[1] % GROUP == 0
