"""Noise has its strength where there are data, and the correlation of its kind."""

from __future__ import annotations

import numpy as np
import pytest
from ruler.defects import NO_DATA, ElectronNoise, ScanNoise, noises


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def test_electron_noise_has_its_rms_and_grows_with_the_signal() -> None:
    stack = np.full((4, 100, 200), 40, np.float32)
    stack[:, 50:] = 160
    noise = ElectronNoise(3, poisson=0.8).of(stack, rng())
    assert rms(noise) == pytest.approx(3, rel=0.02)
    assert noise.mean() == pytest.approx(0, abs=0.03)
    expected = [9 * (0.2 + 0.8 * level / 100) for level in (40, 160)]
    found = [noise[:, :50].var(), noise[:, 50:].var()]
    assert found == pytest.approx(expected, rel=0.05)


def test_scan_noise_is_correlated_along_rows_and_not_across_them() -> None:
    noise = ScanNoise(4, length=3).of(np.full((4, 200, 300), 100, np.float32), rng())
    assert [rms(noise), rms(noise[..., 0])] == pytest.approx([4, 4], rel=0.05)
    along = np.corrcoef(noise[..., 3:].ravel(), noise[..., :-3].ravel())[0, 1]
    across = np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]
    assert along == pytest.approx(np.exp(-1), abs=0.03)
    assert abs(across) < 0.02


def test_pixels_without_data_have_no_noise() -> None:
    stack = np.full((8, 60, 70), 100, np.float32)
    stack[:, :9] = NO_DATA
    noise = noises(stack, (ElectronNoise(3), ScanNoise(3)), 1)
    np.testing.assert_array_equal(noise == 0, stack == NO_DATA)
