"""Corrections that must know something about the whole stack first."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pystack3d_dask.core.block import Block
from pystack3d_dask.core.spec import Region, StackSpec
from pystack3d_dask.core.step import FitScope, Step
from pystack3d_dask.core.typing import Arrays
from pystack3d_dask.errors import FitRequiredError

SAMPLED = 24  # slices at most that stand for a stack where a fit is estimated
ALL_PADDING = "all_padding"  # marks summaries of slices that show no image
Summaries = Mapping[int, Arrays]


@dataclass(frozen=True, kw_only=True)
class StackFit(Step):
    """A correction with a fit to the whole stack: `summarize` sees slices, `finalize` fits.

    With parameters for which `fit_scope` is not "stack", it has none.
    """

    @property
    def fit_scope(self) -> FitScope:
        """Scope of the fit that `apply` needs: the whole stack, or its own slice."""
        return "stack"

    @property
    def fit_channel(self) -> str | None:
        """Name of the channel whose fit all channels use, "" for the first one.

        None: each channel has a fit of its own.
        """
        return None

    @property
    def fits_bad_slices(self) -> bool:
        """True if `finalize` gets the summaries of bad slices, too.

        They would draw a fit that slices share, so that by default it does not. A step that finds
        something for each slice by itself, and is not misled by others, wants them.
        """
        return False

    @abstractmethod
    def summarize(self, block: Block, partial: Arrays | None = None) -> dict[int, Arrays]:
        """Return small arrays per slice of ``block.out``, from which the fit is finished.

        Parameters
        ----------
        block : Block
            Covers the region that `summary_source` named.
        partial : dict of ndarray, optional
            What `finalize` returned in the round before.
        """

    @abstractmethod
    def finalize(
        self, summaries: Summaries, spec: StackSpec, partial: Arrays | None = None
    ) -> Arrays:
        """Return the fit, or the partial one that the next round needs.

        ``summaries`` may load its values when they are asked for: go through it slice
        by slice, in order, and do not hold all of it. In an estimate only those of
        `estimate_slices` are there; those of ``spec.bad`` only if the step `fits_bad_slices`. Here
        slices that are all padding are among these.
        """

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

    def remarks(self, fitted: Arrays, spec: StackSpec) -> Iterator[str]:
        """Yield what users should know about the fit, such as slices that had no part in it.

        ``fitted`` is what `finalize` returned, not what `prepare` makes of it.
        """
        yield from ()


def stack_fit(step: Step) -> StackFit:
    """Return a step as one that has a fit to the whole stack.

    Raises
    ------
    TypeError
        When it is none: only those have summaries.
    """
    if not isinstance(step, StackFit):
        message = f"{type(step).__name__} has a fit to the stack, and must derive from StackFit"
        raise TypeError(message)
    return step


def fit_channel(step: Step) -> str | None:
    """Return the channel whose fit all channels use; None where each has its own, or none."""
    return step.fit_channel if isinstance(step, StackFit) else None


def fitted_in_rounds(
    step: StackFit, spec: StackSpec, look: Callable[[int, Arrays | None], Summaries]
) -> Arrays:
    """Return the fit of a step, round by round.

    Parameters
    ----------
    step : StackFit
        The step.
    spec : StackSpec
        Its input.
    look : callable
        ``look(number, partial)`` returns the summaries of a round, by slice in ascending order.
    """
    partial: Arrays | None = None
    for number in range(step.fit_rounds(spec)):
        partial = finished(step, look(number, partial), spec, partial)
    return known(partial)


def finished(
    step: StackFit, summaries: Summaries, spec: StackSpec, partial: Arrays | None
) -> Arrays:
    """Return the fit of a step to good slices, or the partial one that the next round needs.

    Those that are all padding are not good. All slices count where none is good: what is bad
    cannot be told then.
    """
    if spec.fill:
        padded = {z for z, summary in summaries.items() if ALL_PADDING in summary}
        spec = replace(spec, bad=tuple(sorted({*spec.bad, *padded})))
    good = GoodSlices(summaries, frozenset(spec.bad))
    return step.finalize(summaries if step.fits_bad_slices or not good else good, spec, partial)


class GoodSlices(Mapping[int, Arrays]):
    """Summaries without those of bad slices; loaded when they are asked for.

    Parameters
    ----------
    summaries : mapping
        Those of all slices.
    bad : frozenset of int
        The bad slices.
    """

    def __init__(self, summaries: Summaries, bad: frozenset[int]) -> None:
        self._summaries, self._bad = summaries, bad

    def __getitem__(self, z: int) -> Arrays:
        """Return the summary of a good slice."""
        if z in self._bad:
            raise KeyError(z)
        return self._summaries[z]

    def __iter__(self) -> Iterator[int]:
        """Yield the good slices, in the order of the summaries."""
        return (z for z in self._summaries if z not in self._bad)

    def __len__(self) -> int:
        """Return the number of good slices."""
        return sum(1 for _ in self)


def every(slices: Sequence[int], most: int = SAMPLED) -> Sequence[int]:
    """Return every n-th of some slices, n the smallest that leaves ``most`` or fewer."""
    return slices[:: max(1, -(-len(slices) // most))]


def around(shown: Collection[int], reach: int, spec: StackSpec) -> set[int]:
    """Return the slices that are shown, and those up to ``reach`` before and after them."""
    near = (k for z in shown for k in range(z - reach, z + reach + 1))
    return {k for k in near if 0 <= k < spec.shape[0]}


def known(fitted: Arrays | None) -> Arrays:
    """Return the fit, or say that one is missing."""
    if fitted is None:
        message = "this correction needs its stack-wide fit: compute it first"
        raise FitRequiredError(message)
    return fitted
