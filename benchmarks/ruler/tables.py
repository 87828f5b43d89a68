"""Scores as text and as numbers for other programs."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from ruler.scores import Score

COLUMNS = {
    "perfect": "perf.",
    "rms_solid": "solid",
    "rms_pores": "pores",
    "rms_edges": "edges",
    "jump": "jump",
    "noise_kept": "noise",
    "edge_width": "width",
    "flicker": "flick",
    "gain": "gain",
    "offset": "offs",
    "defect_left": "left",
    "structure_kept": "kept",
    "upright_kept": "upr.",
    "gradient_kept": "grad.",
    "misplaced": "px",
    "bound": "bound",
}
"""Measures of the result in a table, see `ruler.measures.Measures`, and their heads."""
SEGMENTED = {
    "dice": "dice",
    "porosity": "poros",
    "surface": "surf.",
    "tortuosity_x": "tau_x",
    "tortuosity_z": "tau_z",
    "rand_error": "rand",
}
"""Measures of a segmentation, see `ruler.downstream`."""


def head(*, downstream: bool) -> str:
    """Return the heads of the columns."""
    names = [*COLUMNS.values(), *(SEGMENTED.values() if downstream else ())]
    columns = "".join(f"{name:>7}" for name in names)
    return f"{'case':33}{'program':37}{'rms':>13}{columns}{'worse':>7}{'s':>6}"


def row(scores: Sequence[Score], *, downstream: bool) -> str:
    """Return a line for a case and a program: medians over the seeds."""
    first = scores[0]
    start = f"{first.case:33}{first.program:37}"
    if np.isnan(first.seconds):
        return f"{start}not installed"
    names = [*COLUMNS, *(SEGMENTED if downstream else ())]
    before = _median([score.value("rms", of_input=True) for score in scores])
    columns = "".join(_number(_median([score.value(name) for score in scores])) for name in names)
    worse = f"{sum(score.is_worse for score in scores)}/{len(scores)}"
    rms = f"{before:5.2f}->{_median([score.value('rms') for score in scores]):5.2f}"
    seconds = _median([score.seconds for score in scores])
    return f"{start}{rms:>13}{columns}{worse:>7}{seconds:6.1f}"


def summary(scores: Iterable[Score]) -> list[str]:
    """Return a line for each program: how often its results are worse, and median errors."""
    lines = []
    for name, group in groupby(sorted(scores, key=lambda each: each.program), _program):
        some = [each for each in group if not np.isnan(each.seconds)]
        if some:
            before = _median([each.value("rms", of_input=True) for each in some])
            after = _median([each.value("rms") for each in some])
            worse = sum(each.is_worse for each in some)
            lines.append(
                f"{name:37}median rms {before:.2f} -> {after:.2f}; worse: {worse} of {len(some)}"
            )
    return lines


def write_csv(scores: Iterable[Score], path: Path) -> None:
    """Write every measure of every score, a line each."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "seed", "program", "steps", "measure", "before", "after"])
        for score in scores:
            steps = " ".join(score.steps)
            for name, after in (score.after or {}).items():
                before = score.value(name, of_input=True)
                writer.writerow([score.case, score.seed, score.program, steps, name, before, after])


def _program(score: Score) -> str:
    return score.program


def _median(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.median(known)) if known else np.nan


def _number(value: float) -> str:
    return f"{'-':>7}" if np.isnan(value) else f"{value:7.2f}"
