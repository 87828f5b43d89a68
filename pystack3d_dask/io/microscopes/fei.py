"""Metadata that Thermo Fisher (FEI) microscopes write into TIFF tags 34680, 34682 and 34683.

Most hold text in sections, ``[Scan]`` with ``PixelWidth=2.5e-009`` and so on; those of newer
software hold XML, ``<Metadata>``, those of Phenom microscopes ``<FeiImage>``. There is no
published schema. Keys and units (meters, radians) were compared with independent readers
(tifffile, rosettasciio, NexusLIMS) and with published dumps.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from xml.etree.ElementTree import Element

from pystack3d_dask.io.microscopes.slice_metadata import (
    MetadataError,
    SliceMetadata,
    check_length,
    number,
    number_at,
    pixels,
    sizes,
    text_at,
    xml_root,
    xyz,
)
from pystack3d_dask.io.units import micrometers_per

TAGS = (34682, 34683, 34680)  # FEI_HELIOS, FEI_TITAN, FEI_SFEG
MAKER = "Thermo Fisher/FEI"
ROOTS = ("Metadata", "FeiImage", "Instrument")
METERS = 1e6  # micrometers
ENCODED = re.compile(rb"[A-Za-z0-9+/=\s]*")  # Base64: settings, nothing about the image

Sections = dict[str, dict[str, str]]


def parse(data: bytes, origin: str) -> SliceMetadata:
    """Return the metadata in one of the tags of a slice.

    Text: ``[Scan] PixelWidth``, ``PixelHeight``, or those of ``[EScan]`` or ``[IScan]``, else
    their ``HorFieldsize`` and ``VerFieldsize`` over ``[Image] ResolutionX`` and ``ResolutionY``;
    ``[PrivateFei] DatabarHeight``, ``[Detectors] Name``, ``[Stage] StageX``, ``StageY``,
    ``StageZ``, ``StageT``. XML: ``BinaryResult/PixelSize`` and ``/ImageSize``,
    ``StageSettings/StagePosition``, ``Detectors/ScanningDetector/DetectorName``; in that of
    Phenom ``pixelWidth``, ``pixelHeight`` and ``databarHeight``.

    Parameters
    ----------
    data : bytes
        Value of the tag.
    origin : str
        The file, as messages name it.

    Returns
    -------
    SliceMetadata
        Nothing of the slice for tags that hold Base64.

    Raises
    ------
    MetadataError
        When it is too large, damaged, brings a document type, or is of another kind.
    """
    check_length(len(data), origin)
    data = data.strip(b"\0 \t\r\n")
    if data.startswith(b"<"):
        return _of_xml(xml_root(data, ROOTS, origin))
    sections = _sections(data.decode("latin-1"))
    if any(sections.values()):
        return _of_sections(sections)
    if data and ENCODED.fullmatch(data):
        return SliceMetadata()
    msg = f"{origin}: its metadata are damaged: XML or sections such as [Scan] expected"
    raise MetadataError(msg)


def _sections(text: str) -> Sections:
    found: Sections = {}
    section: dict[str, str] | None = None
    for line in map(str.strip, text.splitlines()):
        name, equals, value = line.partition("=")
        if line.startswith("[") and line.endswith("]"):
            section = found.setdefault(line[1:-1], {})
        elif equals and section is not None:
            section.setdefault(name.strip(), value.strip())
    return found


def _of_sections(sections: Sections) -> SliceMetadata:
    image, stage = sections.get("Image", {}), sections.get("Stage", {})
    shape = pixels(_given(image, "ResolutionY"), _given(image, "ResolutionX"))
    tilt = _given(stage, "StageT")
    return SliceMetadata(
        maker=MAKER,
        shape=shape,
        pixel_size=_scanned_pixel(sections, shape),
        detector=sections.get("Detectors", {}).get("Name") or None,
        stage=xyz(_given(stage, f"Stage{axis}", METERS) for axis in "XYZ"),
        tilt=None if tilt is None else math.degrees(tilt),
        bar=_rows(_given(sections.get("PrivateFei", {}), "DatabarHeight")),
    )


def _scanned_pixel(sections: Sections, shape: tuple[int, int] | None) -> tuple[float, float] | None:
    scans = [sections[name] for name in ("Scan", "EScan", "IScan") if name in sections]
    for scan in scans:
        height, width = _given(scan, "PixelHeight", METERS), _given(scan, "PixelWidth", METERS)
        if size := sizes(height or width, width or height):
            return size
    for scan in scans if shape else ():
        height, width = (_given(scan, f"{axis}Fieldsize", METERS) for axis in ("Ver", "Hor"))
        if (field := sizes(height, width)) and shape:
            return field[0] / shape[0], field[1] / shape[1]
    return None


def _of_xml(root: Element) -> SliceMetadata:
    size, position = ".//BinaryResult/ImageSize", ".//StageSettings/StagePosition"
    tilt = number_at(root, f"{position}/Tilt/Alpha")
    return SliceMetadata(
        maker=MAKER,
        shape=pixels(number_at(root, f"{size}/Y"), number_at(root, f"{size}/X")),
        pixel_size=_pixel_of_xml(root),
        detector=text_at(root, ".//Detectors/ScanningDetector/DetectorName"),
        stage=xyz(_length(root, f"{position}/{axis}") for axis in "XYZ"),
        tilt=None if tilt is None else math.degrees(tilt),
        bar=_rows(number_at(root, "databarHeight")),
    )


def _pixel_of_xml(root: Element) -> tuple[float, float] | None:
    names = ((".//BinaryResult/PixelSize/Y", ".//BinaryResult/PixelSize/X"),)
    for height, width in (*names, ("pixelHeight", "pixelWidth")):
        if size := sizes(_length(root, height), _length(root, width)):
            return size
    return None


def _length(root: Element, path: str) -> float | None:
    """Return a length in micrometers; it is in meters unless it says otherwise."""
    element = root.find(path)
    scale = None if element is None else micrometers_per(element.get("unit", "m"))
    return None if element is None or scale is None else number(element.text or "", scale)


def _given(section: Mapping[str, str], key: str, scale: float = 1.0) -> float | None:
    return number(section.get(key, ""), scale)


def _rows(count: float | None) -> int:
    return max(0, int(count or 0))
