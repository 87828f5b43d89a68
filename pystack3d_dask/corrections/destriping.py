"""Destriping: curtains and other stationary noise, slice by slice or with neighbors."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from pystack3d_dask.core.block import Block
from pystack3d_dask.core.charts import Chart, Lines
from pystack3d_dask.core.spec import Region, StackSpec
from pystack3d_dask.core.stack_fit import StackFit, Summaries
from pystack3d_dask.core.step import FitScope
from pystack3d_dask.core.traits import ReportCharts
from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.corrections.neighbor_destriping import NeighborDestriping
from pystack3d_dask.corrections.plausible import doubt_stripe
from pystack3d_dask.errors import Problem
from pystack3d_dask.kernels.backend import namespace
from pystack3d_dask.kernels.destriping.noise_model import Filter
from pystack3d_dask.kernels.destriping.stripe_search import FEWEST_SLICES, SMALLEST, Direction
from pystack3d_dask.kernels.destriping.wavelets import WaveletDecomposition, remove_stripes
from pystack3d_dask.kernels.intensity.gray_range import fill_of_slice
from pystack3d_dask.kernels.padding import filled_up, has_one_of, keep_levels

if TYPE_CHECKING:
    from pystack3d_dask.kernels.destriping.vsnr import Solution

OF_FILTERS = ("maxit", "cvg_threshold", "beta", "backend")
UNUSED = {  # parameters that each method does without
    "neighbors": OF_FILTERS,
    "wavelet_decomposition": ("filters", *OF_FILTERS, "along"),
    "filters": ("along",),
}
VSNR_BYTES = 34  # per pixel: image, noise, two duals, divergence; X, its update, the filter
PYVSNR_BYTES = 150  # per pixel; 125 to 166 as measured, by what pyFFTW has cached
GPU_PIXELS = 2**22  # at once: fewer leave a GPU idle while operations on them are started
WAVELET_ARRAYS = 3.5  # of the size of a slice: coefficients, and what becomes of them

# what single precision can work with, and more than anybody can want
MOST_ITERATIONS = 10_000
MOST_LEVELS = 20
MOST_NEIGHBORS = 8
BETA = (1e-6, 1e6)
NOISE_LEVEL = (1e-6, 1e6)
SIGMA = (0.05, 1e6)  # pixels: between two pixels, there is nothing of a narrower Gaussian
DAMPING = (1e-3, 1e6)


@dataclass(frozen=True, kw_only=True)
class Destriping(ReportCharts, StackFit):
    """Remove stripes: what neighboring slices do not have, or by VSNR or wavelets in each slice.

    Parameters
    ----------
    neighbors : int, default 0
        Slices on each side that tell stripes from the specimen: what is smooth along one direction
        and new in every slice, or goes on for a few slices but changes faster along z than the
        specimen does, is removed, as far as it is not found along the other direction
        (`kernels.destriping.stripe_model`, `kernels.destriping.lasting_stripes`). Strength, width,
        length and lean are found from the stack. Left alone are stacks without stripes, and stripes
        that last as long as the specimen's details. Layers that lean by two pixels or more from
        slice to slice may pass for stripes. 0: each slice by itself, by ``filters`` or
        ``wavelet_decomposition``.
    along : {"y", "x"}
        With neighbors: direction of the stripes, from which they may lean by 20 degrees.
    filters : sequence of Gabor or Dirac
        Patterns of the noise, for VSNR [1]_.
    maxit : int, default 100
        Largest number of iterations.
    cvg_threshold : float, default 0
        Iteration stops once the largest change of the spectrum of the noise, relative to its
        largest magnitude, is not above this value.
    beta : float, default 10
        Weight of the constraint in ADMM. It decides how fast the iteration converges.
    backend : {"native", "pyvsnr"}
        Solver: that of this package, or that of the package pyvsnr, on the CPU, for comparison.
    wavelet_decomposition : WaveletDecomposition, optional
        Damp stripes in wavelet space [2]_, in place of VSNR.
    checkpoint : bool, default False
        Store the output of this correction in the project, to look at it.

    See Also
    --------
    Gabor, Dirac, WaveletDecomposition

    Notes
    -----
    A slice of a single gray level is not changed, nor, with neighbors, one that was found bad. VSNR
    keeps the mean of a slice. What only fills a slice up, such as a black border, keeps its gray
    level and makes no stripes, but with precision "source".

    References
    ----------
    .. [1] J. Fehrenbach, P. Weiss, C. Lorenzo, "Variational algorithms to remove stationary
       noise: applications to microscopy imaging", IEEE Transactions on Image Processing 21(10),
       2012. https://doi.org/10.1109/TIP.2012.2206037
    .. [2] B. Münch, P. Trtik, F. Marone, M. Stampanoni, "Stripe and ring artifact removal with
       combined wavelet - Fourier filtering", Optics Express 17(10), 2009.
       https://doi.org/10.1364/OE.17.008567

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> import pystack3d_dask as ps
    >>> stripes = np.tile(np.random.default_rng(0).normal(100, 10, 64), (2, 64, 1))
    >>> stack = xr.DataArray(stripes.astype("float32"), dims=("z", "y", "x"))
    >>> destriping = ps.Destriping(filters=[ps.Gabor(noise_level=100, sigma=(1, 30))])
    >>> clean = ps.correct(stack, destriping)
    >>> bool(clean.std() < 0.1 * stack.std())
    True
    """

    name: ClassVar[str] = "destriping"
    purpose: ClassVar[str] = (
        "curtains and other stripes: what neighboring slices do not have, or by filters in each "
        "slice (VSNR, wavelets)"
    )
    usual_place: ClassVar[int] = 70
    template: ClassVar[str] = """\
# stripes that change from slice to slice: neighbors tell them from the specimen
{unless_filters}neighbors = 3                   # slices on each side; 0: none, but filters
{unless_filters}along = {along}                     # direction of stripes, "y" or "x"
# or in each slice by itself: filters, theta = 0 of upright stripes, sigma = [across, along] pixels;
# noise_level: the higher, the more is removed, of the specimen too: look at `sweep` and `preview`
{if_filters}filters = [{filters}]
{if_filters}maxit = 100
{if_filters}cvg_threshold = 1e-2            # stop where the largest change falls to it; 0: never
# wavelet_decomposition = {{ wavelet = "db15", sigma = 2.5 }}   # in place of filters
"""
    cost: ClassVar[Literal["light", "heavy"]] = "heavy"
    takes_what_is_new: ClassVar[bool] = True
    nanoseconds: ClassVar[float] = 500.0
    version: ClassVar[int] = 5

    filters: Sequence[Filter] = ()
    maxit: int = 100
    cvg_threshold: float = 0.0
    beta: float = 10.0
    backend: Literal["native", "pyvsnr"] = "native"
    wavelet_decomposition: WaveletDecomposition | None = None
    neighbors: int = 0
    along: Direction = "y"

    @property
    def devices(self) -> tuple[str, ...]:
        is_by_filters = not self.neighbors and self.wavelet_decomposition is None
        return ("cpu", "gpu") if is_by_filters and self.backend == "native" else ("cpu",)

    @property
    def stripe_angle(self) -> float | None:
        if self.neighbors:
            return 0.0 if self.along == "y" else 90.0
        return next((each.theta for each in self.filters if each.name == "Gabor"), None)

    @property
    def whole(self) -> tuple[str, ...]:
        return ("y", "x")

    @property
    def fit_scope(self) -> FitScope:
        return "stack" if self.neighbors else None

    @property
    def fits_bad_slices(self) -> bool:
        return True  # each is compared by itself, and what is unlike the others is left out

    def check(self, spec: StackSpec) -> Iterator[Problem]:
        yield from self._check_unused()
        if self.neighbors:
            yield from self._check_neighbors(spec)
            return
        if self.wavelet_decomposition is not None:
            yield from self._check_wavelet(self.wavelet_decomposition, spec)
            return
        if not self.filters:
            yield Problem(
                f"{self.name}.filters",
                "missing: a list such as "
                "[{name = 'Gabor', noise_level = 20, sigma = [1, 30], theta = 0}], "
                "or wavelet_decomposition, or neighbors = 3",
            )
        for index, each in enumerate(self.filters):
            yield from self._check_filter(f"{self.name}.filters[{index}]", each, spec)
        if not 1 <= self.maxit <= MOST_ITERATIONS:
            yield Problem(
                f"{self.name}.maxit",
                f"1 to {MOST_ITERATIONS} expected, found {self.maxit}",
            )
        yield from _check_range(f"{self.name}.beta", BETA, self.beta)
        if self.backend == "pyvsnr" and importlib.util.find_spec("pyvsnr") is None:
            yield Problem(
                f"{self.name}.backend",
                "'pyvsnr' is not installed: pip install 'pystack3d-dask[pyvsnr]'",
            )

    def source(self, out: Region, spec: StackSpec, fitted: Arrays | None = None) -> Region:
        if self.neighbors:
            return self._by_neighbors(spec).source(out, fitted)
        return spec.region.with_z(out.start[0], out.stop[0])

    def scratch_bytes(self, region: Region, spec: StackSpec) -> int:
        pixels = spec.shape[1] * spec.shape[2]
        if self.neighbors:
            return self._by_neighbors(spec).scratch_bytes()
        if self.wavelet_decomposition is not None:
            return round((WAVELET_ARRAYS + 1) * spec.arithmetic.itemsize * pixels)
        return (PYVSNR_BYTES if self.backend == "pyvsnr" else VSNR_BYTES) * pixels

    def gpu_batch(self, spec: StackSpec) -> int:
        return max(1, GPU_PIXELS // (spec.shape[1] * spec.shape[2]))

    def summary_source(self, out: Region, spec: StackSpec) -> Region:
        return self._by_neighbors(spec).summary_source(out)

    def summary_scratch_bytes(self, out: Region, spec: StackSpec) -> int:
        return self._by_neighbors(spec).summary_scratch_bytes()

    def estimate_slices(self, shown: Collection[int], spec: StackSpec) -> set[int]:
        return self._by_neighbors(spec).estimate_slices(shown)

    def summarize(self, block: Block, partial: Arrays | None = None) -> dict[int, Arrays]:
        return self._by_neighbors(block.spec).summarize(block)

    def finalize(
        self, summaries: Summaries, spec: StackSpec, partial: Arrays | None = None
    ) -> Arrays:
        return self._by_neighbors(spec).finalize(summaries)

    def remarks(self, fitted: Arrays, spec: StackSpec) -> Iterator[str]:
        yield from (f"{self.name}: {text}" for text in self._by_neighbors(spec).remarks(fitted))

    def apply(self, block: Block, fitted: Arrays | None = None) -> tuple[Array, Arrays]:
        if self.neighbors:
            values, figures = self._by_neighbors(block.spec).apply(block, fitted)
            return _positive(values, block.spec), figures
        given, fill = _filled_up(block)
        values, figures = self._without_stripes(given, block)
        _, rows, columns = block.out.slices
        for k, (image, levels) in enumerate(zip(block.values, fill, strict=True)):
            if len(levels):
                values[k] = keep_levels(values[k], image[rows, columns], levels)
        return values, figures

    def _by_neighbors(self, spec: StackSpec) -> NeighborDestriping:
        return NeighborDestriping(spec=spec, neighbors=self.neighbors, along=self.along)

    def _without_stripes(self, images: Array, block: Block) -> tuple[Array, Arrays]:
        _, rows, columns = block.out.slices
        if self.wavelet_decomposition is not None:
            how = self.wavelet_decomposition
            found = [_destriped(image, how, block.spec)[rows, columns] for image in images]
            return np.stack(found), {}
        solutions = self._solved(images)
        values = namespace(images).stack([each.image[rows, columns] for each in solutions])
        changes = np.full((len(solutions), self.maxit), np.nan)
        for row, solution in zip(changes, solutions, strict=True):
            row[: len(solution.changes)] = solution.changes
        figures = {
            "iterations": np.array([solution.iterations for solution in solutions]),
            "convergence": changes,
        }
        return _positive(values, block.spec), figures

    def charts(
        self, figures: Arrays, spec: StackSpec, fitted: Arrays | None = None
    ) -> Iterator[Chart]:
        if self.neighbors:
            yield from self._by_neighbors(spec).charts(figures, fitted)
        if "iterations" not in figures:
            return
        changes = figures["convergence"]
        taken = np.flatnonzero(~np.isnan(changes).all(axis=1))
        last = np.full(len(changes), np.nan)
        last[taken] = [row[~np.isnan(row)][-1] for row in changes[taken]]
        reached = f"stops below cvg_threshold = {self.cvg_threshold:g}, or after {self.maxit}"
        yield Lines(
            name="iterations",
            title="Iterations of each slice",
            text=f"The solver {reached} iterations. Slices at that limit may keep some of their "
            "stripes: raise maxit, or accept a larger change.",
            panels={"iterations": {"": figures["iterations"]}, "last change": {"": last}},
        )
        if not len(taken):
            return
        steps = np.flatnonzero(~np.isnan(changes).all(axis=0))
        order = taken[np.argsort(figures["iterations"][taken], kind="stable")]
        shown = {"fastest": order[0], "median": order[len(order) // 2], "slowest": order[-1]}
        yield Lines(
            name="convergence",
            title="Convergence",
            text="The largest change of the noise's spectrum from one iteration to the next, over "
            "its largest magnitude. It should fall steadily; a line that stays level asks for "
            "another beta.",
            panels={
                "relative change": {
                    f"{name}, slice {z}": changes[z, steps] for name, z in shown.items()
                }
            },
            x="iteration",
            positions=steps + 1,
            logarithmic=True,
        )

    def _solved(self, block: Array) -> Sequence[Solution]:
        # not at the top: what only reads the parameters needs no solver
        from pystack3d_dask.kernels.destriping.pyvsnr import pyvsnr_solution
        from pystack3d_dask.kernels.destriping.vsnr import remove_noise
        from pystack3d_dask.kernels.destriping.vsnr_arrays import remove_noise_on_arrays

        how: dict[str, Any] = {
            "beta": self.beta,
            "maxit": self.maxit,
            "threshold": self.cvg_threshold,
        }
        if namespace(block) is not np:
            return remove_noise_on_arrays(block, self.filters, **how)
        solve = pyvsnr_solution if self.backend == "pyvsnr" else remove_noise
        return [solve(image, self.filters, **how) for image in block]

    def _check_unused(self) -> Iterator[Problem]:
        method = next((name for name in UNUSED if getattr(self, name)), "filters")
        for name in UNUSED[method]:
            if getattr(self, name) != getattr(Destriping, name):
                message = f"has no effect with {method}"
                yield Problem(f"{self.name}.{name}", message, "warning")

    def _check_neighbors(self, spec: StackSpec) -> Iterator[Problem]:
        if not 1 <= self.neighbors <= MOST_NEIGHBORS:
            yield Problem(
                f"{self.name}.neighbors",
                f"0 to {MOST_NEIGHBORS} slices on each side expected, found {self.neighbors}",
            )
        for name in ("filters", "wavelet_decomposition"):
            if getattr(self, name):
                yield Problem(
                    f"{self.name}.{name}",
                    f"neighbors = {self.neighbors} finds stripes by itself: leave {name} out, or "
                    "take neighbors = 0",
                )
        if spec.shape[0] < FEWEST_SLICES or min(spec.shape[1:]) < SMALLEST:
            slices, rows, columns = spec.shape
            yield Problem(
                f"{self.name}.neighbors",
                f"{FEWEST_SLICES} slices or more, of {SMALLEST} x {SMALLEST} pixels or more, are "
                f"needed, found {slices} of {columns} x {rows} (x, y): the stack is left alone",
                "warning",
            )

    def _check_filter(self, path: str, each: Filter, spec: StackSpec) -> Iterator[Problem]:
        yield from _check_range(f"{path}.noise_level", NOISE_LEVEL, each.noise_level)
        if each.name == "Gabor" and each.sigma is None:
            yield Problem(f"{path}.sigma", "missing: [across, along] in pixels")
        else:
            yield from _check_range(f"{path}.sigma", SIGMA, *(each.sigma or ()))
        yield from doubt_stripe(path, each.sigma, each.noise_level, spec)

    def _check_wavelet(self, how: WaveletDecomposition, spec: StackSpec) -> Iterator[Problem]:
        path = f"{self.name}.wavelet_decomposition"
        import pywt  # not at the top: the command line starts sooner

        if how.wavelet not in pywt.wavelist(kind="discrete"):
            message = f"a discrete wavelet such as 'db25' expected, found {how.wavelet!r}"
            yield Problem(f"{path}.wavelet", message)
            return
        yield from _check_range(f"{path}.sigma", DAMPING, how.sigma)
        largest = int(pywt.dwtn_max_level(spec.shape[1:], how.wavelet))
        if how.level is not None and not 1 <= how.level <= MOST_LEVELS:
            message = f"1 to {MOST_LEVELS} expected, found {how.level}"
            yield Problem(f"{path}.level", message)
        elif how.level is None and not largest:
            yield Problem(
                f"{path}.wavelet",
                f"{how.wavelet!r} is too long for slices of {spec.shape[2]} x {spec.shape[1]} "
                "pixels (x, y): nothing will be removed; take a shorter one, or give a level",
                "warning",
            )
        elif how.level is not None and how.level > largest:
            yield Problem(
                f"{path}.level",
                f"{how.level} is above {largest}, from which on the border counts everywhere",
                "warning",
            )


def _destriped(image: Array, how: WaveletDecomposition, spec: StackSpec) -> Array:
    if image.min() == image.max():
        return image.astype(spec.arithmetic)
    return remove_stripes(image.astype(spec.arithmetic), how)


def _filled_up(block: Block) -> tuple[Array, list[Array]]:
    """Return slices without what only fills them up, and its gray levels in each."""
    fill = [_fill(image, block.spec) for image in block.values]
    given = block.values
    if any(map(len, fill)):
        given = given.astype(block.spec.arithmetic)
        for k, levels in enumerate(fill):
            if len(levels):
                given[k] = filled_up(given[k], has_one_of(given[k], levels))
    return given, fill


def _fill(image: Array, spec: StackSpec) -> Array:
    """Return the gray levels that only fill a slice up; none where PyStack3D is followed."""
    if spec.precision == "source":
        return np.empty(0)
    return fill_of_slice(image, spec.source_dtype)


def _check_range(path: str, limits: tuple[float, float], *found: float) -> Iterator[Problem]:
    low, high = limits
    wrong = [each for each in found if not low <= each <= high]
    if wrong:
        yield Problem(path, f"{low:g} to {high:g} expected, found {wrong[0]:g}")


def _positive(values: Array, spec: StackSpec) -> Array:
    """Return the values without negative ones where unsigned integers are to be made of them."""
    is_unsigned = spec.precision == "source" and spec.source_dtype.kind == "u"
    return values.clip(0) if is_unsigned else values
