"""Evidence for destriping: a part that changes along z faster than the specimen does.

What changes from slice to slice faster than the specimen does is found by
`kernels.destriping.stripe_search`. Other stripes need a filter for each slice by itself, and
evidence of its own:

Stripes are new in every slice, or after a few; structure goes on. A filter along the stripes and
the same filter at a right angle, the control, remove a part each. Over a distance of some
slices, the part that the control removes stays correlated as structure does; what the filter
removes beyond stripes stays so, too. The ratio of the two correlations bounds the share of
structure in what is removed, and with it the gain: the variance of removed stripes less that of
removed structure. The control can only judge structure that looks alike in both directions, so
a filter is taken only where its spectrum stands out as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pystack3d_dask.core.finding import Finding
from pystack3d_dask.core.stack_fit import every
from pystack3d_dask.core.typing import Array
from pystack3d_dask.evidence.sample import SMALLEST, Sample, overlapping
from pystack3d_dask.kernels.destriping.noise_model import Filter
from pystack3d_dask.kernels.destriping.seen_slices import seen_of
from pystack3d_dask.kernels.destriping.stripe_model import LAGS
from pystack3d_dask.kernels.destriping.stripe_search import (
    Direction,
    Found,
    compare,
    exchanged,
    find,
)
from pystack3d_dask.kernels.destriping.vsnr import remove_noise
from pystack3d_dask.kernels.registration.phase_correlation import register_shift
from pystack3d_dask.preview.suggest import Stripes, stripes

STRENGTHS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0)  # noise levels that are tried
NEIGHBORS = 3  # slices on each side that stripes are told from the specimen by
COMPARED = 8  # slices with those before them
LENGTH, FEWEST = 5, 4  # slices that are compared
WINDOW = 512  # rows and columns of them
SAME_ANGLE = 3.0  # degrees between the stripes of several slices
CONTROLLED = 0.2  # correlation of the control's part, above which it tells structure
NOTICEABLE = 2e-4  # gain over the variance of a slice
MAXIT, THRESHOLD = 100, 1e-2


class _Kind(NamedTuple):
    sigma: tuple[float, float]
    theta: float


class _Aligned(NamedTuple):
    """Neighboring slices, and by how many whole pixels each is moved against the first."""

    images: Array
    shifts: Array


def look_for_stripes(sample: Sample) -> Finding:
    """Look for stripes: those that neighbors tell, or else the weakest filter that removes them.

    Parameters
    ----------
    sample : Sample
        Runs of at least `FEWEST` neighboring slices.
    """
    new, by_filter = _new_in_each(sample.runs), _look_for_filter(sample)
    if new is None:
        return by_filter.finding
    along, found = new
    if by_filter.finding.is_found and by_filter.gain > found.expected**2:
        return by_filter.finding
    return Finding(
        True,
        f"stripes along {along} that change from slice to slice, of {found.expected:.2g} gray "
        "levels",
        {"along": along},
    )


def _new_in_each(runs: Sequence[Array]) -> tuple[Direction, Found] | None:
    """Return the direction of stripes that neighbors do not have, and these; None without any."""
    last = [run[: k + 1][::-1][:LAGS] for run in runs for k in range(LAGS - 1, len(run))]
    usable = [images for images in last if min(images.shape[1:]) >= SMALLEST and images.std()]
    sampled = every(range(len(usable)), COMPARED)
    compared = [compare([seen_of(image).values for image in usable[k]], "y") for k in sampled]
    shapes = {images.shape[1:] for images in usable}
    if len(shapes) != 1:
        return None
    (shape,) = shapes
    found: dict[Direction, Found | None] = {
        "y": find(compared, shape, NEIGHBORS, "y"),
        "x": find([*map(exchanged, compared)], shape, NEIGHBORS, "x"),
    }
    striped = {along: each for along, each in found.items() if each and each.are_stripes}
    if not striped:
        return None
    return max(striped.items(), key=lambda item: item[1].expected)


class _Filtered(NamedTuple):
    """Finding about filters, and by how much the best one lowers the mean square error."""

    finding: Finding
    gain: float = 0.0


def _look_for_filter(sample: Sample) -> _Filtered:
    """Look for stripes that one filter removes from each slice."""
    runs = [_align(run) for run in _spread(sample.runs)]
    differences = [each for run in runs for each in _differences(run)]
    if not differences:
        return _Filtered(
            Finding(False, f"not tested: {FEWEST} neighboring slices or more are needed")
        )
    kind = _common([stripes(each) for each in differences])
    if kind is None:
        return _Filtered(Finding(False, "no stripes that change from slice to slice in the sample"))
    gain, level = _best_level(runs, kind)
    variance = float(np.mean([run.images.var(axis=(1, 2)).mean() for run in runs]))
    if gain <= NOTICEABLE * variance:
        reason = (
            f"stripes at {kind.theta:g} degrees go on from slice to slice as the specimen "
            "does, or are weak: they may be structure"
        )
        return _Filtered(Finding(False, reason))
    how = {
        "name": "Gabor",
        "noise_level": level,
        "sigma": list(kind.sigma),
        "theta": kind.theta,
    }
    reason = f"stripes at {kind.theta:g} degrees that change along z faster than the specimen does"
    return _Filtered(Finding(True, reason, {"filters": [how]}), gain)


def _spread(runs: Sequence[Array]) -> list[Array]:
    """Return the middle of two runs of `LENGTH` slices, or of one where there are fewer."""
    parts = [
        run[start : start + LENGTH]
        for run in runs
        for start in range(0, max(1, len(run) - LENGTH + 1), LENGTH)
    ]
    usable = [part for part in parts if len(part) >= FEWEST and min(part.shape[1:]) >= SMALLEST]
    chosen = sorted({len(usable) // 3, 2 * len(usable) // 3}) if usable else []
    return [usable[k][:, *(_middle(extent) for extent in usable[k].shape[1:])] for k in chosen]


def _middle(extent: int) -> slice:
    start = max(0, extent - WINDOW) // 2
    return slice(start, start + WINDOW)


def _align(run: Array) -> _Aligned:
    found = [register_shift(run[0], image)[:2, 2][::-1] for image in run]
    return _Aligned(run, np.rint(found).astype(int))


def _differences(run: _Aligned) -> list[Array]:
    """Return each slice less the next one, where both show something."""
    found = []
    for k in range(len(run.images) - 1):
        one, other = _overlap(run, k, k + 1, run.images)
        if min(one.shape) >= SMALLEST and one.std() and other.std():
            slope = one.std() / other.std()
            found.append(one - one.mean() - slope * (other - other.mean()))
    return found


def _overlap(run: _Aligned, k: int, n: int, images: Sequence[Array] | Array) -> tuple[Array, Array]:
    dy, dx = (int(d) for d in run.shifts[n] - run.shifts[k])
    return overlapping(images[k], images[n], dy, dx)


def _common(found: Sequence[Stripes]) -> _Kind | None:
    """Return the stripes that most slices show; None if they differ or there are none."""
    noticeable = [each for each in found if each.are_noticeable]
    if not noticeable:
        return None
    angles = np.array([each.angle for each in noticeable])
    middle = angles[int(np.argmin(np.abs(angles[:, None] - angles).sum(axis=1)))]
    near = [each for each in noticeable if abs(each.angle - middle) <= SAME_ANGLE]
    if 2 * len(near) <= len(found):
        return None
    clearest = sorted(near, key=lambda each: -each.energy)[: (len(near) + 1) // 2]
    across, along = (float(np.median([each.sigma[k] for each in clearest])) for k in (0, 1))
    theta = round(float(np.median([each.angle for each in clearest])), 1)
    return _Kind((float(f"{across:.2g}"), float(round(along))), theta + 0.0)


def _best_level(runs: Sequence[_Aligned], kind: _Kind) -> tuple[float, float]:
    """Return the largest gain and its noise level, of levels that rise as long as gains do."""
    best = (-np.inf, STRENGTHS[0])
    for level in STRENGTHS:
        gain = _gain(runs, kind, level)
        if gain <= best[0]:
            break
        best = (gain, level)
    return best


def _gain(runs: Sequence[_Aligned], kind: _Kind, level: float) -> float:
    """Return a cautious estimate by how much a filter lowers the mean square error."""
    removed = [_removed(run, kind, level) for run in runs]
    control = [_removed(run, kind._replace(theta=kind.theta + 90), level) for run in runs]
    variance = float(np.mean([part.var() for parts in removed for part in parts]))
    gains = []
    for distance in range(1, min(len(run.images) for run in runs)):
        ours, theirs = (_correlation(runs, parts, distance) for parts in (removed, control))
        if theirs >= CONTROLLED:
            gains.append(variance * (1 - 2 * min(1.0, max(0.0, ours / theirs))))
    return max(gains, default=-np.inf)


def _removed(run: _Aligned, kind: _Kind, level: float) -> list[Array]:
    how = Filter(name="Gabor", noise_level=level, sigma=kind.sigma, theta=kind.theta)
    solved = (remove_noise(image, [how], maxit=MAXIT, threshold=THRESHOLD) for image in run.images)
    return [image - each.image for image, each in zip(run.images, solved, strict=True)]


def _correlation(
    runs: Sequence[_Aligned], parts: Sequence[Sequence[Array]], distance: int
) -> float:
    """Return the mean correlation of parts of slices that are some slices apart."""
    found = []
    for run, part in zip(runs, parts, strict=True):
        for k in range(len(part) - distance):
            one, other = _overlap(run, k, k + distance, part)
            if one.size and one.std() and other.std():
                found.append(float(np.corrcoef(one.ravel(), other.ravel())[0, 1]))
    return float(np.mean(found)) if found else 0.0
