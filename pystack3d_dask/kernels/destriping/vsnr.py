"""Variational stationary noise removal, VSNR: the solver.

Fehrenbach, Weiss, Lorenzo, "Variational algorithms to remove stationary noise: applications
to microscopy imaging", IEEE Transactions on Image Processing 21(10), 2012: the noise is a
filter psi convolved with white noise x, found as the minimum of the total variation of
``u0 - psi * x`` plus ``|x|^2 / 2``, by ADMM with periodic boundaries.

With D the differences along x and y, p the dual variable divided by -beta and e the image
less the noise found so far, an iteration of the paper's algorithm becomes

    t = D e + p,   p' = t min(1, 1 / (beta |t|)),   w = D z + 2 p' - p,
    X = beta Psi conj(D) W / (1 + beta |Psi D|^2),   Z = Psi X,   e = u0 - z,

which takes two real Fourier transforms and one sweep over the image (`vsnr_fourier`), or, where
the spectrum of the noise is nothing but in a few rows, the sweep alone (`vsnr_rows`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.destriping.fourier import FourierSolver
from pystack3d_dask.kernels.destriping.low_rank import FewRowsSolver
from pystack3d_dask.kernels.destriping.noise_model import Filter, few_rows, noise_power

Filters = tuple[Filter, ...]

TABLES = Lock()  # of threads that begin together the first one makes what is cached


class Solver(Protocol):
    """The state of the iterations on one image."""

    def iterate(self) -> float:
        """Do one iteration; return how much the spectrum of x changed."""
        ...

    def image(self) -> Array:
        """Return the image without the noise found so far."""
        ...


@dataclass(frozen=True)
class Solution:
    """What the solver found.

    Parameters
    ----------
    image : ndarray of float32
        The image without its noise.
    changes : tuple of float
        Largest change of the spectrum of x over its largest magnitude, from the second
        iteration on.
    """

    image: Array
    changes: tuple[float, ...]

    @property
    def iterations(self) -> int:
        """Number of iterations."""
        return len(self.changes) + 1


def remove_noise(
    image: Array,
    filters: Sequence[Filter],
    *,
    beta: float = 10.0,
    maxit: int = 100,
    threshold: float = 0.0,
) -> Solution:
    """Remove stationary noise from one image.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Any real type; computed in float32.
    filters : sequence of Filter
        The kinds of noise.
    beta : float
        Weight of the constraint in ADMM: it decides how fast iterations converge, not
        where to.
    maxit : int
        Iterations at most.
    threshold : float
        Stop as soon as the change is not larger than this.

    Returns
    -------
    Solution
        Of an image of one gray level the image itself.
    """
    u0, top = normalized(image)
    if top == 0 or u0.min() == u0.max():
        return Solution(image.astype(np.float32), ())
    energies = np.einsum("yx,yx->y", u0, u0)  # of rows: no copy of the image
    scale = float(np.sqrt(energies.sum(dtype=np.float64) / u0.size))
    solver = _fastest_solver(u0, tuple(filters), scale, beta)
    changes: list[float] = []
    while not has_ended(changes, maxit, threshold):
        changes.append(solver.iterate())
    image = solver.image()
    image *= np.float32(top)
    return Solution(image, tuple(changes))


def has_ended(changes: Sequence[float], maxit: int, threshold: float) -> bool:
    """Return whether iterations end that changed the spectrum so much, after the first one."""
    return len(changes) + 1 >= maxit or (bool(changes) and not changes[-1] > threshold)


def _fastest_solver(u0: Array, filters: Filters, scale: float, beta: float) -> Solver:
    """Return the solver that suits an image and its noise best."""
    with TABLES:
        rows = few_rows(u0.shape, filters)
    if rows is not None:
        return FewRowsSolver(u0, rows, scale, beta)
    amplitude = np.sqrt(np.float32(scale) * noise_power(u0.shape, filters))
    return FourierSolver(u0, amplitude, beta)


def normalized(image: Array) -> tuple[Array, float]:
    """Return the image divided by its largest magnitude, as float32, and that magnitude.

    Without negative values that is the maximum. Of others the maximum may be next to 0, and says
    nothing about their scale.
    """
    top = max(float(image.max()), -float(image.min()))
    return (image.astype(np.float32) / np.float32(top or 1.0)), top
