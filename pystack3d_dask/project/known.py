"""What is on disk already and still valid, and the plan for the rest."""

from __future__ import annotations

from pathlib import Path

from pystack3d_dask.core.chain import Chain
from pystack3d_dask.core.plan import Known, Pass, Plan
from pystack3d_dask.core.planner import make_plan
from pystack3d_dask.core.typing import Arrays
from pystack3d_dask.errors import ParameterError
from pystack3d_dask.io.ome.image import is_complete
from pystack3d_dask.project.manifest import StoreManifest
from pystack3d_dask.project.project import Project

FitsByChannel = dict[str, list[Arrays]]


def plan_project(project: Project) -> Plan:
    """Return the passes that are left to do."""
    fits, known = known_work(project) if project.directory else ({}, Known())
    chains = project.chains(fits)
    _check_decided(chains[0])
    return make_plan(
        chains,
        project.source.channels,
        chunked_source=project.source.chunked,
        known=known,
    )


def _check_decided(chain: Chain) -> None:
    """Check the parameters of steps again once the shape that they find is decided by a fit."""
    decided = False
    for step, spec, out in zip(chain.steps, chain.levels, chain.levels[1:], strict=False):
        wrong = [p for p in step.check(spec) if p.severity == "error"] if decided else []
        if wrong:
            raise ParameterError(wrong)
        decided = (decided or step.output_spec(spec).is_bound) and not out.is_bound


def known_work(project: Project) -> tuple[FitsByChannel, Known]:
    """Return the complete fits on disk, and all that need not be done again."""
    workspace, tokens = project.workspace, project.tokens
    fits, rounds = _load_fits(project)
    stored = {
        level
        for level in range(len(project.steps))
        if _is_stored(workspace.level(project.steps, level), tokens.levels[level])
    }
    if is_complete(workspace.result, tokens.levels[-1]):
        stored.add(len(project.steps))
    result = StoreManifest.load(workspace.result)
    slab = result.slab if result is not None and result.token == tokens.levels[-1] else None
    known = Known(stored=frozenset(stored), fits=frozenset(fits), rounds=rounds, slab=slab)
    return fits, known


def known_fits(project: Project) -> FitsByChannel:
    """Return the complete fits on disk; no other records are looked at."""
    return _load_fits(project)[0]


def tasks_done(project: Project, item: Pass) -> int:
    """Return how many tasks of a planned pass are done, by a run that was interrupted."""
    return len(project.workspace.finished(project.tokens.work(item.work, item.slab)))


def _load_fits(project: Project) -> tuple[FitsByChannel, dict[str, int]]:
    fits: FitsByChannel = {}
    rounds: dict[str, int] = {}
    for index, step in enumerate(project.steps):
        saved = project.workspace.load_fit(step.name, project.tokens.fit(index))
        if saved is not None:
            arrays, rounds[step.name], is_final = saved
            if is_final:
                fits[step.name] = arrays
    return fits, rounds


def _is_stored(path: Path, token: str) -> bool:
    manifest = StoreManifest.load(path)
    return manifest is not None and manifest.matches(token)
