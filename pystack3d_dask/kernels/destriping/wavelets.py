"""Stripe removal in wavelet space.

Muench, Trtik, Marone, Stampanoni, "Stripe and ring artifact removal with combined wavelet -
Fourier filtering", Optics Express 17(10), 2009, section 2.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from pystack3d_dask.core.typing import Array


@dataclass(frozen=True, kw_only=True)
class WaveletDecomposition:
    """How stripes along y are taken out.

    Parameters
    ----------
    wavelet : str
        A discrete wavelet that PyWavelets knows, such as "db25" or "coif3".
    level : int, optional
        Levels of the decomposition: the wider the stripes, the more. By default the largest
        number at which not all coefficients feel the border.
    sigma : float
        Width of the damping, in indices of the transform along y; the larger, the more
        also of short and bent stripes is removed.
    """

    wavelet: str
    sigma: float
    level: int | None = None

    def levels(self, shape: tuple[int, int]) -> int:
        """Return the number of levels for an image."""
        import pywt  # not at the top, here and below: workers start sooner

        return int(pywt.dwtn_max_level(shape, self.wavelet)) if self.level is None else self.level


def remove_stripes(image: Array, how: WaveletDecomposition) -> Array:
    """Remove stripes along y from one image.

    Parameters
    ----------
    image : ndarray of float, shape (rows, columns)
        Odd sizes are padded by the decomposition and trimmed again.
    how : WaveletDecomposition
        Wavelet, levels and damping.

    Returns
    -------
    ndarray, same shape and type
        The details across the stripes, on every level, transformed along y and multiplied
        by ``1 - exp(-k^2 / (2 sigma^2))``, k = 0 for the mean along y.
    """
    import pywt

    level = how.levels((image.shape[0], image.shape[1]))
    if not level:
        return image
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the border counts at high levels: `check` has said so
        coefficients = pywt.wavedec2(image, how.wavelet, level=level)
    damped = [
        (horizontal, _damped(vertical, how.sigma), diagonal)
        for horizontal, vertical, diagonal in coefficients[1:]
    ]
    result = pywt.waverec2([coefficients[0], *damped], how.wavelet)
    return np.asarray(result[: image.shape[0], : image.shape[1]])


def _damped(band: Array, sigma: float) -> Array:
    from scipy import fft

    spectrum = fft.rfft(band, axis=0)
    k = np.arange(spectrum.shape[0])
    gain = -np.expm1(-(k**2) / (2 * sigma**2))
    spectrum *= gain[:, None].astype(band.dtype)
    return np.asarray(fft.irfft(spectrum, n=band.shape[0], axis=0))
