"""The central abstraction: a correction that is declared, not run.

A step says what it must know about the whole stack first (its *fit*), which region of
its input a region of its output needs, and what shape and type come out. The planner
reads these declarations and touches no pixel; the block runner calls the kernels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from pystack3d_dask.core.block import Block
from pystack3d_dask.core.spec import Region, StackSpec
from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.errors import Problem

FitScope = Literal["slice", "stack"] | None
Fits = Mapping[str, Arrays]  # by step name


@dataclass(frozen=True, kw_only=True)
class Step(ABC):
    """A correction; the fields of the dataclass are its parameters.

    A step sees one channel. It never changes its input, and what it computes for a
    slice does not depend on how the stack is cut into blocks.

    Parameters
    ----------
    checkpoint : bool, default False
        Store the output of this correction in the project, to look at it.

    Attributes
    ----------
    name : str
        Name in ``process_steps`` and of the table in ``params.toml``.
    purpose : str
        What it mends, and how, in a line: for the README, and for those who choose.
    usual_place : int
        Where it stands among the corrections that ``init`` lists: lower ones come first.
    template : str
        Its table in what ``init`` writes, with placeholders for what the acquisition decides (see
        `pystack3d_dask.project.template`); without one, parameters are listed with their defaults.
    version : int
        To be raised when the same parameters give other values; finished blocks of
        the older version are then computed again.
    cost : {"light", "heavy"}
        A heavy step is never computed twice: what follows it is stored.
    nanoseconds : float
        Rough time per pixel on one core, for the estimate that a plan shows.
    keeps_slices : bool
        Whether slice k of the output is made of slice k of the input.
    keeps_values : bool
        Whether pixels come out with the gray levels that they came in with.
    only_moves : bool
        Whether it is about where pixels lie alone: gray levels change by interpolation only.
        Padding moves alike then; else pixels are taken to stay where they are, unless the shape
        changes.
    takes_what_is_new : bool
        Whether what it takes away should be new in each slice, as most stripes are. What
        neighboring slices show as well then counts as specimen, and a run says so.
    """

    name: ClassVar[str]
    purpose: ClassVar[str] = ""
    usual_place: ClassVar[int] = 1000
    template: ClassVar[str] = ""
    version: ClassVar[int] = 1
    cost: ClassVar[Literal["light", "heavy"]] = "light"
    nanoseconds: ClassVar[float] = 2.0
    keeps_slices: ClassVar[bool] = True
    keeps_values: ClassVar[bool] = False
    only_moves: ClassVar[bool] = False
    takes_what_is_new: ClassVar[bool] = False
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "allow_inf_nan": False}

    checkpoint: bool = False

    def __post_init__(self) -> None:
        """Make tuples of lists and arrays: parameters do not change, and can be hashed."""
        for field in fields(self):
            object.__setattr__(self, field.name, immutable(getattr(self, field.name)))

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
        """Return the spec of the output; a bound while a fit is missing that decides it.

        By default that of a step with arithmetic: the same shape, in the type between steps.
        """
        return spec.computed()

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
    def apply(self, block: Block, fitted: Arrays | None = None) -> tuple[Array, Arrays]:
        """Correct one block.

        Parameters
        ----------
        block : Block
            The pixels, where they lie, and what is asked for. Padding has the mean of its slice,
            and gets its gray level back afterwards; see `Block.padding`.
        fitted : dict of ndarray, optional
            What `prepare` returned.

        Returns
        -------
        values : ndarray, shape ``block.out.shape``
            Floats where there was arithmetic; the runner casts them. Of the same kind as those
            of ``block``.
        figures : dict of ndarray
            Of NumPy: results of each slice worth keeping, first axis along ``out.z``.
        """

    def prepare(self, fits: Fits, spec: StackSpec) -> Arrays:
        """Return what `output_spec`, `source` and `apply` get as ``fitted``.

        By default the fit of the step itself. Called once per chain, so that what follows from
        the fits, or from the spec, is not worked out again for every block.

        Parameters
        ----------
        fits : mapping
            By step name: the fits that the step `needs`.
        spec : StackSpec
            The input.
        """
        return dict(fits.get(self.name, {}))


def immutable(value: Any) -> Any:
    """Return lists and arrays as tuples of plain numbers; other values as they are."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return tuple(map(immutable, value)) if isinstance(value, list | tuple) else value
