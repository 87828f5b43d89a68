"""Where slices lie along z: positions from names, and where resampled ones shall lie."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from pystack3d_dask.core.typing import Array

POLICY = "slice_{slice_nb}_z={z_coord}um.tif"
HIT = 1e-6  # of a distance: what is nearer to a slice counts as there
SLICE_NB, Z_COORD = "{slice_nb}", "{z_coord}"
NOT_IN_NAMES = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
LONGEST = 200  # bytes; file systems take 255, and some are kept for longer numbers


class PolicyError(ValueError):
    """A name policy, or a name, that cannot be read."""


def parse_position(name: str, policy: str) -> float:
    """Return the position that a name tells.

    Parameters
    ----------
    name : str
        Such as ``slice_0012_z=0.1200um.tif``.
    policy : str
        Such as ``slice_{slice_nb}_z={z_coord}um.tif``; any case matches.

    Raises
    ------
    PolicyError
        When the policy has no ``{z_coord}`` or several, the name does not follow it, or what
        is in its place is not a finite number.
    """
    if policy.count(Z_COORD) != 1:
        found = "more than one" if Z_COORD in policy else "no"
        message = f"{policy!r} has {found} {Z_COORD}"
        raise PolicyError(message)
    match = _pattern(policy).fullmatch(name)
    if match is None:
        message = f"{name} does not follow the policy {policy!r}"
        raise PolicyError(message)
    try:
        position = float(match["z"])
    except ValueError:
        position = np.nan
    if not np.isfinite(position):
        message = f"{name}: a number expected at {Z_COORD} of {policy!r}, found {match['z']!r}"
        raise PolicyError(message)
    return position


def check_policy(policy: str) -> None:
    """Refuse a policy that makes other names than those of visible files in one directory.

    Raises
    ------
    PolicyError
    """
    name = output_name(policy, 0, 0.0)
    if NOT_IN_NAMES.search(name):
        reason = "with separators, or characters that not every system allows"
    elif name.startswith("."):
        reason = "which are hidden"
    elif not name or name.endswith((" ", ".")) or DEVICES.fullmatch(name):
        reason = "which not every system allows"
    elif len(name.encode(errors="replace")) > LONGEST:
        reason = f"longer than {LONGEST} bytes"
    else:
        return
    message = f"names of files expected, {policy!r} makes {name!r} and the like, {reason}"
    raise PolicyError(message)


def output_name(policy: str, index: int, z: float) -> str:
    """Return the name of a resampled slice."""
    return policy.replace(SLICE_NB, f"{index:04d}").replace(Z_COORD, f"{z:.4f}")


@lru_cache
def _pattern(policy: str) -> re.Pattern[str]:
    first, *rest = re.split(r"(\{\w+\})", policy)
    *before, last = (
        ("(?P<z>.+?)" if place == Z_COORD else ".+?") + re.escape(literal)
        for place, literal in zip(rest[::2], rest[1::2], strict=True)
    )
    # atomic: where a text comes first is as good a place as any later one; without that, a
    # name that does not follow a policy of many places would be tried in endless ways
    atomic = "".join(f"(?>{part})" for part in before)
    return re.compile(re.escape(first) + atomic + last, re.IGNORECASE)


def ascending(positions: Sequence[float]) -> list[int]:
    """Return the slices that lie above all before them; the others are left out."""
    kept: list[int] = []
    for index, z in enumerate(positions):
        if not kept or z > positions[kept[-1]]:
            kept.append(index)
    return kept


def regular(positions: Sequence[float], dz: float) -> Array:
    """Return ``min + k dz`` up to and including the maximum.

    Positions within a millionth of a step of the maximum count as there.
    """
    low, high = min(positions), max(positions)
    count = int(np.floor((high - low) / dz + HIT)) + 1
    return np.asarray(np.minimum(np.arange(low, low + (count - 0.5) * dz, dz), high))


def distances(z: Array) -> Array:
    """Return how far each of ascending positions is from the nearest other one; 0 of a single."""
    if len(z) < 2:
        return np.zeros(len(z))
    gaps = np.diff(z)
    return np.asarray(np.minimum(np.append(gaps, gaps[-1]), np.insert(gaps, 0, gaps[0])))


def neighbors(positions: Array, z: Array) -> tuple[Array, Array, Array]:
    """Return the slice below or at each position, its distance, and that to the next slice.

    Parameters
    ----------
    positions : ndarray, shape (slices,)
        Ascending.
    z : ndarray, shape (outputs,)
        Within their range.

    Returns
    -------
    below : ndarray of int, shape (outputs,)
    distance : ndarray of float64, shape (outputs,)
        From that slice; 0 for an exact hit, up to a millionth of the gap.
    gap : ndarray of float64, shape (outputs,)
        From that slice to the next.
    """
    last = len(positions) - 1
    below = np.clip(np.searchsorted(positions, z, side="right") - 1, 0, last)
    gap = np.append(np.diff(positions), 1.0)
    is_next = z - positions[below] > (1 - HIT) * gap[below]
    below = np.minimum(below + is_next, last)
    distance = z - positions[below]
    return below, np.where(distance < HIT * gap[below], 0.0, distance), gap[below]
