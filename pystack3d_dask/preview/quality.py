"""Figures that tell good slices from bad ones without knowing the truth.

All are of one slice, or of one and its neighbor, and none depends on brightness and contrast.
What varies slowly, over more than `SLOWEST` pixels, is left out of all but the histograms: a
background that two slices share makes them alike, and is no merit.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from scipy import fft

from pystack3d_dask.core.typing import Array

WEDGE = 5.0  # degrees to each side of a direction that count as that direction
SLOWEST = 50  # pixels of a period
NOTHING = 1e-8  # of the energy of the strongest ring: where there is less, windows leak
SMALLEST, LARGEST = 1e-12, 1e12  # gray levels whose squares, summed, float32 can hold
LEVELS = 1024  # quantiles by which gray levels are compared


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Figures of one slice.

    Parameters
    ----------
    along, across : float
        See `stripe_energy`.
    sharpness : float
        See `sharpness`.
    histogram_distance : float
        To the neighbor, see `histogram_distance`; 0 is best. NaN without a neighbor.
    ncc : float
        With the neighbor, see `correlation`; 1 is best. NaN without a neighbor.
    """

    along: float
    across: float
    sharpness: float
    histogram_distance: float = np.nan
    ncc: float = np.nan

    @classmethod
    def of(cls, image: Array, neighbor: Array | None = None, angle: float = 0.0) -> Quality:
        """Return the figures of a slice.

        Parameters
        ----------
        image : ndarray, shape (rows, columns)
            The slice.
        neighbor : ndarray of the same shape, optional
            The one beside it.
        angle : float
            Of the stripes, degrees clockwise on the screen, 0 for those along y.
        """
        along, across = stripe_energy(image, angle)
        alike = (
            {}
            if neighbor is None
            else {
                "histogram_distance": histogram_distance(image, neighbor),
                "ncc": correlation(image, neighbor),
            }
        )
        return cls(along=along, across=across, sharpness=sharpness(image), **alike)

    @property
    def score(self) -> float:
        """The correlation with the neighbor less the distance of the histograms; 1 is best.

        The specimen is what neighboring slices have in common: what does not disturb it, and
        takes away what each slice has of its own (stripes, noise, jumps), makes them more
        alike, and what takes parts of the specimen away less. Backgrounds are not judged.
        """
        return self.ncc - self.histogram_distance

    def by_name(self) -> dict[str, float]:
        """Return the figures, and the score, by name."""
        return {**asdict(self), "score": self.score}


def power_spectrum(image: Array) -> tuple[Array, Array, Array]:
    """Return the power spectrum of an image without its border, and where its values lie.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Any real type.

    Returns
    -------
    power : ndarray of float32, shape (rows, columns // 2 + 1)
        Of the image less its mean, under a Hann window: periodograms without one have a
        bright cross, which is the border of the image and looks like stripes.
    ky, kx : ndarray, shapes (rows, 1) and (columns // 2 + 1,)
        Cycles per pixel.
    """
    rows, columns = image.shape
    values = tame(image)
    values -= np.float32(values.mean(dtype=np.float64))
    values *= np.hanning(rows + 2)[1:-1, None].astype(np.float32)
    values *= np.hanning(columns + 2)[1:-1].astype(np.float32)
    power = np.square(np.abs(fft.rfft2(values)))
    return power, fft.fftfreq(rows)[:, None], fft.rfftfreq(columns)


def stripe_energy(image: Array, angle: float = 0.0) -> tuple[float, float]:
    """Return which share of the energy of an image varies along stripes, and across them.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Any real type.
    angle : float
        Degrees by which stripes are turned clockwise on the screen, 0 for those along y.

    Returns
    -------
    along, across : float
        Energy at frequencies within 5 degrees of the direction along the stripes, and of
        that across them, over the mean of all directions at the same frequency. Both are
        1 where no direction is special; stripes lift ``across`` far above it, and
        destriping that takes too much drops it below.
    """
    power, ky, kx = power_spectrum(image)
    radius = np.hypot(ky, kx)
    counted = (radius >= 1 / SLOWEST) & (radius <= 0.5)
    # the rings of a spectrum that falls by orders of magnitude count alike
    rings = np.rint(radius[counted] * min(image.shape)).astype(np.intp)
    energy = power[counted]
    mean = np.bincount(rings, energy, minlength=1) / np.maximum(np.bincount(rings, minlength=1), 1)
    weak = mean <= NOTHING * mean.max()
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    v, u = np.abs(ky * cosine - kx * sine), np.abs(kx * cosine + ky * sine)  # along, across
    slope = np.tan(np.deg2rad(WEDGE))
    along, across = (
        _mean_of_rings(energy[wedge[counted]], rings[wedge[counted]], mean, weak)
        for wedge in (u <= slope * v, v <= slope * u)
    )
    return along, across


def _mean_of_rings(energy: Array, rings: Array, mean: Array, weak: Array) -> float:
    """Return the mean of energies over those of their rings; 1 if all rings are weak."""
    some = ~weak[rings]
    return float((energy[some] / mean[rings[some]]).mean()) if some.any() else 1.0


def sharpness(image: Array) -> float:
    """Return the energy of the gradient over the variance.

    The measure of Tenenbaum as compared by Krotkov, "Focusing", IJCV 1, 1988, with
    differences in place of Sobel's masks. 0 for an image of one gray level.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Any real type.
    """
    values = tame(image)
    variance = float(values.var())
    gradients = [np.diff(values, axis=axis) for axis in (0, 1) if image.shape[axis] > 1]
    energy = sum(float(np.mean(np.square(each))) for each in gradients)
    return energy / variance if variance else 0.0


def tame(image: Array) -> Array:
    """Return an image as float32, divided by a power of two where its squares are out of range.

    Parameters
    ----------
    image : ndarray
        Any real type, finite.
    """
    values = image.astype(np.float32)
    largest = max(abs(float(values.max())), abs(float(values.min()))) if values.size else 0.0
    if not largest or SMALLEST <= largest <= LARGEST:
        return values
    return np.ldexp(values, -int(np.frexp(largest)[1]))


def histogram_distance(image: Array, neighbor: Array) -> float:
    """Return how far apart the gray levels of two slices are, over their standard deviation.

    The earth mover's distance (Wasserstein 1; Rubner, Tomasi, Guibas, IJCV 40(2), 2000),
    from 1024 quantiles of each.

    Parameters
    ----------
    image, neighbor : ndarray
        Any shapes and real types.
    """
    places = (np.arange(LEVELS) + 0.5) / LEVELS
    one, other = (np.quantile(each.astype(np.float32), places) for each in (image, neighbor))
    deviation = float(neighbor.std(dtype=np.float64))
    return float(np.mean(np.abs(one - other))) / deviation if deviation else 0.0


def correlation(image: Array, neighbor: Array) -> float:
    """Return the normalized cross-correlation of two slices, less their local means.

    Parameters
    ----------
    image, neighbor : ndarray
        Equal shapes, any real type. 0 if one of them has a single gray level.
    """
    one, other = (detail(tame(each)) for each in (image, neighbor))
    norm = float(np.sqrt(float(np.vdot(one, one)) * float(np.vdot(other, other))))
    return float(np.vdot(one, other)) / norm if norm else 0.0


def detail(image: Array) -> Array:
    """Return an image, as float32, less its mean under a Gaussian a fifth of `SLOWEST` wide."""
    from scipy import ndimage  # not at the top: figures without a neighbor do without it

    values = image.astype(np.float32)
    return np.asarray(values - ndimage.gaussian_filter(values, SLOWEST / 5))
