"""Damaged images: bytes of TIFF files and Zarr metadata, changed in one or more places."""

from __future__ import annotations

import io
import json
import struct
from copy import deepcopy
from functools import lru_cache
from typing import Any

import numpy as np
import tifffile
from hypothesis import strategies as st

SHAPE = (13, 17)
VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"rowsperstrip": 4},
    {"rowsperstrip": 5, "byteorder": ">"},
    {"bigtiff": True, "rowsperstrip": 4},
    {"tile": (16, 16)},
    {"compression": "zlib"},
    {"compression": "zlib", "predictor": True, "rowsperstrip": 4},
    {"compression": "zlib", "tile": (16, 16)},
    {"compression": "lzw", "rowsperstrip": 3},
    {"compression": "zstd"},
    {"compression": "lzma"},
    {"compression": "packbits"},
    {"imagej": True},
    {"metadata": {"axes": "YX"}},
    {"metadata": None, "resolution": (25.0, 25.0), "resolutionunit": "CENTIMETER"},
)
DTYPES = ("uint8", "uint16", "int16", "float32", "float64")
TAGS = (254, 256, 257, 258, 259, 262, 270, 273, 277, 278, 279, 282, 284, 296, 317, 322, 323, 324)
EDGES = (0, 1, 2, 3, 5, 7, 8, 13, 16, 17, 32, 64, 255, 256, 4096, 32773, 34925, 50000, 65535)
EDGES += (2**16, 2**20, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)
JUNK = (None, True, -1, 0, 2**31, 2**62, 1e400, float("nan"), "", "x", [], {}, [[]], [0], {"a": 1})


def pixels(dtype: str, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> Any:
    """Return noise."""
    return np.random.default_rng(seed).integers(0, 100, shape).astype(dtype)


@lru_cache(maxsize=256)
def tiff(dtype: str, variant: int, pages: int = 1) -> bytes:
    """Return the bytes of a TIFF file of one of the variants."""
    options = VARIANTS[variant]
    if options.get("imagej") and (pages > 1 or dtype in ("int16", "float64")):
        options = {}
    file = io.BytesIO()
    outer = {key: options[key] for key in ("bigtiff", "byteorder", "imagej") if key in options}
    inner = {key: value for key, value in options.items() if key not in outer}
    with tifffile.TiffWriter(file, **outer) as writer:
        for page in range(pages):
            image = pixels(dtype, page)
            writer.write(image, photometric="minisblack", contiguous=False, **inner)
    return file.getvalue()


@lru_cache(maxsize=256)
def _entries(data: bytes) -> tuple[str, int, tuple[int, ...], tuple[int, ...]]:
    """Return byte order, bytes of an offset, where tags lie, and where pointers to pages lie."""
    with tifffile.TiffFile(io.BytesIO(data)) as tif:
        pages = list(tif.pages)
        tags = tuple(tag.offset for page in pages for tag in page.tags if tag.code in TAGS)
        size = tif.tiff.offsetsize
        count = tif.tiff.tagnosize
        pointers = [size if size == 8 else 4]
        pointers += [page.offset + count + len(page.tags) * tif.tiff.tagsize for page in pages]
        return tif.byteorder, size, tags, tuple(pointers)


@st.composite
def damaged_tiffs(draw: st.DrawFn, pages: int = 1) -> bytes:
    """Return a TIFF file with one or two places changed."""
    data = tiff(
        draw(st.sampled_from(DTYPES)),
        draw(st.integers(0, len(VARIANTS) - 1)),
        draw(st.integers(1, pages)),
    )
    order, size, tags, pointers = _entries(data)
    damaged = bytearray(data)
    for _ in range(draw(st.integers(1, 2))):
        kinds = ["tag", "tag", "tag", "long", "long", "long", "pointer", "byte", "start", "cut"]
        kind = draw(st.sampled_from(kinds))
        number = draw(st.sampled_from(EDGES) | st.integers(0, 2 * len(data)))
        if kind == "tag":
            at = draw(st.sampled_from(tags))
            fields = [(2, 0), (2, 2), (size, 4), (2, 4 + size), (size, 4 + size)]
            width, skip = draw(st.sampled_from(fields))
            _put(damaged, at + skip, number, width, order)
        elif kind == "long":  # with room for large values
            at = draw(st.sampled_from(tags))
            _put(damaged, at + 2, {4: 4, 8: 16}[size], 2, order)
            _put(damaged, at + 4 + size, number, size, order)
        elif kind == "pointer":
            number = draw(st.sampled_from([*pointers, *tags, number]))
            _put(damaged, draw(st.sampled_from(pointers)), number, size, order)
        elif kind == "byte":
            damaged[draw(st.integers(0, len(damaged) - 1))] = draw(st.integers(0, 255))
        elif kind == "start":
            damaged[draw(st.integers(0, min(300, len(damaged) - 1)))] = draw(st.integers(0, 255))
        else:
            del damaged[max(1, draw(st.integers(0, len(data)))) :]
    return bytes(damaged)


def _put(data: bytearray, at: int, number: int, width: int, order: str) -> None:
    if at + width <= len(data):
        code = {2: "H", 4: "I", 8: "Q"}[width]
        struct.pack_into(order + code, data, at, number % 2 ** (8 * width))


XML = """<?xml version="1.0"?><Fibics><Image><Width>17</Width><Height>13</Height>
<BoundingBox.Top>1</BoundingBox.Top><BoundingBox.Bottom>9</BoundingBox.Bottom>
<BoundingBox.Left>2</BoundingBox.Left><BoundingBox.Right>11</BoundingBox.Right>
<Detector>ESB</Detector></Image><Scan><Ux>0.01</Ux><Uy>0</Uy><Vx>0</Vx><Vy>-0.01</Vy></Scan>
<ATLAS3D><Slice><ZPos>0.25</ZPos></Slice></ATLAS3D></Fibics>"""
BOMB = (
    '<?xml version="1.0"?><!DOCTYPE Fibics [<!ENTITY a0 "aaaaaaaaaa">'
    + "".join(f'<!ENTITY a{k + 1} "{10 * f"&a{k};"}">' for k in range(11))
    + "]><Fibics><Image><Width>&a11;</Width></Image></Fibics>"
)
NUMBERS = ("NAN", "inf", "-inf", "1e400", "-1", "0", "1e-400", "1e308", "9" * 400, "", "x", "1_0")


@st.composite
def metadata(draw: st.DrawFn) -> bytes:
    """Return what tag 51023 may hold: metadata with other numbers, damaged or hostile ones."""
    text = XML
    for old in draw(st.lists(st.sampled_from(["17", "13", ">1<", ">9<", "0.01", "0.25", "ESB"]))):
        new = draw(st.sampled_from(NUMBERS))
        text = text.replace(old, f">{new}<" if ">" in old else new)
    depth = draw(st.sampled_from([10, 1000, 300_000]))
    special = [BOMB, "<a>" * depth, "<Fibics>" + "<a>" * depth + "</a>" * depth + "</Fibics>"]
    data = draw(st.sampled_from([text] * 6 + special)).encode()
    kind = draw(st.sampled_from(["whole", "cut", "byte", "utf-16", "encoding"]))
    if kind == "cut":
        return data[: draw(st.integers(1, len(data)))]
    if kind == "byte":
        at = draw(st.integers(0, min(len(data), 600) - 1))
        return data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :]
    if kind == "utf-16":
        return data.decode().encode("utf-16")
    if kind == "encoding":
        name = draw(st.sampled_from(["utf-8", "rot13", "idna", "unknown", "utf-7", "hex"]))
        return data.replace(b'version="1.0"', f'version="1.0" encoding="{name}"'.encode())
    return data


@st.composite
def damaged_json(draw: st.DrawFn, text: bytes) -> bytes:
    """Return JSON with a value replaced, or with bytes changed."""
    kind = draw(st.sampled_from(["value", "value", "value", "cut", "byte"]))
    if kind == "cut":
        return text[: draw(st.integers(0, len(text) - 1))]
    if kind == "byte":
        at = draw(st.integers(0, len(text) - 1))
        return text[:at] + bytes([draw(st.integers(0, 255))]) + text[at + 1 :]
    content = json.loads(text)
    for _ in range(draw(st.integers(1, 2))):
        places = _places(content)
        if not places:
            return b"[]"
        holder, key = places[draw(st.integers(0, len(places) - 1))]
        if draw(st.integers(0, 5)):
            holder[key] = deepcopy(draw(st.sampled_from(JUNK)))  # it may be changed in turn
        else:
            del holder[key]
    return json.dumps(content).encode()


def _places(content: Any) -> list[tuple[Any, Any]]:
    """Return everything inside lists and tables: the container and the index or key."""
    keys = content.keys() if isinstance(content, dict) else range(len(content))
    found: list[tuple[Any, Any]] = []
    for key in keys:
        found.append((content, key))
        if isinstance(content[key], dict | list):
            found += _places(content[key])
    return found
