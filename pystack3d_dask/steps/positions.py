"""Where slices lie along z: positions from names, and where resampled ones shall lie."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from pystack3d_dask.spec import Array

POLICY = "slice_{slice_nb}_z={z_coord}um.tif"
HIT = 1e-6  # of a distance: what is nearer to a slice counts as there
SLICE_NB, Z_COORD = "{slice_nb}", "{z_coord}"
MOST_FIELDS = 4  # of a policy: with many of any length, trying them all takes for ever


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
        When the policy has no ``{z_coord}`` or too many fields, the name does not follow it,
        or what is in its place is not a finite number.
    """
    if Z_COORD not in policy:
        message = f"{policy!r} has no {Z_COORD}"
        raise PolicyError(message)
    parts = re.split(r"(\{\w+\})", policy)
    fields = len(parts) // 2
    if fields > MOST_FIELDS or policy.count(Z_COORD) > 1:
        message = f"at most {MOST_FIELDS} fields, one {Z_COORD} among them, expected in {policy!r}"
        raise PolicyError(message)
    pattern = "".join(
        "(?P<z>.+?)" if part == Z_COORD else ".+?" if part.startswith("{") else re.escape(part)
        for part in parts
    )
    match = re.fullmatch(pattern, name, re.IGNORECASE)
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


def output_name(policy: str, index: int, z: float) -> str:
    """Return the name of a resampled slice."""
    return policy.replace(SLICE_NB, f"{index:04d}").replace(Z_COORD, f"{z:.4f}")


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


def neighbours(positions: Array, z: Array) -> tuple[Array, Array, Array]:
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
