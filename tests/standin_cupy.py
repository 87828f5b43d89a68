"""A library with CuPy's manners, on the CPU: what runs with it mixes no arrays of host and device.

Arrays of numpy are refused wherever CuPy refuses them: in arithmetic, as indices and values, in
functions, and in conversions that are not asked for by name.
"""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest


class DeviceArray(np.lib.mixins.NDArrayOperatorsMixin):
    """Stands for an array on a GPU.

    Parameters
    ----------
    host : ndarray
        What it holds.
    """

    def __init__(self, host):
        self._host = host

    def __array__(self, *_, **__):
        message = "Implicit conversion to a NumPy array is not allowed"
        raise TypeError(message)

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        return _made(getattr(ufunc, method)(*_here(inputs), **_here(options)))

    def __array_function__(self, function, types, arguments, options):
        message = f"numpy.{function.__name__} of an array on the device"
        raise TypeError(message)

    def __getitem__(self, index):
        return _there(self._host[_here(index)])

    def __setitem__(self, index, values):
        self._host[_here(index)] = _here(values)

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        return (self[k] for k in range(len(self)))

    def __float__(self):
        return float(self._host)

    def __int__(self):
        return int(self._host)

    def __bool__(self):
        return bool(self._host)

    def __getattr__(self, name):
        found = getattr(self._host, name)
        if name in ("flags", "data", "ctypes") or name.startswith("__"):
            raise AttributeError(name)
        return _calling(found) if callable(found) else _there(found)

    def get(self):
        library = sys.modules["cupy"]
        if not self._host.flags.c_contiguous:
            library.room(self._host)  # it is copied there first
        library.downloads.append(self._host)
        return self._host.copy()


DeviceArray.__module__ = "cupy._core.core"


def _here(value: Any) -> Any:
    """Return what the device works on; refuse arrays of the host."""
    if isinstance(value, DeviceArray):
        return value._host
    if isinstance(value, np.ndarray) and value.ndim:
        message = f"Unsupported type {type(value)}: an array of the host on the device"
        raise TypeError(message)
    if isinstance(value, (tuple, list)):
        return type(value)(_here(each) for each in value)
    if isinstance(value, dict):
        return {name: _here(each) for name, each in value.items()}
    return value


def _there(value: Any) -> Any:
    """Return arrays, and numbers that were computed, as arrays on the device."""
    if isinstance(value, (np.ndarray, np.generic)):
        return DeviceArray(np.asarray(value))
    return tuple(_there(each) for each in value) if isinstance(value, tuple) else value


def _made(value: Any) -> Any:
    """Return what a computation on the device gives, if there is room for it."""
    for array in value if isinstance(value, tuple) else (value,):
        if isinstance(array, np.ndarray) and array.base is None:
            sys.modules["cupy"].room(array)
    return _there(value)


def _calling(function):
    return lambda *arguments, **options: _made(function(*_here(arguments), **_here(options)))


class OutOfMemoryError(Exception):
    """Stands for that of CuPy."""


class StandIn(ModuleType):
    """The library.

    Attributes
    ----------
    uploads, downloads : list of ndarray
        What was sent to the device, and what came back.
    freed : int
        How often its pool was emptied.
    room : callable
        Called with all that is to lie on the device; raises `OutOfMemoryError` where there is no
        room.
    """

    ndarray = DeviceArray

    def __init__(self):
        super().__init__("cupy")
        self.uploads, self.downloads, self.freed = [], [], 0
        self.room = lambda array: None
        self.fft = SimpleNamespace(
            rfft2=_calling(np.fft.rfft2),
            irfft2=_calling(np.fft.irfft2),
            config=SimpleNamespace(clear_plan_cache=lambda: None),
        )
        self.cuda = SimpleNamespace(memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError))

    def __getattr__(self, name):
        found = getattr(np, name)
        return _calling(found) if callable(found) and not isinstance(found, type) else found

    def asarray(self, array):
        if isinstance(array, DeviceArray):
            return array
        self.room(array)
        self.uploads.append(array)
        return DeviceArray(np.array(array))

    def asnumpy(self, array):
        return array.get()

    def is_available(self):
        return True

    def get_default_memory_pool(self):
        return SimpleNamespace(free_all_blocks=self._free)

    def _free(self):
        self.freed += 1


def put_in_place(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Make ``import cupy`` find the stand-in."""
    module = StandIn()
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module
