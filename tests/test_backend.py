"""Which library an array is of."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest

from pystack3d_dask.backend import has_gpu, namespace, to_gpu, to_host


class Remote:
    """Stands for an array of CuPy, on machines that have none."""

    def __init__(self, values):
        self.values = values

    def get(self):
        return self.values


Remote.__module__ = "cupy._core.core"


@pytest.fixture
def cupy(monkeypatch):
    """Put a library of that name in place."""
    module = ModuleType("cupy")
    module.asarray = Remote
    module.is_available = lambda: True
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module


def test_arrays_of_numpy_are_of_numpy_and_stay_as_they_are(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # not needed for these
    array = np.arange(3)
    assert namespace(array) is np
    assert namespace(3.0) is np
    assert to_host(array) is array


def test_arrays_of_cupy_are_of_cupy_and_come_back(cupy):
    array = np.arange(3)
    there = to_gpu(array)
    assert namespace(there) is cupy
    np.testing.assert_array_equal(to_host(there), array)


def test_a_name_that_only_begins_like_it_is_not_cupy(cupy):
    other = type("Array", (), {"__module__": "cupyx_of_somebody"})()
    assert namespace(other) is np


def test_a_gpu_is_there_when_cupy_finds_one(cupy):
    assert has_gpu()
    cupy.is_available = lambda: False
    assert not has_gpu()


def test_without_cupy_there_is_no_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert not has_gpu()
