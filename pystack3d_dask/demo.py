"""Stacks with known defects and a known truth, slice by slice from a seed.

A scene is made of smooth random fields in 3D, so that neighbouring slices resemble each
other; the defects in ``DEFECTS`` are then applied one after the other. The corrections in
``params.toml`` mend them in the reverse order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import tifffile
from numpy.polynomial import Polynomial

from pystack3d_dask.errors import ParameterError, Problem
from pystack3d_dask.spec import Array, Triple

Texture = Literal["porous", "cellular"]
View = tuple[slice, slice]

VOXEL_SIZE = 0.01
"""Edge of a voxel, in micrometres."""
BACKGROUND_ORDERS = (2, 2, 1)
"""Highest power of the background along x, y and z."""


@dataclass(frozen=True)
class DemoStack:
    """A stack with defects, and the same stack without them.

    Every slice depends on the parameters and on its index only, so that slices can be
    made in any order and in parallel, with the memory of one slice.

    Parameters
    ----------
    shape : tuple of int
        Slices, rows and columns of the defective stack.
    seed : int
        Another one makes another specimen with other defects.
    texture : {"porous", "cellular"}
        A bright solid with dark pores, or tissue with dark membranes.
    dtype : {"uint8", "uint16"}
        Type of the pixels.
    margin : int
        Width in pixels of the border to crop; it is twice as wide at the top.
    background : float
        Brightest minus darkest point of the background, as a fraction of the full range.
    jumps : float
        Largest relative change of the brightness of a slice.
    """

    shape: Triple = (64, 256, 256)
    seed: int = 0
    texture: Texture = "porous"
    dtype: Literal["uint8", "uint16"] = "uint8"
    margin: int = 16
    background: float = 0.4
    jumps: float = 0.1

    def __post_init__(self) -> None:
        slices, *inside = self.truth_shape
        wrong = [
            Problem(name, f"found {getattr(self, name)!r}, expected {expected}")
            for name, expected, valid in (
                ("shape", "a slice or more", slices >= 1),
                ("shape", "16 pixels or more each way inside the border", min(inside) >= 16),
                ("seed", "zero or a positive number", self.seed >= 0),
                ("texture", "'porous' or 'cellular'", self.texture in get_args(Texture)),
                ("dtype", "'uint8' or 'uint16'", self.dtype in ("uint8", "uint16")),
                ("margin", "zero or a positive number", self.margin >= 0),
                ("background", "0 to 1", 0 <= self.background <= 1),
                ("jumps", "0 to 1", 0 <= self.jumps <= 1),
            )
            if not valid
        ]
        if wrong:
            raise ParameterError(wrong, "the demo stack")

    @property
    def view(self) -> View:
        """Rows and columns of the defective slice that the border leaves free."""
        _, rows, columns = self.shape
        return slice(2 * self.margin, rows - self.margin), slice(self.margin, columns - self.margin)

    @property
    def truth_shape(self) -> Triple:
        """Slices, rows and columns of the truth: the stack without its border."""
        slices, rows, columns = self.shape
        return slices, rows - 3 * self.margin, columns - 2 * self.margin

    def rng(self, name: str, index: int = 0) -> np.random.Generator:
        """Return the random numbers that belong to a name and an index, always the same."""
        return np.random.default_rng([self.seed, index, *name.encode()])

    def truth_slice(self, z: int) -> Array:
        """Return slice ``z`` as a perfect microscope would record it, shape (y, x) of the truth."""
        return self._digitised(self._scene(z))

    def slice(self, z: int) -> Array:
        """Return slice ``z`` with all its defects, shape (y, x) of the stack."""
        image = self._scene(z)
        for defect in DEFECTS:
            image = defect(self, z, image)
        return self._digitised(image)

    def truth(self) -> Iterator[Array]:
        """Yield the slices of the truth."""
        return (self.truth_slice(z) for z in range(self.shape[0]))

    def uncorrected(self) -> Iterator[Array]:
        """Yield the defective slices, cropped to the truth."""
        return (self.slice(z)[self.view] for z in range(self.shape[0]))

    def write(self, directory: str | Path) -> Path:
        """Write the defective slices and the ``params.toml`` that mends them; return the path.

        Parameters
        ----------
        directory : path
            A new or an empty directory.

        Raises
        ------
        ParameterError
            When the directory holds anything; nothing is written then.
        """
        target = Path(directory)
        if target.exists() and not (target.is_dir() and next(target.iterdir(), None) is None):
            message = "is there and not empty, expected a new or an empty directory"
            raise ParameterError([Problem(str(target), message)], "the demo stack")
        target.mkdir(parents=True, exist_ok=True)
        for z in range(self.shape[0]):
            self.write_slice(target, z)
        (target / "params.toml").write_text(params_toml(self), encoding="utf-8")
        return target

    def write_slice(self, directory: Path, z: int) -> None:
        """Write one defective slice, named by its index and its position in micrometres."""
        pixels_per_cm = 1e4 / VOXEL_SIZE
        tifffile.imwrite(
            directory / f"slice_{z:04d}_z={z * VOXEL_SIZE:.4f}um.tif",
            self.slice(z),
            resolution=(pixels_per_cm, pixels_per_cm),
            resolutionunit="CENTIMETER",
            metadata=None,
        )

    def _scene(self, z: int) -> Array:
        """Return the specimen with its grain, 0 black and 1 white, shape (y, x) of the truth."""
        image = TEXTURES[self.texture](self, z)
        grain = self.rng("grain", z).standard_normal(image.shape, dtype=np.float32)
        # Electrons are counted: the noise grows with the signal.
        return image + 0.05 * np.sqrt(image) * grain

    def _digitised(self, image: Array) -> Array:
        top = np.iinfo(self.dtype).max
        pixels: Array = np.clip(np.rint(image * top), 0, top).astype(self.dtype)
        return pixels


def smooth_field(stack: DemoStack, key: str, z: int, period: float, waves: int = 96) -> Array:
    """Return slice ``z`` of the smooth random field called ``key``, shape (y, x) of the truth.

    It is a sum of plane waves in random directions with lengths around ``period`` pixels,
    float32, mean 0 and variance 1. A plane wave is separable, so that a slice of the sum
    is the product of two small matrices.
    """
    rng = stack.rng(key)
    direction = rng.standard_normal((3, waves))
    frequency = 2 * np.pi / period * rng.uniform(0.6, 1.4, waves)
    kz, ky, kx = direction / np.linalg.norm(direction, axis=0) * frequency
    _, rows, columns = stack.truth_shape
    along_y = np.arange(rows)[:, None] * ky + (z * kz + rng.uniform(0, 2 * np.pi, waves))
    along_x = kx[:, None] * np.arange(columns)
    left = np.hstack([np.cos(along_y), -np.sin(along_y)]).astype(np.float32)
    right = np.vstack([np.cos(along_x), np.sin(along_x)]).astype(np.float32)
    field: Array = np.float32(np.sqrt(2 / waves)) * (left @ right)
    return field


def feature_size(stack: DemoStack) -> float:
    """Return the typical distance between features in pixels: more of them in larger images."""
    return 2.0 * float(np.sqrt(min(stack.truth_shape[1:])))


def smooth_step(image: Array, softness: float) -> Array:
    """Return a smooth step from 0 to 1 where ``image`` rises through zero."""
    rise: Array = np.tanh(image / np.float32(softness))
    return 0.5 + 0.5 * rise


def porous(stack: DemoStack, z: int) -> Array:
    """Return a slice of a bright solid with dark pores, through which deeper walls shine."""
    size = feature_size(stack)

    def solid(depth: int) -> Array:
        coarse = smooth_field(stack, "pores", z + depth, size)
        return coarse + 0.3 * smooth_field(stack, "roughness", z + depth, size / 3) + 0.5

    surface = solid(0)
    wall = 0.23 + 0.17 * smooth_step(solid(round(size / 6)), 0.6)
    bulk = 0.62 + 0.015 * smooth_field(stack, "grains", z, size / 4)
    # Slopes emit more electrons: the rim of a pore is bright.
    rim = 0.08 * np.exp(-np.square((surface - 0.1) / 0.12))
    inside = smooth_step(surface, 3 / size)
    return wall + (bulk - wall) * inside + rim


def cellular(stack: DemoStack, z: int) -> Array:
    """Return a slice of bright cells with dark membranes, organelles and a granular plasma."""
    size = feature_size(stack)
    shape = stack.truth_shape[1:]
    first, second = np.full((2, *shape), -np.inf, np.float32)
    plasma = np.zeros(shape, np.float32)
    # A voxel belongs to the cell whose field is highest; at a membrane two are equal.
    for cell in range(6):
        field = smooth_field(stack, f"cell {cell}", z, 2 * size, waves=48)
        np.copyto(plasma, 0.6 + 0.02 * cell, where=field > first)
        second = np.maximum(second, np.minimum(first, field))
        first = np.maximum(first, field)
    gap = (first - second) * size / 6
    membrane = np.exp(-np.square(gap / min(2, size / 20)))
    organelle = smooth_step(smooth_field(stack, "organelles", z, size / 1.5) - 1.4, 0.15)
    organelle *= smooth_step(gap - 5, 1)
    plasma += 0.035 * smooth_field(stack, "granules", z, 6)
    return plasma * (1 - 0.6 * membrane) * (1 - 0.35 * organelle)


TEXTURES: dict[str, Callable[[DemoStack, int], Array]] = {"porous": porous, "cellular": cellular}


def jump(stack: DemoStack, z: int, image: Array) -> Array:
    """Make the slice brighter or darker as a whole, each by its own factor."""
    return image * np.float32(1 + stack.jumps * stack.rng("jump", z).uniform(-1, 1))


def shade(stack: DemoStack, z: int, image: Array) -> Array:
    """Add a polynomial over the whole stack, like shadowing and charging do."""
    rng = stack.rng("shade")
    profiles = [
        Polynomial([0, *rng.uniform(-1, 1, order)])(np.linspace(0, 1, size))
        for order, size in zip(BACKGROUND_ORDERS, reversed(stack.truth_shape), strict=True)
    ]
    contrast = sum(float(np.ptp(profile)) for profile in profiles)
    along_x, along_y, along_z = ((profile - profile.min()) / contrast for profile in profiles)
    background: Array = along_x + along_y[:, None] + along_z[z] - 0.5
    return image + stack.background * background


def border(stack: DemoStack, z: int, image: Array) -> Array:
    """Put the slice into its surroundings: a bright protective layer on top, shadow elsewhere."""
    rows, columns = stack.view
    framed = np.full(stack.shape[1:], 0.08, np.float32)
    framed[: rows.start] = 0.9
    framed += 0.03 * stack.rng("border", z).standard_normal(framed.shape, dtype=np.float32)
    framed[rows, columns] = image
    return framed


DEFECTS: tuple[Callable[[DemoStack, int, Array], Array], ...] = (jump, shade, border)
"""In the order in which they are applied."""


def params_toml(stack: DemoStack) -> str:
    """Return the text of the ``params.toml`` that mends the defects of ``stack``."""
    slices, rows, columns = stack.shape
    skip = [max(1, size // 64) for size in (columns, rows, slices)]
    running_mean = min(slices, round(feature_size(stack) / 2))
    return f"""\
# Parameters of a demonstration stack, in PyStack3D's format.
channels = ["."]    # the slices lie next to this file
ind_min = 0         # first slice to keep
ind_max = {slices - 1}        # last slice to keep
nproc = 2           # workers
history = []        # steps already done, for PyStack3D
process_steps = ["cropping", "bkg_removal", "intensity_rescaling"]

[cropping]
# xmin, xmax, ymin, ymax in pixels, origin bottom left: the border goes.
area = [{stack.margin}, {columns - stack.margin}, {stack.margin}, {rows - 2 * stack.margin}]

[bkg_removal]
dim = 3                          # one polynomial over the whole stack
orders = {list(BACKGROUND_ORDERS)}               # highest power of x, y and z
cross_terms = false              # without their products
skip_factors = {skip}         # the fit looks at one pixel in so many along x, y and z
threshold_min = 1                # pixels without signal take no part
preserve_avg = true              # keep the mean brightness

[intensity_rescaling]
nbins = 256         # bins of the histograms that are made equal
filter_size = {running_mean}    # slices in the running mean that a slice is matched to
"""


@dataclass(frozen=True)
class Score:
    """How far a stack is from the truth, in grey levels of the truth; 0 is perfect.

    Parameters
    ----------
    rmse : float
        Root mean square difference after the best gain and offset for the whole stack.
    jumps : float
        Root mean square change of the mean difference from one slice to the next.
    """

    rmse: float
    jumps: float


def score(corrected: Iterable[Array], truth: Iterable[Array]) -> Score:
    """Compare a stack with the truth in one pass, a slice of each at a time.

    Parameters
    ----------
    corrected, truth : iterable of numpy.ndarray
        As many slices of equal shapes (y, x).

    Returns
    -------
    Score
        Independent of gain and offset of ``corrected``.
    """
    products = np.zeros((3, 3))
    means = []
    for image, true in zip(corrected, truth, strict=True):
        values = np.stack([np.ones(true.size), image.ravel(), true.ravel()])
        products += values @ values.T
        means.append(values.mean(axis=1))
    fit = np.linalg.lstsq(products[:2, :2], products[:2, 2])[0]
    weights = np.array([*fit, -1.0])
    mean_square = weights @ products @ weights / products[0, 0]
    steps = np.diff(np.array(means) @ weights)
    return Score(
        rmse=float(np.sqrt(max(0.0, mean_square))),
        jumps=float(np.sqrt(np.mean(np.square(steps)))) if steps.size else 0.0,
    )
