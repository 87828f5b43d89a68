"""How programs arrange the images of a TIFF file: the axes, and images without a header."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from math import prod
from typing import Any

from tifffile import TiffFile, TiffPage

from pystack3d_dask.io.tiff.ome import check_one_stack, read_ome, stack_order
from pystack3d_dask.io.tiff.segments import is_contiguous

UIC2, LSM, FLUOVIEW, NIH = 33629, 34412, 34362, 43314  # tags
OFFSETS_32_BITS = 2**32
SCANIMAGE_CHANNELS = re.compile(
    r"^(?:SI\.hChannels\.channelSave|scanimage\.SI[45]?\.channelsSave) = (.*)$", re.MULTILINE
)
SCANIMAGE_OLD = re.compile(r"state\.acq\.numberOfChannelsSave=(\d+)")
SCANIMAGE_FRAMES = re.compile(r"^SI\.hStackManager\.framesPerSlice = (\d+)$", re.MULTILINE)
SCANIMAGE_SLICES = re.compile(
    r"^SI\.hStackManager\.(?:actualNumSlices|numSlices) = (\d+)$", re.MULTILINE
)
Axes = dict[str, int]


def images_behind(page: TiffPage, size: int) -> int:
    """Return how many images a page describes whose pixels follow each other without a header.

    Parameters
    ----------
    page : TiffPage
        The only one of its file.
    size : int
        Of the file in bytes.

    Raises
    ------
    ValueError
        When it describes more than the file holds, or than can be found.
    """
    count, sure = _described(page)
    if count <= 1:
        return 1
    # a description may be left over from the stack that a slice was taken from
    if not sure and not (is_contiguous(page) and _is_followed(page, size)):
        return 1
    if not is_contiguous(page):
        msg = f"it tells of {count} images, of which only the first can be found: save it anew"
        raise ValueError(msg)
    if page.dataoffsets[0] + count * page.nbytes > size:
        msg = f"its description tells of {count} images, more than the file holds: it is truncated"
        raise ValueError(msg)
    return count


def _is_followed(page: TiffPage, size: int) -> bool:
    """Return whether pixels follow those of a page, perhaps cut short."""
    end = page.dataoffsets[0] + page.nbytes
    in_front = page.offset < end and all(tag.valueoffset < end for tag in page.tags)
    return bool(end + page.nbytes <= size or (in_front and size > end + 1))


def _described(page: TiffPage) -> tuple[int, bool]:
    """Return how many images a page stands for, and whether that is beyond doubt."""
    if UIC2 in page.tags:
        return int(page.tags[UIC2].count), True
    if page.is_stk and page.dataoffsets[0] + 2 * page.nbytes <= page.parent.filehandle.size:
        msg = "it is a MetaMorph stack that does not say how many images it has: save it anew"
        raise ValueError(msg)
    if page.is_nih:
        return int(_nih_slices(page)), False
    found = _shaped(page)
    if found:
        return prod(found.values()), '"truncated": true' in page.description
    return prod(_imagej(page).values()), False


def order_of(tif: TiffFile, pages: int) -> list[int]:
    """Return the order in which the images of a file make a stack.

    Parameters
    ----------
    tif : TiffFile
        A file on its own.
    pages : int
        How many images it has.

    Raises
    ------
    ValueError
        When the images are not one stack but several, or not all there.
    """
    page = tif.pages.first
    _check_behind(tif, pages)
    _check_axes(_imagej(page), pages)
    _check_axes(_shaped(page), pages)
    _check_axes(_scanimage(page), pages)
    _check_axes(_micromanager(tif), pages)
    if FLUOVIEW in page.tags:
        _check_axes(_fluoview(tif), pages)
    if LSM in page.tags:
        _check_lsm(tif, pages)
    if not page.is_ome:
        return list(range(pages))
    ome = read_ome(page.description, page.samplesperpixel)
    planes = ome.in_file(tif.filehandle.name)
    if planes:
        return stack_order(planes, pages)
    if pages > 1:
        check_one_stack(ome.planes)
    return list(range(pages))


def _check_behind(tif: TiffFile, pages: int) -> None:
    """Refuse several pages of which the first describes images without a header."""
    page = tif.pages.first
    if len(tif.pages) == 1 or not is_contiguous(page):
        return
    count, sure = _described(page)
    end, following = page.dataoffsets[0] + page.nbytes, tif.pages[1].dataoffsets[0]
    if count > pages and (sure or following >= end + page.nbytes):
        msg = f"it tells of {count} images and has {pages} pages: save it anew, a page per image"
        raise ValueError(msg)


def _check_axes(extents: Mapping[str, int], pages: int) -> None:
    """Refuse images that are not one stack but several, interleaved."""
    several = {axis: n for axis, n in extents.items() if n > 1}
    if len(several) > 1 and pages > 1:
        axes = ", ".join(f"{axis} = {n}" for axis, n in several.items())
        msg = f"its images are arranged by {axes}; expected one axis: save the others separately"
        raise ValueError(msg)


def _imagej(page: TiffPage) -> Axes:
    if not page.is_imagej:
        return {}
    text = page.imagej_description or ""
    found = re.findall(r"^(images|channels|slices|frames)=(\d+)", text, re.MULTILINE)
    extents = {axis: int(count) for axis, count in found}
    images = extents.pop("images", 1)
    if extents.get("channels") == page.samplesperpixel:
        extents.pop("channels")  # samples of a pixel
    return extents if prod(extents.values()) > 1 else {"images": images}


def _shaped(page: TiffPage) -> Axes:
    text = page.shaped_description or ""
    if not text.startswith("{"):
        return {}
    shape = json.loads(text)["shape"]
    return {f"axis {k}": n for k, n in enumerate(shape[: len(shape) - page.ndim])}


def _nih_slices(page: TiffPage) -> int:
    value = page.tags.valueof(NIH)
    return int(value.get("nSlices", 1)) if isinstance(value, dict) else 1


def _scanimage(page: TiffPage) -> Axes:
    text = f"{page.software}\n{page.description}"
    channels = SCANIMAGE_CHANNELS.search(text)
    old = SCANIMAGE_OLD.search(text)
    frames, slices = SCANIMAGE_FRAMES.search(text), SCANIMAGE_SLICES.search(text)
    extents = {
        "channels": len(re.findall(r"\d+", channels[1])) if channels else 1,
        "frames per slice": int(frames[1]) if frames else 1,
        "slices": int(slices[1]) if slices else 1,
    }
    if (channels and extents["channels"] > 1) or (old and int(old[1]) > 1):
        count = int(old[1]) if old else extents["channels"]
        return extents | {"channels": count, "slices": max(extents["slices"], 2)}
    return extents


def _micromanager(tif: TiffFile) -> Axes:
    if not tif.is_micromanager:
        return {}
    metadata: Any = tif.micromanager_metadata or {}
    summary = metadata.get("Summary") or {}
    axes = ("Slices", "Channels", "Frames")
    return {axis: int(summary.get(axis) or 1) for axis in axes}


def _fluoview(tif: TiffFile) -> Axes:
    metadata: Any = tif.fluoview_metadata or {}
    dimensions = metadata.get("Dimensions", ())[2:]  # behind x and y
    return {str(each[0]): int(each[1]) for each in dimensions}


def _check_lsm(tif: TiffFile, pages: int) -> None:
    if tif.filehandle.size >= OFFSETS_32_BITS or tif.pages.first.compression != 1:
        msg = "it is an LSM file, compressed or larger than 4 GB, which is not read: convert it"
        raise ValueError(msg)
    metadata: Any = tif.lsm_metadata or {}
    axes = {f"Dimension{axis}": int(metadata.get(f"Dimension{axis}", 1) or 1) for axis in "ZTPM"}
    axes["DimensionChannels"] = int(metadata.get("DimensionChannels", 1))
    if axes["DimensionChannels"] == tif.pages.first.samplesperpixel:
        axes["DimensionChannels"] = 1
    _check_axes(axes, pages)
    if prod(axes.values()) != pages:
        msg = f"it tells of {prod(axes.values())} images and has {pages} pages: it is incomplete"
        raise ValueError(msg)
