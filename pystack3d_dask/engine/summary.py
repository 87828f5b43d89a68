"""What a run leaves to be read afterwards: figures per slice, and ``summary.json``."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from pystack3d_dask.core.cards import Share, card, pairs, table
from pystack3d_dask.core.formatting import duration, in_units
from pystack3d_dask.core.stack_fit import stack_fit
from pystack3d_dask.core.traits import FindsBadSlices
from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.engine.clipped import clipped_remarks
from pystack3d_dask.engine.empty_levels import empty_remarks
from pystack3d_dask.engine.glimpses import harm_remarks
from pystack3d_dask.engine.padding import padding_remarks
from pystack3d_dask.io.wrappers.mended import acquisition
from pystack3d_dask.io.zarr.arrays import load_arrays, save_arrays
from pystack3d_dask.io.zarr.chunk import replacing
from pystack3d_dask.project.known import known_work
from pystack3d_dask.project.project import Project
from pystack3d_dask.project.record import level_name

VERSIONED = ("pystack3d-dask", "dask", "distributed", "numba", "numpy", "scipy", "zarr")


@dataclass(frozen=True, kw_only=True)
class PassSummary:
    """What a pass took."""

    label: str
    tasks: int
    resumed: int
    seconds: float
    bytes_read: int
    bytes_written: int
    peak_memory: int


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """What a run did.

    Parameters
    ----------
    result : Path
        The result, an OME-Zarr image.
    seconds : float
        Time in all.
    passes : tuple of PassSummary
        Empty when the result was there already.
    bad_slices : tuple of dict
        Channel and slice; with the reason and what was done where the slice cannot be read,
        with the number of pixels where NaN and infinity were replaced, and whether the slice
        is blank since no other pixel was valid.
    bad_content : tuple of dict
        Channel, slice and reason of the slices that a correction found bad by what they show.
    remarks : tuple of str
        What users should know about the fits, such as slices that had no part in one, and
        about pixels that were clipped.
    notes : tuple of str
        What was worth saying when the project was opened, such as parameters that can hardly
        be meant; ``summary.json`` has them first among its remarks.
    """

    result: Path
    seconds: float
    passes: tuple[PassSummary, ...]
    bad_slices: tuple[dict[str, Any], ...] = ()
    bad_content: tuple[dict[str, Any], ...] = ()
    remarks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        return summary_card(self)


def summary_card(summary: RunSummary) -> str:
    """Return what a run did, pass by pass, and what users should know about it."""
    facts = {"result": str(summary.result), "time": duration(summary.seconds)}
    longest = max((item.seconds for item in summary.passes), default=1.0)
    rows: list[list[str | Share]] = [
        [
            item.label,
            f"{item.tasks:,}" + (f" + {item.resumed:,} from before" if item.resumed else ""),
            in_units(item.bytes_read),
            in_units(item.bytes_written),
            in_units(item.peak_memory),
            f"{item.seconds:.1f} s",
            Share(item.seconds / longest, f"{item.seconds:.1f} s"),
        ]
        for item in summary.passes
    ]
    head = ["pass", "tasks", "read", "wrote", "memory", "time", ""]
    notes = [*summary.notes, *map(bad_slice_note, summary.bad_slices), *summary.remarks]
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
    done = table(head, rows) if rows else "<p>Nothing was left to do.</p>"
    return card("Result", pairs(facts) + done + (f"<ul>{listed}</ul>" if listed else ""))


def save_figures(
    project: Project, level: int, channels: Sequence[Mapping[int, Arrays]], slices: int
) -> None:
    """Store the figures of a level as arrays of shape (channels, slices, ...).

    ``raw`` and ``cast`` are minimum, maximum and mean of what the step computed and of what
    that became in the level's type, ``before`` those of its input. Slices that were not
    computed are NaN.
    """
    arrays = by_slice(channels, slices)
    before = load_figures(project, level - 1) if level else {}
    if "cast" in before:
        arrays["before"] = before["cast"]
    save_arrays(_figures(project, level), arrays, project.tokens.levels[level])


def by_slice(channels: Sequence[Mapping[int, Arrays]], slices: int) -> Arrays:
    """Return figures as arrays of shape (channels, slices, ...), NaN where there are none."""
    arrays: dict[str, Array] = {}
    for channel, found in enumerate(channels):
        for z, values in found.items():
            for key, value in values.items():  # integers have no bad pixels, floats may
                if key not in arrays:
                    arrays[key] = np.full((len(channels), slices, *np.shape(value)), np.nan)
                arrays[key][channel, z] = value
    return arrays


def load_figures(project: Project, level: int) -> Arrays:
    """Return the figures of a level, none while they are not known."""
    found = load_arrays(_figures(project, level), project.tokens.levels[level])
    return {} if found is None else found[0]


def _figures(project: Project, level: int) -> Path:
    return project.workspace.work / "figures" / level_name(project.steps, level)


def bad_slices(project: Project) -> list[dict[str, Any]]:
    """Return what was bad in slices, by channel and name: what `RunSummary` lists."""
    return [*_left_out(project), *_stood_in_for(project), *_repaired(project)]


def bad_content(project: Project) -> list[dict[str, Any]]:
    """Return the slices that are bad by what they show: what `RunSummary` lists."""
    found: list[dict[str, Any]] = []
    chains = project.chains(known_work(project)[0])
    for channel, chain in zip(project.source.channels, chains, strict=True):
        for step, spec in zip(chain.steps, chain.levels, strict=False):
            is_its_own = step.name in chain.fits and step.name not in chain.borrowed
            if isinstance(step, FindsBadSlices) and is_its_own:
                names = spec.names or tuple(map(str, range(spec.shape[0])))
                found += [
                    {"channel": channel, "slice": names[z], "reason": reason}
                    for z, reason in step.bad_content(chain.fits[step.name]).items()
                ]
    return found


def bad_slice_note(bad: Mapping[str, Any]) -> str:
    """Return one of the `bad_slices` in words."""
    where = f"{bad['channel']}, {bad['slice']}"
    if "reason" in bad:
        return f"{where}: unreadable and {bad['done']}: {bad['reason']}"
    if bad.get("blank"):
        return (
            f"{where}: blank, all of it is 0: none of its {bad['bad_pixels']} pixels is valid, "
            "all are NaN or infinite"
        )
    return (
        f"{where}: {bad['bad_pixels']} pixels were NaN or infinite and took the nearest valid value"
    )


def _left_out(project: Project) -> Iterator[dict[str, Any]]:
    names = acquisition(project.source).names
    for channel, z, reason in project.scan.unreadable if project.scan else ():
        place = {"channel": project.source.channels[channel], "slice": names[z]}
        yield {**place, "reason": reason, "done": "left out"}


def _stood_in_for(project: Project) -> Iterator[dict[str, Any]]:
    for channel, z, _ in _marked(project, "lost"):
        loss = project.source.loss(channel, z)
        if loss is not None:
            yield {**_place(project, channel, z), **loss._asdict()}


def _repaired(project: Project) -> Iterator[dict[str, Any]]:
    blank = {(channel, z) for channel, z, _ in _marked(project, "blank")}
    for channel, z, count in _marked(project, "bad_pixels"):
        found = {"bad_pixels": count, "blank": (channel, z) in blank}
        yield {**_place(project, channel, z), **found}


def _marked(project: Project, figure: str) -> Iterator[tuple[int, int, int]]:
    """Yield channel, slice and value where a figure of the source is known and not 0."""
    values = np.nan_to_num(load_figures(project, 0).get(figure, np.zeros((0, 0))))
    for channel, z in np.argwhere(values).tolist():
        yield channel, z, int(values[channel, z])


def _place(project: Project, channel: int, z: int) -> dict[str, Any]:
    return {"channel": project.source.channels[channel], "slice": project.source.names[z]}


def remarks(project: Project) -> list[str]:
    """Return what the steps have to say about the fits that are known, and what was clipped."""
    found: dict[str, None] = {}
    channels = project.source.channels
    figures = [load_figures(project, level) for level in range(len(project.steps) + 1)]
    chains = project.chains(known_work(project)[0])
    for index, (channel, chain) in enumerate(zip(channels, chains, strict=True)):
        where = f"{channel}: " if len(channels) > 1 else ""
        for step, spec in zip(chain.steps, chain.levels, strict=False):
            if step.name in chain.fits and step.name not in chain.borrowed:
                texts = stack_fit(step).remarks(chain.fits[step.name], spec)
                found.update(dict.fromkeys(where + text for text in texts))
        own = [{name: values[index] for name, values in known.items()} for known in figures]
        for remarks in (harm_remarks, clipped_remarks, empty_remarks, padding_remarks):
            found.update(dict.fromkeys(where + text for text in remarks(chain, own)))
    return list(found)


def is_summarized(project: Project) -> bool:
    """Return whether ``summary.json`` is about the project as it is now."""
    try:
        content = json.loads(project.workspace.summary.read_bytes())
        return bool(content["token"] == project.tokens.levels[-1])
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return False


def write_summary(project: Project, summary: RunSummary) -> None:
    """Write ``summary.json``."""
    chain = project.chains()[0]
    content = {
        "token": project.tokens.levels[-1],
        "versions": {name: version(name) for name in VERSIONED}
        | {"python": platform.python_version()},
        "source": {
            "channels": list(project.source.channels),
            "shape": list(chain.source.shape),
            "types": [str(spec.source_dtype) for spec in project.source.specs],
            "fingerprint": project.source.fingerprint,
        },
        "parameters": dict(project.parameters or {}),
        "precision": project.precision,
        "dither": project.dither,
        "fill": list(project.fill),
        "steps": [{"name": step.name, **step.parameters()} for step in project.steps],
        "result": str(summary.result.name),
        "seconds": summary.seconds,
        "passes": [asdict(item) for item in summary.passes],
        "bad_slices": list(summary.bad_slices),
        "bad_content": list(summary.bad_content),
        "remarks": [*summary.notes, *summary.remarks],
    }
    with replacing(project.workspace.summary) as file:
        file.write((json.dumps(content, indent=2, default=str) + "\n").encode())
