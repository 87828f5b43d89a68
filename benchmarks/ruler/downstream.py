"""Segmentations that a user would make of a result: pores, their transport, or cells.

One fixed protocol, applied to the result and to the reference (the truth with the noise). All
figures compare the two, so that what the protocol itself gets wrong does not count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse import linalg
from skimage import filters, metrics, segmentation

from ruler.acquired import Array

SMOOTH = 1.0
"""Standard deviation of the Gaussian that comes before the threshold, in voxels."""
CUBE = 128
"""Largest side of the box in which transport is computed."""
BLOCKS = 8192
"""Blocks of voxels, about, that make diffusion quick to solve."""
CORE = 3.0
"""Pixels from the nearest membrane that make a seed of a cell."""
SECTIONS = 8
"""Most slices that are segmented into cells."""


@dataclass(frozen=True)
class Porous:
    """Pores of a result against those of the reference.

    Parameters
    ----------
    dice : float
        2 |A and B| / (|A| + |B|) of the voxels of pores; 1 is the same, 0 nothing in common.
    porosity : float
        Pores of the volume, result minus reference, in points (percent of the volume).
    profile_largest, profile_rms : tuple of float
        Largest absolute and rms difference in points of the porosity of slices across z, y, x.
    surface : float
        Faces between pores and solid per volume, over that of the reference; 1 is the same.
    phase : str
        "pores", or "solid" where pores of the reference do not reach through the box along x and z:
        what the tortuosity is of.
    tortuosity_x, tortuosity_z : float
        Tortuosity factor over that of the reference; 1 is the same. NaN where the phase does not
        reach through.
    """

    dice: float
    porosity: float
    profile_largest: tuple[float, float, float]
    profile_rms: tuple[float, float, float]
    surface: float
    phase: str
    tortuosity_x: float
    tortuosity_z: float


@dataclass(frozen=True)
class Cells:
    """Cells of a result against those of the reference.

    Parameters
    ----------
    rand_error : float
        Adapted Rand error, mean over sections; 0 is the same, 1 nothing in common.
    count : float
        Cells over those of the reference.
    """

    rand_error: float
    count: float


def porous(images: Array, reference: Array) -> Porous:
    """Segment pores in a result and in its reference, and compare them.

    Parameters
    ----------
    images, reference : ndarray, shape (slices, rows, columns)
        Pores are dark. Any linear gray scales.
    """
    found, true = pores_of(images), pores_of(reference)
    largest, spread = zip(*(_profiles(found, true, axis) for axis in range(3)), strict=True)
    box = central(true)
    phase = "pores" if all(through(true[box], axis).any() for axis in (2, 0)) else "solid"
    inside = [(each if phase == "pores" else ~each)[box] for each in (found, true)]
    along_x, along_z = (
        tortuosity(inside[0], axis) / tortuosity(inside[1], axis) for axis in (2, 0)
    )
    surface = faces(true)
    return Porous(
        dice=dice(found, true),
        porosity=100 * float(found.mean() - true.mean()),
        profile_largest=largest,
        profile_rms=spread,
        surface=faces(found) / surface if surface else np.nan,
        phase=phase,
        tortuosity_x=along_x,
        tortuosity_z=along_z,
    )


def cells(images: Array, reference: Array) -> Cells:
    """Segment cells in a result and in its reference, and compare them.

    Parameters
    ----------
    images, reference : ndarray, shape (slices, rows, columns)
        Membranes are dark. Any linear gray scales.

    Notes
    -----
    Adapted Rand error: Arganda-Carreras et al., Front. Neuroanat. 9, 142 (2015),
    doi:10.3389/fnana.2015.00142.
    """
    pairs = list(zip(cells_of(images), cells_of(reference), strict=True))
    errors = [metrics.adapted_rand_error(true, found, ignore_labels=())[0] for found, true in pairs]
    counts = np.array([[found.max(), true.max()] for found, true in pairs]).sum(axis=0)
    return Cells(rand_error=float(np.mean(errors)), count=float(counts[0] / max(counts[1], 1)))


def pores_of(images: Array) -> Array:
    """Return what is darker than Otsu's threshold of the smoothed volume, bool."""
    smoothed = _smoothed(images)
    return smoothed < filters.threshold_otsu(smoothed)


def cells_of(images: Array) -> list[Array]:
    """Return labels of cells, for up to `SECTIONS` slices spread over the volume.

    Membranes are darker than Otsu's threshold of the smoothed volume. Seeds are the connected parts
    that are `CORE` pixels or more away from them; a watershed of the gray levels grows them, as is
    usual before agglomeration: Beier et al., Nat. Methods 14, 101 (2017), doi:10.1038/nmeth.4151.
    """
    smoothed = _smoothed(images)
    threshold = filters.threshold_otsu(smoothed)
    step = -(-len(smoothed) // SECTIONS)
    return [_sections(image, threshold) for image in smoothed[step // 2 :: step]]


def dice(one: Array, other: Array) -> float:
    """Return the Dice coefficient of two masks; 1 of two empty ones."""
    total = np.count_nonzero(one) + np.count_nonzero(other)
    return float(2 * np.count_nonzero(one & other) / total) if total else 1.0


def faces(mask: Array) -> float:
    """Return faces between two voxels of which one is in the mask, per voxel of the volume."""
    found = sum(np.count_nonzero(np.diff(mask, axis=axis)) for axis in range(3))
    return float(found / mask.size)


def central(volume: Array) -> tuple[slice, ...]:
    """Return the central box of `CUBE` voxels at most along each axis."""
    sides = [min(size, CUBE) for size in volume.shape]
    starts = [(size - side) // 2 for size, side in zip(volume.shape, sides, strict=True)]
    return tuple(slice(at, at + side) for at, side in zip(starts, sides, strict=True))


def through(mask: Array, axis: int) -> Array:
    """Return the parts of a mask that touch both ends of an axis; voxels connect by faces."""
    labels = ndimage.label(mask)[0]
    both = np.intersect1d(np.take(labels, 0, axis), np.take(labels, -1, axis))
    return np.isin(labels, both[both > 0])


def tortuosity(mask: Array, axis: int) -> float:
    """Return the tortuosity factor of a phase along an axis: share of the phase / relative flux.

    The steady diffusion between two ends at concentrations 1 and 0, with all other sides closed, in
    voxels of equal sides: Cooper et al., SoftwareX 5, 203 (2016),
    doi:10.1016/j.softx.2016.09.002. Straight channels have 1.

    Parameters
    ----------
    mask : ndarray of bool, shape (slices, rows, columns)
        Where the phase is. What does not reach through counts as share, and carries nothing.
    axis : int
        Along which.

    Returns
    -------
    float
        NaN where the phase does not reach through.
    """
    open_mask = through(mask, axis)
    if not open_mask.any():
        return np.nan
    matrix, inflow, start = _diffusion(open_mask, axis)
    guess = _guess(open_mask, matrix)
    solution, _ = linalg.cg(matrix, inflow, start, rtol=1e-5, maxiter=1000, M=guess)
    flux = float(inflow @ (1 - solution))  # through half a voxel: twice the difference
    length = mask.shape[axis]
    return float(np.count_nonzero(mask)) / length / (flux * length)


def _smoothed(images: Array) -> Array:
    return ndimage.gaussian_filter(np.asarray(images, np.float32), SMOOTH)


def _profiles(found: Array, true: Array, axis: int) -> tuple[float, float]:
    """Return largest and rms difference of porosity across an axis, in points."""
    others = tuple(each for each in range(3) if each != axis)
    difference = 100 * (found.mean(axis=others) - true.mean(axis=others))
    return float(abs(difference).max()), float(np.sqrt(np.mean(difference**2)))


def _sections(image: Array, threshold: float) -> Array:
    """Return labels of the cells of a slice, from 1 on."""
    seeds = ndimage.label(ndimage.distance_transform_edt(image >= threshold) >= CORE)[0]
    return segmentation.watershed(-image, seeds)


def _diffusion(mask: Array, axis: int) -> tuple[sparse.csr_array, Array, Array]:
    """Return matrix, right side and first guess of the steady diffusion in a mask along an axis.

    One unknown for each voxel of the mask. A face between two of them conducts 1, the half voxel
    between a voxel and the end of the axis 2.
    """
    count = np.count_nonzero(mask)
    index = np.full(mask.shape, -1, np.int32)
    index[mask] = np.arange(count, dtype=np.int32)
    pairs = np.concatenate([_neighbors(index, each) for each in range(3)], axis=1)
    length = mask.shape[axis]
    place = np.nonzero(mask)[axis]
    inflow, outflow = 2.0 * (place == 0), 2.0 * (place == length - 1)
    degree = np.bincount(pairs.ravel(), minlength=count) + inflow + outflow
    rows, columns = np.concatenate([pairs, pairs[::-1]], axis=1)
    joined = sparse.coo_array((np.full(rows.size, -1.0), (rows, columns)), (count, count))
    return (joined + sparse.diags_array(degree)).tocsr(), inflow, 1 - (place + 0.5) / length


def _guess(mask: Array, matrix: sparse.csr_array) -> linalg.LinearOperator:
    """Return a quick and rough inverse of a matrix of diffusion: what makes CG need few steps.

    Each voxel by itself, and the small problem that blocks of voxels make if all of a block move
    together, solved at once (a two-level additive Schwarz method; Nicolaides, SIAM J. Numer. Anal.
    24, 355 (1987), doi:10.1137/0724027).
    """
    side = max(4, int(np.ceil((mask.size / BLOCKS) ** (1 / 3))))
    shape = [-(-size // side) for size in mask.shape]
    places = np.ravel_multi_index([each // side for each in np.nonzero(mask)], shape)
    _, block = np.unique(places, return_inverse=True)
    spread = sparse.csr_array((np.ones(block.size), block, np.arange(block.size + 1)))
    gather = spread.T.tocsr()
    blocks = linalg.splu((gather @ matrix @ spread).tocsc())
    diagonal = matrix.diagonal()
    return linalg.LinearOperator(
        matrix.shape, lambda rest: rest / diagonal + spread @ blocks.solve(gather @ rest)
    )


def _neighbors(index: Array, axis: int) -> Array:
    """Return pairs of unknowns that share a face across an axis, shape (2, pairs)."""
    swapped = index.swapaxes(0, axis)
    low, high = swapped[:-1], swapped[1:]
    both = (low >= 0) & (high >= 0)
    return np.stack([low[both], high[both]])
