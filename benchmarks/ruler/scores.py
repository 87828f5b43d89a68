"""Scores of programs on stacks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ruler.acquired import Acquired
from ruler.alignment import Aligned, align, align_input
from ruler.bound import stripe_bound
from ruler.downstream import cells, porous
from ruler.measures import measured
from ruler.peers import MissingPeer
from ruler.programs import Program

CELLULAR = ("cellular", "medulla")
"""Textures that are segmented into cells, not into pores and solid."""
ROUNDING = 5e-3
"""Gray levels by which a result may be further from the truth than its input, to be no worse."""


@dataclass(frozen=True)
class Score:
    """A result beside its input.

    Parameters
    ----------
    case, program : str
        What was corrected, and by what.
    seed : int
        Of the case.
    steps : tuple of str
        What the program applied.
    seconds : float
        That it took; NaN where it is not installed.
    before, after : dict of str to float
        Measures of the input, at the depths and in the window of the result, and of the result.
    """

    case: str
    program: str
    seed: int
    steps: tuple[str, ...] = ()
    seconds: float = np.nan
    before: Mapping[str, float] | None = None
    after: Mapping[str, float] | None = None

    @property
    def is_worse(self) -> bool:
        """True where the result is further from the truth than its input."""
        return self.value("rms") > self.value("rms", of_input=True) + ROUNDING

    def value(self, name: str, *, of_input: bool = False) -> float:
        """Return a measure; NaN where there is none."""
        values = self.before if of_input else self.after
        return np.nan if values is None else values.get(name, np.nan)


def scored(
    acquired: Acquired, seed: int, programs: Iterable[Program], *, downstream: bool
) -> Iterator[Score]:
    """Correct an acquisition with each program and score the results.

    Parameters
    ----------
    acquired : Acquired
        The stack.
    seed : int
        Of its case, for the table.
    programs : iterable of Program
        What corrects it.
    downstream : bool
        Whether results are segmented, too.
    """
    bound = stripe_bound(acquired)
    for program in programs:
        with TemporaryDirectory() as folder:
            try:
                corrected = program(acquired, Path(folder, "stack"))
            except MissingPeer:
                yield Score(acquired.name, program.name, seed)
                continue
        aligned = align(acquired, corrected)
        untouched = align_input(acquired, corrected)
        yield Score(
            acquired.name,
            program.name,
            seed,
            corrected.steps,
            corrected.seconds,
            values_of(untouched, downstream=downstream),
            {**values_of(aligned, downstream=downstream), "bound": bound},
        )


def values_of(aligned: Aligned, *, downstream: bool) -> dict[str, float]:
    """Return all measures of an aligned stack by name; those of a segmentation where wanted."""
    found = asdict(measured(aligned))
    if downstream:
        images, reference = aligned.images, aligned.reference
        is_cellular = aligned.acquired.specimen.name in CELLULAR
        segmented = asdict((cells if is_cellular else porous)(images, reference))
        found |= {name: each for name, each in segmented.items() if isinstance(each, float)}
    return found
