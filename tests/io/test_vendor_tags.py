"""Metadata of SmartSEM and Thermo Fisher (FEI): what is used, and that damage does no harm."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from atlas_files import TAG as ATLAS
from atlas_files import slice_xml
from hypothesis import given
from hypothesis import strategies as st
from stacks import write_params
from tiff_files import image, opened, whole
from vendor_files import (
    HELIOS,
    SFEG,
    SMARTSEM,
    TITAN,
    fei_text,
    fei_xml,
    smartsem_text,
    write_tagged,
)

import pystack3d_dask as ps
from pystack3d_dask.io.microscopes import fei, smartsem
from pystack3d_dask.io.microscopes.slice_metadata import (
    FARTHEST,
    FINEST,
    LARGEST,
    MetadataError,
    SliceMetadata,
)
from pystack3d_dask.io.microscopes.vendor_tags import PARSERS

SHAPE = (20, 30)
PHENOM = (
    b'<FeiImage><pixelWidth unit="nm">2.5</pixelWidth><pixelHeight unit="um">0.004</pixelHeight>'
    b"<databarHeight>5</databarHeight></FeiImage>"
)


def stack(shape: tuple[int, int] = SHAPE, slices: int = 3) -> list[np.ndarray]:
    return [image("uint8", shape, seed) for seed in range(slices)]


def metadata(folder: Path) -> SliceMetadata:
    (found,) = opened(folder).metadata
    assert found is not None
    return found


class TestPixelSize:
    @pytest.mark.parametrize(
        ("code", "value"),
        [
            (HELIOS, fei_text(SHAPE)),
            (SFEG, fei_text(SHAPE)),
            (HELIOS, fei_text(SHAPE, section="EScan")),
            (SFEG, fei_text(SHAPE, section="IScan")),
            (HELIOS, fei_text((10, 20), pixel=("", ""), field=(4e-8, 5e-8))),
            (TITAN, fei_xml(SHAPE)),
            (HELIOS, fei_xml(SHAPE)),
            (TITAN, PHENOM),
        ],
    )
    def test_it_is_that_of_the_scan_with_height_and_width(
        self, tmp_path: Path, code: int, value: bytes
    ) -> None:
        found = opened(write_tagged(tmp_path, stack(), {code: value}))
        assert found.specs[0].pixel_size == pytest.approx((0.004, 0.0025))
        np.testing.assert_array_equal(whole(found), stack())

    @pytest.mark.parametrize(
        ("told", "size"),
        [
            ({"pixel": "5.000 nm"}, 0.005),
            ({"pixel": "1.25 µm"}, 1.25),
            ({"pixel": "1.25 ?m"}, 1.25),
            ({"pixel": "558.2 pm"}, 0.0005582),
            ({"pixel": "5.0 nm", "displayed": "9.9 nm", "stored": (768, 1024)}, 0.005),
            ({"pixel": None, "displayed": "5.0 nm", "stored": (384, 512)}, 0.01),
            ({"pixel": None, "displayed": "5.0 nm"}, 0.005),
            ({"pixel": None, "unnamed": "3.5e-009", "stored": (1536, 2048)}, 0.00175),
            ({"pixel": None, "width": "20.48 µm", "stored": (1536, 2048)}, 0.01),
        ],
    )
    def test_smartsem_gives_that_of_the_stored_image(
        self, tmp_path: Path, told: dict[str, Any], size: float
    ) -> None:
        write_tagged(tmp_path, stack(), {SMARTSEM: smartsem_text(**told)})
        assert opened(tmp_path).specs[0].pixel_size == pytest.approx((size, size))

    def test_it_is_in_the_coordinates_of_stacks_and_results(self, tmp_path: Path) -> None:
        write_tagged(tmp_path, stack(), {HELIOS: fei_text(SHAPE)})
        write_params(tmp_path, {"cropping": {"area": [10, 30, 5, 20]}})
        before = ps.open_stack(tmp_path)
        ps.Pipeline.from_toml(tmp_path).run()
        for found, columns in ((before, 0), (ps.open_result(tmp_path), 10)):
            assert found.x.attrs["units"] == "micrometer"
            np.testing.assert_allclose(found.y[1] - found.y[0], 0.004)
            np.testing.assert_allclose(found.x[:3], 0.0025 * (columns + np.arange(3)))

    def test_resolution_tags_for_screens_do_not_contradict_it(self, tmp_path: Path) -> None:
        options = {"resolution": (96, 96), "resolutionunit": "INCH"}
        found = opened(write_tagged(tmp_path, stack(), {HELIOS: fei_text(SHAPE)}, **options))
        assert (found.notes, found.specs[0].pixel_size) == ((), pytest.approx((0.004, 0.0025)))

    def test_other_resolution_tags_are_reported(self, tmp_path: Path) -> None:
        options = {"resolution": (1e6, 1e6), "resolutionunit": "CENTIMETER"}
        write_tagged(tmp_path, stack(), {SMARTSEM: smartsem_text()}, **options)
        (note,) = opened(tmp_path).notes
        assert "pixels of 0.005 x 0.005 µm (x, y) by its metadata, of 0.01 x 0.01" in note


class TestOtherValues:
    def test_detector_stage_and_tilt(self, tmp_path: Path) -> None:
        found = metadata(write_tagged(tmp_path / "a", stack(), {SMARTSEM: smartsem_text()}))
        assert (found.maker, found.detector, found.tilt) == ("Zeiss SmartSEM", "InLens", 54)
        assert found.stage == (65_000, -3500, 500)
        found = metadata(write_tagged(tmp_path / "b", stack(), {HELIOS: fei_text()}))
        assert (found.maker, found.detector) == ("Thermo Fisher/FEI", "TLD")
        assert found.tilt == pytest.approx(52, abs=0.01)
        assert found.stage == pytest.approx((11_381.3, -10_448.4, 3983.38))
        found = metadata(write_tagged(tmp_path / "c", stack(), {TITAN: fei_xml(SHAPE)}))
        assert (found.detector, found.tilt) == ("ETD", pytest.approx(27, abs=0.01))
        assert found.stage == pytest.approx((-4400, 4300, 31_000))

    @pytest.mark.parametrize(
        ("value", "bar"),
        [
            (fei_text((15, 30), bar=5), 5),
            (fei_text((15, 30)), 5),
            (fei_text(bar=5), 5),
            (fei_text((14, 30), bar=5), 6),  # the image is certain
            (fei_text(SHAPE, bar=5), 0),  # saved without it, or cut off
            (fei_text((15, 40), bar=5), 0),  # another part of the image
            (fei_text((40, 30), bar=5), 0),
            (fei_text(bar=500), 0),
            (fei_xml((15, 30)), 5),
            (PHENOM, 5),
        ],
    )
    def test_rows_below_the_scan_are_a_data_bar(
        self, tmp_path: Path, value: bytes, bar: int
    ) -> None:
        assert metadata(write_tagged(tmp_path, stack(), {HELIOS: value})).bar_rows(SHAPE) == bar

    def test_tags_complete_each_other_and_the_first_counts(self, tmp_path: Path) -> None:
        tags = {HELIOS: fei_text(pixel=("", ""), detector=""), TITAN: fei_xml(SHAPE), SFEG: b"QUJD"}
        found = opened(write_tagged(tmp_path / "a", stack(), tags))
        assert found.notes == ()
        assert (found.metadata[0].detector, found.metadata[0].shape) == ("ETD", SHAPE)  # type: ignore[union-attr]
        assert metadata(tmp_path / "a").tilt == pytest.approx(52, abs=0.01)
        tags = {SMARTSEM: smartsem_text(), ATLAS: slice_xml(SHAPE, z=2)}
        both = metadata(write_tagged(tmp_path / "b", stack(), tags))
        assert (both.maker, both.pixel_size, both.z) == ("Zeiss Atlas", (0.008, 0.008), 2)
        assert both.tilt == 54


class TestHarm:
    @pytest.mark.parametrize("code", PARSERS)
    @pytest.mark.parametrize(
        "value",
        [b" ", b"\xff\xfe\0\1\2\3", b"<Other/>", b"<!DOCTYPE Metadata><Metadata/>", b"<a>" * 9],
    )
    def test_the_stack_is_opened_without_them_and_the_file_is_named(
        self, tmp_path: Path, code: int, value: bytes
    ) -> None:
        found = opened(write_tagged(tmp_path, stack(), {code: value}))
        np.testing.assert_array_equal(whole(found), stack())
        assert (found.metadata, found.specs[0].pixel_size) == ((None,), None)
        (note,) = found.notes
        assert str(tmp_path / "s000.tif") in note
        assert "(and 2 more slices); the stack is opened without them" in note

    def test_a_damaged_tag_leaves_the_others(self, tmp_path: Path) -> None:
        tags = {HELIOS: fei_text(SHAPE), TITAN: b"<Metadata>"}
        found = opened(write_tagged(tmp_path, stack(), tags))
        assert found.specs[0].pixel_size == pytest.approx((0.004, 0.0025))
        assert "damaged" in found.notes[0]

    @pytest.mark.parametrize("code", PARSERS)
    def test_tags_that_hold_no_text_are_named(self, tmp_path: Path, code: int) -> None:
        path = tmp_path / "slice.tif"
        tifffile.imwrite(path, image("uint8"), metadata=None, extratags=[(code, 12, 1, 0.5, True)])
        (note,) = opened(tmp_path).notes
        assert f"slice.tif: tag {code} holds 1 values of type 12; text expected" in note

    @pytest.mark.parametrize("code", PARSERS)
    def test_large_ones_are_refused(self, code: int) -> None:
        with pytest.raises(MetadataError, match=f"a.tif: .* more than {LARGEST} bytes"):
            PARSERS[code](b"x" * (LARGEST + 1), "a.tif")

    def test_settings_in_base64_hold_nothing_of_the_slice(self, tmp_path: Path) -> None:
        write_tagged(tmp_path, stack(), {SFEG: base64.b64encode(b"<MementoItemCollection/>")})
        assert opened(tmp_path).notes == ()

    @pytest.mark.parametrize("value", ["1e308", "-1e308", "INF", "NAN", "-5", "0", "x", ""])
    def test_numbers_beyond_reason_count_as_missing(self, value: str) -> None:
        found = fei.parse(fei_text(SHAPE, pixel=(value, value), bar=value), "")
        assert (found.pixel_size, found.bar) == (None, 0)
        assert smartsem.parse(smartsem_text(pixel=f"{value} nm"), "").pixel_size is None


VALUES = st.sampled_from([smartsem_text(), fei_text(SHAPE, bar=5), fei_xml(SHAPE), PHENOM])


def read(code: int, value: bytes) -> SliceMetadata | str:
    """Return the metadata in a tag, or why they cannot be used."""
    try:
        return PARSERS[code](value, "a.tif")
    except MetadataError as error:
        return str(error)


def is_within_reason(found: SliceMetadata | str) -> bool:
    if isinstance(found, str):
        return found.startswith("a.tif: ")
    lengths = [*(found.pixel_size or (1,)), *(found.shape or (1,))]
    has_bar = 0 <= found.bar_rows(SHAPE) < SHAPE[0]
    return has_bar and FINEST <= min(lengths) and max(lengths) <= FARTHEST


@given(VALUES, st.integers(0, 2**16), st.binary(max_size=8), st.sampled_from(list(PARSERS)))
def test_damage_anywhere_is_named_or_gives_values_within_reason(
    value: bytes, place: int, damage: bytes, code: int
) -> None:
    place %= len(value)
    assert is_within_reason(read(code, value[:place] + damage + value[place + len(damage) :]))


@given(st.binary(max_size=400), st.sampled_from(list(PARSERS)))
def test_any_bytes_are_named_or_read(value: bytes, code: int) -> None:
    assert is_within_reason(read(code, value))
