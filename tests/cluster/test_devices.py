"""Which GPUs this machine has; CuPy, which is asked, is a stand-in."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from pystack3d_dask.cluster.gpus import VISIBLE, find_gpus, visible_gpus
from pystack3d_dask.errors import DeviceError


@pytest.fixture
def cupy(tmp_path, monkeypatch):
    """Return what puts a CuPy in place, for this process and those that it starts."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delenv(VISIBLE, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)

    def install(body: str) -> Path:
        path = tmp_path / "cupy.py"
        lines = "".join(f"            {line}\n" for line in body.splitlines())
        path.write_text(
            "class cuda:\n    class runtime:\n        @staticmethod\n"
            f"        def getDeviceCount():\n{lines}"
        )
        importlib.invalidate_caches()
        return path

    return install


def test_all_that_cupy_finds_are_found_and_it_is_not_imported_here(cupy):
    cupy("return 3")
    assert find_gpus() == find_gpus("auto") == ("0", "1", "2")
    assert "cupy" not in sys.modules


@pytest.mark.parametrize("named", ["2,5", " 2, 5 ", "2,5,7"])
def test_what_the_environment_names_is_passed_on(cupy, monkeypatch, named):
    cupy("return 2")
    monkeypatch.setenv(VISIBLE, named)
    assert find_gpus() == ("2", "5")


def test_the_environment_is_what_cupy_is_asked_in(cupy):
    cupy(f"import os\nreturn len(os.environ['{VISIBLE}'].split(','))")
    assert visible_gpus({**os.environ, VISIBLE: "GPU-1a,MIG-2b"}) == ("GPU-1a", "MIG-2b")


@pytest.mark.parametrize(
    "body", ["return 0", "raise RuntimeError('no driver')", "import os\nos._exit(9)"]
)
def test_where_cupy_finds_nothing_there_is_none(cupy, body):
    cupy(body)
    assert find_gpus() == ()


def test_without_cupy_there_is_none(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert find_gpus() == ()


def test_gpus_can_be_named_or_left_alone(cupy):
    cupy("return 2")
    assert find_gpus("none") == ()
    assert find_gpus("1") == ("1",)
    assert find_gpus("0, GPU-1a") == ("0", "GPU-1a")


@pytest.mark.parametrize("wanted", ["", "0,", "0,0", ","])
def test_what_names_no_gpu_is_refused(wanted):
    with pytest.raises(DeviceError, match="auto, none, or GPUs such as 0,1, each once, expected"):
        find_gpus(wanted)
