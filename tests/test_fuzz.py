"""Whatever the files and parameters: a right result, or a message that names the culprit.

A few cases run by default, always the same. ``FUZZ_EXAMPLES=1000 pytest tests/test_fuzz.py`` runs
that many others of each test.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from fuzz_files import (
    DTYPES,
    VARIANTS,
    damaged_json,
    damaged_tiffs,
    metadata,
    pixels,
    tiff,
)
from fuzz_params import plausible_settings, plausible_tables, toml_file, wild_tables
from fuzzing import cases, explained, watched
from hypothesis import given
from hypothesis import strategies as st

from pystack3d_dask import Pipeline, open_result
from pystack3d_dask.io.source import Source
from pystack3d_dask.io.sources import open_source


def read_all(path: Path) -> list[Any]:
    """Open a stack and read all of it."""
    source: Source = open_source(path)
    return [source.read(channel, spec.region) for channel, spec in enumerate(source.specs)]


def check_read(path: Path, *culprits: str) -> list[Any] | None:
    """Read a stack, or see that the message names a culprit."""
    with watched():
        found = explained(lambda: read_all(path), *culprits)
    if found is not None:
        assert len({each.shape for each in found}) == 1
    return found


def check_run(project: Path, *culprits: str) -> Any:
    """Run a project, or see that the message names a culprit; a result is what was planned."""

    def corrected() -> Any:
        pipeline = Pipeline.from_toml(project)
        plan = pipeline.plan()
        assert str(plan)
        promised = plan.chains[0].levels[-1]
        pipeline.run()
        again = Pipeline.from_toml(project).plan()
        assert not again.passes
        known = again.chains[0].levels[-1]
        assert all(a <= b for a, b in zip(known.shape, promised.shape, strict=True))
        assert promised.is_bound or known.shape == promised.shape
        image = open_result(pipeline.project.directory)
        assert image.shape == (len(pipeline.project.source.channels), *known.shape)
        assert image.dtype == pipeline.project.source.specs[0].dtype
        values = image.values
        assert np.isfinite(values).all()
        return values

    with watched():
        return explained(corrected, *culprits)


@cases(60)
@given(data=damaged_tiffs(pages=3), others=st.integers(0, 2))
def test_damaged_slices_are_read_or_named(data: bytes, others: int) -> None:
    with TemporaryDirectory() as folder:
        for k in range(others):
            (Path(folder) / f"s{k}.tif").write_bytes(tiff("uint8", k))
        (Path(folder) / "victim.tif").write_bytes(data)
        check_read(Path(folder), "victim.tif", *([str(folder)] if others else []))


@cases(20)
@given(data=damaged_tiffs(), others=st.integers(0, 3))
def test_damaged_slices_are_corrected_or_named(data: bytes, others: int) -> None:
    with TemporaryDirectory() as folder:
        for k in range(others):
            (Path(folder) / f"s{k}.tif").write_bytes(tiff("uint8", 0))
        (Path(folder) / "victim.tif").write_bytes(data)
        tables = {"intensity_rescaling": {"nbins": 16}, "cropping": {"area": [1, 9, 0, 99]}}
        (Path(folder) / "params.toml").write_text(toml_file(tables, {}))
        # the header of the only slice may tell of one column, of which the area leaves none
        check_run(Path(folder), "victim.tif", "cropping.area", *([str(folder)] if others else []))


@cases(60)
@given(
    dtype=st.sampled_from(DTYPES),
    variant=st.integers(0, len(VARIANTS) - 1),
    pages=st.integers(1, 3),
    share=st.floats(0, 1, exclude_max=True),
)
def test_a_truncated_file_is_named_or_was_not_needed_whole(
    dtype: str, variant: int, pages: int, share: float
) -> None:
    data = tiff(dtype, variant, pages)
    with TemporaryDirectory() as folder:
        (Path(folder) / "victim.tif").write_bytes(data[: int(share * len(data))])
        found = check_read(Path(folder), "victim.tif")
        if found is not None:
            whole = [pixels(dtype, page).astype(found[0].dtype) for page in range(pages)]
            np.testing.assert_array_equal(found[0], whole)


@cases(30)
@given(tags=st.lists(metadata(), min_size=1, max_size=3), named=st.booleans())
def test_metadata_never_keep_a_stack_closed(tags: list[bytes], named: bool) -> None:
    with TemporaryDirectory() as folder:
        for k, value in enumerate(tags):
            name = f"slice_{k}_z={k}um.tif" if named else f"{k}.tif"
            tag = (51023, 2, len(value), value, True)
            tifffile.imwrite(Path(folder) / name, pixels("uint8"), extratags=[tag], metadata=None)
        found = check_read(Path(folder))
        np.testing.assert_array_equal(found, [[pixels("uint8")] * len(tags)])


SLICES = ("slice", "not finite", "all nan", "other type", "other shape", "two pages", "color")
ENTRIES = st.just("slice") | st.sampled_from(
    [*SLICES, "empty", "text", "folder", "dangling", "loop", "pipe"]
)
ODD = ("é", "日本", "😀 z=1um", "z=" + "9" * 200 + "um", ".hidden", "a b", "x" * 240, "slice_zum")
POSITIONS = ("0.0000", "0.0100", "0.0200", "0.0300", "0.0700", "1e5", "-0.1", "nan", "inf")
NAMES = st.sampled_from(
    [*ODD, "SLICE_0010_z=1um", *(f"slice_{k:04d}_z={z}um" for k, z in enumerate(POSITIONS))]
) | st.builds("slice_{:04d}_z={:.2f}um".format, st.integers(9, 30), st.sampled_from([0.01, 0.09]))


@cases(40)
@given(
    entries=st.lists(st.tuples(NAMES, ENTRIES), max_size=5, unique_by=lambda each: each[0]),
    shape=st.sampled_from([(1, 1), (1, 9), (13, 17)]),
    tables=st.sampled_from([{}, {"resampling": {"dz": 0.005}}, {"intensity_rescaling": {}}]),
)
def test_odd_directories_are_corrected_or_what_is_odd_is_named(
    entries: list[tuple[str, str]], shape: tuple[int, int], tables: dict[str, Any]
) -> None:
    with TemporaryDirectory() as folder:
        for k, (name, kind) in enumerate(entries):
            make_entry(Path(folder) / f"{name}.tif", kind, pixels("float32", k, shape))
        (Path(folder) / "params.toml").write_text(toml_file(tables, {}))
        names = [f"{name}.tif" for name, _ in entries]
        check_run(Path(folder), "resampling.", folder, *names)


def make_entry(path: Path, kind: str, image: Any) -> None:
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("no image")
    elif kind == "folder":
        path.mkdir()
    elif kind in ("dangling", "loop"):
        path.symlink_to(path.name if kind == "loop" else "nowhere.tif")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "two pages":
        tifffile.imwrite(path, np.stack([image, image]), photometric="minisblack")
    elif kind == "color":
        tifffile.imwrite(path, np.zeros((8, 9, 3), "uint8"), photometric="rgb")
    else:
        image = image.astype("uint8") if kind == "other type" else image
        image = np.zeros((3, 4), "float32") if kind == "other shape" else image
        if kind == "not finite":
            image.flat[::3] = [np.nan, np.inf, -np.inf][image.size % 3]
        elif kind == "all nan":
            image[:] = np.nan
        tifffile.imwrite(path, image, photometric="minisblack")


@pytest.fixture(scope="module")
def zarrs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return Zarr arrays and images of several kinds."""
    folder = tmp_path_factory.mktemp("zarrs")
    stack = np.stack([pixels("uint16", k) for k in range(5)])
    made = {kind: folder / kind for kind in ("v2", "v3", "sharded", "ome04", "ome05")}
    zarr.create_array(made["v2"], data=stack, chunks=(2, 8, 8), zarr_format=2)
    zarr.create_array(made["v3"], data=stack, chunks=(2, 8, 8))
    zarr.create_array(made["sharded"], data=stack, chunks=(1, 8, 8), shards=(2, 16, 24))
    for kind, version in (("ome04", 2), ("ome05", 3)):
        group = zarr.create_group(made[kind], zarr_format=version)
        group.create_array("0", data=stack, chunks=(2, 8, 8))
        group.create_array("z", data=np.arange(5) * 0.01)
        axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]
        scale = [{"type": "scale", "scale": [0.01, 0.02, 0.02]}]
        image = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
        omero = {"channels": [{"label": "ESB"}]}
        content = {"multiscales": [image], "omero": omero}
        group.attrs.update(content if version == 2 else {"ome": {"version": "0.5", **content}})
    return made


@cases(60)
@given(data=st.data(), kind=st.sampled_from(["v2", "v3", "sharded", "ome04", "ome05"]))
def test_damaged_zarrs_are_corrected_or_named(
    data: st.DataObject, kind: str, zarrs: dict[str, Path]
) -> None:
    with TemporaryDirectory() as folder:
        stack = Path(folder) / "stack.zarr"
        shutil.copytree(zarrs[kind], stack)
        files = sorted(path for path in stack.rglob("*") if path.is_file())
        texts = [path for path in files if path.name.startswith(".") or path.suffix == ".json"]
        victims = data.draw(st.lists(st.sampled_from(texts * 3 + files), min_size=1, max_size=2))
        for victim in victims:
            spoil(victim, data, is_json=victim in texts)
        steps = data.draw(
            st.sampled_from([{}, {"resampling": {"dz": 0.004}}, {"bkg_removal": LOCAL}])
        )
        (Path(folder) / "params.toml").write_text(toml_file(steps, {}))
        check_run(Path(folder), "stack.zarr", folder, "resampling.", "bkg_removal.")


LOCAL = {"method": "local", "size": [0.1, 0.1, 0.03], "size_unit": "um"}


def spoil(victim: Path, data: st.DataObject, *, is_json: bool) -> None:
    if not victim.exists():
        return
    content = victim.read_bytes()
    if is_json and content:
        try:
            victim.write_bytes(data.draw(damaged_json(content)))
        except ValueError:  # it is spoilt already
            victim.unlink()
    elif data.draw(st.booleans()):
        victim.unlink()
    elif data.draw(st.booleans()):
        victim.write_bytes(content[: data.draw(st.integers(0, max(0, len(content) - 1)))])
    elif content:
        at = data.draw(st.integers(0, len(content) - 1))
        victim.write_bytes(content[:at] + data.draw(st.binary(max_size=4)) + content[at + 1 :])


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slices")
    for k in range(4):
        name = f"slice_{k:04d}_z={k * 0.01:.4f}um.tif"
        tifffile.imwrite(folder / name, pixels("uint8", k, (20, 26)))
    return folder


@cases(60)
@given(content=wild_tables())
def test_wild_parameters_work_or_are_named(content: Any, slices: Path) -> None:
    tables, settings = content
    with TemporaryDirectory() as folder:
        for path in slices.iterdir():
            os.link(path, Path(folder) / path.name)
        (Path(folder) / "params.toml").write_text(toml_file(tables, settings), encoding="utf-8")
        check_run(Path(folder), *tables, *settings)


@cases(40)
@given(data=st.data())
def test_garbled_parameter_files_are_named(data: st.DataObject, slices: Path) -> None:
    tables = data.draw(plausible_tables(most=2))
    text = bytearray(toml_file(tables, data.draw(plausible_settings)).encode())
    junk = st.sampled_from(
        [b"[" * 5000, b"{a=" * 3000, b"9" * 5000, b"\0", b"\xff", b'"', b"\n", b""]
    )
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        text[at : at + data.draw(st.integers(0, 3))] = data.draw(junk | st.binary(max_size=3))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "params.toml"
        path.write_bytes(text)
        (Path(folder) / "project").symlink_to(slices)
        with watched():
            explained(lambda: Pipeline.from_toml(path).plan(), str(folder))


@st.composite
def stacks(draw: st.DrawFn) -> Any:
    """Return a tiny stack: noise, a ramp, one value; sometimes with what no value should be."""
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 40), st.integers(1, 40)))
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    top = 250.0 if dtype == "uint8" else draw(st.sampled_from([1.0, 250.0, 3e4]))
    kinds = {
        "noise": rng.random(shape),
        "ramp": np.linspace(0, 1, shape[2])
        * np.linspace(0.5, 1, shape[1])[:, None]
        * np.ones(shape),
        "constant": np.full(shape, 0.5),
        "zero": np.zeros(shape),
        "blank slices": rng.random(shape) * (np.arange(shape[0]) % 2)[:, None, None],
        "waves": 0.5 + 0.4 * np.sin(sum(np.ogrid[tuple(slice(n) for n in shape)]) / 3.0),
    }
    stack = (top * kinds[draw(st.sampled_from(sorted(kinds)))]).astype(dtype)
    if dtype.kind == "f":
        scale = draw(st.sampled_from([1.0] * 8 + [-1.0, 1e-30, 1e30]))
        stack *= dtype.type(scale)
        bad = draw(st.sampled_from([None] * 4 + [np.nan, np.inf, -np.inf]))
        if bad is not None:
            stack.flat[:: draw(st.integers(1, 50))] = bad
    return stack


@cases(60)
@given(stack=stacks(), tables=plausible_tables(), settings=plausible_settings)
def test_plausible_chains_give_what_was_planned(
    stack: Any, tables: Any, settings: dict[str, Any]
) -> None:
    with TemporaryDirectory() as folder:
        for z, image in enumerate(stack):
            path = Path(folder) / f"slice_{z:04d}_z={z * 0.01:.4f}um.tif"
            tifffile.imwrite(path, image, photometric="minisblack")
        (Path(folder) / "params.toml").write_text(toml_file(tables, settings))
        check_run(Path(folder), *tables, *settings)
