"""Numbers in the names of slices: counts, positions with signs, dates, copies of a file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Number = tuple[float, ...]  # parts of a dotted number, or one value

SUFFIX = re.compile(r"\.tiff?$", re.IGNORECASE)
DIGITS = r"\d{1,15}(?:[.,]\d{1,15})*(?:[eE][-+]\d{1,3}(?!\d))?"
# a dash is a sign behind "=" and "_"; elsewhere only where some names have it and others do not
SIGNED = re.compile(rf"((?:(?<=[=_])[-+])?{DIGITS})")
SIGNED_ANYWHERE = re.compile(rf"((?:(?<!\d)[-+])?{DIGITS})")
UNIT = re.compile(r"\s?(?:um|µm|μm|nm|mm)(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class Numbers:
    """Names taken apart into text and numbers.

    Parameters
    ----------
    names : sequence of str
        The names.
    texts : sequence of tuple of str
        For each, the text before, between and after its numbers, without the suffix.
    values : sequence of tuple of Number
        For each, its numbers.
    """

    names: Sequence[str]
    texts: Sequence[tuple[str, ...]]
    values: Sequence[tuple[Number, ...]]

    def key(self, z: int) -> list[Any]:
        """Return what a name sorts by if its numbers count: text and numbers in turn."""
        parts: list[Any] = [self.texts[z][0]]
        for number, text in zip(self.values[z], self.texts[z][1:], strict=True):
            parts += number, text
        return parts

    def taken(self, order: Sequence[int]) -> Numbers:
        """Return some of the names, in another order."""
        return Numbers(
            [self.names[z] for z in order],
            [self.texts[z] for z in order],
            [self.values[z] for z in order],
        )

    @property
    def columns(self) -> list[list[Number]]:
        """The numbers by their place, of names that differ in numbers only; else none."""
        return [list(column) for column in zip(*self.values, strict=True)] if self.alike else []

    @property
    def alike(self) -> bool:
        """True if the names differ in numbers only."""
        return len(set(self.texts)) == 1

    def is_position(self, place: int) -> bool:
        """Return whether a number of names that are alike is a length: ``z=0.05um``."""
        return _is_length(self.texts[0], place)


def numbers_in(names: Sequence[str]) -> Numbers:
    """Take names apart.

    ``1.12`` is the value 1.12 where that makes even steps or a unit follows, and the count 12
    within 1 where that does, as in ``scan1.1`` to ``scan1.12``; more than two parts, as in
    dates, are always counted one by one. Upper and lower case are the same if names then differ
    in numbers only.
    """
    stems = [SUFFIX.sub("", name) for name in names]
    parts = [SIGNED.split(stem) for stem in stems]
    if len({_skeleton(part) for part in parts}) > 1:
        bold = [SIGNED_ANYWHERE.split(stem) for stem in stems]
        fewer = len({_skeleton(part) for part in bold}) < len({_skeleton(part) for part in parts})
        parts = bold if fewer else parts
    folded = {tuple(map(str.casefold, _skeleton(part))) for part in parts}
    texts = [_skeleton(part) for part in parts]
    if len(folded) == 1:
        texts = [tuple(map(str.casefold, text)) for text in texts]
    tokens = [part[1::2] for part in parts]
    dotted = [
        _counts_by_parts([token[k] for token in tokens if len(token) > k])
        and not any(_is_length(text, k) for text in texts if len(text) > k + 1)
        for k in range(max(map(len, tokens), default=0))
    ]
    values = [tuple(_number(text, dotted[k]) for k, text in enumerate(token)) for token in tokens]
    return Numbers(names, texts, values)


def _skeleton(parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(parts[::2])


def _is_length(texts: Sequence[str], place: int) -> bool:
    return texts[place].endswith("=") or UNIT.match(texts[place + 1]) is not None


def _number(text: str, dotted: bool) -> Number:
    parts = re.split("[.,]", text)
    if len(parts) > 2 or (dotted and "e" not in text.lower()):
        return tuple(map(float, (re.sub(r"[eE].*", "", part) for part in parts)))
    return (float(text.replace(",", ".")),)


def _counts_by_parts(texts: Sequence[str]) -> bool:
    """Return whether numbers with one dot are two counts, not one value with decimals."""
    pairs = {tuple(map(int, text.split("."))): text for text in texts if _is_pair(text)}
    decimals = [text.partition(".")[2] for text in pairs.values()]
    if len({len(each) for each in decimals}) < 2:
        return False  # both sort alike
    values = sorted(map(float, pairs.values()))
    if len(set(values)) < len(values):
        return True  # 1.1 and 1.10
    if any(each.startswith("0") for each in decimals):
        return False
    counted = [b[1] - a[1] for a, b in pairwise(sorted(pairs)) if a[0] == b[0]]
    measured = [round(b - a, 9) for a, b in pairwise(values)]
    return _evenness(counted) > _evenness(measured)


def _is_pair(text: str) -> bool:
    left, dot, right = text.partition(".")
    return bool(dot) and left.isdecimal() and right.isdecimal()


def _evenness(steps: Sequence[float]) -> int:
    """Return how many steps are the most frequent one."""
    return Counter(steps).most_common(1)[0][1] if steps else 0
