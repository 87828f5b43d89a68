"""Order of the planes of an image by the OME-XML in its TIFF files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import unescape
from math import prod
from typing import NamedTuple

AXES = "ZCT"
MOST_PLANES = 10**6  # of one image; more are taken for damage
ELEMENT = re.compile(
    r"<(?:\w+:)?(?P<name>OME|Pixels|TiffData|UUID)\b(?P<attributes>[^>]*)>(?P<text>[^<]*)"
)
ATTRIBUTE = re.compile(r"""\b([A-Za-z]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")


class OmePlane(NamedTuple):
    """A plane: its image, its place along Z, C and T, its file (none: any) and page."""

    image: int
    place: tuple[int, int, int]
    page: int
    file: str = ""
    uuid: str = ""


class OmeFile(NamedTuple):
    """All planes that OME-XML tells of, and the identity of the file that it is in."""

    uuid: str
    planes: tuple[OmePlane, ...]

    def in_file(self, name: str) -> list[OmePlane]:
        """Return the planes in this file, called ``name``; it may have been renamed."""
        return [
            plane
            for plane in self.planes
            if (not plane.file and not plane.uuid)
            or plane.file == name
            or (plane.uuid and plane.uuid == self.uuid)
        ]

    @property
    def names(self) -> set[str]:
        """The files of the set that it is part of; none for a file on its own."""
        return {plane.file for plane in self.planes if plane.file}


def read_ome(xml: str, samples: int = 1) -> OmeFile:
    """Return the planes that OME-XML tells of.

    Parameters
    ----------
    xml : str
        The description of the first page. It is searched, not parsed: no entity is resolved.
    samples : int
        Samples of a pixel; so many of the channels share a page.

    Raises
    ------
    ValueError
        When numbers in it cannot be meant.
    """
    planes: list[OmePlane] = []
    image, uuid = -1, ""
    pixels: dict[str, str] = {}
    blocks: list[dict[str, str]] = []
    for match in ELEMENT.finditer(xml):
        name, values = match["name"], _attributes(match["attributes"])
        if name == "OME":
            uuid = values.get("UUID", "")
        elif name == "Pixels":
            planes += _planes(image, pixels, blocks, samples)
            image, pixels, blocks = image + 1, values, []
        elif name == "TiffData":
            blocks.append(values)
        elif blocks:
            blocks[-1] |= {"file": values.get("FileName", ""), "uuid": match["text"].strip()}
    planes += _planes(image, pixels, blocks, samples)
    return OmeFile(uuid, tuple(planes))


def varying(planes: Iterable[OmePlane]) -> dict[str, int]:
    """Return how many places planes have along each axis on which they have several."""
    places = [len(set(axis)) for axis in zip(*(plane.place for plane in planes), strict=True)]
    return {axis: count for axis, count in zip(AXES, places, strict=False) if count > 1}


def stack_order(planes: Iterable[OmePlane], pages: int) -> list[int]:
    """Return the pages of a file in the order of the stack.

    Parameters
    ----------
    planes : iterable of OmePlane
        Those in the file.
    pages : int
        How many images the file has.

    Raises
    ------
    ValueError
        When they are not one stack, or not those in the file.
    """
    found = sorted(planes, key=lambda plane: plane.place)
    order = [plane.page for plane in found]
    check_one_stack(found)
    if sorted(order) != list(range(pages)):
        msg = (
            f"its OME-XML tells of {len(order)} planes in this file, which has {pages} pages: it "
            "is incomplete, or was changed; save it anew"
        )
        raise ValueError(msg)
    return order


def check_one_stack(planes: Iterable[OmePlane]) -> None:
    """Refuse planes that are not one stack but several."""
    planes = list(planes)
    images, axes = {plane.image for plane in planes}, varying(planes)
    if len(images) > 1:
        msg = f"its OME-XML tells of {len(images)} images; expected one: save the others separately"
        raise ValueError(msg)
    if len(axes) > 1:
        found = ", ".join(f"{axis} = {count}" for axis, count in axes.items())
        msg = f"its images are arranged by {found}; expected one axis: save the others separately"
        raise ValueError(msg)


def set_order(ome: OmeFile, names: Sequence[str]) -> dict[tuple[str, int], tuple[int, int, int]]:
    """Return the places of the pages of files that are one image; empty if they are not.

    Parameters
    ----------
    ome : OmeFile
        What the first of the files tells.
    names : sequence of str
        All files that are there.

    Raises
    ------
    ValueError
        When the files are not one stack, or others lie among them.
    """
    present = [plane for plane in ome.planes if plane.file in set(names)]
    files = {plane.file for plane in present}
    if len(files) < 2 or names[0] not in files:
        return {}
    others = [name for name in names if name not in files]
    if others:
        msg = (
            f"its OME-XML tells of a set of {len(ome.names)} files, to which {others[0]} and "
            f"{len(others) - 1} more beside it do not belong: expected one set in a directory"
        )
        raise ValueError(msg)
    check_one_stack(present)
    return {(plane.file, plane.page): plane.place for plane in present}


def _attributes(text: str) -> dict[str, str]:
    return {name: unescape(a or b) for name, a, b in ATTRIBUTE.findall(text)}


def _planes(
    image: int, pixels: Mapping[str, str], blocks: list[dict[str, str]], samples: int
) -> Iterator[OmePlane]:
    """Yield the planes of an image, whose pages blocks of the XML tell."""
    if image < 0:
        return
    sizes = {axis: int(pixels.get(f"Size{axis}", 1)) for axis in AXES}
    sizes["C"] = max(sizes["C"] // samples, 1)
    if min(sizes.values()) < 1 or prod(sizes.values()) > MOST_PLANES:
        msg = f"its OME-XML tells of {sizes} planes: it is damaged"
        raise ValueError(msg)
    order = [axis for axis in pixels.get("DimensionOrder", "XYZCT") if axis in AXES]
    for block in blocks or [{}]:
        first = {axis: int(block.get(f"First{axis}", 0)) for axis in AXES}
        first["C"] //= samples
        every = prod(sizes.values())
        start = sum(
            first[axis] * prod(sizes[each] for each in order[:k]) for k, axis in enumerate(order)
        )
        count = int(block.get("PlaneCount", 1 if "IFD" in block else every - start))
        page = int(block.get("IFD", 0))
        for k in range(min(count, every - start)):
            yield OmePlane(
                image,
                _place(start + k, order, sizes),
                page + k,
                block.get("file", ""),
                block.get("uuid", ""),
            )


def _place(number: int, order: list[str], sizes: Mapping[str, int]) -> tuple[int, int, int]:
    place = dict.fromkeys(AXES, 0)
    for axis in order:
        number, place[axis] = divmod(number, sizes[axis])
    return place["Z"], place["C"], place["T"]
