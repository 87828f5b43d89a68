"""Noise of the electrons and of the detector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import signal

from ruler.acquired import Array
from ruler.faces import NO_DATA


@dataclass(frozen=True)
class ElectronNoise:
    """Noise of counted electrons, and of an amplifier; no pixel knows of another.

    Parameters
    ----------
    rms : float
        Of the whole stack, in gray levels.
    poisson : float
        Share of the variance that grows with the signal; the rest is there in the dark.
    """

    rms: float
    poisson: float = 0.8

    def of(self, stack: Array, rng: np.random.Generator) -> Array:
        """Return the noise of a stack."""
        counted = np.maximum(stack, 0)
        quantum = self.poisson * self.rms**2 / max(float(counted.mean()), 1.0)
        noise = np.sqrt(1 - self.poisson) * self.rms * rng.standard_normal(stack.shape)
        if quantum:
            noise += rng.poisson(counted / quantum) * quantum - counted
        return _where_data(noise, stack)


@dataclass(frozen=True)
class ScanNoise:
    """Noise of a slow detector: neighbors along the scan are alike, along x.

    Parameters
    ----------
    rms : float
        In gray levels.
    length : float
        Pixels over which the correlation falls to 37 %.
    """

    rms: float
    length: float = 3.0

    def of(self, stack: Array, rng: np.random.Generator) -> Array:
        """Return the noise of a stack, whatever it shows."""
        keep = np.exp(-1 / self.length)
        white = rng.standard_normal(stack.shape)
        white[..., 0] /= np.sqrt(1 - keep**2)
        noise = self.rms * signal.lfilter([np.sqrt(1 - keep**2)], [1, -keep], white, axis=-1)
        return _where_data(noise, stack)


def _where_data(noise: Array, stack: Array) -> Array:
    return np.where(stack == NO_DATA, 0, noise).astype(np.float32)
