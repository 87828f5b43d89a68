"""Scale bars of a round length."""

from __future__ import annotations

import pytest

from pystack3d_dask.viz.scale_bar import scale_bar


@pytest.mark.parametrize(
    ("length", "unit", "expected"),
    [
        (2.56, "µm", (0.5, "500 nm")),
        (8.0, "µm", (2.0, "2 µm")),
        (0.0399, "µm", (0.005, "5 nm")),
        (9000.0, "µm", (2000.0, "2 mm")),
        (250, "px", (50.0, "50 px")),
    ],
)
def test_scale_bars_are_round_and_a_quarter_of_the_width_at_most(length, unit, expected):
    found, text = scale_bar(length, unit)
    assert (found, text) == (pytest.approx(expected[0]), expected[1])
