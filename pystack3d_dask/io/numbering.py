"""Notes on the numbers in names of slices: their order, slices that are missing or there twice."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from pystack3d_dask.io.name_numbers import Number, Numbers, numbers_in

SHOWN = 3  # numbers, or ranges of them, that a note lists
MOST_KINDS = 8  # of names that may be channels in one directory
ADVICE = (
    "if that is wrong, rename them to sort as they count: all numbers with the same count of "
    "digits (002, not 2), and without signs"
)


def notes_on_channels(names: Mapping[str, Sequence[str]]) -> list[str]:
    """Return what is odd about the numbers in names of slices.

    Slices are always taken in the order of their names as text, as PyStack3D does; where
    numbers in them count otherwise, a note says so.

    Parameters
    ----------
    names : mapping of str to sequence of str
        By channel, the names in the order in which slices are taken.
    """
    found = {channel: numbers_in(each) for channel, each in names.items()}
    notes = [
        f"{channel}: {note}" if len(names) > 1 else note
        for channel, numbers in found.items()
        for note in _notes(numbers)
    ]
    return [*notes, *_different_channels(found)]


def notes_on_names(names: Sequence[str]) -> list[str]:
    """Return what is odd about the numbers in names of the slices of one channel."""
    return notes_on_channels({".": names})


def _notes(numbers: Numbers) -> Iterator[str]:
    if not any(numbers.values):
        return
    keys = [numbers.key(z) for z in range(len(numbers.names))]
    by_number = sorted(range(len(keys)), key=keys.__getitem__)
    counted = numbers.taken(by_number)
    wrong = next((z for z, number in enumerate(by_number) if z != number), None)
    if wrong is not None:
        yield (
            f"slices are taken in the order of their names, {numbers.names[wrong]} as number "
            f"{wrong}, where {counted.names[wrong]} would be by the numbers in them: {ADVICE}"
        )
    else:
        yield from _going_back(numbers)
    yield from _kinds(counted)
    yield from _twice(counted, [keys[z] for z in by_number])
    yield from _missing(counted)


def _going_back(numbers: Numbers) -> Iterator[str]:
    """Yield where a position, or a number that counts the slices, goes up and down."""
    for place, column in enumerate(numbers.columns):
        signs = [(b > a) - (b < a) for a, b in pairwise(column)]
        if {-1, 1} <= set(signs) and (numbers.is_position(place) or _counts_all(column)):
            usual = 1 if signs.count(1) >= signs.count(-1) else -1
            z = signs.index(-usual)
            yield (
                f"slices are taken in the order of their names, {numbers.names[z + 1]} after "
                f"{numbers.names[z]}, where number {place + 1} in them counts otherwise: if that "
                "is wrong, rename them to sort by it"
            )
            return


def _counts_all(column: Sequence[Number]) -> bool:
    """Return whether a number counts the slices, in any order: unlike most, in even steps."""
    values = sorted({int(each[0]) for each in column if _is_whole(each)})
    steps = [b - a for a, b in pairwise(values)]
    return len(values) == len(column) and 2 * Counter(steps).most_common(1)[0][1] > len(steps)


def _is_whole(number: Number) -> bool:
    return len(number) == 1 and number[0].is_integer()


def _kinds(counted: Numbers) -> Iterator[str]:
    """Yield whether the same numbers stand in names with other texts: channels in one place."""
    kinds: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for z, text in enumerate(counted.texts):
        kinds[text].append(z)
    each = list(kinds.values())
    if not 1 < len(each) <= MOST_KINDS or len(each[0]) < 2:
        return
    first, *others = (_varying(counted.taken(places)) for places in each)
    if first and all(columns == first for columns in others):
        examples = ", ".join(counted.names[places[0]] for places in each)
        yield (
            f"names count {len(each)} times from {examples}, and all are taken for one stack: if "
            "they are channels, move each to a sub-directory and name these in channels"
        )


def _varying(numbers: Numbers) -> list[list[Number]]:
    """Return the numbers that are not the same in all names."""
    return [column for column in numbers.columns if len(set(column)) > 1]


def _twice(counted: Numbers, keys: Sequence[object]) -> Iterator[str]:
    """Yield which number stands in the names of two slices."""
    column = _count(counted)
    by_count = [column[z] for z in range(len(keys))] if column else keys
    same = [z for z, (a, b) in enumerate(pairwise(by_count)) if a == b]
    same = same or [z for z, (a, b) in enumerate(pairwise(keys)) if a == b]
    if same:
        more = f" (and {len(same) - 1} more)" if len(same) > 1 else ""
        yield (
            f"by the numbers in their names, slices are there twice: {counted.names[same[0]]} and "
            f"{counted.names[same[0] + 1]}{more}; all are taken"
        )


def _count(counted: Numbers) -> list[int]:
    """Return the first number that counts slices in order, up to a few repetitions; else none."""
    columns = [
        [int(each[0]) for each in column]
        for column in counted.columns
        if all(map(_is_whole, column))
    ]
    rising = [each for each in columns if all(a <= b for a, b in pairwise(each))]
    strict = [each for each in rising if len(set(each)) == len(each)]
    mostly = [each for each in rising if 5 * len(set(each)) >= 4 * len(each)]
    return next(iter([*strict, *mostly]), [])


def _missing(counted: Numbers) -> Iterator[str]:
    """Yield which numbers are left out, by the names that share their text with most."""
    text = Counter(counted.texts).most_common(1)[0][0]
    alike = [z for z, each in enumerate(counted.texts) if each == text]
    values = sorted(set(_count(counted.taken(alike))))
    steps = [b - a for a, b in pairwise(values)]
    if not steps:
        return
    usual, often = Counter(steps).most_common(1)[0]
    others = [
        number[0]
        for texts, numbers in zip(counted.texts, counted.values, strict=True)
        for number in numbers
        if texts != text
    ]
    gaps = [
        (a + usual, b - usual)
        for a, b in pairwise(values)
        if b - a != usual and not any(a < other < b for other in others)
    ]
    # else they are positions, or chosen at will
    if gaps and 2 * often > len(steps) and all(step % usual == 0 for step in steps):
        listed = ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in gaps[:SHOWN])
        more = ", ..." if len(gaps) > SHOWN else ""
        yield f"by the numbers in their names slices are missing: {listed}{more}"


def _different_channels(found: Mapping[str, Numbers]) -> Iterator[str]:
    """Yield where slices of two channels that are taken together have other numbers."""
    (first, reference), *others = found.items()
    for channel, numbers in others:
        pairs = list(zip(_count(reference), _count(numbers), strict=False))
        shifts = [b - a for a, b in pairs]
        z = next((z for z, shift in enumerate(shifts) if shift != shifts[0]), None)
        if z is not None:
            yield (
                f"by their numbers, slices of the channels do not belong together: "
                f"{first}/{reference.names[z]} is taken with {channel}/{numbers.names[z]}"
            )
