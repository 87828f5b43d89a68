"""The strips and tiles of a page: how they divide it, and which bytes of the file each takes."""

from __future__ import annotations

from collections.abc import Iterator
from operator import add, sub
from typing import Any

import numpy as np
from tifffile import TiffPage

from pystack3d_dask.core.typing import Array

UNCOMPRESSED = 1
SEPARATE_PLANES = 2
SELF_ENDING = (5, 8, 32946)  # LZW and deflate: the decoder finds the end of its data by itself
OFFSETS = (324, 273)  # tags of tiles and strips
COUNTS = (325, 279, 514)
PADDING = 16  # bytes between strips or tiles that align them
# kinds of pages that are known to be decodable: slices of a stack are of one kind, and trying each
# takes as long as opening it
_DECODABLE: set[tuple[object, ...]] = set()


def segment_shape(page: TiffPage) -> tuple[int, int]:
    """Return rows and columns of a strip or tile; 0 rows per strip stand for all."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return page.rowsperstrip or page.imagelength, page.imagewidth


def grid(page: TiffPage) -> tuple[int, int]:
    """Return how many strips or tiles lie below and beside each other."""
    height, width = segment_shape(page)
    return -(-page.imagelength // height), -(-page.imagewidth // width)


def segment_count(page: TiffPage) -> int:
    """Return how many strips or tiles an entire page has."""
    down, across = grid(page)
    planes = page.samplesperpixel if page.planarconfig == SEPARATE_PLANES else 1
    return int(down * across * planes)


def is_sparse(page: TiffPage, index: int) -> bool:
    """Return whether a strip or tile is left out of the file: its pixels are zero."""
    return not page.dataoffsets[index]


def extent(page: TiffPage, index: int) -> tuple[int, int]:
    """Return offset and size in bytes of a strip or tile.

    Byte counts are taken with care, as many writers leave them out, set them to zero or count
    pixels. Without compression the size follows from the shape and the count is not needed.
    With compression a strip without a count ends where the next one starts or the file ends.
    """
    offset, count = page.dataoffsets[index], _count(page, index)
    if page.compression == UNCOMPRESSED:
        return offset, count if page.is_subsampled else _stored_bytes(page, index)
    if count:
        return offset, count
    end = page.parent.filehandle.size
    following = min((other for other in page.dataoffsets if other > offset), default=end)
    return offset, max(min(following, end) - offset, 0)


def fault_of(page: TiffPage) -> str:
    """Return why the pixels of a page cannot be read as its header describes them, or "".

    Strips and tiles are compared with the size of the file; only compressed ones are decoded
    whose byte count is missing, or may be too small.

    Parameters
    ----------
    page : TiffPage
        Of a supported type, with an offset for each of its strips or tiles.
    """
    count, size = segment_count(page), page.parent.filehandle.size
    if _is_sound(page, count, size):
        return ""
    listed = next((page.tags[code].count for code in OFFSETS if code in page.tags), count)
    offsets = np.asarray(page.dataoffsets[:count], np.uint64)
    counts = _counts(page, count)
    used = offsets > 0
    if page.compression != UNCOMPRESSED or page.is_subsampled:
        if listed > count:
            return _surplus(listed, count)
        if fault := _outside(offsets, counts, size):
            return fault
        if fault := _without_counts(page, np.flatnonzero(used & (counts == 0))):
            return fault
        followed = np.flatnonzero(used & (counts > 0) & _are_followed(page, offsets, counts, size))
        return next((fault for k in followed[:2] if (fault := _undecodable(page, int(k)))), "")
    needed = _all_stored_bytes(page, count)
    if fault := _outside(offsets, needed, size):
        return fault
    if not (short := used & (counts < needed)).any():
        return ""
    if listed > count:
        return _surplus(listed, count)
    return _overlap(page, offsets[used], needed[used], counts[short])


def _is_sound(page: TiffPage, segments: int, size: int) -> bool:
    """Return whether strips or tiles are as most programs write them, which is soon seen."""
    offsets, counts = page.dataoffsets, page.databytecounts
    if not len(offsets) == len(counts) == segments or not all(counts) or not _has_counts(page):
        return False
    if max(map(add, offsets, counts)) > size:
        return False
    if page.compression != UNCOMPRESSED or page.is_subsampled:
        end = offsets[-1] + counts[-1]
        is_last = end <= page.offset <= end + PADDING or size - end <= PADDING
        follow = map(sub, offsets[1:], map(add, offsets, counts))
        return is_last and all(0 <= gap <= PADDING for gap in follow)
    longest, last = _stored_bytes(page, 0), _stored_bytes(page, segments - 1)
    return counts[-1] >= last and min(counts[:-1], default=longest) >= longest


def _are_followed(page: TiffPage, offsets: Array, counts: Array, size: int) -> Array:
    """Return which strips or tiles are followed by bytes that nothing else in the file claims.

    Their byte counts may be too small. In a file of several pages it is not known what follows
    the last one.
    """
    ends = offsets + counts
    claimed = [tag.valueoffset for tag in page.tags] + [page.offset, size]
    if len(page.parent.pages) > 1:
        claimed.append(int(ends.max()))
    starts = np.sort(np.append(offsets, np.array(claimed, np.uint64)))
    following = starts[np.searchsorted(starts, ends)]
    return np.asarray(following - ends > PADDING)


def is_contiguous(page: TiffPage) -> bool:
    """Return whether the strips of a page follow each other without compression."""
    if page.compression != UNCOMPRESSED or page.is_tiled or page.is_subsampled:
        return False
    count = segment_count(page)
    offsets = np.asarray(page.dataoffsets[:count], np.uint64)
    sizes = _all_stored_bytes(page, count)
    return bool(offsets.all() and np.array_equal(offsets[1:], (offsets + sizes)[:-1]))


def missing_bytes(offset: int, count: int, size: int) -> str:
    """Return a message about pixels that lie beyond the end of a file of ``size`` bytes."""
    missing = min(count, offset + count - size)
    return f"the file is truncated, {missing} of {count} bytes are missing at {offset}"


def _counts(page: TiffPage, segments: int) -> Array:
    """Return the byte counts, zero where the file has none."""
    found = np.zeros(segments, np.uint64)
    if _has_counts(page):
        listed = page.databytecounts[:segments]
        found[: len(listed)] = listed
    return found


def _count(page: TiffPage, index: int) -> int:
    known = index < len(page.databytecounts) and _has_counts(page)
    return int(page.databytecounts[index]) if known else 0


def _has_counts(page: TiffPage) -> bool:
    """Return whether byte counts are given: without them tifffile sets those of the image."""
    return any(code in page.tags for code in COUNTS)


def _stored_bytes(page: TiffPage, index: int) -> int:
    """Return how many bytes a strip or tile takes without compression."""
    height, width = segment_shape(page)
    if not page.is_tiled:
        down = grid(page)[0]
        height = min(height, page.imagelength - index % down * height)
    return height * _row_bytes(page, width)


def _all_stored_bytes(page: TiffPage, segments: int) -> Array:
    down = grid(page)[0]
    found = np.full(segments, _stored_bytes(page, 0), np.uint64)
    if not page.is_tiled:
        found[down - 1 :: down] = _stored_bytes(page, down - 1)
    return found


def _row_bytes(page: TiffPage, width: int) -> int:
    samples = 1 if page.planarconfig == SEPARATE_PLANES else page.samplesperpixel
    return -(-width * samples * int(page.bitspersample) // 8)


def _outside(offsets: Array, counts: Array, size: int) -> str:
    """Return a message about the first extent that ends beyond the file, "" without any."""
    inside = np.minimum(offsets, np.uint64(size))  # sums of what is damaged may overflow
    outside = (offsets > 0) & ((offsets > size) | (counts > np.uint64(size) - inside))
    if not outside.any():
        return ""
    index = int(outside.argmax())
    return missing_bytes(int(offsets[index]), int(counts[index]), size)


def _overlap(page: TiffPage, offsets: Array, needed: Array, short: Array) -> str:
    """Return why strips whose byte counts are too small are not as long as their rows."""
    order = np.argsort(offsets, kind="stable")
    starts, ends = offsets[order], (offsets + needed)[order]
    in_header = (starts < page.offset) & (page.offset < ends)
    if not in_header.any() and not (ends[:-1] > starts[1:]).any():
        return ""
    return (
        f"strips or tiles of page {page.index} hold {int(short[0])} bytes, too few for their rows, "
        "and what follows is not theirs: the byte counts or the numbers of rows are wrong"
    )


def _without_counts(page: TiffPage, wrong: Array) -> str:
    if wrong.size and page.compression not in SELF_ENDING:
        return (
            f"the header of page {page.index} does not say how many bytes its strips or tiles "
            "take, and their compression does not tell where they end"
        )
    return next((fault for index in wrong if (fault := _undecodable(page, int(index)))), "")


def _undecodable(page: TiffPage, index: int) -> str:
    offset, count = extent(page, index)
    try:
        page.parent.filehandle.seek(offset)
        page.decode(page.parent.filehandle.read(count), index)
    except Exception as error:  # codecs may raise anything
        return (
            f"a strip or tile at {offset} cannot be read, perhaps as its byte count, "
            f"{_count(page, index)}, is wrong: {error}"
        )
    return ""


def _surplus(listed: int, count: int) -> str:
    return (
        f"its header lists {listed} strips or tiles where its rows per strip make {count}: it is "
        "damaged; write it anew with another program"
    )


def segments_in(
    page: TiffPage, rows: tuple[int, int], columns: tuple[int, int], plane: int
) -> Iterator[tuple[int, int, int]]:
    """Yield index, first row and first column of each strip or tile in half-open ranges."""
    height, width = segment_shape(page)
    down, across = grid(page)
    (top, bottom), (left, right) = rows, columns
    for j in range(top // height, -(-bottom // height)):
        for i in range(left // width, -(-right // width)):
            yield (plane * down + j) * across + i, j * height, i * width


def undecodable_kind(page: TiffPage) -> str:
    """Return why no strip or tile of such a page can be decoded, "" if they can.

    These are compressions, predictors and numbers of bits that nothing here reads.
    """
    if page.compression == UNCOMPRESSED:
        if page.predictor != 1:
            return (
                f"it is not compressed and names predictor {int(page.predictor)}, which programs "
                "read in different ways; write it anew without"
            )
    kind = _kind(page)
    if kind in _DECODABLE:
        return ""
    decode: Any = page.decode
    try:
        decode(None, 0, jpegtables=page.jpegtables, jpegheader=page.jpegheader)
    except Exception as error:  # tifffile raises many kinds
        return f"its pixels cannot be decoded: {error}"
    if page.jpegtables is None and page.jpegheader is None:
        _DECODABLE.add(kind)
    return ""


def _kind(page: TiffPage) -> tuple[object, ...]:
    """Return what in the header of a page determines how its pixels are decoded."""
    return (
        page.compression,
        page.predictor,
        page.bitspersample,
        page.sampleformat,
        page.samplesperpixel,
        page.photometric,
        page.planarconfig,
        page.fillorder,
        page.subsampling,
    )
