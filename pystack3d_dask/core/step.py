"""The central abstraction: a correction that is declared, not run.

A step says what it must know about the whole stack first (its *fit*), which region of
its input a region of its output needs, and what shape and type come out. The planner
reads these declarations and touches no pixel; the block runner calls the kernels.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
import warnings
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, ClassVar, Literal

import numpy as np

from pystack3d_dask.core.charts import Chart, statistics
from pystack3d_dask.core.spec import Array, Arrays, Region, StackSpec
from pystack3d_dask.errors import FitRequiredError, Problem

CORRECTIONS = "pystack3d_dask.corrections"
ENTRY_POINTS = "pystack3d_dask.steps"
SAMPLED = 24  # slices at most that stand for a stack where a fit is estimated
FitScope = Literal["slice", "stack"] | None
Summaries = Mapping[int, Arrays]


@dataclass(frozen=True, kw_only=True)
class Step(ABC):
    """A correction; the fields of the dataclass are its parameters.

    A step sees one channel. It never changes its input, and what it computes for a
    slice does not depend on how the stack is cut into blocks.

    Parameters
    ----------
    checkpoint : bool
        Store what comes out of this step, to look at it.

    Attributes
    ----------
    name : str
        Name in ``process_steps`` and of the table in ``params.toml``.
    version : int
        To be raised when the same parameters give other values; finished blocks of
        the older version are then computed again.
    cost : {"light", "heavy"}
        A heavy step is never computed twice: what follows it is stored.
    nanoseconds : float
        Rough time per pixel on one core, for the estimate that a plan shows.
    reference_per_channel : bool
        Whether PyStack3D keeps the files of `reference_outputs` by channel, or those of the
        first channel in the directory of the step.
    keeps_slices : bool
        Whether slice k of the output is made of slice k of the input.
    keeps_values : bool
        Whether pixels come out with the gray levels that they came in with.
    only_moves : bool
        Whether it is about where pixels lie alone: gray levels change by interpolation only.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    cost: ClassVar[Literal["light", "heavy"]] = "light"
    nanoseconds: ClassVar[float] = 2.0
    reference_per_channel: ClassVar[bool] = True
    keeps_slices: ClassVar[bool] = True
    keeps_values: ClassVar[bool] = False
    only_moves: ClassVar[bool] = False
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "allow_inf_nan": False}

    checkpoint: bool = False

    def __post_init__(self) -> None:
        """Make tuples of lists and arrays: parameters do not change, and can be hashed."""
        for field in fields(self):
            object.__setattr__(self, field.name, _immutable(getattr(self, field.name)))

    @property
    def whole(self) -> tuple[str, ...]:
        """Axes, among "y" and "x", that the kernel needs entire."""
        return ()

    @property
    def devices(self) -> tuple[str, ...]:
        """Where the kernel can run, among "cpu" and "gpu": there `apply` gets arrays of cupy."""
        return ("cpu",)

    @property
    def stripe_angle(self) -> float | None:
        """Angle in degrees of the stripes that the step removes; None if it removes none."""
        return None

    @property
    def in_micrometers(self) -> bool:
        """Whether values depend on the size of voxels, or on where slices lie."""
        return False

    @property
    def fit_scope(self) -> FitScope:
        """What `apply` has to know first: nothing, its own slice, or the whole stack."""
        return None

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the steps whose stack-wide fits `apply` needs: its own if it has one."""
        return (self.name,) if self.fit_scope == "stack" else ()

    @property
    def fit_channel(self) -> str | None:
        """Name of the channel whose fit all channels use, "" for the first one.

        None: each channel has a fit of its own.
        """
        return None

    def parameters(self) -> dict[str, Any]:
        """Return the parameters by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def check(self, spec: StackSpec) -> Iterator[Problem]:
        """Yield what is wrong with the parameters for a stack of this spec."""
        yield from ()

    def check_order(self, earlier: Sequence[Step]) -> Iterator[Problem]:
        """Yield what is wrong with the place of this step behind those before it."""
        names = [step.name for step in earlier]
        for name in self.needs:
            if name not in (self.name, *names):
                yield Problem(self.name, f"needs {name} before it, in process_steps")

    def output_spec(self, spec: StackSpec, fitted: Arrays | None = None) -> StackSpec:
        """Return the spec of the output; a bound while a fit is missing that decides it."""
        return spec

    def source(self, out: Region, spec: StackSpec, fitted: Arrays | None = None) -> Region:
        """Return the input region that an output region needs, inside ``spec.shape``."""
        return out

    def scratch_bytes(self, region: Region, spec: StackSpec) -> int:
        """Return the bytes that `apply` allocates for itself, beside input and output."""
        return 0

    def gpu_batch(self, spec: StackSpec) -> int:
        """Return how many slices, 1 or more, a GPU gets at once where it has room for them."""
        return 1

    @abstractmethod
    def apply(
        self,
        block: Array,
        source: Region,
        out: Region,
        spec: StackSpec,
        fitted: Arrays | None = None,
    ) -> tuple[Array, Arrays]:
        """Correct one block.

        Parameters
        ----------
        block : ndarray, shape ``source.shape``
            Input values, read-only; on a GPU of cupy.
        source, out : Region
            Where ``block`` lies in the input, and the wanted region of the output.
        spec : StackSpec
            The whole input.
        fitted : dict of ndarray, optional
            What `prepare` returned.

        Returns
        -------
        values : ndarray, shape ``out.shape``
            Floats where there was arithmetic; the runner casts them. Of the same kind as
            ``block``.
        figures : dict of ndarray
            Of numpy: per-slice results worth keeping, first axis along ``out.z``.
        """

    def prepare(self, fitted: Arrays, spec: StackSpec) -> Arrays:
        """Return what `output_spec`, `source` and `apply` get as ``fitted``.

        By default the fits that the step needs. Called once per chain, so that what follows
        from them, or from the spec, is not worked out again for every block.
        """
        return fitted

    def remarks(self, fitted: Arrays, spec: StackSpec) -> Iterator[str]:
        """Yield what users should know about the fit, such as slices that had no part in it."""
        yield from ()

    def fit_rounds(self, spec: StackSpec) -> int:
        """Return how often the stack must be seen to fit it: 1 for nearly every step."""
        return 1

    def summary_source(self, out: Region, spec: StackSpec) -> Region:
        """Return the input region that `summarize` needs for the slices of ``out``.

        An empty region says that these slices take no part in the fit.
        """
        return out

    def summary_scratch_bytes(self, out: Region, spec: StackSpec) -> int:
        """Return the bytes that `summarize` allocates for itself, beside its input."""
        return 0

    def estimate_slices(self, shown: Collection[int], spec: StackSpec) -> set[int]:
        """Return the slices from which a preview estimates a fit that no run has found.

        By default every n-th of the stack, `SAMPLED` at most, and those that are ``shown``.
        """
        return {*every(range(spec.shape[0])), *shown}

    def summarize(
        self,
        block: Array,
        source: Region,
        out: Region,
        spec: StackSpec,
        partial: Arrays | None = None,
    ) -> dict[int, Arrays]:
        """Return small arrays per slice of ``out``, from which the fit is finished.

        ``block`` covers ``source``, the region that `summary_source` named; ``partial``
        is what `finalize` returned in the round before.
        """
        return {}

    def finalize(
        self, summaries: Summaries, spec: StackSpec, partial: Arrays | None = None
    ) -> Arrays:
        """Return the fit, or the partial one that the next round needs.

        ``summaries`` may load its values when they are asked for: go through it slice
        by slice, in order, and do not hold all of it. In an estimate only those of
        `estimate_slices` are there.
        """
        return {}

    def reference_outputs(
        self, figures: Arrays, spec: StackSpec, fitted: Arrays | None = None
    ) -> dict[str, Array | Arrays]:
        """Return the files that PyStack3D leaves beside the slices of one channel.

        Parameters
        ----------
        figures : dict of ndarray
            What is recorded per slice of the output: ``before``, ``raw`` and ``cast``, each
            minimum, maximum and mean, shape (slices, 3), and the figures of `apply`.
        spec : StackSpec
            The input.
        fitted : dict of ndarray, optional
            The fit that `apply` works with.

        Returns
        -------
        dict
            By path inside the directory of the channel: an array (``.npy``; ``.txt`` for
            numbers as text), or several by name (``.npz``).
        """
        stages = [figures[stage] for stage in ("before", "raw", "cast")]
        return {"outputs/stats.npy": np.stack(stages, axis=1)}

    def charts(
        self, figures: Arrays, spec: StackSpec, fitted: Arrays | None = None
    ) -> Iterator[Chart]:
        """Yield what a report shows of this step on one channel.

        Parameters are those of `reference_outputs`. Of a run that was interrupted, slices may
        be NaN and figures missing.
        """
        if "cast" in figures:
            yield statistics(figures)


def _immutable(value: Any) -> Any:
    value = value.tolist() if hasattr(value, "tolist") else value
    return tuple(map(_immutable, value)) if isinstance(value, list | tuple) else value


def every(slices: Sequence[int], most: int = SAMPLED) -> Sequence[int]:
    """Return every n-th of some slices, n the smallest that leaves ``most`` or fewer."""
    return slices[:: max(1, -(-len(slices) // most))]


def known(fitted: Arrays | None) -> Arrays:
    """Return the fit, or say that one is missing."""
    if fitted is None:
        message = "this correction needs its stack-wide fit: compute it first"
        raise FitRequiredError(message)
    return fitted


@cache
def registry() -> dict[str, type[Step]]:
    """Return the known steps by name: those of `pystack3d_dask.corrections`, and plug-ins.

    Other packages announce a step by an entry point in the group ``pystack3d_dask.steps``. One
    that cannot be loaded, or has the name of another step, is skipped with a warning.
    """
    steps = {step.name: step for step in _steps_in(CORRECTIONS)}
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        try:
            if entry.name in steps:
                message = "another correction has this name"
                raise ValueError(message)
            steps[entry.name] = entry.load()
        except Exception as error:  # a broken plug-in may raise anything
            warnings.warn(
                f"the correction {entry.name!r} ({entry.value}) cannot be loaded and is "
                f"skipped: {type(error).__name__}: {error}",
                stacklevel=2,
            )
    return steps


def _steps_in(package: str) -> Iterator[type[Step]]:
    """Yield the steps of a package's modules: the classes with a name of their own."""
    for found in pkgutil.iter_modules(importlib.import_module(package).__path__):
        module = importlib.import_module(f"{package}.{found.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Step):
                if value.__module__ == module.__name__ and "name" in vars(value):
                    yield value
