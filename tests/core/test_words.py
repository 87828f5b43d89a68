"""Numbers as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pystack3d_dask.core.formatting import in_units, short


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1023 * 1024, "1023 KiB"),
        (1000 * 1024, "1000 KiB"),
        (1536, "1.5 KiB"),
        (1024**2 - 1, "1 MiB"),
    ],
)
def test_bytes_are_told_in_units(count, expected):
    assert in_units(count) == expected


@given(st.integers(0, 2**60))
def test_bytes_have_no_exponents(count):
    assert "e" not in in_units(count)


@given(st.floats(1e-3, 1e8))
def test_a_short_number_is_about_the_number(value):
    assert float(short(value)) == pytest.approx(value, rel=6e-3)
    assert "e+" not in short(value)
