"""Parameters that can be meant, but hardly are: each is warned of, with what was probably meant.

Steps yield these from `Step.check`, as warnings beside their errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pystack3d_dask.core.spec import StackSpec
from pystack3d_dask.corrections.levels import full_range
from pystack3d_dask.errors import Problem
from pystack3d_dask.kernels.intensity.quantiles import Limits

FAR = 10.0  # times the extent, or the distance, of what there is: hardly meant
FEWEST_PIXELS = 16  # along a side, that tell where a slice lies on another one
NOISE_LEVELS = (1e-3, 1e4)  # weaker changes nothing, stronger leaves nothing


def _warning(path: str, message: str) -> Problem:
    return Problem(path, message, "warning")


def doubt_thresholds(
    name: str, low: float | None, high: float | None, spec: StackSpec
) -> Iterator[Problem]:
    """Warn of thresholds between which no gray level of the type lies."""
    if not spec.is_integer:
        return
    least, most = full_range(spec)
    given = {"threshold_min": low, "threshold_max": high}
    beyond = {"threshold_min": low is not None and low > most}
    beyond["threshold_max"] = high is not None and high < least
    for key in (key for key, is_beyond in beyond.items() if is_beyond):
        yield _warning(
            f"{name}.{key}",
            f"{given[key]:g} leaves no pixel: gray levels of {spec.source_dtype} go from {least:g} "
            f"to {most:g}; was it chosen on images of another type?",
        )


def doubt_mask(path: str, threshold: float | None, spec: StackSpec) -> Iterator[Problem]:
    """Warn of a threshold on one side of which there is no gray level of the type."""
    if threshold is None or not spec.is_integer:
        return
    least, most = full_range(spec)
    if not least <= threshold < most:
        side = "above" if threshold >= most else "below"
        yield _warning(
            path,
            f"no pixel is {side} {threshold:g}: gray levels of {spec.source_dtype} go from "
            f"{least:g} to {most:g}, so that the masks of all slices are the same",
        )


def doubt_range(path: str, levels: Limits | None, spec: StackSpec) -> Iterator[Problem]:
    """Warn of a range of gray levels that reaches beyond the type."""
    if levels is None or not spec.is_integer:
        return
    least, most = full_range(spec)
    if levels[0] < least or levels[1] > most:
        yield _warning(
            path,
            f"[{levels[0]:g}, {levels[1]:g}] reaches beyond {spec.source_dtype}, whose gray levels "
            f"go from {least:g} to {most:g}; was it chosen on images of another type?",
        )


def doubt_stripe(
    path: str, sigma: tuple[float, float] | None, noise_level: float, spec: StackSpec
) -> Iterator[Problem]:
    """Warn of stripes that are wider than long, or much larger than the image, and of their level.

    ``path`` is that of the filter.
    """
    low, high = NOISE_LEVELS
    if not low <= noise_level <= high:
        what = "hardly anything is removed" if noise_level < low else "hardly anything is left"
        yield _warning(
            f"{path}.noise_level",
            f"{noise_level:g}: {what}; values from 1 to 1000 are usual, `sweep` compares some",
        )
    if sigma is None:
        return
    across, along = sigma
    longest = max(spec.shape[1:])
    if across > along:
        yield _warning(
            f"{path}.sigma",
            f"[across, along] = [{across:g}, {along:g}] pixels are stripes that are wider than "
            f"long: [{along:g}, {across:g}] may be meant, and theta turns stripes",
        )
    elif along > FAR * longest or across > longest:
        yield _warning(
            f"{path}.sigma",
            f"[across, along] = [{across:g}, {along:g}] pixels is much more than the image of "
            f"{spec.shape[2]} x {spec.shape[1]} pixels (x, y); they are pixels, not nanometers",
        )


def doubt_window(path: str, size: int, spec: StackSpec, usual: int = 1) -> Iterator[Problem]:
    """Warn of a running mean over more slices than there are; up to the ``usual`` size never."""
    count = spec.shape[0]
    if size > max(count, usual):
        yield _warning(
            path,
            f"{size} slices are more than the stack has, {count}: slices count several times",
        )


def doubt_drift(path: str, drift: tuple[float, float] | None, spec: StackSpec) -> Iterator[Problem]:
    """Warn of a motion per slice that leads out of the image."""
    slices, height, width = spec.shape
    dx, dy = drift or (0.0, 0.0)
    if abs(dx) * (slices - 1) > width or abs(dy) * (slices - 1) > height:
        yield _warning(
            path,
            f"[{dx:g}, {dy:g}] pixels per slice are [{dx * (slices - 1):g}, "
            f"{dy * (slices - 1):g}] over {slices} slices of {width} x {height} pixels (x, y): "
            "the last ones lie outside; it is the motion from one slice to the next",
        )


def doubt_compared(path: str, height: int, width: int) -> Iterator[Problem]:
    """Warn of blocks that are too small to tell how slices lie on each other."""
    if min(height, width) < FEWEST_PIXELS:
        yield _warning(
            path,
            f"blocks of {width} x {height} pixels (x, y) are compared, which tell little: "
            f"{FEWEST_PIXELS} x {FEWEST_PIXELS} or more are of use",
        )


def doubt_distance(path: str, dz: float, positions: Sequence[float]) -> Iterator[Problem]:
    """Warn of a distance that is far from that of the slices, whose ascending z are given."""
    if len(positions) < 2:
        return
    depth = positions[-1] - positions[0]
    own = depth / (len(positions) - 1)
    if own / FAR <= dz <= min(FAR * own, depth * (1 + 1e-9)):
        return
    made = int(depth / dz * (1 + 1e-9)) + 1
    is_nanometers = own / FAR <= dz / 1000 <= FAR * own
    meant = f"; for {dz:g} nanometers write {dz / 1000:g}" if is_nanometers else ""
    yield _warning(
        path,
        f"{dz:g} µm makes {made} of {len(positions)} slices, which lie {own:.4g} µm apart{meant}",
    )


def doubt_neighborhood(
    path: str, unit: str, window: tuple[float, float, float], spec: StackSpec
) -> Iterator[Problem]:
    """Warn of a window, ``(z, y, x)`` in voxels, of hardly a pixel, or much larger than the image.

    ``unit`` is the one in which it was given.
    """
    extents = spec.shape[1:]
    if min(window[1:]) < 2 and min(extents) > 1:
        what = "takes hardly more than each pixel itself, so that hardly anything is left"
    elif all(size > FAR * extent for size, extent in zip(window[1:], extents, strict=True)):
        what = "is much more than the whole slice, so that its mean is all that is subtracted"
    else:
        return
    other = "pixels" if unit == "um" else "um"
    yield _warning(
        path,
        f"a window of {window[2]:.4g} x {window[1]:.4g} pixels (x, y) {what}; sizes are in "
        f"{unit!r}, size_unit = {other!r} is the other choice",
    )
