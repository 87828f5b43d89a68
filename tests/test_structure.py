"""The packages: few at the top, and no imports in circles, those inside functions included."""

from __future__ import annotations

from graphlib import TopologicalSorter
from pathlib import Path

import grimp

import pystack3d_dask

PACKAGE = Path(pystack3d_dask.__file__).parent
MOST_AT_THE_TOP = 8


def test_no_imports_go_in_circles():
    graph = grimp.build_graph("pystack3d_dask", cache_dir=None)
    assert len(graph.modules) > 100
    imports = {each: graph.find_modules_directly_imported_by(each) for each in graph.modules}
    TopologicalSorter(imports).prepare()  # raises CycleError, which names them


def test_few_modules_stand_at_the_top():
    assert 1 < len(list(PACKAGE.glob("[a-z]*.py"))) <= MOST_AT_THE_TOP


def test_no_module_is_longer_than_600_lines():
    long = {
        str(path.relative_to(PACKAGE)): count
        for path in PACKAGE.rglob("*.py")
        if (count := len(path.read_text().splitlines())) > 600
    }
    assert not long
