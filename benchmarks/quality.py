"""Errors of stacks with known truth, before and after corrections, of this and other programs.

    python benchmarks/quality.py --seeds 3
    python benchmarks/quality.py --seeds 50 --programs init --cases "porous: all" "cellular: all"

Stacks are generated, or real ones of the folder ``--data``, with one defect or all of them
(``--list`` names them). A line for each case and program has medians over the seeds: the error in
gray levels of 255, of the input and of the result; by class, from slice to slice; what smoothing
would spoil (noise and edges); gain and offset of gray levels; what is left of the defect, and what
is kept of the structure; displacement in pixels. `ruler.measures.Measures` and `ruler.downstream`
define each. Exits with status 1 when a result of ``init`` is worse than its input.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads of BLAS would compete with --jobs

from ruler.cases import BACKGROUND, BRIGHTNESS, CASES, REGISTERED, STRIPED, acquire
from ruler.programs import ALL, PROGRAMS, Program
from ruler.scores import Score, scored
from ruler.tables import head, row, summary, write_csv

SHAPE = (24, 400, 400)
FIRST_SEED = 1
GATE = "init"
"""The program that must never make a stack worse."""

MENDED_BY = {
    **dict.fromkeys(BACKGROUND, "bkg_removal"),
    **dict.fromkeys(BRIGHTNESS, "intensity_rescaling"),
    **dict.fromkeys(STRIPED, "destriping"),
    **dict.fromkeys(REGISTERED, "registration"),
}
"""Corrections by recipe: others are tried on stacks without defect only."""
SOUND = ("nothing", "clean")
CHOSEN = (
    "porous: all",
    "cellular: all",
    "porous: all without stripes",
    "cellular: all without stripes",
    "porous: clean",
    "cellular: clean",
    "gradient: clean",
    "upright: clean",
    "porous: multiplicative 40",
    "porous: vignetting",
    "gradient: gain and offset jumps",
    "porous: curtains",
    "porous: drift",
)
"""Cases of a table that is printed while one waits."""


@dataclass(frozen=True)
class Task:
    """A stack, and what corrects it.

    Parameters
    ----------
    case : str
        One of `ruler.cases.CASES`.
    seed : int
        Of the case.
    shape : tuple of int
        Slices, rows and columns.
    programs : tuple of str
        Of `ruler.programs.PROGRAMS`.
    data : Path, optional
        The folder of real stacks.
    downstream : bool
        Whether results are segmented, too.
    """

    case: str
    seed: int
    shape: tuple[int, int, int]
    programs: tuple[str, ...]
    data: Path | None = None
    downstream: bool = False

    def run(self) -> list[Score]:
        """Make the stack, correct it and score the results."""
        acquired = acquire(CASES[self.case], self.seed, self.shape, self.data)
        programs = [PROGRAMS[name] for name in self.programs]
        return list(scored(acquired, self.seed, programs, downstream=self.downstream))


def suits(program: Program, case: str) -> bool:
    """Return whether a program is for what a case has: its defect, all defects, or none."""
    recipe = case.partition(": ")[2]
    return recipe in SOUND or program.mends in (ALL, MENDED_BY.get(recipe))


def scores_of(tasks: Sequence[Task], jobs: int) -> Iterator[Score]:
    """Yield the scores of tasks in their order, computed in so many processes."""
    with ProcessPoolExecutor(jobs) as pool:
        for found in pool.map(Task.run, tasks):
            yield from found


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    found = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    found.add_argument("--seeds", type=int, default=3, help="how many")
    found.add_argument("--first", type=int, default=FIRST_SEED, help="the first seed")
    found.add_argument("--shape", type=int, nargs=3, default=SHAPE, help="slices, rows, columns")
    found.add_argument("--cases", nargs="+", default=CHOSEN, choices=CASES, metavar="CASE")
    found.add_argument(
        "--programs", nargs="+", default=tuple(PROGRAMS), choices=PROGRAMS, metavar="PROGRAM"
    )
    found.add_argument("--data", type=Path, help="folder of the real stacks")
    found.add_argument("--downstream", action="store_true", help="segment the results, too")
    found.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at once")
    found.add_argument("--csv", type=Path, help="file for every measure of every seed")
    found.add_argument("--list", action="store_true", help="name cases and programs, and end")
    return found


def tasks_of(options: argparse.Namespace) -> list[Task]:
    """Return what the command line asks for: case by case, seed by seed."""
    return [
        Task(
            case,
            seed,
            tuple(options.shape),
            tuple(name for name in options.programs if suits(PROGRAMS[name], case)),
            options.data,
            options.downstream,
        )
        for case in options.cases
        for seed in range(options.first, options.first + options.seeds)
    ]


def main() -> None:
    """Print the table."""
    options = parser().parse_args()
    if options.list:
        print("cases:", *CASES, "programs:", *PROGRAMS, sep="\n  ")
        return
    print(head(downstream=options.downstream))
    every: list[Score] = []
    for _, group in groupby(scores_of(tasks_of(options), options.jobs), lambda each: each.case):
        scores = list(group)
        every += scores
        for name in dict.fromkeys(each.program for each in scores):
            some = [each for each in scores if each.program == name]
            print(row(some, downstream=options.downstream), flush=True)
    print(*summary(every), sep="\n")
    if options.csv:
        write_csv(every, options.csv)
    sys.exit(any(each.is_worse for each in every if each.program == GATE))


if __name__ == "__main__":
    main()
