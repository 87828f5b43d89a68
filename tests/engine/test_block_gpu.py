"""A pass on a GPU: what goes there and comes back, and where there is no room."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import standin_cupy
from stack_tools import correct, fit, spec_of

from pystack3d_dask.core.chain import Chain, Gather, Work
from pystack3d_dask.corrections.bkg_removal import BackgroundRemoval
from pystack3d_dask.corrections.cropping import Cropping, CroppingFinal
from pystack3d_dask.corrections.destriping import Destriping
from pystack3d_dask.corrections.intensity_rescaling import IntensityRescaling
from pystack3d_dask.corrections.registration_calculation import RegistrationCalculation
from pystack3d_dask.corrections.registration_transformation import RegistrationTransformation
from pystack3d_dask.corrections.resampling import Resampling
from pystack3d_dask.engine.block import run_block
from pystack3d_dask.kernels.backend import NoRoomError, compute_on_gpu
from pystack3d_dask.kernels.casting import cast_measured
from pystack3d_dask.kernels.destriping.noise_model import Filter
from pystack3d_dask.kernels.destriping.wavelets import WaveletDecomposition
from pystack3d_dask.kernels.registration.affine import identities

SLICES, ROWS, COLUMNS = 7, 40, 56
AREA = (2, 54, 3, 39)
GABOR = Filter(name="Gabor", noise_level=20.0, sigma=(1.0, 10.0))
DESTRIPING = Destriping(filters=(GABOR,), maxit=6)
RESAMPLING = Resampling(dz=0.7, z_source=tuple(map(float, range(SLICES))))
STEPS = (
    Cropping(area=AREA),
    BackgroundRemoval(orders=(1, 1, 1), skip_factors=(4, 4, 2)),
    IntensityRescaling(nbins=32, filter_size=3),
    RegistrationCalculation(transformation="TRANSLATION"),
    RegistrationTransformation(mode="edge"),
    DESTRIPING,
    RESAMPLING,
    CroppingFinal(area=(1, 50, 0, 30)),
)


def stack() -> np.ndarray:
    y, x = np.mgrid[:ROWS, :COLUMNS]
    waves = 120 + 50 * np.sin(y / 4) * np.cos(x / 5)
    noise = np.random.default_rng(0).normal(0, 6, (SLICES, ROWS, COLUMNS))
    return (waves + noise + 3 * np.arange(SLICES)[:, None, None]).clip(0, 255).astype(np.uint8)


def motion() -> dict[str, np.ndarray]:
    """Return a fit of registration_calculation: every slice shifted by part of a pixel."""
    pairwise = identities(SLICES, 1)
    pairwise[1:, :, :2, 2] = np.random.default_rng(1).normal(0, 0.7, (SLICES - 1, 1, 2))
    return {"pairwise": pairwise, "origin": np.array([3, 2])}


def chain_of(*steps) -> Chain:
    """Return a chain for the stack, with its fits."""
    images, fits = stack(), {}
    spec = spec_of(images)
    for step in steps:
        if step.name == "registration_calculation":
            fits[step.name] = motion()
        elif step.fit_scope == "stack":
            fits[step.name] = fit(step, images, spec)
        if step.name != "registration_transformation":
            images = correct(step, images, spec)
            spec = Chain((step,), spec, fits=fits).levels[1]
    return Chain(steps, spec_of(stack()), fits=fits)


def run(chain, place=None, stores=(), images=None):
    """Return the slices of the result, and what was found out beside."""
    work = Work(
        reads=0,
        end=len(chain.steps),
        stores=(*stores, len(chain.steps)),
        from_source=True,
        finishes=True,
    )
    images = stack() if images is None else images
    found = {level: [] for level in work.stores}
    report = run_block(
        chain,
        work,
        chain.levels[-1].region,
        lambda region: images[region.slices],
        lambda level, z, image: found[level].append(image),
        place=place,
    )
    assert all(type(image) is np.ndarray for level in found.values() for image in level)
    return np.stack(found[work.end]), report


@pytest.fixture
def cupy(monkeypatch) -> standin_cupy.StandIn:
    return standin_cupy.put_in_place(monkeypatch)


@pytest.fixture(scope="module")
def chain() -> Chain:
    return chain_of(*STEPS)


def test_values_and_figures_are_those_of_the_cpu(cupy, chain):
    expected, told = run(chain, stores=(2, 6))
    found, report = run(chain, compute_on_gpu, stores=(2, 6))
    assert found.dtype == expected.dtype == np.uint8
    differences = np.abs(found.astype(int) - expected)
    assert differences.max() <= 1
    assert np.mean(differences > 0) < 0.001
    assert report.figures.keys() == told.figures.keys()
    for level, figures in told.figures.items():
        for z, own in figures.items():
            there = report.figures[level][z]
            assert there.keys() == own.keys()
            for name, values in own.items():
                close = {"rtol": 1e-3, "atol": 1e-3 if name != "cast" else 1}
                np.testing.assert_allclose(there[name], values, **close)


def test_padding_stays_as_on_the_cpu(cupy, chain):
    images = stack()
    images[:, :9], images[4, :, -20:], images[5] = 0, 0, 0
    chain = replace(chain, fill=(0.0,))
    expected, told = run(chain, stores=(2, 6), images=images)
    found, report = run(chain, compute_on_gpu, stores=(2, 6), images=images)
    assert np.array_equal(found == 0, expected == 0)
    assert 0.1 < np.mean(found == 0) < 0.5
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert report.figures.keys() == told.figures.keys()


def test_each_slice_goes_there_and_comes_back_once_in_the_type_of_the_acquisition(
    cupy, chain, monkeypatch
):
    monkeypatch.setattr("pystack3d_dask.engine.glimpses.SIDE", 4)  # windows come back, too
    run(chain, compute_on_gpu)  # what is the same for all slices stays there
    cupy.uploads.clear()
    cupy.downloads.clear()
    found, _ = run(chain, compute_on_gpu)
    sent = [array for array in cupy.uploads if array.size > ROWS * 4]
    assert [(array.shape, array.dtype) for array in sent] == [((36, 52), np.uint8)] * SLICES
    fetched = [array for array in cupy.downloads if array.ndim == 2 and array.size > ROWS]
    assert [(array.shape, array.dtype) for array in fetched] == [((30, 49), np.uint8)] * len(found)


def test_a_step_without_a_kernel_for_it_computes_here_and_the_next_one_there_again(cupy):
    wavelets = Destriping(wavelet_decomposition=WaveletDecomposition(wavelet="db2", sigma=3.0))
    chain = chain_of(DESTRIPING, wavelets, CroppingFinal(area=AREA))
    expected, _ = run(chain)
    found, _ = run(chain, compute_on_gpu)
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert len([array for array in cupy.uploads if array.size >= 36 * 52]) == 2 * SLICES


class Deep(Destriping):
    """Asks for all slices at once, on the CPU, and takes the step before it for its own."""

    name = "deep"

    @property
    def devices(self):
        return ("cpu",)

    def source(self, out, spec, fitted=None):
        return spec.region

    def apply(self, block, fitted=None):
        return block.values[block.out.relative_to(block.source).slices].astype(np.float32), {}


MESSAGE = "Out of memory allocating 512 bytes"


def room_for(pixels: int):
    """Return what refuses arrays that are larger."""

    def refuse(array):
        if array.size > pixels:
            raise standin_cupy.OutOfMemoryError(MESSAGE)

    return refuse


@pytest.mark.parametrize("last", [Deep(), RESAMPLING], ids=["deep", "resampling"])
def test_slices_go_there_one_by_one_and_are_not_put_together_there(cupy, caplog, last):
    chain = chain_of(DESTRIPING, last)
    expected, _ = run(chain)
    cupy.room = room_for(2 * ROWS * COLUMNS - 1)
    found, _ = run(chain, compute_on_gpu)
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert len([array for array in cupy.uploads if array.ndim == 3]) in (0, SLICES)
    assert bool(caplog.records) == (last is RESAMPLING)  # that needs two at once


class Watched(Destriping):
    """Tells how many slices it gets at once, and of which."""

    def apply(self, block, fitted=None):
        told.append((type(block.values).__module__, list(block.out.z)))
        return super().apply(block, fitted)


told: list[tuple[str, list[int]]] = []
WATCHED = Watched(filters=DESTRIPING.filters, maxit=DESTRIPING.maxit)
THERE = "cupy._core.core"


@pytest.mark.parametrize(
    ("room", "expected", "halved"),
    [
        pytest.param(7, [[0, 1, 2, 3, 4, 5, 6]], 0, id="all"),
        pytest.param(4, [[0, 1, 2], [3, 4, 5], [6]], 1, id="four"),
        pytest.param(2, [[0], [1], [2], [3], [4], [5], [6]], 2, id="two"),
    ],
)
def test_small_slices_are_destriped_in_batches_that_are_halved_where_there_is_no_room(
    cupy, caplog, room, expected, halved
):
    chain = chain_of(Cropping(area=AREA), WATCHED)
    alone, figures = run(chain)
    told.clear()
    cupy.room = room_for(room * 36 * 52)
    with caplog.at_level(logging.INFO, "pystack3d_dask"):
        found, report = run(chain, compute_on_gpu)
    assert told == [(THERE, slices) for slices in expected]
    assert len(caplog.records) == halved
    assert all(MESSAGE in record.getMessage() for record in caplog.records)
    assert np.abs(found.astype(int) - alone).max() <= 1
    taken = [{z: own["iterations"] for z, own in r.figures[2].items()} for r in (report, figures)]
    assert taken[0] == taken[1]


def test_large_slices_are_destriped_one_by_one(cupy, monkeypatch):
    monkeypatch.setattr("pystack3d_dask.corrections.destriping.GPU_PIXELS", ROWS * COLUMNS)
    chain = chain_of(WATCHED)
    told.clear()
    run(chain, compute_on_gpu)
    assert told == [(THERE, [z]) for z in range(SLICES)]


def test_a_batch_has_no_slices_that_resampling_leaves_out(cupy):
    chain = chain_of(WATCHED, Resampling(dz=3.0, z_source=RESAMPLING.z_source))
    told.clear()
    run(chain)
    here = [z for _, slices in told for z in slices]
    told.clear()
    run(chain, compute_on_gpu)
    assert [z for _, slices in told for z in slices] == here
    assert len(here) < SLICES


def test_a_batch_has_no_slices_that_were_computed_for_a_store_before_a_fit(cupy):
    """A fit needs slices before those that the block owns."""
    chain = chain_of(WATCHED, RegistrationCalculation(transformation="TRANSLATION"))
    work = Work(reads=0, end=1, stores=(1,), gathers=(Gather(1),))
    block, images = chain.levels[1].region.with_z(2, 5), stack()
    told.clear()
    run_block(chain, work, block, lambda r: images[r.slices], lambda *_: None, place=compute_on_gpu)
    assert sorted(z for _, slices in told for z in slices) == [0, 1, 2, 3, 4]


def test_where_there_is_no_room_for_one_the_cpu_computes_the_block_and_says_so_once(
    cupy, caplog, chain
):
    expected, _ = run(chain)
    cupy.room = room_for(30 * 49 - 1)
    with caplog.at_level(logging.WARNING, "pystack3d_dask"):
        found, _ = run(chain, compute_on_gpu)
    np.testing.assert_array_equal(found, expected)
    steps = [step.name for step in chain.steps]
    told = ": computed on the CPU, for the GPU has no room for it: " + MESSAGE
    assert [record.getMessage() for record in caplog.records] == [name + told for name in steps]
    halved = 2  # 7 slices, 3, 1
    assert cupy.freed == 2 * (len(steps) + halved)


def test_after_a_slice_without_room_no_batch_is_tried(cupy, caplog):
    chain = chain_of(WATCHED, Resampling(dz=2.5, z_source=RESAMPLING.z_source))
    told.clear()
    expected, _ = run(chain)

    def place(compute):
        if not told:
            raise NoRoomError(MESSAGE)
        return compute_on_gpu(compute)

    told.clear()
    with caplog.at_level(logging.INFO, "pystack3d_dask"):
        found, _ = run(chain, place)
    assert len(told) > 1
    assert {module for module, _ in told} == {"numpy"}
    np.testing.assert_array_equal([z for _, slices in told for z in slices], [0, 2, 3, 5])
    assert len(caplog.records) == 1
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_where_there_is_no_room_now_and_then_the_cpu_goes_on(cupy, chain):
    expected, _ = run(chain)
    calls = iter(range(10**6))

    def refuse(array):
        if array.size >= 30 * 49 and next(calls) % 97 > 93:
            raise standin_cupy.OutOfMemoryError(MESSAGE)

    cupy.room = refuse
    found, _ = run(chain, compute_on_gpu)
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert cupy.uploads


def test_a_result_that_there_is_no_room_to_cast_is_cast_here(cupy, monkeypatch, caplog):
    def cast_where_there_is_room(image, dtype, precision):
        if dtype == np.uint8 and not isinstance(image, np.ndarray):
            raise standin_cupy.OutOfMemoryError(MESSAGE)
        return cast_measured(image, dtype, precision)

    chain = chain_of(DESTRIPING)
    expected, _ = run(chain)
    monkeypatch.setattr("pystack3d_dask.engine.block.cast_measured", cast_where_there_is_room)
    found, _ = run(chain, compute_on_gpu)
    assert np.abs(found.astype(int) - expected).max() <= 1
    told = "casting: computed on the CPU, for the GPU has no room for it: " + MESSAGE
    assert [record.getMessage() for record in caplog.records] == [told]


def test_part_of_a_slice_comes_back_where_there_is_no_room_to_copy_it_first(cupy, monkeypatch):
    images = stack().astype(np.float32)  # nothing is cast
    chain = Chain((DESTRIPING, CroppingFinal(area=(1, 50, 0, 30))), spec_of(images))
    work = Work(reads=0, end=2, stores=(2,), from_source=True, finishes=True)
    found = []

    def emit(level, z, image):
        found.append(image)

    fetched = standin_cupy.DeviceArray.get

    def get(array):
        if array.ndim > 1 and not array._host.flags.c_contiguous:
            raise standin_cupy.OutOfMemoryError(MESSAGE)
        return fetched(array)

    monkeypatch.setattr(standin_cupy.DeviceArray, "get", get)
    region = chain.levels[2].region
    run_block(chain, work, region, lambda r: images[r.slices], emit, place=compute_on_gpu)
    whole = correct(DESTRIPING, images)[
        CroppingFinal(area=(1, 50, 0, 30)).source(region, chain.levels[1]).slices
    ]
    np.testing.assert_allclose(found, whole, rtol=1e-4)


def test_what_several_steps_read_is_sent_once(cupy):
    run(chain_of(RESAMPLING, DESTRIPING), compute_on_gpu)
    assert (
        len([array for array in cupy.uploads if array.ndim == 2 and array.dtype == "u1"]) == SLICES
    )
