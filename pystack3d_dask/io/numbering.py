"""What numbers in the names of slices say of their order, and of slices that are not there."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

SHOWN = 3  # numbers that a note lists
NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,15})?")  # decimals are positions: 0.25 comes before 0.5


def notes_on_names(names: Sequence[str]) -> Iterator[str]:
    """Yield what is odd about the numbers in names of slices.

    Parameters
    ----------
    names : sequence of str
        Names in the order in which slices are taken: sorted as text.
    """
    texts = [NUMBER.findall(name) for name in names]
    if len(set(map(len, texts))) != 1:
        return
    keys = [
        (NUMBER.sub("", name), *map(float, text)) for name, text in zip(names, texts, strict=True)
    ]
    by_number = sorted(range(len(names)), key=lambda z: keys[z])
    wrong = [z for z, number in enumerate(by_number) if z != number]
    if wrong:
        z = wrong[0]
        yield (
            f"slices are taken in the order of their names, {names[z]} as number {z}, where "
            f"{names[by_number[z]]} would be by the numbers in them: if that is wrong, give all "
            "numbers the same count of digits (002, not 2)"
        )
        return
    counts = (column for column in zip(*texts, strict=True) if all(map(str.isdigit, column)))
    yield from _missing([list(map(int, column)) for column in counts])


def _missing(columns: Sequence[Sequence[int]]) -> Iterator[str]:
    """Yield which numbers are left out, of the first ones that count the slices."""
    for column in columns:
        steps = [after - before for before, after in pairwise(column)]
        if not steps or min(steps) < 1:
            continue
        usual, often = Counter(steps).most_common(1)[0]
        lost = [
            number
            for before, step in zip(column, steps, strict=False)
            if step != usual
            for number in range(before + usual, min(before + step, before + 99 * usual), usual)
        ]
        # else they are positions, or chosen at will
        if lost and 2 * often > len(steps) and all(step % usual == 0 for step in steps):
            listed = ", ".join(map(str, lost[:SHOWN])) + (", ..." if len(lost) > SHOWN else "")
            yield f"by the numbers in their names slices are missing: {listed}"
        return
