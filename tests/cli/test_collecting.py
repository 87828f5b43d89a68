"""Objects that imports make, and the collector of garbage."""

from __future__ import annotations

import gc

import pytest

from pystack3d_dask.cli.collecting import uncollected


@pytest.fixture(autouse=True)
def as_before():
    yield
    gc.unfreeze()


def test_what_is_made_is_not_looked_through():
    with uncollected():
        assert not gc.isenabled()
        made = [[k] for k in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() > len(made)
    assert not any(each is made for each in gc.get_objects())


def test_garbage_is_collected_again_only_after_all_of_it():
    with uncollected():
        with uncollected():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_garbage_is_collected_again_after_an_error():
    with pytest.raises(ZeroDivisionError), uncollected():
        _ = 1 / 0
    assert gc.isenabled()
