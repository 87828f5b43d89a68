"""Assumptions about the size of voxels, and the limits of metadata that hold it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from pystack3d_dask.core.spec import StackSpec

GIVE = "voxel_size = [x, y, z] gives the true one"


def assumed_axes(spec: StackSpec) -> tuple[str, ...]:
    """Return the axes along which voxels are taken for cubes, beside axes that are known."""
    if not spec.is_measured or spec.shape[0] < 2:
        return ()
    if spec.pixel_size is None:
        return ("y", "x")
    return ("z",) if spec.slice_distance is None else ()


def geometry_notes(spec: StackSpec) -> Iterator[str]:
    """Yield what a result assumes about its voxels, and where its metadata are not all.

    Parameters
    ----------
    spec : StackSpec
        The stack at the end of its chain.
    """
    yield from assumptions(spec)
    yield from limits_of_metadata(spec)


def assumptions(spec: StackSpec) -> Iterator[str]:
    """Yield what is taken for a length that is not known."""
    dz, dy, _ = spec.spacing()
    assumed = assumed_axes(spec)
    if "z" in assumed:
        yield (
            f"the distance of slices is unknown and taken to be the height of a pixel, {dy:.6g} µm "
            f"(voxels that are cubes): {GIVE}"
        )
    elif assumed:
        yield (
            f"the pixel size is unknown and taken to be the distance of slices, {dz:.6g} µm "
            f"(voxels that are cubes): {GIVE}"
        )


def limits_of_metadata(spec: StackSpec) -> Iterator[str]:
    """Yield what metadata of a result cannot say of its voxels."""
    if spec.proportions is not None and not spec.is_measured:
        z, y, x = spec.proportions
        yield (
            f"voxels are {x:.6g} x {y:.6g} x {z:.6g} (x, y, z) in a unit that is not known; the "
            f"proportions are kept, without a unit: {GIVE} in micrometers"
        )
    if spec.z is not None and len(spec.z) > 1 and all(b < a for a, b in pairwise(spec.z)):
        yield (
            f"slices go down in z, from {spec.z[0]:.6g} to {spec.z[-1]:.6g} µm, and stay in this "
            "order; OME-Zarr and TIFF metadata cannot say so (many programs refuse negative "
            f"scales) and place them upward from {spec.z[-1]:.6g} µm: the coordinate z of the "
            "result holds the true positions, the image is mirrored along z in viewers"
        )
