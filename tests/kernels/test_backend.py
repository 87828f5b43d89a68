"""Which library an array is of."""

from __future__ import annotations

import sys
import weakref
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from pystack3d_dask.kernels.backend import (
    NoRoomError,
    compute_on_gpu,
    has_gpu,
    namespace,
    to_gpu,
    to_host,
)


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


REFUSAL = "Out of memory allocating 512 bytes"


class OutOfMemoryError(Exception):
    """Stands for that of CuPy."""


@pytest.fixture
def small_gpu(cupy) -> SimpleNamespace:
    """Give the GPU a pool in which what was freed stays; return what happens to it."""
    seen = SimpleNamespace(freed=0, held=[])
    pool = SimpleNamespace(free_all_blocks=lambda: free(seen))
    cupy.get_default_memory_pool = lambda: pool
    cupy.cuda = SimpleNamespace(memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError))
    cupy.fft = SimpleNamespace(config=SimpleNamespace(clear_plan_cache=lambda: None))
    return seen


def free(seen: SimpleNamespace) -> None:
    assert not any(held() is not None for held in seen.held), "arrays of the attempt are in use"
    seen.freed += 1


def doubled(seen: SimpleNamespace, array: np.ndarray, fails: int):
    """Return what doubles an array, but not at the first attempts."""

    def compute(send):
        there = send(array)
        if len(seen.held) < fails:
            seen.held.append(weakref.ref(there))
            raise OutOfMemoryError(REFUSAL)
        return 2 * to_host(there)

    return compute


@pytest.mark.parametrize("fails", [0, 1], ids=["fits", "tight"])
def test_where_a_gpu_has_no_room_freed_memory_is_given_back(small_gpu, fails):
    array = np.arange(3)
    found = compute_on_gpu(doubled(small_gpu, array, fails))
    np.testing.assert_array_equal(found, 2 * array)
    assert small_gpu.freed == fails


def test_where_that_is_not_enough_either_it_is_told(small_gpu):
    with pytest.raises(NoRoomError, match=REFUSAL):
        compute_on_gpu(doubled(small_gpu, np.arange(3), 3))
    assert small_gpu.freed == 2


class CuFFTError(Exception):
    """Stands for that of CuPy."""

    def __init__(self, result):
        super().__init__()
        self.result = result


@pytest.mark.usefixtures("small_gpu")
@pytest.mark.parametrize(("result", "told"), [(2, NoRoomError), (5, CuFFTError)])
def test_transforms_that_find_no_room_are_told_from_those_that_fail(result, told):
    def compute(send):
        raise CuFFTError(result)

    with pytest.raises(told):
        compute_on_gpu(compute)


@pytest.mark.usefixtures("small_gpu")
def test_other_errors_on_the_gpu_are_not_hidden():
    with pytest.raises(ZeroDivisionError):
        compute_on_gpu(lambda _: 1 // 0)
