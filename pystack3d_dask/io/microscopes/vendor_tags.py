"""The private TIFF tags in which microscopes write metadata, and reading them from a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tifffile import TiffPage, TiffTag

from pystack3d_dask.io.microscopes import fei, fibics, smartsem
from pystack3d_dask.io.microscopes.slice_metadata import LARGEST, MetadataError, SliceMetadata

TEXT = (1, 2, 7)  # types of tags whose values are bytes
# the first that gives something counts
PARSERS: Mapping[int, Callable[[bytes, str], SliceMetadata]] = {
    fibics.TAG: fibics.parse_slice,
    **dict.fromkeys(fei.TAGS, fei.parse),
    smartsem.TAG: smartsem.parse,
}


def read_metadata(page: TiffPage) -> tuple[SliceMetadata | None, str]:
    """Return the metadata of a page, and why some cannot be used.

    Parameters
    ----------
    page : TiffPage
        Of a file that is open.

    Returns
    -------
    metadata : SliceMetadata, optional
        Of all tags together, in the order of `PARSERS`; None without any.
    damage : str
        The file and what is wrong with the first tag that cannot be used; empty if none.
    """
    metadata, damage = None, ""
    for code, parse in PARSERS.items():
        tag = page.tags.get(code)
        if tag is None:
            continue
        try:
            found = parse(_value(page, tag), page.parent.filehandle.path)
        except MetadataError as error:
            damage = damage or str(error)
        else:
            metadata = found if metadata is None else metadata.completed(found)
    return metadata, damage


def _value(page: TiffPage, tag: TiffTag) -> bytes:
    file = page.parent.filehandle
    if tag.dtype not in TEXT or tag.count > LARGEST:
        msg = (
            f"{file.path}: tag {tag.code} holds {tag.count} values of type {tag.dtype}; "
            "text expected"
        )
        raise MetadataError(msg)
    file.seek(tag.valueoffset)
    value: bytes = file.read(tag.count)
    return value
