"""Parameters that the images themselves suggest: a start for tuning, to be looked at."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import ndimage, optimize
from skimage.feature import structure_tensor, structure_tensor_eigenvalues
from skimage.filters import threshold_multiotsu

from pystack3d_dask.core.area import Area
from pystack3d_dask.core.typing import Array
from pystack3d_dask.errors import ParameterError, Problem
from pystack3d_dask.preview.quality import SLOWEST, power_spectrum
from pystack3d_dask.preview.workbench import Workbench
from pystack3d_dask.project.project import Project

PEAK = 15.0  # degrees to each side of the stripes' direction that are theirs
FLANK = 45.0  # degrees up to which they are compared with others: aligning blurs along one axis
NOTICEABLE = 1.6  # energy across stripes over that of other directions
SLENDER = 4.0  # times as long as wide: what is shorter is texture
SHALLOW = 0.8  # of the lower of two peaks: a valley that is not deeper separates nothing
BINS = 256
SCALE = 2.0  # pixels over which gradients are averaged to tell corners from edges
PLACES = 16  # tried along each axis
LOOKED_AT = 3  # slices
SMALLEST = 12  # rows or columns in which stripes are looked for


@dataclass(frozen=True)
class Stripes:
    """What the stripes of an image look like, as `Filter` of the destriping wants to know.

    Parameters
    ----------
    angle : float
        Degrees by which they are turned, clockwise on the screen, 0 along y.
    sigma : tuple of float
        Standard deviations in pixels, across and along.
    energy : float
        Energy of the spectrum in their direction over that beside it: 1 is no stripes.
    """

    angle: float
    sigma: tuple[float, float]
    energy: float

    @property
    def are_noticeable(self) -> bool:
        """Whether there are any; parts of the specimen that lie side by side look the same."""
        across, along = self.sigma
        return self.energy >= NOTICEABLE and along >= SLENDER * across


def stripes(image: Array) -> Stripes:
    """Find angle and width of the stripes in an image.

    Stripes gather the power spectrum on a line through the origin, across them. Its angle is
    where the power over that of its ring is highest; its widths are those of the Gaussian
    that, with the other directions as background, makes the periodogram most likely
    (Whittle, Arkiv för Matematik 2, 1953).

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Any real type; as large a part of a slice as shows stripes of one kind. A blank border
        is left out.

    Returns
    -------
    Stripes
        ``sigma`` is at most a quarter of the shorter side: longer ones look the same.
    """
    image = without_border(np.asarray(image))
    if min(image.shape) < SMALLEST:
        return Stripes(0.0, (1.0, 1.0), 1.0)
    power, ky, kx = power_spectrum(image)
    radius = np.hypot(ky, kx)
    counted = (radius >= 1 / SLOWEST) & (radius <= 0.5)
    direction = np.rad2deg(np.arctan2(ky, kx))[counted]
    power, radius = power[counted], radius[counted]
    ky, kx = (np.broadcast_to(each, counted.shape)[counted] for each in (ky, kx))
    relative = power / _ring_means(radius, power)
    angle = _peak(direction, relative)
    turned = np.abs(_turned(direction, angle))
    others = (turned > PEAK) & (turned < FLANK)
    background = _ring_means(radius, power, others)
    u, v = _rotated(kx, ky, angle)
    energy = float(np.mean((power / background)[turned <= 1]))
    sigma = _widths(u, v, power / background, background, min(image.shape) / 4)
    return Stripes(round(angle, 1), sigma, energy)


def without_border(image: Array) -> Array:
    """Return an image without rows and columns of one gray level at its edges.

    Aligned slices have such a border, beside which a row or column of pixels is mixed with it,
    so that one more is left out. Nothing is left of an image of one gray level.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Any real type.
    """
    for _ in range(image.ndim):
        filled = np.flatnonzero(np.ptp(image, axis=1)) if image.size else np.empty(0, int)
        if not len(filled):
            return image[:0]
        first, last = filled[0], filled[-1]
        first, last = first + (first > 0), last - (last < len(image) - 1)
        image = image[first : last + 1].T
    return image


def thresholds(image: Array) -> tuple[float | None, float | None]:
    """Find the gray levels between which the background is to be fitted.

    Gray levels are split into three classes (Otsu, IEEE TSMC 9(1), 1979), and the largest is
    taken for what fills the image; the bounds are the valleys that part it from the others.

    Parameters
    ----------
    image : ndarray
        One slice or several, any real type.

    Returns
    -------
    threshold_min, threshold_max : float or None
        None where the histogram has no valley: gray levels are then not told apart by a
        threshold.
    """
    image = np.asarray(image).astype(np.float64)
    low, high = np.percentile(image, [0.1, 99.9])
    if low == high:  # and no bins between them
        return None, None
    counts, edges = np.histogram(image, BINS, (float(low), float(high)))
    centers = (edges[:-1] + edges[1:]) / 2
    smooth = ndimage.gaussian_filter1d(counts.astype(np.float64), BINS / 64)
    if np.count_nonzero(counts) < 3:
        return None, None
    cuts = np.searchsorted(centers, threshold_multiotsu(hist=(counts, centers), classes=3))
    bounds = [0, *cuts.tolist(), BINS]
    classes = [slice(a, b) for a, b in pairwise(bounds)]
    main = max(range(3), key=lambda k: counts[classes[k]].sum())
    peaks = [each.start + int(np.argmax(smooth[each])) for each in classes if smooth[each].size]
    if len(peaks) < 3:
        return None, None
    below = _valley(smooth, peaks[main - 1], peaks[main]) if main > 0 else None
    above = _valley(smooth, peaks[main], peaks[main + 1]) if main < 2 else None
    return (
        None if below is None else float(centers[below]),
        None if above is None else float(centers[above]),
    )


def registration_area(images: Array, share: float = 0.5) -> Area:
    """Find the part of the slices by which they are best registered.

    The mean smaller eigenvalue of the structure tensor tells how much there is that varies in
    two directions (Shi and Tomasi, CVPR 1994); edges and stripes alone fix but one. The part
    is the one where the poorest slice has most of it.

    Parameters
    ----------
    images : ndarray, shape (slices, rows, columns)
        Some slices, any real type.
    share : float
        Width and height of the part over those of the slices.

    Returns
    -------
    tuple of int
        ``[xmin, xmax, ymin, ymax]`` in pixels, origin bottom left.
    """
    images = np.asarray(images)
    _, rows, columns = images.shape
    height, width = (max(1, round(share * extent)) for extent in (rows, columns))
    tops, lefts = (
        np.unique(np.linspace(0, extent - size, PLACES).astype(int))
        for extent, size in ((rows, height), (columns, width))
    )
    found = [_box_means(_texture(image), tops, lefts, height, width) for image in images]
    poorest = np.min([each / max(float(each.max()), 1e-30) for each in found], axis=0)
    k, i = np.unravel_index(np.argmax(poorest), poorest.shape)
    top, left = int(tops[k]), int(lefts[i])
    return left, left + width, rows - top - height, rows - top


def suggest(project: Project) -> str:
    """Return lines for the parameter file, each with a comment on what they are from.

    They are found on the middle slice, or three slices, of what comes to each step; fits of
    the steps before are those of runs, or estimated, as for a preview.

    Raises
    ------
    ParameterError
        When none of the steps is there that something is suggested for.
    """
    finders = {
        "bkg_removal": (_background_lines, LOOKED_AT),
        "registration_calculation": (_registration_lines, LOOKED_AT),
        "destriping": (_destriping_lines, 1),
    }
    bench, lines = Workbench(project), []
    for index, step in enumerate(project.steps):
        if step.name in finders:
            found, count = finders[step.name]
            lines += [f"[{step.name}]", *found(_slices(bench, index, count), step), ""]
    if not lines:
        message = f"one of {', '.join(finders)} expected, there is none to suggest anything for"
        raise ParameterError([Problem("process_steps", message)])
    return "\n".join(lines).rstrip()


def _slices(bench: Workbench, level: int, count: int) -> Array:
    """Return some slices of a level, of the first channel."""
    slices = bench.project.chains()[0].levels[level].shape[0]
    shown = sorted({round((k + 1) * (slices - 1) / (count + 1)) for k in range(count)})
    fitted = bench.fitted(shown, level)
    region = fitted.chains[0].levels[level].region
    found = bench.images(fitted, level, [region.with_z(z, z + 1) for z in shown])
    return np.stack([images[0] for images in found])


def _background_lines(images: Array, step: Any) -> list[str]:
    values = dict(zip(("threshold_min", "threshold_max"), thresholds(images), strict=True))
    lines = [
        f"{name} = {value:.4g}  # a valley of the histogram: beyond it, another phase"
        for name, value in values.items()
        if value is not None
    ]
    return lines or ["# no thresholds: the histogram has no valley beside its highest peak"]


def _registration_lines(images: Array, step: Any) -> list[str]:
    area = list(registration_area(images))
    return [f"area = {area}  # the quarter with most detail in both directions"]


def _destriping_lines(images: Array, step: Any) -> list[str]:
    found = stripes(images[0])
    if not found.are_noticeable:
        return [f"# no stripes: the spectrum is {found.energy:.1f} times as high in one direction"]
    instead = "" if not step.neighbors else f", in place of neighbors = {step.neighbors}"
    level = next((each.noise_level for each in step.filters), 20)
    across, along = found.sigma
    return [
        f'filters = [{{ name = "Gabor", noise_level = {level:g}, sigma = [{across:.2g}, '
        f"{along:.0f}], theta = {found.angle:g} }}]  # the spectrum is {found.energy:.1f} times as "
        f"high across these stripes; sweep noise_level{instead}"
    ]


def _ring_means(radius: Array, power: Array, counted: Array | None = None) -> Array:
    """Return, for each point, the mean power at its frequency, of those that are counted.

    At a frequency where none is, as in small images, it is that of all.
    """
    rings = np.rint(radius * 2 * SLOWEST).astype(np.intp)
    some = slice(None) if counted is None else counted | ~np.isin(rings, rings[counted])
    number = np.bincount(rings[some], minlength=rings.max() + 1)
    total = np.bincount(rings[some], power[some], minlength=rings.max() + 1)
    means = total / np.maximum(number, 1)
    return np.asarray(np.maximum(means, 1e-12 * max(float(means.max()), 1e-30))[rings])


def _turned(direction: Array, angle: float) -> Array:
    """Return directions against an angle, -90 to 90 degrees."""
    return np.asarray((direction - angle + 90) % 180 - 90)


def _peak(direction: Array, relative: Array) -> float:
    """Return the direction of the highest mean, from bins of a degree and those beside it."""
    bins = np.rint(direction).astype(np.intp) % 180
    means = np.bincount(bins, relative, 180) / np.maximum(np.bincount(bins, minlength=180), 1)
    coarse = float(np.argmax(ndimage.uniform_filter1d(means, 3, mode="wrap")))
    turned = _turned(direction, coarse)
    near = np.abs(turned) <= 4
    weights = np.maximum(relative[near] - np.median(relative), 0) ** 2
    angle = coarse + float(np.sum(weights * turned[near]) / max(float(weights.sum()), 1e-30))
    return (angle + 90) % 180 - 90


def _rotated(kx: Array, ky: Array, angle: float) -> tuple[Array, Array]:
    """Return frequencies across and along stripes."""
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    return c * kx + s * ky, c * ky - s * kx


def _widths(
    u: Array, v: Array, relative: Array, background: Array, longest: float
) -> tuple[float, float]:
    """Return the standard deviations of the Gaussian that makes a periodogram most likely."""
    near = np.abs(v) <= 0.15
    u2, v2 = u[near] ** 2, v[near] ** 2
    ratio, floor = relative[near], background[near]

    def unlikely(parameters: Array) -> float:
        log_height, log_across, log_along = parameters
        across, along = np.exp(2 * log_across), np.exp(2 * log_along)
        ridge = np.exp(log_height - 4 * np.pi**2 * (across * u2 + along * v2))
        expected = 1 + ridge / floor
        return float(np.mean(np.log(expected) + ratio / expected))

    highest = np.log(np.max(ratio * floor))
    limits = [(highest - 12, highest + 3), (np.log(0.2), np.log(20)), (0.0, np.log(longest))]
    found = optimize.minimize(
        unlikely, [highest - 3, 0.0, np.log(longest / 3)], method="Nelder-Mead", bounds=limits
    )
    across, along = np.exp(found.x[1:])
    return float(across), float(along)


def _valley(smooth: Array, left: int, right: int) -> int | None:
    """Return the lowest place between two peaks if it is much lower than either."""
    place = left + int(np.argmin(smooth[left : right + 1]))
    return place if smooth[place] < SHALLOW * min(smooth[left], smooth[right]) else None


def _texture(image: Array) -> Array:
    """Return the smaller eigenvalue of the structure tensor."""
    tensor = structure_tensor(image.astype(np.float64), SCALE, mode="nearest", order="rc")
    return np.asarray(structure_tensor_eigenvalues(tensor)[1])


def _box_means(values: Array, tops: Array, lefts: Array, height: int, width: int) -> Array:
    """Return the means over boxes at all combinations of places, from an integral image."""
    total = np.pad(values, ((1, 0), (1, 0))).cumsum(0, np.float64).cumsum(1)
    top, left = np.ix_(tops, lefts)
    bottom, right = top + height, left + width
    sums = total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left]
    return np.asarray(sums / (height * width))
