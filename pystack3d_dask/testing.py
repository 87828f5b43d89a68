"""A contract test for corrections: ours, and those that other packages bring.

The engine relies on these rules when it cuts a stack, sends steps around and plans memory.
"""

from __future__ import annotations

import importlib
import io
import pickle
import tracemalloc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from pystack3d_dask.core.block import Block
from pystack3d_dask.core.chain import Chain, Gather, Work, slabs
from pystack3d_dask.core.spec import Region, StackSpec
from pystack3d_dask.core.stack_fit import StackFit, fitted_in_rounds, stack_fit
from pystack3d_dask.core.step import Fits, Step
from pystack3d_dask.core.traits import ReferenceLayout, ReportCharts, charts_of
from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.engine.block import run_block
from pystack3d_dask.kernels.casting import cast

SHAPE = (9, 37, 53)
SLABS, TILE = (1, 2, 5), (5, 17, 20)
LARGE = 1024  # pixels along y and x where memory is measured
SCRATCH_SHARE, SCRATCH_BYTES, GPU_SHARE = 0.25, 1 << 20, 0.999


def check_step(
    step: Step, spec: StackSpec | None = None, images: Array | None = None, fits: Fits | None = None
) -> None:
    """Check that a step keeps the rules that every correction has to keep.

    Equal steps have equal parameters and can be pickled; the input is read-only;
    `output_spec`, `source`, `summary_source` and `scratch_bytes` tell the truth; the fit is
    made of plain arrays, and can be estimated from some slices; figures have one entry per
    slice; charts have names of their own, and can be made while little is known; values depend
    on micrometers only where `in_micrometers` says so; a stack of zeros gives finite values; and
    all results are the same however the stack is cut, in whatever order its blocks come. Checked
    in both precisions, and on values that an earlier step made float32; on a GPU where CuPy finds
    one.

    Parameters
    ----------
    step : Step
        The correction with its parameters.
    spec : StackSpec, optional
        A stack that the parameters suit. By default uint8 and uint16, 9 slices of 37 x 53.
    images : ndarray, shape ``spec.shape``, optional
        Its pixels; noise on a smooth background by default.
    fits : mapping, optional
        The fits of other steps that this one needs, by step name.

    Raises
    ------
    AssertionError
        Naming the first rule that is broken, the step, the stack and what was found.

    Examples
    --------
    >>> from pystack3d_dask.corrections.cropping import Cropping
    >>> check_step(Cropping(area=(5, 30, 0, 20)))
    """
    for case in _cases(step, spec, images, fits or {}):
        before = case.images.copy()
        try:
            _check_identity(case)
            chain = _check_fit(case)
            reference, figures = _check_apply(case, chain)
            changed = _difference(before, case.images)
            case.require(not changed, "read-only input", f"the input {changed}")
            _check_cuts(case, chain, reference, figures)
            _check_charts(case, chain, reference, figures)
            _check_micrometers(case, reference)
            _check_blank(case)
            if "gpu" in step.devices:
                _check_gpu(case, chain, reference)
            _check_scratch(case)
        except AssertionError:
            raise
        except Exception as error:  # a broken step may raise anything
            frozen = "read-only" in str(error) or "readonly" in str(error)
            found = "; ".join([repr(error), *getattr(error, "__notes__", ())])
            message = case.broken("read-only input" if frozen else "runs", found)
            raise AssertionError(message) from error


@dataclass(frozen=True)
class _Case:
    """A step on one stack."""

    step: Step
    spec: StackSpec
    images: Array
    others: Fits

    def broken(self, rule: str, found: str) -> str:
        spec = self.spec
        stack = f"{spec.dtype} of a {spec.source_dtype} stack, {spec.shape}, {spec.precision!r}"
        return f"{self.step.name} breaks the rule {rule!r}: {found} ({stack})"

    def require(self, holds: Any, rule: str, found: str) -> None:
        if not holds:
            raise AssertionError(self.broken(rule, found))

    def read(self, region: Region) -> Array:
        self.require(region == region.clipped(self.spec.shape), "source", f"{region} lies outside")
        block = self.images[region.slices]
        block.flags.writeable = False
        return block

    def apply(self, chain: Chain, out: Region, sent: Any = np.asarray) -> tuple[Any, Arrays]:
        source, step = chain.step_source(0, out), chain.steps[0]
        block = Block(sent(self.read(source)), source, out, self.spec)
        try:
            return step.apply(block, chain.fitted(0))
        except Exception as error:
            error.add_note(f"apply was asked for {out.start} to {out.stop} of (z, y, x)")
            raise


def _cases(step: Step, own: StackSpec | None, images: Any, fits: Fits) -> Iterator[_Case]:
    shape = SHAPE if images is None else Region.full(images.shape).shape
    scale: Any = {"z": tuple(0.02 * k for k in range(shape[0])), "pixel_size": (0.01, 0.01)}
    types = [np.dtype(t) for t in ("u1", "u2")] if images is None else [images.dtype]
    defaults = [StackSpec(shape=shape, dtype=t, source_dtype=t, **scale) for t in types]
    for spec in [own] if own else defaults:
        pixels = _pixels(spec) if images is None else np.array(images, spec.dtype)
        yield _Case(step, replace(spec, precision="float32"), pixels, fits)
        if spec.dtype == spec.source_dtype:
            yield _Case(step, replace(spec, precision="source"), pixels, fits)
            later = replace(spec, precision="float32", dtype=np.dtype("f4"))
            yield _Case(step, later, pixels.astype("f4") * np.float32(0.93), fits)


def _pixels(spec: StackSpec) -> Array:
    z, y, x = np.ogrid[tuple(slice(0, 1, n * 1j) for n in spec.shape)]
    noise = np.random.default_rng(0).normal(0, 0.08, spec.shape)
    values = 0.4 + 0.15 * x - 0.1 * y**2 + 0.1 * np.sin(5 * z) + noise
    top = 250 if spec.source_dtype.itemsize == 1 else 5000
    return np.asarray((top * values.clip(0, 1)).astype(spec.dtype))


def _check_identity(case: _Case) -> None:
    step = case.step
    try:
        copies = (pickle.loads(pickle.dumps(step)), replace(step))
        same = all(copy == step and hash(copy) == hash(step) for copy in copies)
    except Exception as error:  # pickling, comparing and hashing may raise anything
        raise AssertionError(case.broken("identity", repr(error))) from error
    case.require(same, "identity", "a copy with the same parameters is not equal to it")
    other = replace(step, checkpoint=not step.checkpoint)
    case.require(other != step, "identity", "a step with other parameters is equal to it")
    errors = "; ".join(str(p) for p in step.check(case.spec) if p.severity == "error")
    case.require(not errors, "parameters", errors)
    missing = set(step.needs) - {step.name, *case.others}
    case.require(not missing, "parameters", f"the fits of {missing} have to be given")


def _check_fit(case: _Case) -> Chain:
    """Return the chain with its fit as read from a file, the same for every cut."""
    chain, expected = _fit(case, 0)
    if case.step.fit_scope != "stack":
        return chain
    fit = chain.fits[case.step.name]
    plain = all(isinstance(a, np.ndarray) and not a.dtype.hasobject for a in fit.values())
    case.require(plain, "fit", f"numpy arrays without objects expected, found {fit}")
    for thickness in SLABS:
        other, found = _fit(case, thickness)
        pair = {"summaries": found, "fit": other.fits[case.step.name]}
        difference = _difference({"summaries": expected, "fit": fit}, pair)
        case.require(not difference, "same under any cut", f"slabs of {thickness}: {difference}")
    _check_estimate(case, set(fit))
    file = io.BytesIO()
    np.savez(file, **fit)  # type: ignore[arg-type]
    file.seek(0)
    with np.load(file, allow_pickle=False) as loaded:
        kept = dict(loaded)
    for array in kept.values():
        array.flags.writeable = False
    return chain.with_fits({case.step.name: kept})


def _check_estimate(case: _Case, names: set[str]) -> None:
    """Check that a fit can be finished from the summaries of every other slice."""
    step = stack_fit(case.step)
    sample = step.estimate_slices({1}, case.spec)
    known = set(case.spec.region.z)
    case.require(sample and sample <= known, "estimate", f"estimate_slices gave {sample}")

    def look(number: int, partial: Arrays | None) -> dict[int, Arrays]:
        found = _summaries(case, step, number, partial, 0)
        return {z: found[z] for z in list(found)[::2]}

    try:
        fit = fitted_in_rounds(step, case.spec, look)
    except Exception as error:  # a step that misses a slice may raise anything
        raise AssertionError(case.broken("estimate", repr(error))) from error
    case.require(set(fit) == names, "estimate", f"a fit of {names} became {fit}")


def _fit(case: _Case, thickness: int) -> tuple[Chain, dict[int, dict[int, Arrays]]]:
    """Return the fitted chain and the summaries by round; thickness 0: all slices at once."""
    step: Step = pickle.loads(pickle.dumps(case.step))
    chain = Chain((step,), case.spec, case.others)
    rounds: dict[int, dict[int, Arrays]] = {}
    if step.fit_scope != "stack":
        return chain, rounds
    fitting = stack_fit(step)

    def look(number: int, partial: Arrays | None) -> dict[int, Arrays]:
        rounds[number] = _summaries(case, fitting, number, partial, thickness)
        return rounds[number]

    return chain.with_fits({step.name: fitted_in_rounds(fitting, case.spec, look)}), rounds


def _summaries(
    case: _Case, step: StackFit, number: int, partial: Arrays | None, thickness: int
) -> dict[int, Arrays]:
    """Return what one round gathers, by slice; thickness 0: of all slices at once."""
    spec = case.spec
    if not thickness:
        source = step.summary_source(spec.region, spec)
        block = Block(case.read(source), source, spec.region, spec)
        return dict(sorted(step.summarize(block, partial).items()))
    chain, found = Chain((step,), spec, case.others), dict[int, Arrays]()
    work = Work(reads=0, end=0, gathers=(Gather(0, number),))
    known = None if partial is None else {step.name: partial}
    for slab in reversed(slabs(spec.shape[0], thickness)):
        part = spec.region.with_z(slab.start, slab.stop)
        report = run_block(chain, work, part, case.read, lambda *_: None, known)
        found |= report.summaries[step.name]
    return dict(sorted(found.items()))


def _check_apply(case: _Case, chain: Chain) -> tuple[Array, Arrays]:
    """Return values and figures of the stack in one block, if they are as promised."""
    spec, out = case.spec, chain.levels[1]
    bound = case.step.output_spec(spec)
    larger = bound.is_bound and all(a >= b for a, b in zip(bound.shape, out.shape, strict=True))
    raw, figures = case.apply(chain, out.region)
    types = {spec.dtype, spec.computed().dtype}
    truncated = spec.precision == "source" and raw.dtype.kind == "f"
    for holds, promised, came in [
        (larger or bound.shape == out.shape, bound.shape, f"{out.shape} with the fit"),
        (out.dtype in types and out.source_dtype == spec.source_dtype, out.dtype, f"not {types}"),
        (
            out.shape[0] == spec.shape[0] or not case.step.keeps_slices,
            "keeps_slices",
            f"{spec.shape[0]} slices turn into {out.shape[0]}",
        ),
        (out.z is None or len(out.z) == out.shape[0], f"z = {out.z}", f"{out.shape[0]} slices"),
        (raw.shape == out.shape, out.shape, f"values {raw.shape}"),
        (truncated or (raw.dtype.kind == "f") == (out.dtype.kind == "f"), out.dtype, raw.dtype),
    ]:
        case.require(holds, "output_spec", f"{promised} promised, but {came}")
    for name, figure in figures.items():
        right = np.shape(figure)[:1] == out.shape[:1]
        case.require(right, "figures", f"{name!r} has the shape {np.shape(figure)}")
    return cast(raw, out.dtype, out.precision), figures


def _check_cuts(case: _Case, chain: Chain, reference: Array, figures: Arrays) -> None:
    out = chain.levels[1]
    everything = chain.step_source(0, out.region)
    for cut in [*((thickness, 0, 0) for thickness in SLABS), TILE]:
        for block in _blocks(chain, cut):
            name = f"block {block.start} to {block.stop}"
            inside = chain.step_source(0, block).joined(everything) == everything
            case.require(inside, "source", f"{name} needs more than the stack, {everything}")
            raw, own = case.apply(chain, block)
            expected = {k: v[block.start[0] : block.stop[0]] for k, v in figures.items()}
            expected["values"] = reference[block.slices]
            own["values"] = cast(raw, out.dtype, out.precision)
            for found in (own, _streamed(case, chain, block, figures)):
                difference = _difference(expected, found)
                case.require(not difference, "same under any cut", f"{name}: {difference}")


def _blocks(chain: Chain, cut: tuple[int, int, int]) -> Iterator[Region]:
    axes = zip(chain.levels[1].shape, cut, strict=True)
    for z, y, x in product(*(slabs(n, c or n) for n, c in axes)):
        yield Region((z.start, y.start, x.start), (z.stop, y.stop, x.stop))


def _streamed(case: _Case, chain: Chain, block: Region, figures: Arrays) -> Arrays:
    """Return values and figures of a block as a run computes them, slice by slice."""
    images: list[Array] = []
    work, keep = Work(reads=0, end=1, stores=(1,)), lambda *found: images.append(found[2])
    report = run_block(chain, work, block, case.read, keep)
    found = {k: np.array([report.figures[1][z][k] for z in block.z]) for k in figures}
    return {**found, "values": np.stack(images)}


def _check_charts(case: _Case, chain: Chain, reference: Array, figures: Arrays) -> None:
    """Check what a report shows: of all slices, of some, and while nothing is known."""
    measured = [f(reference, axis=(1, 2)).astype(np.float64) for f in (np.min, np.max, np.mean)]
    every = {"cast": np.stack(measured, axis=1), **figures}
    some = {name: np.array(values, np.float64) for name, values in every.items()}
    for values in some.values():
        values[1::2] = np.nan
    for method, trait in (("charts", ReportCharts), ("reference_outputs", ReferenceLayout)):
        is_seen = isinstance(case.step, trait) or not hasattr(case.step, method)
        message = f"{method} is called of steps that derive from {trait.__name__} too"
        case.require(is_seen, "traits", message)
    fitted = chain.fitted(0)
    nothing: Arrays = {}
    for known, fit in ((every, fitted), (some, fitted), (nothing, None)):
        charts = charts_of(case.step, known, case.spec, fit)
        names = [chart.name for chart in charts]
        case.require(len(set(names)) == len(names), "charts", f"names are {names}")
        for chart in charts:
            for columns in chart.tables().values():
                lengths = {name: len(column) for name, column in columns.items()}
                case.require(len(set(lengths.values())) == 1, "charts", f"columns have {lengths}")


def _check_blank(case: _Case) -> None:
    """Check that a stack of zeros, as a shutter leaves them, gives finite values."""
    blank = replace(case, images=np.zeros_like(case.images))
    chain, _ = _fit(blank, 0)
    values, _ = blank.apply(chain, chain.levels[1].region)
    case.require(np.isfinite(values).all(), "blank stack", "values of zeros are not finite")


def _check_micrometers(case: _Case, reference: Array) -> None:
    if case.step.in_micrometers:
        return
    z = tuple(0.5 * k**1.5 for k in range(case.spec.shape[0]))
    other = replace(case, spec=replace(case.spec, z=z, pixel_size=(0.03, 0.07)))
    chain, _ = _fit(other, 0)
    values, _ = _check_apply(other, chain)
    difference = _difference(reference, values)
    case.require(not difference, "in_micrometers", f"with voxels of another size it{difference}")


def _check_gpu(case: _Case, chain: Chain, reference: Array) -> None:
    try:
        cupy = importlib.import_module("cupy")
    except ImportError:
        return
    if not cupy.is_available():
        return
    out = chain.levels[1]
    sent: list[tuple[Array, Any]] = []

    def send(block: Array) -> Any:
        sent.append((block, cupy.asarray(block)))
        return sent[-1][1]

    raw, figures = case.apply(chain, out.region, send)
    case.require(isinstance(raw, cupy.ndarray), "gpu", f"a cupy array went in, {type(raw)} came")
    for name, values in figures.items():
        is_here = isinstance(values, np.ndarray)
        case.require(is_here, "gpu", f"figures are of numpy; {name!r} is {type(values)}")
    for block, there in sent:
        is_same = np.array_equal(cupy.asnumpy(there), block, equal_nan=True)
        case.require(is_same, "gpu", "the input was changed")
    level = 1.0 if case.spec.is_integer else np.ptp(reference) / 255
    share = np.mean(
        np.abs(cast(cupy.asnumpy(raw), out.dtype, out.precision) - reference.astype("f8")) <= level
    )
    case.require(share >= GPU_SHARE, "gpu", f"{share:.4f} of the pixels agree with the CPU")


def _check_scratch(case: _Case) -> None:
    """Compare what `apply` allocates, as far as numpy tells, with what it declares."""
    spec = case.spec
    shape = min(spec.shape[0], SHAPE[0]), max(spec.shape[1], LARGE), max(spec.shape[2], LARGE)
    large = replace(spec, shape=shape, z=spec.z and spec.z[: shape[0]])
    tiled = np.ix_(*(np.arange(n) % m for n, m in zip(shape, spec.shape, strict=True)))
    case = replace(case, spec=large, images=case.images[tiled])
    chain, _ = _fit(case, 0)
    out = chain.levels[1].region
    out = out.with_z(out.stop[0] // 2, out.stop[0] // 2 + 1)
    case.apply(chain, out)  # compiles what is compiled on first use
    tracemalloc.start()
    try:
        values, _ = case.apply(chain, out)
        used = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    used -= 0 if np.may_share_memory(values, case.images) else values.nbytes
    declared = case.step.scratch_bytes(out, large)
    near = abs(used - declared) <= SCRATCH_SHARE * declared + SCRATCH_BYTES
    case.require(near, "scratch_bytes", f"{declared:,} declared, {used:,} used for {out.shape}")


def _difference(one: Any, other: Any, where: str = "") -> str:
    """Return in words where two results differ; nothing when they are the same."""
    if isinstance(one, Mapping):
        if one.keys() != other.keys():
            return f"{where} has {[*one]} against {[*other]}"
        parts = (_difference(one[k], other[k], f"{where}[{k!r}]") for k in one)
        return next(filter(None, parts), "")
    a, b = np.asarray(one), np.asarray(other)
    if (a.shape, a.dtype) != (b.shape, b.dtype):
        return f"{where} is {a.dtype} {a.shape} against {b.dtype} {b.shape}"
    wrong = np.argwhere((a != b) & ((a == a) | (b == b)))
    if not len(wrong):
        return ""
    at = tuple(wrong[0].tolist())
    return f"{where} differs in {len(wrong)} of {a.size}, first {at}: {a[at]}, {b[at]}"
