"""Programs get an acquisition and tell what they made of it, where it lies, and what they did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruler import peers
from ruler.acquired import Acquired, Corrected
from ruler.interpolation import UNMOVED, Interpolation
from ruler.peers import PEERS, MissingPeer
from ruler.programs import (
    OUR_STEPS,
    PROGRAMS,
    interpolation_of,
    readme_params,
    reference_params,
    write_slices,
)
from scipy import ndimage

from pystack3d_dask.demo import VOXEL_SIZE, DemoStack

SHAPE = (8, 96, 96)
DEFECTS = ("border", "shift", "uneven", "curtaining", "shading", "flicker", "noise")
BOTH = ("{}", "PyStack3D {}")


@dataclass(frozen=True)
class DemoSpecimen:
    """The specimen of a demo stack."""

    stack: DemoStack
    name: str = "demo"

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.stack.shape

    def at(self, z: float, y: float = 0.0, x: float = 0.0) -> np.ndarray:
        rows, columns = (slice(round(start), round(start) + SHAPE[1]) for start in (y, x))
        return self.stack.specimen(z * VOXEL_SIZE, (rows, columns))

    def pores(self, z: float, y: float = 0.0, x: float = 0.0) -> np.ndarray:
        return self.at(z, y, x) < 90


def demo(**defects: float) -> Acquired:
    """Return a demo stack with some defects only."""
    values: dict[str, Any] = {**dict.fromkeys(DEFECTS, 0.0), **defects}
    stack = DemoStack(SHAPE, seed=1, texture="cellular", **values)
    faces = np.stack([stack.face(k) for k in range(SHAPE[0])])
    slices = np.stack([stack.slice(k) for k in range(SHAPE[0])])
    none, depths = np.zeros_like(faces), stack.z / VOXEL_SIZE
    return Acquired("demo", slices, faces, none, stack.shifts, depths, (), DemoSpecimen(stack))


def spoiled(gain: np.ndarray | float = 1.0, offset: np.ndarray | float = 0.0) -> Acquired:
    """Return fine texture with a gain and an offset for each pixel."""
    random = np.random.default_rng(0)
    texture = ndimage.gaussian_filter(random.normal(size=SHAPE), (1, 2, 2))
    clean = np.asarray(128 + 20 * texture / texture.std(), np.float32)
    slices = np.clip(np.rint(clean * gain + offset), 0, 255).astype(np.uint8)
    shifts, depths = np.zeros((SHAPE[0], 2)), np.arange(SHAPE[0], dtype=float)
    specimen = DemoSpecimen(DemoStack(SHAPE))
    return Acquired("texture", slices, clean, np.zeros_like(clean), shifts, depths, (), specimen)


def run(name: str, acquired: Acquired, directory: Path) -> Corrected:
    """Run a program, or skip the test where it is not installed."""
    try:
        return PROGRAMS[name](acquired, directory)
    except MissingPeer as missing:
        pytest.skip(str(missing))


def rms(images: np.ndarray, truth: np.ndarray) -> float:
    """Return the distance to the truth after a linear fit of gray levels."""
    fit = np.polynomial.Polynomial.fit(images.ravel(), truth.ravel(), 1)
    return float(np.sqrt(np.mean((fit(images) - truth) ** 2)))


def striped(error: np.ndarray) -> float:
    """Return the standard deviation of the columns of slices, smoothing left aside."""
    return float(np.mean(np.std(error.mean(axis=1), axis=1)))


@pytest.mark.parametrize("name", ["init", "PyStack3D registration alone"])
def test_the_origin_of_a_result_is_where_it_fits_the_specimen_best(name, tmp_path):
    acquired = demo(shift=4.0)
    corrected = run(name, acquired, tmp_path)
    assert "registration_transformation" in corrected.steps
    truth = acquired.truth(corrected.depths, slice(0, SHAPE[1]), slice(0, SHAPE[2]))
    _, rows, columns = corrected.images.shape
    assert rows < SHAPE[1]
    inner = corrected.images[:, 2:-2, 2:-2]
    distances = {
        (y, x): rms(
            inner,
            truth[:, corrected.top + y :, corrected.left + x :][:, : rows - 4, : columns - 4],
        )
        for y in range(1, 4)
        for x in range(1, 4)
    }
    assert min(distances, key=distances.__getitem__) == (2, 2)


@pytest.mark.parametrize("name", BOTH)
def test_resampled_slices_lie_where_the_program_says(name, tmp_path):
    acquired = demo(uneven=0.6)
    corrected = run(name.format("resampling alone"), acquired, tmp_path)
    np.testing.assert_allclose(np.diff(corrected.depths, 2), 0, atol=0.02)
    assert np.ptp(np.diff(acquired.depths)) > 0.3
    distances = [
        rms(corrected.images, acquired.truth(corrected.depths + d, *([slice(0, SHAPE[1])] * 2)))
        for d in (-1, 0, 1)
    ]
    assert np.argmin(distances) == 1


@pytest.mark.parametrize("name", BOTH)
def test_a_correction_alone_is_made_even_where_init_leaves_it_off(name, tmp_path):
    acquired = demo(uneven=0.6)
    corrected = run(name.format("destriping alone"), acquired, tmp_path)
    assert corrected.steps == ("destriping",)
    assert corrected.images.shape == SHAPE
    assert corrected.images.dtype == np.float32
    assert (corrected.top, corrected.left) == (0, 0)
    np.testing.assert_allclose(corrected.depths, acquired.depths, atol=1e-3)
    changed = np.mean(corrected.images != acquired.slices)
    assert changed == 0 if name == "{}" else changed > 0.3  # ours finds no stripes
    assert corrected.seconds > 0


@pytest.mark.parametrize("name", ["README", "PyStack3D"])
def test_the_chain_of_the_readme_runs_without_its_cropping(name, tmp_path):
    acquired = demo(shift=2.0, flicker=0.1, curtaining=0.05, uneven=0.6)
    corrected = run(name, acquired, tmp_path)
    known = [each for each in readme_params()["process_steps"] if each not in OUR_STEPS]
    assert corrected.steps == tuple(readme_params()["process_steps"] if name == "README" else known)
    assert "cropping" not in corrected.steps
    assert "destriping" in corrected.steps


def test_pystack3d_gets_the_parameters_of_the_readme_that_it_knows():
    params = reference_params(["registration_calculation", "destriping"])
    assert params["process_steps"] == ["registration_calculation", "destriping"]
    assert "method" not in params["registration_calculation"]
    assert params["destriping"] == readme_params()["destriping"]


def test_the_interpolation_is_that_of_the_steps_that_run():
    tables = {"registration_transformation": {"interpolation": "cubic"}, "resampling": {}}
    for steps, expected in (
        (["destriping"], UNMOVED),
        (["registration_transformation"], Interpolation("cubic", "whole")),
        (["registration_transformation", "resampling"], Interpolation("cubic", "linear")),
    ):
        assert interpolation_of({"process_steps": steps, **tables}) == expected


def test_slices_are_written_with_their_depths_and_the_size_of_pixels(tmp_path):
    import pystack3d_dask as ps

    acquired = demo(uneven=0.6)
    write_slices(acquired, tmp_path)
    stack = ps.open_stack(tmp_path)
    np.testing.assert_array_equal(stack.values[0], acquired.slices)
    np.testing.assert_allclose(stack.z.values, acquired.depths * VOXEL_SIZE, atol=1e-6)
    assert float(stack.x[1] - stack.x[0]) == pytest.approx(VOXEL_SIZE)


@pytest.mark.parametrize("name", [peer.name for peer in PEERS if peer.mends == "destriping"])
def test_stripes_get_weaker(name, tmp_path):
    stripes = np.random.default_rng(1).normal(size=(SHAPE[0], 1, SHAPE[2]))
    acquired = spoiled(offset=15 * stripes)
    corrected = run(name, acquired, tmp_path)
    assert corrected.images.shape == SHAPE
    assert corrected.images.dtype == np.float32
    assert corrected.steps == (name,)
    np.testing.assert_array_equal(corrected.depths, acquired.depths)
    before, after = (striped(each - acquired.clean) for each in (acquired.slices, corrected.images))
    assert after < 0.9 * before


@pytest.mark.parametrize("name", [peer.name for peer in PEERS if peer.mends == "bkg_removal"])
def test_a_field_gets_weaker(name, tmp_path):
    y, x = np.meshgrid(np.linspace(-1, 1, SHAPE[1]), np.linspace(-1, 1, SHAPE[2]), indexing="ij")
    acquired = spoiled(gain=1 - 0.25 * (x**2 + y**2))
    corrected = run(name, acquired, tmp_path)
    assert corrected.images.shape == SHAPE
    assert rms(corrected.images, acquired.clean) < 0.9 * rms(acquired.slices, acquired.clean)


def test_a_program_that_is_not_installed_is_named(tmp_path, monkeypatch):
    broken = tmp_path / "packages" / "algotom"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('no such thing')")
    monkeypatch.setenv("PYTHONPATH", str(broken.parent))
    with pytest.raises(MissingPeer, match=r"algotom is not installed.*no such thing"):
        PROGRAMS["algotom sorting"](spoiled(), tmp_path / "stack")


def test_a_program_that_fails_says_why(tmp_path, monkeypatch):
    broken = tmp_path / "packages" / "algotom"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ValueError('out of order')")
    monkeypatch.setenv("PYTHONPATH", str(broken.parent))
    with pytest.raises(RuntimeError, match="out of order"):
        PROGRAMS["algotom sorting"](spoiled(), tmp_path / "stack")


def test_pystack3d_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("ruler.programs.find_spec", lambda name: None)
    with pytest.raises(MissingPeer, match="pystack3d is not installed"):
        PROGRAMS["PyStack3D"](spoiled(), tmp_path)


def test_public_programs_need_nothing_of_this_project(tmp_path):
    text = Path(peers.__file__).read_text(encoding="utf-8")
    assert "import pystack3d_dask" not in text
    assert "from ruler" not in text
