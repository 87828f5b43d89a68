"""The lazy face: it computes nothing while it is built, and what the engine computes after."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from conftest import textured

import pystack3d_dask as ps
from pystack3d_dask.errors import FitRequiredError
from pystack3d_dask.io.sources import open_source

STEPS = {
    "cropping": "area = [2, 38, 3, 30]",
    "bkg_removal": "orders = [1, 1, 1]\nskip_factors = [4, 4, 3]\nthreshold_min = 20",
    "intensity_rescaling": "nbins = 64\nfilter_size = 3",
    "intensity_rescaling_area": "area = [0, 20, 0, 20]",
    "cropping_final": "area = [1, 20, 2, 20]",
    "registration_calculation": 'transformation = "RIGID_BODY"\narea = [0, 30, 2, 25]',
    "registration_transformation": "cropping = true",
    "destriping": """maxit = 4
filters = [{ name = "Gabor", noise_level = 20, sigma = [1, 10] }]""",
    "resampling": "dz = 0.013",
}
REGISTERED = ["registration_calculation", "registration_transformation"]
PER_SLICE = STEPS | {"bkg_removal": "orders = [2, 1]\nskip_factors = [3, 2]"}
LOCAL = STEPS | {"bkg_removal": 'method = "local"\nsize = [7, 5, 3]\nthreshold_min = 20'}
CHAINS = {
    "nothing": ([], STEPS),
    "cropping": (["cropping"], STEPS),
    "spine": (["cropping", "bkg_removal", "intensity_rescaling"], STEPS),
    "backwards": (["intensity_rescaling", "bkg_removal", "cropping"], STEPS),
    "per slice": (["bkg_removal", "intensity_rescaling_area", "cropping_final"], PER_SLICE),
    "all": (["cropping", *REGISTERED, "destriping", "resampling"], STEPS),
    "local": (["cropping", "bkg_removal", "intensity_rescaling", "cropping_final"], LOCAL),
}


def params(names: list[str], tables: dict[str, str], precision: str = "float32") -> str:
    listed = ", ".join(f'"{name}"' for name in names)
    head = f'channels = {{channels}}\nprocess_steps = [{listed}]\nprecision = "{precision}"\n'
    return head + "\n".join(f"[{name}]\n{tables[name]}" for name in names)


class Untouchable:
    """A source whose pixels must not be read."""

    def __init__(self, source) -> None:
        self._source = source

    def __getattr__(self, name: str):
        return getattr(self._source, name)

    def read(self, channel, region):
        message = "pixels were read"
        raise AssertionError(message)

    def selected(self, start, stop):
        return Untouchable(self._source.selected(start, stop))


def _refuse(*_, **__):
    message = "something was computed"
    raise AssertionError(message)


@pytest.fixture
def nothing_computes(monkeypatch):
    """Let any computation and any reading of pixels fail."""
    monkeypatch.setattr(
        "pystack3d_dask.project.slices.open_source",
        lambda *a, **k: Untouchable(open_source(*a, **k)),
    )
    monkeypatch.setattr(
        "pystack3d_dask.lazy.corrections.open_source",
        lambda *a, **k: Untouchable(open_source(*a, **k)),
    )
    with dask.config.set(scheduler=_refuse):
        yield


@pytest.mark.usefixtures("nothing_computes")
def test_the_guard_notices_computing_and_reading(make_project):
    with pytest.raises(AssertionError, match="computed"):
        ps.open_stack(make_project(None)).compute()
    with (
        dask.config.set(scheduler="synchronous"),
        pytest.raises(AssertionError, match="pixels were read"),
    ):
        ps.open_stack(make_project(None)).compute()


@pytest.mark.usefixtures("nothing_computes")
def test_opening_and_correcting_a_stack_computes_nothing(make_project):
    stack, cropping = ps.open_stack(make_project(None)), ps.Cropping(area=(1, 40, 1, 30))
    with dask.config.set(scheduler="synchronous"):
        images = xr.DataArray(textured((7, 36, 42))[None], dims=("c", "z", "y", "x"))
        cut = ps.correct(images, cropping)
        fits = [
            ps.fit(cut, correction)
            for correction in (
                ps.BackgroundRemoval(orders=(1, 1, 1), skip_factors=(4, 4, 2)),
                ps.BackgroundRemoval(method="local", size=(5, 5, 3)),
                ps.IntensityRescaling(),
                ps.IntensityRescalingArea(),
            )
        ]
    cut = ps.correct(stack, cropping)
    built = [
        cut,
        *(ps.correct(cut, each.correction, fit=each) for each in fits),
        ps.correct(cut, ps.BackgroundRemoval(orders=(1, 1))),
        ps.to_source_type(ps.correct(cut, fits[0].correction, fit=fits[0])),
    ]
    assert all(each.shape == (1, 7, 29, 39) for each in built)
    assert all(isinstance(each.data, da.Array) for each in built)


class Counting(Untouchable):
    """A source that remembers which regions were read."""

    def __init__(self, source) -> None:
        super().__init__(source)
        self.regions = []

    def read(self, channel, region):
        self.regions.append((channel, region.start, region.stop))
        return self._source.read(channel, region)


SELECTIONS = [
    (0, 3),
    (1, slice(None), 5),
    (1, slice(1, None, 3), 5, slice(4, 9)),
    (slice(None), [5, 0, 1], slice(None, None, -2), 7),
    (0, slice(None), [9, 2], slice(40, 2, -5)),
    (0, slice(3, 3)),
]


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_selection_of_a_stack_has_its_values(make_project, selection, dtype):
    project = make_project(None, channels=["ESB", "SE2"], dtype=dtype)
    whole = np.stack([textured((7, 36, 42), dtype, seed) for seed in (0, 1)])
    found = ps.open_stack(project, channels=("ESB", "SE2"))[selection]
    expected = xr.DataArray(whole, dims=("c", "z", "y", "x"))[selection]
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)


def test_only_what_is_selected_of_a_stack_is_read(make_project, monkeypatch):
    counting = Counting(open_source(make_project(None, shape=(40, 36, 42))))
    monkeypatch.setattr("pystack3d_dask.lazy.corrections.open_source", lambda *_, **__: counting)
    stack = ps.open_stack("anywhere")
    stack[0, 10, 4:9].compute(scheduler="synchronous")
    assert counting.regions == [(0, (10, 4, 0), (11, 9, 42))]
    counting.regions.clear()
    stack[0, ::20, :, 7].compute(scheduler="synchronous")
    assert sorted(counting.regions) == [(0, (z, 0, 7), (z + 1, 36, 8)) for z in (0, 20)]
    counting.regions.clear()
    stack[0][10:30][2:9, :, 3][4].compute(scheduler="synchronous")
    assert counting.regions == [(0, (16, 0, 3), (17, 36, 4))]
    counting.regions.clear()
    cropped = ps.correct(stack, ps.Cropping(area=(2, 12, 30, 33)))
    cropped.isel(c=0, z=3).compute(scheduler="synchronous")
    assert {region[1][1:] + region[2][1:] for region in counting.regions} == {(3, 2, 6, 12)}


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.usefixtures("nothing_computes")
def test_opening_and_planning_a_project_computes_nothing(make_project, chain):
    pipeline = ps.Pipeline.from_toml(make_project(params(*CHAINS[chain])))
    assert str(pipeline.plan())


@pytest.mark.usefixtures("nothing_computes")
def test_a_lazy_result_computes_nothing_while_it_is_built(make_project):
    project = make_project(params(*CHAINS["per slice"]))
    pipeline = ps.Pipeline.from_toml(project)
    real = ps.Pipeline.of(replace(pipeline.project, source=open_source(project)))
    real.fit()
    found = pipeline.lazy()
    assert found.shape == (1, 7, 18, 19)
    assert isinstance(found.data, da.Array)


def test_opening_planning_and_building_write_nothing(make_project):
    project = make_project(params(*CHAINS["cropping"]))
    pipeline = ps.Pipeline.from_toml(project)
    pipeline.plan()
    pipeline.lazy().compute()
    assert not (project / "process").exists()


@pytest.mark.parametrize("precision", ["float32", "source"])
@pytest.mark.parametrize("chain", CHAINS)
def test_lazy_result_and_engine_agree_value_for_value(make_project, chain, precision):
    project = make_project(params(*CHAINS[chain], precision), channels=["ESB", "SE2"])
    pipeline = ps.Pipeline.from_toml(project)
    pipeline.run()
    lazy, stored = pipeline.lazy(), ps.open_result(project)
    assert lazy.dtype == stored.dtype == np.uint8
    np.testing.assert_array_equal(lazy, stored)
    xr.testing.assert_identical(
        lazy.coords.to_dataset().reset_coords(drop=True),
        stored.coords.to_dataset().reset_coords(drop=True),
    )


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_they_agree_for_other_types(make_project, dtype):
    project = make_project(params(*CHAINS["spine"]), dtype=dtype)
    pipeline = ps.Pipeline.from_toml(project)
    pipeline.run()
    assert pipeline.lazy().dtype == dtype
    np.testing.assert_array_equal(pipeline.lazy(), ps.open_result(project))


@pytest.mark.parametrize(
    "chunks", [None, {"z": 1}, {"z": 3, "y": 11, "x": 13}], ids=["numpy", "slices", "bricks"]
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_functions_and_engine_agree_value_for_value(make_project, chunks, dtype):
    project = make_project(params(*CHAINS["spine"]), dtype=dtype)
    ps.Pipeline.from_toml(project).run()
    stack = xr.DataArray(textured((7, 36, 42), dtype), dims=("z", "y", "x"))
    stack = stack if chunks is None else stack.chunk(chunks)
    cut = ps.correct(stack, ps.Cropping(area=(2, 38, 3, 30)))
    flattening = ps.BackgroundRemoval(orders=(1, 1, 1), skip_factors=(4, 4, 3), threshold_min=20)
    flat = ps.correct(cut, flattening, fit=ps.fit(cut, flattening))
    matching = ps.IntensityRescaling(nbins=64, filter_size=3)
    even = ps.correct(flat, matching, fit=ps.fit(flat, matching))
    np.testing.assert_array_equal(ps.to_source_type(even), ps.open_result(project)[0])


@pytest.mark.parametrize("chunks", [{"z": 1}, {"z": 3, "y": 11, "x": 13}], ids=["slices", "bricks"])
def test_functions_that_change_the_shape_agree_with_the_engine(make_project, chunks):
    project = make_project(params(*CHAINS["all"]), channels=["ESB", "SE2"])
    ps.Pipeline.from_toml(project).run()
    stack = ps.open_stack(project, channels=("ESB", "SE2")).chunk(chunks)
    cut = ps.correct(stack, ps.Cropping(area=(2, 38, 3, 30)))
    motion = ps.RegistrationCalculation(transformation="RIGID_BODY", area=(0, 30, 2, 25))
    moving = ps.RegistrationTransformation(cropping=True)
    still = ps.correct(cut, moving, fit=ps.fit(cut, motion))
    gabor = ps.Gabor(noise_level=20, sigma=(1, 10))
    clean = ps.correct(still, ps.Destriping(maxit=4, filters=[gabor]))
    even = ps.correct(clean, ps.Resampling(dz=0.013))
    found, expected = ps.to_source_type(even), ps.open_result(project)
    np.testing.assert_array_equal(found, expected)
    for axis in ("z", "y", "x"):
        np.testing.assert_allclose(found[axis], expected[axis])


def test_fitting_is_enough_to_correct_lazily(make_project):
    project = make_project(params(*CHAINS["spine"]))
    pipeline = ps.Pipeline.from_toml(project)
    with pytest.raises(FitRequiredError, match=r"bkg_removal needs its fit .*Pipeline\.fit\(\)"):
        pipeline.lazy()
    fits = pipeline.fit()
    assert set(fits) == {"bkg_removal", "intensity_rescaling"}
    early = pipeline.lazy().compute()
    assert not (project / "process" / "result.zarr").exists()
    pipeline.run()
    np.testing.assert_array_equal(early, ps.open_result(project))


def test_part_of_a_lazy_result_equals_that_part(make_project):
    project = make_project(params(*CHAINS["local"]))
    pipeline = ps.Pipeline.from_toml(project)
    pipeline.run()
    found = pipeline.lazy()[0, 3, 2:9, 4:5]
    np.testing.assert_array_equal(found, ps.open_result(project)[0, 3, 2:9, 4:5])


def test_kept_slices_have_their_positions(make_project):
    project = make_project("ind_min = 2\nind_max = 4\n" + params(*CHAINS["cropping"]))
    found = ps.Pipeline.from_toml(project).lazy()
    np.testing.assert_array_equal(found[0], textured((7, 36, 42))[2:5, 6:33, 2:38])


def test_a_pipeline_without_a_directory_corrects_lazily(make_project):
    project: Path = make_project(params(*CHAINS["cropping"]))
    opened = ps.Pipeline.from_toml(project).project
    pipeline = ps.Pipeline.of(replace(opened, directory=None))
    np.testing.assert_array_equal(pipeline.lazy()[0], textured((7, 36, 42))[:, 6:33, 2:38])
