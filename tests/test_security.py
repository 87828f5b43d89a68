"""What comes in is data: attacks by parameters, slices, arrays and metadata do nothing.

A canary, a directory that no test wants to have, tells of any program that was run.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from atlas_files import TAG
from conftest import listing, result

import pystack3d_dask as ps
from pystack3d_dask import Pipeline
from pystack3d_dask.errors import ParameterError, SourceError, StackError
from pystack3d_dask.io.microscopes.fibics import parse_slice
from pystack3d_dask.io.microscopes.slice_metadata import LARGEST, MetadataError, SliceMetadata
from pystack3d_dask.io.sources import open_source
from pystack3d_dask.project.record import BlockRecord, DamagedRecordError

SHAPE = (3, 4, 5)


class Intruder:
    """Makes a directory when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self.canary),)


@pytest.fixture
def canary(tmp_path) -> Iterator[Path]:
    path = tmp_path / "canary"
    yield path
    assert not path.exists(), "a program was run"


@pytest.fixture
def pickled(canary) -> bytes:
    return pickle.dumps(Intruder(canary))


def test_the_canary_would_tell(tmp_path):
    path = tmp_path / "canary"
    pickle.loads(pickle.dumps(Intruder(path)))
    assert path.exists()


def wrong(project: Path, text: str) -> dict[str, str]:
    """Return what is wrong with parameters by path, having seen that nothing was written."""
    (project / "params.toml").write_text(text, encoding="utf-8")
    before = listing(project.parent)
    with pytest.raises(ParameterError) as caught:
        Pipeline.from_toml(project)
    assert listing(project.parent) == before
    return {problem.path: problem.message for problem in caught.value.problems}


class TestPaths:
    @pytest.mark.parametrize(
        "channel",
        ["../other", "..", "a/../../other", "{tmp_path}/other", r"..\\other", r"C:\\other"],
    )
    def test_channels_do_not_leave_the_project(self, make_project, tmp_path, channel):
        project = make_project()
        shutil.copytree(project, tmp_path / "other")
        named = channel.replace("{tmp_path}", str(tmp_path))
        found = wrong(project, f'channels = ["{named}"]\nprocess_steps = []\n')
        assert "not inside the directory" in found["channels"]

    @pytest.mark.parametrize("channel", ["a\\u0000b", "a\\nb", "\\u001b[2J"])
    def test_channels_have_no_control_characters(self, make_project, channel):
        found = wrong(make_project(), f'channels = ["{channel}"]\nprocess_steps = []\n')
        assert "control characters" in found["channels"]
        assert found["channels"].isprintable()

    @pytest.mark.parametrize("inside", ["", "raw"])
    def test_directories_that_are_links_do_not_leave_the_project(
        self, make_project, tmp_path, inside
    ):
        project = make_project()
        shutil.copytree(project, tmp_path / "other" / inside, dirs_exist_ok=True)
        (project / "ESB").symlink_to(tmp_path / "other")
        channel = f"ESB/{inside}".rstrip("/")
        found = wrong(project, f'channels = ["{channel}"]\nprocess_steps = []\n')
        assert f" leads to {tmp_path / 'other'}" in found["channels"]
        assert "project_dir" in found["channels"]

    def test_directories_may_be_links_inside_the_project(self, make_project):
        project = make_project(channels=["raw/ESB"])
        (project / "ESB").symlink_to(project / "raw" / "ESB")
        (project / "params.toml").write_text('channels = ["ESB"]\nprocess_steps = []\n')
        assert Pipeline.from_toml(project).project.source.specs[0].shape == (7, 36, 42)

    @pytest.mark.parametrize("channel", [".", "ESB"])
    def test_slices_may_be_links_to_anywhere(self, make_project, tmp_path, channel):
        other = make_project(None, name="other")
        project = tmp_path / "project"
        (project / channel).mkdir(parents=True)
        for path in other.iterdir():
            (project / channel / path.name).symlink_to(path)
        (project / "params.toml").write_text(f'channels = ["{channel}"]\nprocess_steps = []\n')
        Pipeline.from_toml(project).run()
        assert result(project).std() > 5
        assert not (other / "process").exists()

    def test_arrays_and_files_of_pages_may_be_links_to_anywhere(self, tmp_path):
        values = np.arange(60, dtype="uint8").reshape(SHAPE)
        zarr.create_array(tmp_path / "other" / "a.zarr", data=values)
        tifffile.imwrite(
            tmp_path / "other" / "a.tif", values, photometric="minisblack", metadata=None
        )
        project = tmp_path / "project"
        project.mkdir()
        for name in ("a.zarr", "a.tif"):
            (project / name).symlink_to(tmp_path / "other" / name)
            np.testing.assert_array_equal(read(open_source(project, channels=[name])), values)

    @pytest.mark.parametrize("given", ["a\\u0000b", "a" * 9999])
    def test_what_is_no_path_is_said_to_be_none(self, make_project, given):
        found = wrong(make_project(), f'project_dir = "{given}"\nprocess_steps = []\n')
        assert "is no directory" in found["project_dir"]

    @pytest.mark.parametrize(
        "policy",
        [
            "../../x_{slice_nb}_{z_coord}.tif",
            "/x_{slice_nb}_{z_coord}.tif",
            r"..\\x_{slice_nb}_{z_coord}.tif",
            "C:x_{slice_nb}_{z_coord}.tif",
            "x\\u0000_{slice_nb}_{z_coord}.tif",
            "x\\n_{slice_nb}_{z_coord}.tif",
            "..",
            ".{slice_nb}_{z_coord}.tif",
            "{slice_nb}_{z_coord}.",
            "nul.{slice_nb}_{z_coord}.tif",
            "x" * 300 + "_{slice_nb}_{z_coord}.tif",
        ],
    )
    @pytest.mark.parametrize("z_source", ["'names'", "[0, 1, 2, 3, 4, 5, 6]"])
    def test_names_of_new_slices_stay_in_their_directory(self, make_project, policy, z_source):
        table = f'[resampling]\ndz = 0.01\nz_source = {z_source}\npolicy = "{policy}"\n'
        found = wrong(make_project(), f'process_steps = ["resampling"]\n{table}')
        assert list(found) == ["resampling.policy"]
        assert found["resampling.policy"].startswith("names of files expected, ")
        assert found["resampling.policy"].isprintable()

    @pytest.mark.parametrize("place", ["{tmp_path}/secret", "../secret", "/../secret"])
    def test_images_do_not_name_arrays_elsewhere(self, tmp_path, place):
        zarr.create_array(tmp_path / "secret", data=np.full(SHAPE, 42, "uint8"))
        group = tmp_path / "image.zarr"
        inside = place.replace("{tmp_path}", str(tmp_path))
        image = {"axes": [{"name": name} for name in "zyx"], "datasets": [{"path": inside}]}
        zarr.create_group(group, attributes={"ome": {"version": "0.5", "multiscales": [image]}})
        with pytest.raises(SourceError, match=r"image\.zarr"):
            open_source(group)
        if "{tmp_path}" in place:  # one of this name inside is the one that is meant
            zarr.create_array(group / inside.lstrip("/"), data=np.full(SHAPE, 7, "uint8"))
            assert set(read(open_source(group)).ravel()) == {7}

    def test_names_like_those_of_addresses_are_names(self, tmp_path):
        values = np.arange(60, dtype="uint8").reshape(SHAPE)
        zarr.create_array(tmp_path / "memory::a.zarr", data=values)
        np.testing.assert_array_equal(read(open_source(tmp_path / "memory::a.zarr")), values)


class TestParameters:
    @pytest.mark.parametrize(
        "basis",
        [
            "__import__('os').mkdir('{canary}')",
            "x + __import__('os').mkdir('{canary}')",
            "x**999999999",
            "x**" + "9" * 5000,
            "*".join(["x"] * 100_000),
            "+".join(
                f"x**{i}*y**{j}*z**{k}" for i in (9, 99) for j in range(99) for k in range(99)
            ),
            "(" * 100_000 + "x" + ")" * 100_000,
            "x**x**x",
        ],
        ids=["call", "sum", "power", "digits", "product", "terms", "nesting", "tower"],
    )
    def test_a_basis_is_read_and_not_evaluated(self, make_project, canary, basis):
        table = f'[bkg_removal]\npoly_basis = "{basis.replace("{canary}", str(canary))}"\n'
        found = wrong(make_project(), f'process_steps = ["bkg_removal"]\n{table}')
        assert list(found) == ["bkg_removal.poly_basis"]

    @pytest.mark.parametrize("orders", [[999_999_999, 1], [1, 1, 10**18], [99, 99, 99]])
    def test_orders_that_no_memory_holds_are_refused(self, make_project, orders):
        text = f'process_steps = ["bkg_removal"]\n[bkg_removal]\norders = {orders}\n'
        found = wrong(make_project(), text)
        assert list(found) == ["bkg_removal.orders"]

    def test_a_policy_of_many_places_is_not_tried_in_endless_ways(self, make_project):
        policy = "{a}" * 20 + "{z_coord}!"
        project = make_project()
        for path in project.glob("*.tif"):
            path.rename(path.with_name(f"{'a' * 60}{path.name}"))
        text = f'process_steps = ["resampling"]\n[resampling]\ndz = 1\npolicy = "{policy}"\n'
        assert "does not follow" in wrong(project, text)["resampling.policy"]

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("[" * 100_000, "deep inside each other"),
            ("[" * 50 + "]" * 50, "deep inside each other"),
            ("9" * 5000, "not valid TOML"),
            ("{" + ".".join("a" * 1000) + " = 1}", "deep inside each other"),
            ("{" + ". ".join(['"a"'] * 10**6) + " = 1}", "deep inside each other"),
            ('"' + "x" * 2**24 + '"', "characters expected"),
        ],
        ids=["open lists", "lists", "number", "tables", "quoted tables", "text"],
    )
    def test_files_without_measure_are_refused(self, make_project, value, expected):
        assert expected in wrong(make_project(), f"process_steps = []\nhistory = {value}\n")[""]


def read(source) -> np.ndarray:
    return source.read(0, source.specs[0].region)


def spoiled(path: Path, content: bytes, **metadata) -> Path:
    """Write a Zarr array of version 2 whose only chunk is anything."""
    path.mkdir(parents=True)
    usual = {"zarr_format": 2, "shape": SHAPE, "chunks": SHAPE, "dtype": "|u1", "order": "C"}
    usual |= {"compressor": None, "filters": None, "fill_value": 0}
    (path / ".zarray").write_text(json.dumps(usual | metadata))
    (path / ".".join("0" for _ in metadata.get("shape", SHAPE))).write_bytes(content)
    return path


class TestArrays:
    @pytest.mark.parametrize("codec", ["pickle", "json2", "msgpack2", "vlen-array"])
    @pytest.mark.parametrize("dtype", ["|O", "|u1", "<u2", "<f4"])
    @pytest.mark.parametrize("place", ["filters", "compressor"])
    def test_codecs_of_objects_are_refused_by_name(self, tmp_path, pickled, codec, dtype, place):
        coded = {"id": codec, "protocol": 5} if codec == "pickle" else {"id": codec}
        given = {"dtype": dtype, place: [coded] if place == "filters" else coded}
        path = spoiled(tmp_path / "a.zarr", pickled, **given)
        with pytest.raises(SourceError, match=rf"a\.zarr: .*{codec}"):
            open_source(path)

    @pytest.mark.parametrize(
        "dtype", ["|O", [["a", "|O"]], "|S8", "<U8", "<M8[ns]", "|V8", "|b1", "<c8"]
    )
    def test_values_that_are_no_gray_levels_are_refused(self, tmp_path, pickled, dtype):
        with pytest.raises(SourceError, match=r"a\.zarr: "):
            open_source(spoiled(tmp_path / "a.zarr", pickled, dtype=dtype, fill_value=None))

    def test_positions_beside_an_image_are_refused_too(self, tmp_path, pickled):
        path = tmp_path / "image.zarr"
        axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
        image = {"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]}
        group = zarr.create_group(path, zarr_format=2, attributes={"multiscales": [image]})
        group.create_array("0", shape=SHAPE, dtype="uint8")
        assert open_source(path).specs[0].shape == SHAPE
        spoiled(path / "z", pickled, shape=SHAPE[:1], chunks=SHAPE[:1], filters=[{"id": "pickle"}])
        with pytest.raises(SourceError, match=r"image\.zarr: .*pickle"):
            open_source(path)

    def test_codecs_of_version_3_are_those_of_numbers(self, tmp_path, pickled):
        path = tmp_path / "a.zarr"
        zarr.create_array(path, shape=SHAPE, chunks=SHAPE, dtype="uint8")
        metadata = json.loads((path / "zarr.json").read_text())
        metadata["codecs"] = [{"name": "numcodecs.pickle", "configuration": {"id": "pickle"}}]
        (path / "zarr.json").write_text(json.dumps(metadata))
        (path / "c" / "0" / "0").mkdir(parents=True)
        (path / "c" / "0" / "0" / "0").write_bytes(pickled)
        with pytest.raises(SourceError, match=r"a\.zarr: .*pickle"):
            open_source(path)

    def test_results_from_elsewhere_are_data_too(self, make_project, pickled):
        project = make_project("process_steps = []\n")
        Pipeline.from_toml(project).run()
        stored = project / "process" / "result.zarr" / "scale0"
        shutil.rmtree(stored / "z")
        root = stored.parent / "zarr.json"
        metadata = json.loads(root.read_text())
        spoiled(stored / "z", pickled, shape=[7], chunks=[7], filters=[{"id": "pickle"}])
        described = json.loads((stored / "z" / ".zarray").read_text())
        metadata["consolidated_metadata"]["metadata"]["scale0/z"] = described
        root.write_text(json.dumps(metadata))
        with pytest.raises(ValueError, match="pickle"):
            ps.open_result(project).load()

    def test_fits_from_elsewhere_are_numbers(self, tmp_path, canary):
        about = json.dumps({"step": "cropping", "parameters": {}, "shape": [1, 1, 1]})
        objects = np.array([Intruder(canary)], dtype=object)
        np.savez(tmp_path / "fit.npz", allow_pickle=True, about=about, **{"0|a": objects})
        with pytest.raises(StackError, match=r"fit\.npz: a fit that was saved expected"):
            ps.Fit.load(tmp_path / "fit.npz")

    def test_a_fit_that_is_a_pickle_is_none(self, tmp_path, pickled):
        (tmp_path / "fit.npz").write_bytes(pickled)
        with pytest.raises(StackError, match=r"fit\.npz: a fit that was saved expected"):
            ps.Fit.load(tmp_path / "fit.npz")

    def test_records_from_elsewhere_are_numbers(self, make_project, canary):
        project = make_project()
        Pipeline.from_toml(project).run()
        path = min((project / "process" / "work.zarr" / "records").glob("*/*.npz"))
        with np.load(path) as file:
            names = file.files
        objects = np.array([Intruder(canary)], dtype=object)
        np.savez(path, allow_pickle=True, **dict.fromkeys(names, objects))
        channel, number = map(int, path.stem.split("."))
        with pytest.raises(DamagedRecordError):
            BlockRecord(path.parent, channel, number).summaries(names[0].split("|")[1])


HTTP = "http://127.0.0.1:{port}/x"
DOCUMENTS = {
    "entities": '<!DOCTYPE F [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><Fibics>&b;</Fibics>',
    "a file": '<!DOCTYPE F [<!ENTITY a SYSTEM "file://{secret}">]><Fibics>&a;</Fibics>',
    "an address": f'<!DOCTYPE F [<!ENTITY a SYSTEM "{HTTP}">]><Fibics>&a;</Fibics>',
    "a type": f'<!DOCTYPE Fibics SYSTEM "{HTTP}"><Fibics/>',
    "a public type": f'<!DOCTYPE Fibics PUBLIC "-//x" "{HTTP}"><Fibics/>',
    "parameter entities": f'<!DOCTYPE F [<!ENTITY % a SYSTEM "{HTTP}">%a;]><Fibics/>',
}
POINTERS = {
    "a style": f'<?xml-stylesheet href="{HTTP}"?><Fibics/>',
    "a schema": f'<Fibics xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
    f'xsi:noNamespaceSchemaLocation="{HTTP}"/>',
    "an inclusion": '<Fibics xmlns:xi="http://www.w3.org/2001/XInclude"><Image><Detector>'
    '<xi:include href="file://{secret}" parse="text"/></Detector></Image></Fibics>',
}
FILL = LARGEST - 100


@pytest.fixture
def filled(tmp_path) -> Iterator[Callable[[str], str]]:
    """Return what fills in a file and an address; see that nobody has called there."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        yield lambda text: text.replace("{port}", str(port)).replace("{secret}", str(secret))
        server.setblocking(False)
        with pytest.raises(BlockingIOError):  # else somebody waits to be accepted
            server.accept()


class TestMetadata:
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
    @pytest.mark.parametrize("kind", DOCUMENTS)
    def test_a_document_type_is_refused_and_not_fetched(self, filled, kind, encoding):
        with pytest.raises(MetadataError, match=r"a\.tif: .*declare a document type"):
            parse_slice(filled(DOCUMENTS[kind]).encode(encoding), "a.tif")

    @pytest.mark.parametrize("kind", POINTERS)
    def test_what_they_point_at_is_not_fetched(self, filled, kind):
        assert parse_slice(filled(POINTERS[kind]).encode(), "a.tif") == SliceMetadata()

    @pytest.mark.parametrize(
        "content",
        [
            b"<a>" * (FILL // 7) + b"</a>" * (FILL // 7),
            b"<a/>" * (FILL // 4),
            b"<a " + b" ".join(b"a%d=''" % k for k in range(200_000)) + b"/>",
        ],
        ids=["deep", "wide", "attributes"],
    )
    def test_large_ones_take_little(self, content):
        assert parse_slice(b"<Fibics>" + content + b"</Fibics>", "a.tif") == SliceMetadata()

    def test_a_slice_is_opened_without_those_that_are_too_large(self, tmp_path):
        values = np.arange(20, dtype="uint8").reshape(SHAPE[1:])
        xml = b"<Fibics>" + b"<a/>" * (LARGEST // 4) + b"</Fibics>"
        tags = [(TAG, 2, len(xml), xml, True)]
        tifffile.imwrite(tmp_path / "a.tif", values, metadata=None, extratags=tags)
        source = open_source(tmp_path)
        assert "a.tif: tag 51023 holds" in source.notes[0]
        np.testing.assert_array_equal(read(source)[0], values)

    @pytest.mark.parametrize(
        "description",
        [
            "{\"shape\": [__import__('os').mkdir('{canary}')]}",
            "shape=(__import__('os').mkdir('{canary}'),)",
            "ImageJ=1.53\nimages=__import__('os').mkdir('{canary}')\n",
            '<?xml version="1.0"?><!DOCTYPE OME [<!ENTITY a SYSTEM "file://{canary}">]>'
            '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">&a;</OME>',
        ],
        ids=["shaped", "old shaped", "ImageJ", "OME"],
    )
    def test_descriptions_of_slices_are_not_evaluated(self, tmp_path, canary, description):
        values = np.arange(20, dtype="uint8").reshape(SHAPE[1:])
        text = description.replace("{canary}", str(canary))
        tifffile.imwrite(tmp_path / "a.tif", values, metadata=None, description=text)
        with suppress(SourceError):  # nor needs a stack be opened of which they are untrue
            np.testing.assert_array_equal(read(open_source(tmp_path))[0], values)
