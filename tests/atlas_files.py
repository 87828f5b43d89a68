"""Acquisitions as Zeiss Atlas writes them: slices with tag 51023, and set-up files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

TAG = 51023
ASCII = 2


def slice_xml(
    shape: tuple[int, int],
    *,
    pixel: tuple[float, float] = (0.008, 0.008),
    box: tuple[int, int, int, int] | None = None,
    z: object = None,
    detector: str = "ESB",
) -> bytes:
    """Return the value of tag 51023; ``box`` is top, bottom, left, right, ends included."""
    sides = zip(("Top", "Bottom", "Left", "Right"), box or (), strict=bool(box))
    box_xml = "".join(f"<BoundingBox.{name}>{k}</BoundingBox.{name}>" for name, k in sides)
    z_xml = "" if z is None else f"<ATLAS3D><Slice><ZPos>{z}</ZPos></Slice></ATLAS3D>"
    return (
        '\n<?xml version="1.0" encoding="iso-8859-1"?>\n<Fibics version="1.2"><Image>'
        f"<Width>{shape[1]}</Width><Height>{shape[0]}</Height>{box_xml}"
        f"<Detector>{detector}</Detector></Image><Scan><Ux>{pixel[1]}</Ux><Uy>0</Uy><Vx>0</Vx>"
        f"<Vy>{-pixel[0]}</Vy></Scan><ScanInfo>-36.0\xb0</ScanInfo>{z_xml}</Fibics>"
    ).encode("latin-1")


def setup_xml(
    shape: tuple[int, int],
    *,
    pixel: float = 0.008,
    thickness: float = 0.01,
    detectors: Sequence[str] = ("SE2", "ESB"),
    regions: Sequence[tuple[float, float, float, float]] = (),
) -> str:
    """Return a set-up; ``regions`` are xmin, xmax, ymin, ymax from the center, y upwards."""
    names = zip(("Detector", "DetectorB"), detectors, strict=True)
    shapes = "".join(
        f"<FIBShape><Hole>false</Hole><Nodes><Node><X>{x0}</X><Y>{y0}</Y></Node>"
        f"<Node><X>{x1}</X><Y>{y1}</Y></Node></Nodes></FIBShape>"
        for x0, x1, y0, y1 in regions
    )
    return (
        "<ATLAS3D-Setup><Settings><Imaging>"
        + "".join(f"<{name}>{detector}</{name}>" for name, detector in names)
        + f"<Interval>{thickness}</Interval><FibicsRasterInfo><Width>{shape[1]}</Width>"
        f"<Height>{shape[0]}</Height><PixelSizeX>{pixel}</PixelSizeX>"
        f"<PixelSizeY>{pixel}</PixelSizeY></FibicsRasterInfo></Imaging>"
        f"<ImagingXROI>{shapes}</ImagingXROI></Settings></ATLAS3D-Setup>"
    )


def write_slices(
    folder: Path,
    stack: Sequence[Any],
    values: Sequence[bytes | None],
    name: str = "slice_{0:05d}.tif",
    **options: Any,
) -> Path:
    """Write a file per slice, with a value of tag 51023 where there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, (pixels, value) in enumerate(zip(stack, values, strict=True)):
        tags = [] if value is None else [(TAG, ASCII, len(value), value, True)]
        path = folder / name.format(k, 0.01 * k)
        tifffile.imwrite(path, np.asarray(pixels), metadata=None, extratags=tags, **options)
    return folder
