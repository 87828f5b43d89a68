"""Evidence for resampling: distances of slices."""

from __future__ import annotations

import pytest

from pystack3d_dask.evidence.spacing import look_for_uneven_spacing


@pytest.mark.parametrize(
    ("positions", "is_found", "reason"),
    [
        ((), False, "no positions of three slices"),
        ((0.0, 0.01), False, "no positions of three slices"),
        ((0.0, 0.01, 0.02, 0.0301), False, "equally spaced"),
        ((0.0, 0.01, 0.02, 0.035), True, "by up to 50%"),
        ((0.03, 0.02, 0.01, 0.0), False, "not every slice lies above"),
        ((0.0, 0.01, 0.01, 0.03), False, "not every slice lies above"),
    ],
)
def test_only_slices_that_go_up_unevenly_are_resampled(positions, is_found, reason):
    found = look_for_uneven_spacing(positions)
    assert found.is_found is is_found
    assert reason in found.reason
