"""What is on disk already and still valid, and the plan for the rest."""

from __future__ import annotations

from pathlib import Path

from pystack3d_dask.io.ome import is_complete
from pystack3d_dask.io.work import attributes
from pystack3d_dask.plan import Known, Plan, make_plan
from pystack3d_dask.project import Project
from pystack3d_dask.spec import Arrays

FitsByChannel = dict[str, list[Arrays]]


def plan_project(project: Project) -> Plan:
    """Return the passes that are left to do."""
    fits, known = known_work(project) if project.directory else ({}, Known())
    return make_plan(
        project.chains(fits),
        project.source.channels,
        chunked_source=project.source.chunked,
        known=known,
    )


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
    known = Known(stored=frozenset(stored), fits=frozenset(fits), rounds=rounds)
    return fits, known


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
    attrs = attributes(path)
    return attrs.get("token") == token and bool(attrs.get("complete"))
