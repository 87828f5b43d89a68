"""Damaged files of real microscopes are read, or named: what the files of tests do not have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from fuzzing import cases, explained, watched
from hypothesis import given
from hypothesis import strategies as st
from real_images import ATLAS, NOISY, PC12, needs

from pystack3d_dask.io.sources import open_source

HEADER = 4096  # bytes at either end, where headers are
MOST = 8  # bytes that change


def files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*.tif") if path.stat().st_size < 2**23)


def damaged(content: bytes, share: float, changes: Sequence[tuple[int, int]]) -> bytes:
    """Return a file cut short, with some bytes changed near its ends."""
    cut = bytearray(content[: max(8, int(share * len(content)))])
    for place, value in changes:
        cut[place % len(cut)] = value
    return bytes(cut)


@pytest.mark.parametrize(
    "directory",
    [pytest.param(each, marks=needs(each)) for each in (ATLAS, NOISY.parent, PC12)],
    ids=lambda path: path.name,
)
@cases(15)
@given(
    which=st.integers(0, 99),
    share=st.one_of(st.just(1.0), st.floats(0, 1)),
    changes=st.lists(
        st.tuples(st.integers(-HEADER, HEADER), st.integers(0, 255)), min_size=1, max_size=MOST
    ),
)
def test_damaged_files_of_microscopes_are_read_or_named(directory, which, share, changes):
    candidates = files(directory)
    content = candidates[which % len(candidates)].read_bytes()
    with TemporaryDirectory() as folder, watched():
        (Path(folder) / "victim.tif").write_bytes(damaged(content, share, changes))

        def read() -> None:
            source = open_source(Path(folder))
            for channel, spec in enumerate(source.specs):
                for z in spec.region.z:
                    source.read(channel, spec.region.with_z(z, z + 1))

        explained(read, "victim.tif", folder)
