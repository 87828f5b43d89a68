"""What a report shows, in which order: sections of charts, made from what is known of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import Any

from pystack3d_dask.core.chain import Chain
from pystack3d_dask.core.charts import Chart, Lines, Table, statistics
from pystack3d_dask.core.formatting import in_units
from pystack3d_dask.core.geometry import assumed_axes, geometry_notes
from pystack3d_dask.core.step import Step
from pystack3d_dask.core.traits import charts_of
from pystack3d_dask.engine.summary import VERSIONED, bad_slice_note, bad_slices, remarks
from pystack3d_dask.errors import StackError
from pystack3d_dask.project.known import plan_project
from pystack3d_dask.project.project import Project
from pystack3d_dask.report.harm import harm_chart
from pystack3d_dask.report.known import PassTaken, RunKnown
from pystack3d_dask.report.pictures import Cube, Cuts
from pystack3d_dask.report.planes import Planes, planes_after, planes_before

SOURCE = "acquisition"
PLANES = "before_and_after"
COSTS = "time_and_memory"
MEGABYTE = 1e6


@dataclass(frozen=True, kw_only=True)
class Group:
    """Charts of one channel.

    Parameters
    ----------
    channel : str
        Its name; empty if the charts are of all channels.
    charts : tuple of Chart
        What is shown.
    notes : tuple of str
        What could not be shown, and why.
    """

    channel: str
    charts: tuple[Chart, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a report.

    Parameters
    ----------
    name : str
        Of the directory for its files, and the anchor.
    title, text : str
        What it is about.
    groups : tuple of Group
        By channel.
    parameters : mapping
        Of the step that it is about.
    """

    name: str
    title: str
    text: str
    groups: tuple[Group, ...]
    parameters: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that a page shows.

    Parameters
    ----------
    title : str
        Name of the project.
    facts : dict of str to str
        What was done to what, at a glance.
    notes : tuple of str
        Slices to look at, and why.
    sections : tuple of Section
        The rest.
    left_to_do : str
        The plan of the passes that a run has still to make; empty when it is complete.
    parameters : mapping
        What the parameter file says.
    versions : dict of str to str
        Of the programs.
    """

    title: str
    facts: dict[str, str]
    notes: tuple[str, ...]
    sections: tuple[Section, ...]
    left_to_do: str
    parameters: Mapping[str, Any]
    versions: dict[str, str]


def make_report(project: Project) -> Report:
    """Return what there is to report of the runs of a project.

    Raises
    ------
    StackError
        When no run has left anything yet.
    """
    known = RunKnown(project)
    if not known.is_complete and not known.passes:
        message = (
            f"{project.workspace.process}: no run has left anything here to report on; "
            "`pystack3d-dask run` makes a result"
        )
        raise StackError(message)
    steps = tuple(_step_section(known, index) for index in range(len(project.steps)))
    summary = known.summary or {}
    return Report(
        title=project.workspace.process.parent.name,
        facts=_facts(known),
        notes=tuple(_notes(known, steps)),
        sections=(_planes_section(known), *(steps or (_source_section(known),)), _costs(known)),
        left_to_do="" if known.is_complete else str(plan_project(project)),
        parameters=project.parameters or {},
        versions=summary.get("versions") or {name: version(name) for name in VERSIONED},
    )


def _facts(known: RunKnown) -> dict[str, str]:
    chain, source = known.chains[0], known.project.source
    summary = known.summary or {}
    last = chain.levels[-1]
    size = "µm not known"
    if last.is_measured:
        dz, dy, dx = last.spacing()
        size = f"{dx:.4g} × {dy:.4g} × {dz:.4g} µm (x, y, z)"
        assumed = assumed_axes(last)
        size += f", cubes assumed: {' and '.join(assumed)} not known" if assumed else ""
    peak = max((each.peak_memory for each in known.passes), default=0)
    facts = {
        "State": "complete" if known.is_complete else "not complete: see what is left to do",
        "Report made": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        **({"Channels": ", ".join(source.channels)} if len(source.channels) > 1 else {}),
        "Before": _extent(chain, 0),
        "After": ("at most " if last.is_bound else "") + _extent(chain, len(chain.steps)),
        "Voxel after": size,
        "Steps": " → ".join(step.name for step in chain.steps) or "none",
        "Precision": known.project.precision,
    }
    if known.project.fill:
        facts["Padding"] = f"gray level {', '.join(f'{each:g}' for each in known.project.fill)}"
    if "seconds" in summary:
        facts["Last run"] = f"{summary['seconds']:.1f} s"
    if peak:
        facts["Peak memory of a process"] = in_units(peak)
    return facts


def _extent(chain: Chain, level: int) -> str:
    slices, rows, columns = chain.levels[level].shape
    return f"{slices} slices of {columns} × {rows} pixels, {chain.result_dtype}"


def _notes(known: RunKnown, sections: Sequence[Section]) -> Iterator[str]:
    project = known.project
    if known.is_complete:
        yield from map(bad_slice_note, bad_slices(project))
    yield from geometry_notes(known.chains[0].levels[-1])
    yield from remarks(project)
    found: dict[tuple[str, str, str], list[str]] = {}
    for index, section in enumerate(sections):
        for group in section.groups:
            spec = known.chains[0].levels[index + 1]
            for chart in group.charts:
                for z, reason in chart.flags.items() if isinstance(chart, Lines) else ():
                    key = (group.channel, spec.listed([z]), reason)
                    found.setdefault(key, []).append(section.title)
    for (channel, name, reason), steps in found.items():
        where = f"{channel}, " if channel else ""
        yield f"{where}{name}: {reason} ({', '.join(steps)})"


def _planes_section(known: RunKnown) -> Section:
    return Section(
        name=PLANES,
        title="Before and after",
        text="Planes through the middle of the stack along all three axes, and the faces of its "
        "cube. Gray levels are stretched between the 0.5th and 99.5th percentile of each stack. "
        "Look at the planes along z (below and at the right): jumps of brightness or position "
        "between slices show there as streaks and steps, curtains as lines along y.",
        groups=tuple(
            _planes_group(known, channel) for channel in range(len(known.project.source.channels))
        ),
        parameters={},
    )


def _planes_group(known: RunKnown, channel: int) -> Group:
    charts: list[Chart] = []
    notes: list[str] = []
    stages = {"before": planes_before, "after": planes_after}
    found: dict[str, Planes] = {}
    for stage, planes_of in stages.items():
        if stage == "after" and not known.is_complete:
            notes.append("There is no complete result yet to show after.")
            continue
        try:
            found[stage] = planes_of(known, channel)
        except (StackError, OSError) as error:
            notes.append(f"The planes {stage} cannot be shown: {error}")
    for stage, planes in found.items():
        charts.append(
            Cuts(
                name=f"planes_{stage}",
                title=f"Planes {stage}",
                text=f"XY, below it XZ, at its right YZ; dashed lines are where the others cut. "
                f"{_how_read(planes)}",
                planes=planes,
            )
        )
    for stage, planes in found.items():
        charts.append(
            Cube(
                name=f"cube_{stage}",
                title=f"Cube {stage}",
                text="The first slice at the front; the first row above and the last column at "
                "the right, z running to the back.",
                planes=planes,
            )
        )
    return Group(channel=_shown(known, channel), charts=tuple(charts), notes=tuple(notes))


def _how_read(planes: Planes) -> str:
    stretch = planes.shown_depth / planes.size[0]
    words = []
    if planes.read < planes.slices:
        words.append(f"Along z {planes.read} of the {planes.slices} slices are shown.")
    if abs(stretch - 1) > 0.01:
        words.append(f"z is drawn {stretch:.2g} times its length.")
    return " ".join(words)


def _step_section(known: RunKnown, index: int) -> Section:
    step = known.project.steps[index]
    words = (type(step).__doc__ or "").strip().splitlines()
    return Section(
        name=step.name,
        title=step.name,
        text=words[0].replace("`", "") if words else "",
        groups=tuple(_step_group(known, step, index, c) for c in range(len(known.chains))),
        parameters=step.parameters(),
    )


def _step_group(known: RunKnown, step: Step, index: int, channel: int) -> Group:
    chain = known.chains[channel]
    figures = {name: each[channel] for name, each in known.figures(index + 1).items()}
    fitted = chain.fitted(index)
    is_own = step.name not in chain.borrowed
    charts = charts_of(step, figures, chain.levels[index], fitted, own=is_own)
    charts += filter(None, [harm_chart(figures)])
    notes = [] if charts else ["No run has come to this step yet."]
    if step.name in chain.borrowed:
        notes.append("This channel uses what was found on another one.")
    return Group(channel=_shown(known, channel), charts=tuple(charts), notes=tuple(notes))


def _source_section(known: RunKnown) -> Section:
    found = known.figures(0)
    groups = (
        Group(channel=_shown(known, k), charts=(statistics({"cast": each}),))
        for k, each in enumerate(found.get("cast", ()))
    )
    text = "There are no steps: slices come out as they are."
    return Section(name=SOURCE, title=SOURCE, text=text, groups=tuple(groups), parameters={})


def _costs(known: RunKnown) -> Section:
    charts = _cost_charts(known.passes) if known.passes else ()
    return Section(
        name=COSTS,
        title="Time and memory",
        text="What the blocks of each pass over the stack took, in all runs that had a part in it.",
        groups=(Group(channel="", charts=tuple(charts)),),
        parameters={},
    )


def _cost_charts(passes: Sequence[PassTaken]) -> Iterator[Chart]:
    yield Table(
        name="passes",
        title="Passes",
        text="Seconds of work are those of all processes together: divided by their number they "
        "are about what one has to wait. Pixels read and written are counted before compression.",
        columns={
            "pass": list(range(1, len(passes) + 1)),
            "does": [each.label for each in passes],
            "blocks": [len(each.seconds) for each in passes],
            "processes": [each.workers for each in passes],
            "seconds of work": [round(float(each.seconds.sum()), 2) for each in passes],
            "read, MB": [each.bytes_read / MEGABYTE for each in passes],
            "written, MB": [each.bytes_written / MEGABYTE for each in passes],
            "peak memory of a process, MB": [each.peak_memory / MEGABYTE for each in passes],
        },
    )
    yield Lines(
        name="blocks",
        title="Seconds per block",
        text="Blocks of a pass should take about the same; the first ones of a process also "
        "compile, and a slow disk or a machine that is busy shows as a slow block.",
        panels={
            f"seconds, pass {number}": {"": each.seconds}
            for number, each in enumerate(passes, start=1)
        },
        x="block",
    )


def _shown(known: RunKnown, channel: int) -> str:
    """Return the name of a channel where there are several."""
    channels = known.project.source.channels
    return channels[channel] if len(channels) > 1 else ""


def all_charts(report: Report) -> Iterator[tuple[Section, Group, Chart]]:
    """Yield every chart, and where it belongs."""
    for section in report.sections:
        for group in section.groups:
            for chart in group.charts:
                yield section, group, chart
