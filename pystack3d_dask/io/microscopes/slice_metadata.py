"""Metadata that microscopes write into each slice, and reading them with limits.

Metadata are optional and come from anywhere: a document type, and with it every entity, is
refused, nothing is fetched, sizes are limited, and what is missing or no number is None.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import NamedTuple
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

LARGEST = 4 * 2**20  # bytes; a slice has 3 to 40 KB, a set-up 40 KB
FARTHEST = 1e9  # micrometers or pixels; there is nothing beyond in a microscope
FINEST = 1e-6  # micrometers per pixel


class MetadataError(ValueError):
    """Metadata cannot be used; the message names the file."""


class Rectangle(NamedTuple):
    """Half-open ranges of rows and columns, origin top left."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def is_empty(self) -> bool:
        """Whether there is no pixel in it."""
        return self.top >= self.bottom or self.left >= self.right

    @property
    def size(self) -> int:
        """Number of pixels."""
        return 0 if self.is_empty else (self.bottom - self.top) * (self.right - self.left)

    def grown(self, margin: int) -> Rectangle:
        """Return the rectangle with ``margin`` pixels more on each side."""
        top, bottom, left, right = self
        return Rectangle(top - margin, bottom + margin, left - margin, right + margin)

    def clipped(self, shape: tuple[int, int]) -> Rectangle:
        """Return the part inside an image of ``shape`` (rows, columns)."""
        rows, columns = shape
        return Rectangle(
            min(max(self.top, 0), rows),
            min(max(self.bottom, 0), rows),
            min(max(self.left, 0), columns),
            min(max(self.right, 0), columns),
        )

    def overlaps(self, other: Rectangle) -> bool:
        """Return whether the two share pixels."""
        top, bottom = max(self.top, other.top), min(self.bottom, other.bottom)
        left, right = max(self.left, other.left), min(self.right, other.right)
        return not Rectangle(top, bottom, left, right).is_empty


@dataclass(frozen=True)
class SliceMetadata:
    """Metadata of a slice; None for what is not given.

    Parameters
    ----------
    maker : str
        The microscope, or its software.
    shape : tuple of int, optional
        Rows and columns of the scanned image, without a data bar.
    pixel_size : tuple of float, optional
        Height and width of a pixel in micrometers.
    region : Rectangle, optional
        Where the beam scanned, outside of which pixels are zero.
    z : float, optional
        Position of the slice in micrometers.
    detector : str, optional
        Name of the detector.
    stage : tuple of float, optional
        Position of the stage in micrometers: x, y, z.
    tilt : float, optional
        Tilt of the stage in degrees.
    bar : int, optional
        Rows of the data bar below the scanned image; None for makers that write none.
    """

    maker: str = field(default="", compare=False)
    shape: tuple[int, int] | None = None
    pixel_size: tuple[float, float] | None = None
    region: Rectangle | None = None
    z: float | None = None
    detector: str | None = None
    stage: tuple[float, float, float] | None = None
    tilt: float | None = None
    bar: int | None = None

    def completed(self, other: SliceMetadata) -> SliceMetadata:
        """Return these metadata, with those of ``other`` where something is not given."""
        missing = {
            each.name: getattr(other, each.name)
            for each in fields(self)
            if getattr(self, each.name) in (None, "")
        }
        return replace(self, **missing)

    def bar_rows(self, shape: Sequence[int]) -> int:
        """Return how many rows at the bottom of an image are a data bar.

        Parameters
        ----------
        shape : sequence of int
            Rows and columns of the stored image.

        Returns
        -------
        int
            The rows below the scanned image where its size is given, else those that the
            metadata give; 0 for an image without a bar, or one that was changed afterwards.
        """
        rows, columns = shape
        if self.bar is None:
            return 0
        if self.shape is None:
            return self.bar if self.bar < rows else 0
        is_whole = self.shape[1] == columns and self.shape[0] <= rows
        return rows - self.shape[0] if is_whole else 0


def joined(rectangles: Iterable[Rectangle]) -> Rectangle | None:
    """Return the smallest rectangle around all that are not empty; None without any."""
    kept = [each for each in rectangles if not each.is_empty]
    if not kept:
        return None
    top, bottom, left, right = zip(*kept, strict=True)
    return Rectangle(min(top), max(bottom), min(left), max(right))


def xml_root(data: bytes, expected: Sequence[str], origin: str) -> Element:
    """Parse XML from anywhere, of a certain kind.

    Parameters
    ----------
    data : bytes
        The document; zeros and white space around it are ignored.
    expected : sequence of str
        Names that the root may have.
    origin : str
        The file, as messages name it.

    Raises
    ------
    MetadataError
        When it is damaged, too large, brings a document type, or is something else.
    """
    root = parse_xml(data, origin)
    if root.tag not in expected:
        names = " or ".join(f"<{name}>" for name in expected)
        msg = f"{origin}: its metadata are of another kind: {names} expected, not <{root.tag}>"
        raise MetadataError(msg)
    return root


def parse_xml(data: bytes, origin: str) -> Element:
    """Return the root of a document from anywhere; parameters and errors as for `xml_root`."""
    check_length(len(data), origin)

    def refuse(name: str, *_: object) -> None:
        msg = f"{origin}: its metadata declare a document type ({name}), which may hide anything"
        raise MetadataError(msg)

    builder, parser = TreeBuilder(), expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse  # entities are declared inside, thus refused too
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(data.strip(b"\0 \t\r\n"), True)
    except MetadataError:
        raise
    except (expat.ExpatError, LookupError, ValueError) as error:  # also unknown encodings
        msg = f"{origin}: its metadata are damaged: {error}"
        raise MetadataError(msg) from error
    root: Element = builder.close()
    return root


def check_length(length: int, origin: str) -> None:
    """Refuse metadata of more than 4 MiB.

    Raises
    ------
    MetadataError
    """
    if length > LARGEST:
        msg = f"{origin}: its metadata take more than {LARGEST} bytes"
        raise MetadataError(msg)


def text_at(element: Element, path: str) -> str | None:
    """Return the text of an element; None without any."""
    return (element.findtext(path) or "").strip() or None


def number_at(element: Element, path: str) -> float | None:
    """Return the number in an element; None without a usable one."""
    return number(element.findtext(path, ""))


def number(text: str, scale: float = 1.0) -> float | None:
    """Return a number times ``scale``; None for what is no number or beyond 1e9."""
    try:
        value = float(text) * scale
    except ValueError:
        return None
    return value if abs(value) <= FARTHEST else None  # NAN is what Atlas writes for unset


def sizes(height: float | None, width: float | None) -> tuple[float, float] | None:
    """Return two lengths; None unless both are given and at least 1e-6."""
    return (height, width) if height and width and min(height, width) >= FINEST else None


def pixels(rows: float | None, columns: float | None) -> tuple[int, int] | None:
    """Return numbers of rows and columns; None unless both are given and at least 1."""
    shape = sizes(rows, columns)
    return None if shape is None or min(shape) < 1 else (int(shape[0]), int(shape[1]))


def xyz(values: Iterable[float | None]) -> tuple[float, float, float] | None:
    """Return a position in space; None unless all three values are given."""
    x, y, z = values
    return None if x is None or y is None or z is None else (x, y, z)
