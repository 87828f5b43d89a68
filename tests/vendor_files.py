"""Slices with the private tags of Zeiss SmartSEM and Thermo Fisher (FEI) microscopes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

SMARTSEM, SFEG, HELIOS, TITAN = 34118, 34680, 34682, 34683
BYTES = 1


def smartsem_text(
    *,
    pixel: str | None = "5.000 nm",
    stored: tuple[int, int] | None = None,
    displayed: str | None = None,
    width: str | None = None,
    unnamed: str = "0",
    detector: str = "InLens",
    tilt: str = "54.0",
) -> bytes:
    """Return the value of tag 34118; ``stored`` are rows and columns."""
    pairs = {
        "DP_DETECTOR_CHANNEL": f"Signal A = {detector}",
        "AP_IMAGE_PIXEL_SIZE": pixel and f"Image Pixel Size = {pixel}",
        "AP_PIXEL_SIZE": displayed and f"Pixel Size = {displayed}",
        "AP_WIDTH": width and f"Width = {width}",
        "DP_IMAGE_STORE": stored and f"Store resolution = {stored[1]} * {stored[0]}",
        "AP_STAGE_AT_X": "Stage at X =  65.000 mm",
        "AP_STAGE_AT_Y": "Stage at Y = -3.5 mm",
        "AP_STAGE_AT_Z": "Stage at Z =  500.0 µm",
        "AP_STAGE_AT_T": f"Stage at T =  {tilt} °",
        "AP_DATE": "Date :24 Mar 2021",
    }
    named = [line for key, value in pairs.items() if value for line in (key, value)]
    return "\r\n".join(["0", "0", "0", unnamed, "1.0e+004", *named, ""]).encode("latin-1")


def fei_text(
    shape: tuple[int, int] | None = None,
    *,
    pixel: tuple[object, object] = ("4e-009", "2.5e-009"),
    bar: object = "",
    detector: str = "TLD",
    section: str = "Scan",
    field: tuple[object, object] = ("", ""),
) -> bytes:
    """Return the value of tag 34682; ``shape`` and ``pixel`` are rows first, in meters."""
    rows, columns = shape or ("", "")
    return (
        f"[User]\r\nDate=03/14/2022\r\n\r\n[{section}]\r\nPixelWidth={pixel[1]}\r\n"
        f"PixelHeight={pixel[0]}\r\nHorFieldsize={field[1]}\r\nVerFieldsize={field[0]}\r\n"
        "[Stage]\r\nStageX=0.0113813\r\nStageY=-0.0104484\r\nStageZ=0.00398338\r\n"
        f"StageT=0.90756\r\n\r\n[Image]\r\nResolutionX={columns}\r\nResolutionY={rows}\r\n"
        f"[Detectors]\r\nNumber=1\r\nName={detector}\r\n[PrivateFei]\r\nDatabarHeight={bar}\r\n"
    ).encode()


def fei_xml(
    shape: tuple[int, int], *, pixel: tuple[float, float] = (4e-9, 2.5e-9), detector: str = "ETD"
) -> bytes:
    """Return the value of tag 34683 of newer software."""
    return (
        '<?xml version="1.0"?>\n<Metadata xmlns:nil="http://schemas.fei.com/Metadata/v1/2013/07">'
        "<Instrument><Manufacturer>FEI Company</Manufacturer></Instrument><StageSettings>"
        "<StagePosition><X>-0.0044</X><Y>0.0043</Y><Z>0.031</Z><Tilt><Alpha>0.47122</Alpha></Tilt>"
        "</StagePosition></StageSettings><Detectors><ScanningDetector>"
        f"<DetectorName>{detector}</DetectorName></ScanningDetector></Detectors><BinaryResult>"
        f"<ImageSize><X>{shape[1]}</X><Y>{shape[0]}</Y></ImageSize><PixelSize>"
        f'<X unit="m" unitPrefixPower="1">{pixel[1]}</X>'
        f'<Y unit="m" unitPrefixPower="1">{pixel[0]}</Y></PixelSize></BinaryResult></Metadata>\0'
    ).encode()


def write_tagged(
    folder: Path,
    stack: Sequence[Any],
    tags: Mapping[int, bytes],
    name: str = "s{:03d}.tif",
    **options: Any,
) -> Path:
    """Write a file per slice, each with the same private tags."""
    folder.mkdir(parents=True, exist_ok=True)
    extra = [(code, BYTES, len(value), value, True) for code, value in tags.items()]
    for k, pixels in enumerate(stack):
        path = folder / name.format(k)
        tifffile.imwrite(path, np.asarray(pixels), metadata=None, extratags=extra, **options)
    return folder
