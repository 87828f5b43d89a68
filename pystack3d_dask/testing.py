"""A contract test for corrections: ours, and those that other packages bring.

The engine cuts a stack into blocks as it likes, sends steps to other processes, finishes
fits from summaries that come in any order, and plans memory from what a step declares. That
works only with steps that keep the rules checked here.
"""

from __future__ import annotations

import gc
import importlib
import io
import pickle
import tracemalloc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, is_dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from pystack3d_dask.block import run_block
from pystack3d_dask.chain import Chain, Fits, Gather, Work, slabs
from pystack3d_dask.spec import Array, Arrays, Region, StackSpec
from pystack3d_dask.step import Step
from pystack3d_dask.values import cast_level

SHAPE = (9, 37, 53)
SLABS = (1, 2, 5)
TILE = (5, 17, 20)
LARGE = 1024  # pixels along y and x where memory is measured
SCRATCH_SHARE, SCRATCH_BYTES = 0.25, 1 << 20
GPU_LEVELS, GPU_SHARE = 1.0, 0.999


def check_step(
    step: Step,
    spec: StackSpec | None = None,
    images: Array | None = None,
    *,
    fits: Fits | None = None,
) -> None:
    """Check that a step keeps the rules that every correction has to keep.

    The rules are: equal steps have equal parameters and can be sent to another process;
    the input is read-only; `output_spec`, `source`, `summary_source` and `scratch_bytes`
    tell the truth; the fit is made of plain arrays; figures have one entry per slice; and
    summaries, fit, values and figures are the same however the stack is cut and in whatever
    order its blocks come. They are checked in both precisions, and on values that an
    earlier step has made float32. A step that can run on a GPU is compared with itself
    where CuPy finds one.

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
    >>> from pystack3d_dask.steps.cropping import Cropping
    >>> from pystack3d_dask.testing import check_step
    >>> check_step(Cropping(area=(5, 30, 0, 20)))
    """
    _check_identity(step)
    for case in _cases(step, spec, images, fits or {}):
        with case.guarded():
            _check_declarations(case)
            chain = _check_fit(case)
            reference, figures = _check_apply(case, chain)
            _check_cuts(case, chain, reference, figures)
            _check_gpu(case, chain, reference)
            _check_scratch(case)


@dataclass(frozen=True)
class _Case:
    """A step on one stack, which nobody may change."""

    step: Step
    spec: StackSpec
    images: Array
    others: Fits
    original: Array = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "original", self.images.copy())

    def require(self, holds: Any, rule: str, found: str) -> None:
        if not holds:
            name, spec = getattr(self.step, "name", type(self.step).__name__), self.spec
            message = (
                f"{name} breaks the rule {rule!r}: {found} ({spec.dtype} of a "
                f"{spec.source_dtype} stack {spec.shape}, precision {spec.precision!r})"
            )
            raise AssertionError(message)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        try:
            yield
        except AssertionError:
            raise
        except Exception as error:  # a broken step may raise anything
            text = f"{type(error).__name__}: {error}"
            frozen = "read-only" in text or "readonly" in text
            try:
                self.require(False, "read-only input" if frozen else "runs", text)
            except AssertionError as failure:
                raise failure from error

    def read(self, region: Region) -> Array:
        inside = region == region.clipped(self.spec.shape)
        self.require(inside, "source", f"{region} is asked for, outside the input")
        block = self.images[region.slices]
        block.flags.writeable = False
        return block

    def apply(self, chain: Chain, out: Region) -> tuple[Array, Arrays]:
        source = chain.step_source(0, out)
        return chain.steps[0].apply(self.read(source), source, out, self.spec, chain.fitted(0))

    def unfitted(self) -> Chain:
        """Return a chain of the step as it arrives in another process."""
        return Chain((pickle.loads(pickle.dumps(self.step)),), self.spec, self.others)


def _cases(step: Step, spec: StackSpec | None, images: Array | None, fits: Fits) -> Iterator[_Case]:
    if spec is None:
        dtypes = [np.dtype(np.uint8), np.dtype(np.uint16)] if images is None else [images.dtype]
        shape = SHAPE if images is None else Region.full(images.shape).shape
        z = tuple(0.02 * k for k in range(shape[0]))
        specs = [
            StackSpec(shape=shape, dtype=d, source_dtype=d, z=z, pixel_size=(0.01, 0.01))
            for d in dtypes
        ]
    else:
        specs = [spec]
    for one in specs:
        pixels = _pixels(one) if images is None else np.array(images, one.dtype)
        if one.dtype == one.source_dtype:
            yield _Case(step, replace(one, precision="source"), pixels, fits)
        yield _Case(step, replace(one, precision="float32"), pixels, fits)
        if one.is_integer and one.dtype == one.source_dtype:
            later = replace(one, precision="float32", dtype=np.dtype(np.float32))
            yield _Case(step, later, pixels.astype(np.float32) * np.float32(0.93), fits)


def _pixels(spec: StackSpec) -> Array:
    z, y, x = np.ogrid[tuple(slice(0, 1, n * 1j) for n in spec.shape)]
    noise = np.random.default_rng(0).normal(0, 0.08, spec.shape)
    values = 0.4 + 0.15 * x - 0.1 * y**2 + 0.1 * np.sin(5 * z) + noise
    top = 250 if spec.source_dtype.itemsize == 1 else 5000
    return np.clip(top * values, 0, top).astype(spec.dtype)


def _check_identity(step: Step) -> None:
    case = _Case(step, StackSpec(shape=SHAPE, dtype=_BYTE, source_dtype=_BYTE), np.zeros(1), {})
    case.require(is_dataclass(step), "identity", "it is not a dataclass")
    try:
        copies = [pickle.loads(pickle.dumps(step)), replace(step)]
        same = all(copy == step and hash(copy) == hash(step) for copy in copies)
    except Exception as error:  # pickling, comparing and hashing may raise anything
        case.require(False, "identity", f"{type(error).__name__}: {error}")
        raise
    case.require(same, "identity", "a copy with the same parameters is not equal to it")
    other = replace(step, checkpoint=not step.checkpoint)
    case.require(other != step, "identity", "it is equal to a step with other parameters")


def _check_declarations(case: _Case) -> None:
    errors = [str(p) for p in case.step.check(case.spec) if p.severity == "error"]
    case.require(not errors, "parameters", "; ".join(errors))
    missing = set(case.step.needs) - {case.step.name, *case.others}
    case.require(not missing, "parameters", f"the fits of {sorted(missing)} have to be given")


def _check_fit(case: _Case) -> Chain:
    """Return the chain with its fit, after that was compared between cuts."""
    chain, _ = _fit(case, case.spec.shape[0])
    if case.step.fit_scope != "stack":
        return chain
    fit = chain.fits[case.step.name]
    plain = all(isinstance(a, np.ndarray) and not a.dtype.hasobject for a in fit.values())
    case.require(plain, "fit", f"numpy arrays expected, found {fit}")
    file = io.BytesIO()
    np.savez(file, **fit)  # type: ignore[arg-type]
    file.seek(0)
    with np.load(file, allow_pickle=False) as loaded:
        kept = dict(loaded)
    case.require(not _difference(fit, kept), "fit", f"lost on saving: {_difference(fit, kept)}")
    for array in kept.values():
        array.flags.writeable = False
    _, expected = _fit(case, 0)
    for thickness in SLABS:
        other, found = _fit(case, thickness)
        cut = f"with slabs of {thickness}, last slab first"
        difference = _difference(expected, found, "summaries")
        case.require(not difference, "same under any cut", f"{cut}: {difference}")
        difference = _difference(fit, other.fits[case.step.name], "fit")
        case.require(not difference, "same under any cut", f"{cut}: {difference}")
    return chain.with_fits({case.step.name: kept})


def _fit(case: _Case, thickness: int) -> tuple[Chain, list[dict[int, Arrays]]]:
    """Return the fitted chain and the summaries by round; thickness 0 asks for all at once."""
    chain, spec, rounds = case.unfitted(), case.spec, []
    step = chain.steps[0]
    if step.fit_scope != "stack":
        return chain, []
    partial: Arrays | None = None
    for number in range(step.fit_rounds(spec)):
        found: dict[int, Arrays] = {}
        work = Work(reads=0, end=0, gathers=(Gather(0, number),))
        partials = {} if partial is None else {step.name: partial}
        for slab in reversed(slabs(spec.shape[0], thickness)) if thickness else ():
            block = spec.region.with_z(slab.start, slab.stop)
            report = run_block(chain, work, block, case.read, _nowhere, partials)
            found |= report.summaries[step.name]
        if not thickness:
            source = step.summary_source(spec.region, spec)
            found = step.summarise(case.read(source), source, spec.region, spec, partial)
        rounds.append(dict(sorted(found.items())))
        partial = step.finalize(rounds[-1], spec, partial)
    case.require(partial is not None, "fit", "finalize returned nothing")
    return chain.with_fits({step.name: partial or {}}), rounds


def _check_apply(case: _Case, chain: Chain) -> tuple[Array, Arrays]:
    """Return values and figures of the stack in one block, after a look at their shape."""
    bound, out = case.unfitted().levels[1], chain.levels[1]
    fits = bound.is_bound and all(a <= b for a, b in zip(out.shape, bound.shape, strict=True))
    promised = fits or bound.shape == out.shape
    case.require(promised, "output_spec", f"{bound.shape} promised, {out.shape} with the fit")
    raw, figures = case.apply(chain, out.region)
    case.require(
        np.array_equal(case.images, case.original, equal_nan=True),
        "read-only input",
        "the input was changed",
    )
    case.require(
        raw.shape == out.shape, "output_spec", f"shape {out.shape} promised, {raw.shape} came"
    )
    positions = out.z is None or len(out.z) == out.shape[0]
    case.require(positions, "output_spec", f"{len(out.z or ())} z for {out.shape[0]} slices")
    types = {case.spec.dtype, case.spec.computed().dtype}
    kept = out.dtype in types and out.source_dtype == case.spec.source_dtype
    case.require(kept, "output_spec", f"{out.dtype} promised, one of {types} expected")
    cut_off = case.spec.precision == "source" and raw.dtype.kind == "f"
    honest = cut_off or (raw.dtype.kind == "f") == (out.dtype.kind == "f")
    case.require(honest, "output_spec", f"{out.dtype} promised, {raw.dtype} came")
    for name, figure in figures.items():
        rows = np.shape(figure)[:1]
        case.require(
            rows == out.shape[:1], "figures", f"{name!r}: {rows} rows, {out.shape[0]} slices"
        )
    return cast_level(raw, out), figures


def _check_cuts(case: _Case, chain: Chain, reference: Array, figures: Arrays) -> None:
    for cut in [*((thickness, 0, 0) for thickness in SLABS), TILE]:
        for block in _blocks(chain, cut):
            name = f"block {block.start} to {block.stop}"
            source, all_source = (chain.step_source(0, r) for r in (block, chain.levels[1].region))
            inside = source.joined(all_source) == all_source
            case.require(inside, "source", f"{name} needs more than the whole stack")
            raw, own = case.apply(chain, block)
            right = raw.shape == block.shape
            case.require(right, "output_spec", f"{name} has the shape {raw.shape}")
            expected = {"values": reference[block.slices]}
            expected |= {k: v[block.start[0] : block.stop[0]] for k, v in figures.items()}
            for found in (
                {"values": cast_level(raw, chain.levels[1]), **own},
                _streamed(case, chain, block, figures),
            ):
                difference = _difference(expected, found)
                case.require(not difference, "same under any cut", f"{name}: {difference}")


def _blocks(chain: Chain, cut: tuple[int, int, int]) -> Iterator[Region]:
    whole = ["zyx".index(axis) for axis in chain.steps[0].whole]
    shape = chain.levels[1].shape
    axes = [
        slabs(n, n if axis in whole or not c else c)
        for axis, (n, c) in enumerate(zip(shape, cut, strict=True))
    ]
    for z, y, x in product(*axes):
        yield Region((z.start, y.start, x.start), (z.stop, y.stop, x.stop))


def _streamed(case: _Case, chain: Chain, block: Region, figures: Arrays) -> Arrays:
    """Return values and figures of a block as a run computes them, slice by slice."""
    values = np.empty(block.shape, chain.levels[1].dtype)

    def emit(level: int, z: int, image: Array) -> None:
        values[z - block.start[0]] = image

    report = run_block(chain, Work(reads=0, end=1, stores=(1,)), block, case.read, emit)
    found = report.figures[1]
    return {"values": values, **{k: np.array([found[z][k] for z in block.z]) for k in figures}}


def _check_gpu(case: _Case, chain: Chain, reference: Array) -> None:
    if "gpu" not in case.step.devices:
        return
    try:
        cupy = importlib.import_module("cupy")
    except ImportError:
        return
    if not cupy.is_available():
        return
    out = chain.levels[1]
    source = chain.step_source(0, out.region)
    block = cupy.asarray(case.read(source))
    raw, _ = case.step.apply(block, source, out.region, case.spec, chain.fitted(0))
    case.require(isinstance(raw, cupy.ndarray), "gpu", f"a cupy array went in, {type(raw)} came")
    values = cast_level(cupy.asnumpy(raw), out).astype(np.float64)
    level = GPU_LEVELS if case.spec.is_integer else np.ptp(reference) / 255
    share = np.mean(np.abs(values - reference) <= level)
    case.require(share >= GPU_SHARE, "gpu", f"{share:.4f} of the pixels agree with the CPU")


def _check_scratch(case: _Case) -> None:
    count, *extents = case.spec.shape
    count = min(count, SHAPE[0])
    height, width = (max(n, LARGE) for n in extents)
    rows, columns = (np.arange(n) % m for n, m in zip((height, width), extents, strict=True))
    large = replace(
        case.spec,
        shape=(count, height, width),
        z=None if case.spec.z is None else case.spec.z[:count],
    )
    case = replace(case, spec=large, images=case.images[:count, rows[:, None], columns])
    chain, _ = _fit(case, 0)
    out = chain.levels[1].region
    out = out.with_z(out.shape[0] // 2, out.shape[0] // 2 + 1)
    case.apply(chain, out)  # compiles what is compiled on first use
    declared = case.step.scratch_bytes(out, large)
    used = _scratch(case, chain, out)
    case.require(
        abs(used - declared) <= SCRATCH_SHARE * declared + SCRATCH_BYTES,
        "scratch_bytes",
        f"{declared / 1e6:.1f} MB declared, {used / 1e6:.1f} MB used for {out.shape}",
    )


def _scratch(case: _Case, chain: Chain, out: Region) -> int:
    """Return what `apply` allocates beside its output, as far as numpy and Python know."""
    gc.collect()
    was_tracing = tracemalloc.is_tracing()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        values, _ = case.apply(chain, out)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        if not was_tracing:
            tracemalloc.stop()
    output = 0 if np.may_share_memory(values, case.images) else values.nbytes
    return peak - before - output


def _difference(one: Any, other: Any, where: str = "") -> str:
    """Return in words where two results differ; nothing when they are the same."""
    if isinstance(one, list | Mapping):
        keys = [sorted(r) if isinstance(r, Mapping) else range(len(r)) for r in (one, other)]
        if keys[0] != keys[1]:
            return f"{where} for {keys[0]} against {keys[1]}"
        parts = (_difference(one[k], other[k], f"{where}[{k!r}]") for k in keys[0])
        return next(filter(None, parts), "")
    a, b = np.asarray(one), np.asarray(other)
    if (a.shape, a.dtype) != (b.shape, b.dtype):
        return f"{where} is {a.dtype} {a.shape} against {b.dtype} {b.shape}"
    wrong = ~((a == b) | ((a != a) & (b != b)))
    if not wrong.any():
        return ""
    first = tuple(int(k) for k in np.argwhere(wrong)[0])
    return f"{where} differs in {wrong.sum()} of {a.size}, first at {first}: {a[first]}, {b[first]}"


def _nowhere(level: int, z: int, image: Array) -> None:
    """Receive slices where only summaries are wanted."""


_BYTE = np.dtype(np.uint8)
