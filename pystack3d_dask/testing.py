"""A contract test for corrections: ours, and those that other packages bring.

The engine cuts a stack into blocks as it likes, sends steps to other processes, finishes
fits from summaries that come in any order, and plans memory from what a step declares. That
works only with steps that keep the rules checked here.
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

from pystack3d_dask.block import run_block
from pystack3d_dask.chain import Chain, Fits, Gather, Work, slabs
from pystack3d_dask.spec import AXES, Array, Arrays, Region, StackSpec
from pystack3d_dask.step import Step
from pystack3d_dask.values import cast_level

SHAPE = (9, 37, 53)
SLABS = (1, 2, 5)
TILE = (5, 17, 20)
LARGE = 1024  # pixels along y and x where memory is measured
SCRATCH_SHARE, SCRATCH_BYTES = 0.25, 1 << 20
GPU_SHARE = 0.999


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
    for case in _cases(step, spec, images, fits or {}):
        before = case.images.copy()
        try:
            _check_identity(case)
            chain = _check_fit(case)
            reference, figures = _check_apply(case, chain)
            unchanged = np.array_equal(case.images, before, equal_nan=True)
            case.require(unchanged, "read-only input", "the input was changed")
            _check_cuts(case, chain, reference, figures)
            _check_gpu(case, chain, reference)
            _check_scratch(case)
        except AssertionError:
            raise
        except Exception as error:  # a broken step may raise anything
            text = f"{type(error).__name__}: {error}"
            frozen = "read-only" in text or "readonly" in text
            message = case.broken("read-only input" if frozen else "runs", text)
            raise AssertionError(message) from error


@dataclass(frozen=True)
class _Case:
    """A step on one stack."""

    step: Step
    spec: StackSpec
    images: Array
    others: Fits

    def broken(self, rule: str, found: str) -> str:
        return (
            f"{self.step.name} breaks the rule {rule!r}: {found} ({self.spec.dtype} of a "
            f"{self.spec.source_dtype} stack, {self.spec.shape}, {self.spec.precision!r})"
        )

    def require(self, holds: Any, rule: str, found: str) -> None:
        if not holds:
            raise AssertionError(self.broken(rule, found))

    def read(self, region: Region) -> Array:
        inside = region == region.clipped(self.spec.shape)
        self.require(inside, "source", f"{region} is asked for, outside the input")
        block = self.images[region.slices]
        block.flags.writeable = False
        return block

    def apply(self, chain: Chain, out: Region) -> tuple[Array, Arrays]:
        source = chain.step_source(0, out)
        return chain.steps[0].apply(self.read(source), source, out, self.spec, chain.fitted(0))


def _cases(
    step: Step, given: StackSpec | None, images: Array | None, fits: Fits
) -> Iterator[_Case]:
    shape = SHAPE if images is None else Region.full(images.shape).shape
    dtypes = [np.dtype("u1"), np.dtype("u2")] if images is None else [images.dtype]
    z = tuple(0.02 * k for k in range(shape[0]))
    for spec in (
        [given]
        if given
        else [
            StackSpec(shape=shape, dtype=dtype, source_dtype=dtype, z=z, pixel_size=(0.01, 0.01))
            for dtype in dtypes
        ]
    ):
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
    return np.asarray(np.clip(top * values, 0, top).astype(spec.dtype))


def _check_identity(case: _Case) -> None:
    step = case.step
    try:
        same = all(
            copy == step and hash(copy) == hash(step) and copy.parameters() == step.parameters()
            for copy in (pickle.loads(pickle.dumps(step)), replace(step))
        )
    except Exception as error:  # pickling, comparing and hashing may raise anything
        message = case.broken("identity", f"{type(error).__name__}: {error}")
        raise AssertionError(message) from error
    case.require(same, "identity", "a copy with the same parameters is not equal to it")
    other = replace(step, checkpoint=not step.checkpoint)
    case.require(other != step, "identity", "it is equal to a step with other parameters")
    errors = [str(p) for p in step.check(case.spec) if p.severity == "error"]
    case.require(not errors, "parameters", "; ".join(errors))
    missing = set(step.needs) - {step.name, *case.others}
    case.require(not missing, "parameters", f"the fits of {sorted(missing)} have to be given")


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
        cut = f"slabs of {thickness}, last slab first"
        case.require(not difference, "same under any cut", f"{cut}: {difference}")
    file = io.BytesIO()
    np.savez(file, **fit)  # type: ignore[arg-type]
    file.seek(0)
    with np.load(file, allow_pickle=False) as loaded:
        kept = dict(loaded)
    for array in kept.values():
        array.flags.writeable = False
    return chain.with_fits({case.step.name: kept})


def _fit(case: _Case, thickness: int) -> tuple[Chain, list[dict[int, Arrays]]]:
    """Return the fitted chain and the summaries by round; thickness 0: all slices at once."""
    step, spec = pickle.loads(pickle.dumps(case.step)), case.spec
    chain, rounds, partial = Chain((step,), spec, case.others), [], None
    for number in range(step.fit_rounds(spec) if step.fit_scope == "stack" else 0):
        found: dict[int, Arrays] = {}
        work = Work(reads=0, end=0, gathers=(Gather(0, number),))
        for slab in reversed(slabs(spec.shape[0], thickness)) if thickness else ():
            block = spec.region.with_z(slab.start, slab.stop)
            known = {} if partial is None else {step.name: partial}
            report = run_block(chain, work, block, case.read, lambda *_: None, known)
            found |= report.summaries[step.name]
        if not thickness:
            source = step.summary_source(spec.region, spec)
            found = step.summarise(case.read(source), source, spec.region, spec, partial)
        rounds.append(dict(sorted(found.items())))
        partial = step.finalize(rounds[-1], spec, partial)
    return chain.with_fits({} if partial is None else {step.name: partial}), rounds


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
        (out.z is None or len(out.z) == out.shape[0], f"z = {out.z}", f"{out.shape[0]} slices"),
        (raw.shape == out.shape, out.shape, f"values {raw.shape}"),
        (truncated or (raw.dtype.kind == "f") == (out.dtype.kind == "f"), out.dtype, raw.dtype),
    ]:
        case.require(holds, "output_spec", f"{promised} promised, but {came}")
    for name, figure in figures.items():
        rows = np.shape(figure)[:1]
        case.require(rows == out.shape[:1], "figures", f"{name!r} has {rows} rows, {out.shape}")
    return cast_level(raw, out), figures


def _check_cuts(case: _Case, chain: Chain, reference: Array, figures: Arrays) -> None:
    everything = chain.step_source(0, chain.levels[1].region)
    for cut in [*((thickness, 0, 0) for thickness in SLABS), TILE]:
        for block in _blocks(chain, cut):
            name = f"block {block.start} to {block.stop}"
            source = chain.step_source(0, block)
            inside = source.joined(everything) == everything
            case.require(inside, "source", f"{name} needs {source}, the stack {everything}")
            raw, own = case.apply(chain, block)
            fits = raw.shape == block.shape
            case.require(fits, "output_spec", f"{name} has the shape {raw.shape}")
            expected = {k: v[block.start[0] : block.stop[0]] for k, v in figures.items()}
            expected["values"] = reference[block.slices]
            direct = {**own, "values": cast_level(raw, chain.levels[1])}
            for found in (direct, _streamed(case, chain, block, figures)):
                difference = _difference(expected, found)
                case.require(not difference, "same under any cut", f"{name}: {difference}")


def _blocks(chain: Chain, cut: tuple[int, int, int]) -> Iterator[Region]:
    whole, shape = chain.steps[0].whole, chain.levels[1].shape
    axes = zip(AXES, shape, cut, strict=True)
    for z, y, x in product(*(slabs(n, c if c and a not in whole else n) for a, n, c in axes)):
        yield Region((z.start, y.start, x.start), (z.stop, y.stop, x.stop))


def _streamed(case: _Case, chain: Chain, block: Region, figures: Arrays) -> Arrays:
    """Return values and figures of a block as a run computes them, slice by slice."""
    images: list[Array] = []
    work = Work(reads=0, end=1, stores=(1,))
    report = run_block(chain, work, block, case.read, lambda level, z, image: images.append(image))
    found = {k: np.array([report.figures[1][z][k] for z in block.z]) for k in figures}
    return {**found, "values": np.stack(images)}


def _check_gpu(case: _Case, chain: Chain, reference: Array) -> None:
    try:
        cupy = importlib.import_module("cupy") if "gpu" in case.step.devices else None
    except ImportError:
        return
    if cupy is None or not cupy.is_available():
        return
    out = chain.levels[1]
    source = chain.step_source(0, out.region)
    block = cupy.asarray(case.read(source))
    raw, _ = case.step.apply(block, source, out.region, case.spec, chain.fitted(0))
    case.require(isinstance(raw, cupy.ndarray), "gpu", f"a cupy array went in, {type(raw)} came")
    values = cast_level(cupy.asnumpy(raw), out).astype(np.float64)
    level = 1.0 if case.spec.is_integer else np.ptp(reference) / 255
    share = np.mean(np.abs(values - reference) <= level)
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
    out = out.with_z(out.shape[0] // 2, out.shape[0] // 2 + 1)
    case.apply(chain, out)  # compiles what is compiled on first use
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
    used = peak - before - (0 if np.may_share_memory(values, case.images) else values.nbytes)
    declared = case.step.scratch_bytes(out, large)
    near = abs(used - declared) <= SCRATCH_SHARE * declared + SCRATCH_BYTES
    found = f"{declared / 1e6:.1f} MB declared, {used / 1e6:.1f} MB used for {out.shape}"
    case.require(near, "scratch_bytes", found)


def _difference(one: Any, other: Any, where: str = "") -> str:
    """Return in words where two results differ; nothing when they are the same."""
    if isinstance(one, list | Mapping):
        keys = [sorted(r) if isinstance(r, Mapping) else [*range(len(r))] for r in (one, other)]
        if keys[0] != keys[1]:
            return f"{where} has {keys[0]} against {keys[1]}"
        parts = (_difference(one[k], other[k], f"{where}[{k!r}]") for k in keys[0])
        return next(filter(None, parts), "")
    a, b = np.asarray(one), np.asarray(other)
    if (a.shape, a.dtype) != (b.shape, b.dtype):
        return f"{where} is {a.dtype} {a.shape} against {b.dtype} {b.shape}"
    wrong = np.argwhere((a != b) & ((a == a) | (b == b)))
    if not len(wrong):
        return ""
    first = tuple(int(k) for k in wrong[0])
    return f"{where} differs in {len(wrong)} of {a.size}, first {first}: {a[first]}, {b[first]}"
