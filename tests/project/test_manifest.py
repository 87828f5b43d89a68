"""What stores say about themselves."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from stacks import STEPS, images, make_project

from pystack3d_dask.core.chain import Work
from pystack3d_dask.core.spec import StackSpec
from pystack3d_dask.io.ome.image import create_result, is_complete
from pystack3d_dask.io.work import create_level
from pystack3d_dask.pipeline import Pipeline
from pystack3d_dask.project.manifest import StoreManifest

BYTE = np.dtype("u1")
SPEC = StackSpec(shape=(5, 6, 7), dtype=BYTE, source_dtype=BYTE)
MANIFEST = StoreManifest(
    token="values",
    maker="pass",
    work=Work(reads=0, end=2, stores=(1, 2)),
    slab=2,
    slices=5,
    channels=2,
    role="result",
)
LEVEL = replace(MANIFEST, role="ingested")


@pytest.fixture
def stores(tmp_path):
    """Return a result and a level with manifests."""
    attrs = MANIFEST.attributes()
    create_result(
        tmp_path / "result", channels=["A", "B"], spec=SPEC, dtype=BYTE, slab=2, attrs=attrs
    )
    create_level(tmp_path / "level", SPEC, 2, BYTE, LEVEL.attributes())
    return tmp_path


def test_manifests_are_kept_by_the_stores(stores):
    assert StoreManifest.load(stores / "result") == MANIFEST
    assert StoreManifest.load(stores / "level") == LEVEL
    for name, manifest in (("result", MANIFEST), ("level", LEVEL)):
        changed = replace(manifest, complete=True, damaged=((0, 1), (1, 2)))
        changed.save(stores / name)
        assert StoreManifest.load(stores / name) == changed
    assert is_complete(stores / "result", "values")


def test_only_what_is_complete_holds_the_values_of_a_token():
    assert not MANIFEST.matches("values")
    assert replace(MANIFEST, complete=True).matches("values")
    assert not replace(MANIFEST, complete=True).matches("other values")


def test_a_damaged_result_is_not_complete_and_a_level_stays_so():
    for manifest, stays in ((MANIFEST, False), (LEVEL, True)):
        damaged = replace(manifest, complete=True).with_damaged([(1, 0), (0, 2)])
        assert damaged.complete is stays
        assert damaged.with_damaged([(0, 2)]).damaged == ((0, 2), (1, 0))


def test_blocks_are_all_slabs_of_all_channels():
    assert MANIFEST.blocks() == [(c, k) for c in (0, 1) for k in range(3)]


@pytest.mark.parametrize("content", [None, "{", "[]", '{"attributes": 3}', "{}"])
def test_a_store_whose_metadata_cannot_be_read_has_no_manifest(stores, content):
    path = stores / "level" / "zarr.json"
    path.unlink() if content is None else path.write_text(content)
    assert StoreManifest.load(stores / "level") is None


@pytest.mark.parametrize("missing", ["token", "pass", "work", "slab", "slices", "channels"])
def test_a_manifest_without_one_of_its_entries_is_none(stores, missing):
    path = stores / "level" / "zarr.json"
    metadata = json.loads(path.read_text())
    del metadata["attributes"][missing]
    path.write_text(json.dumps(metadata))
    assert StoreManifest.load(stores / "level") is None


def test_the_stores_of_a_run_name_the_passes_that_made_them(tmp_path):
    project = make_project(tmp_path / "p", {"bkg_removal": STEPS["bkg_removal"]}, images())
    pipeline = Pipeline.from_toml(project)
    pipeline.run()
    result, *levels = pipeline.project.workspace.stores()
    assert result.manifest.role == "result"
    assert result.manifest.matches(pipeline.project.tokens.levels[-1])
    assert {each.manifest.role for each in levels} == {"ingested"}
    for each in (result, *levels):
        done = pipeline.project.workspace.finished(each.manifest.maker)
        assert done == set(each.manifest.blocks())
