"""Classes of gray levels that share one smooth field, by expectation maximization.

A sample is ``level + amplitude * field(place) + noise``, of one of some classes that have a level,
a variance and a share each, or of none of them, an outlier. The amplitude is 1 where a field is
added to all classes alike, and the level where it multiplies them. Source: bias fields of MRI
(Wells et al., "Adaptive segmentation of MRI data", IEEE Trans. Med. Imaging 15(4), 1996; Van
Leemput et al., "Automated model-based bias field correction of MR images of the brain", IEEE
Trans. Med. Imaging 18(10), 1999), here for added fields, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.jit import compiled

OUTLIERS = 0.02  # share of samples that belong to no class
FLATTEST = 0.01  # of the span of gray levels: least standard deviation of a class
RIDGE = 1e-6  # of the weights, added to the normal equations
NOTHING = 1e-200  # where all weights are 0


def is_bright(levels: Array) -> Array:
    """Return which classes are of the bright group, the others being of the dark one."""
    return np.asarray(levels >= (levels.min() + levels.max()) / 2)


@dataclass(frozen=True)
class ClassMixture:
    """Classes of gray levels, and the field that they share.

    Parameters
    ----------
    levels, variances, shares : ndarray, shape (classes,)
        Of each class.
    coefficients : ndarray, shape (terms,)
        Of the field.
    multiplies : bool
        Whether the field multiplies levels: ``level * (1 + field)``, not ``level + field``.
    span : float
        Of the gray levels: outliers may lie anywhere in it.
    """

    levels: Array
    variances: Array
    shares: Array
    coefficients: Array
    multiplies: bool
    span: float

    @classmethod
    def around(
        cls, levels: Array, span: float, terms: int = 0, *, multiplies: bool = False
    ) -> ClassMixture:
        """Return classes of equal share at some levels, without a field."""
        count = len(levels)
        return cls(
            np.asarray(levels, np.float64),
            np.full(count, (span / 3 / max(count, 1)) ** 2),
            np.full(count, 1 / max(count, 1)),
            np.zeros(terms),
            multiplies,
            span,
        )

    @property
    def amplitudes(self) -> Array:
        """Factors of the field in each class, shape (classes,)."""
        return self.levels if self.multiplies else np.ones(len(self.levels))

    def deviations(self, values: Array, field: Array) -> Array:
        """Return what samples differ by from each class, shape (samples, classes)."""
        return np.asarray(values[:, None] - self.levels - self.amplitudes * field[:, None])

    def densities(self, values: Array, field: Array) -> Array:
        """Return the density of each class at samples, shape (samples, classes)."""
        beside = self.deviations(values, field)
        scale = (1 - OUTLIERS) * self.shares / np.sqrt(2 * np.pi * self.variances)
        return np.asarray(scale * np.exp(-0.5 * beside**2 / self.variances))

    def memberships(self, values: Array, field: Array) -> Array:
        """Return the probability of each class for samples, shape (samples, classes)."""
        each = self.densities(values, field)
        return np.asarray(each / (each.sum(axis=1) + OUTLIERS / self.span)[:, None])

    def log_likelihood(self, values: Array, design: Array) -> Array:
        """Return the logarithm of the density at samples, shape (samples,)."""
        each = self.densities(values, design @ self.coefficients)
        return np.asarray(np.log(each.sum(axis=1) + OUTLIERS / self.span))

    def fitted(self, values: Array, design: Array, steps: int) -> ClassMixture:
        """Return the mixture after some steps of expectation maximization.

        Parameters
        ----------
        values : ndarray of float64, shape (samples,)
            Gray levels.
        design : ndarray of float64, shape (samples, terms)
            The terms of the field at each of them.
        steps : int
            How many.
        """
        found = self
        for _ in range(steps):
            found = found._stepped(values, design)
        return found

    def _stepped(self, values: Array, design: Array) -> ClassMixture:
        members = np.empty((len(values), len(self.levels)))
        sums = np.zeros((6, len(self.levels)))
        _expect(
            values,
            design,
            self.coefficients,
            self.levels,
            self.variances,
            (1 - OUTLIERS) * self.shares / np.sqrt(2 * np.pi * self.variances),
            self.multiplies,
            OUTLIERS / self.span,
            members,
            sums,
        )
        one, v, vv, f, ff, vf = sums
        count = one + 1e-3
        if self.multiplies:  # levels * (1 + field)
            levels = (v + vf) / (one + 2 * f + ff + 1e-9)
            squares = vv - 2 * levels * (v + vf) + levels**2 * (one + 2 * f + ff)
        else:
            levels = (v - f) / count
            squares = vv + ff + levels**2 * one - 2 * vf - 2 * levels * (v - f)
        variances = np.maximum(squares / count, (FLATTEST * self.span) ** 2)
        found = replace(self, levels=levels, variances=variances, shares=count / count.sum())
        return found._with_field(values, design, members) if design.shape[1] else found

    def _with_field(self, values: Array, design: Array, members: Array) -> ClassMixture:
        terms = design.shape[1]
        normal, right = np.zeros((terms, terms)), np.zeros(terms)
        _add_normal(
            values, design, members, self.levels, self.amplitudes, self.variances, normal, right
        )
        normal += np.tril(normal, -1).T
        ridge = RIDGE * (members.sum(axis=0) * self.amplitudes**2 / self.variances).sum()
        normal += max(ridge, NOTHING) * np.eye(terms)
        return replace(self, coefficients=np.linalg.solve(normal, right))


def merged(mixture: ClassMixture, apart: float) -> ClassMixture:
    """Return a mixture in which classes that are no materials of their own are one.

    A background that is not known yet makes classes of its own, beside those that it shifts.

    Parameters
    ----------
    mixture : ClassMixture
        Classes in any order.
    apart : float
        Standard deviations of the wider class, within which the next one belongs to it.
    """
    order = np.argsort(mixture.levels)
    levels, variances, shares = (
        each[order] for each in (mixture.levels, mixture.variances, mixture.shares)
    )
    wider = np.sqrt(np.maximum(variances[1:], variances[:-1]))
    first = np.append(True, np.diff(levels) > apart * wider)
    starts = np.flatnonzero(first)

    def sums(values: Array) -> Array:
        return np.asarray(np.add.reduceat(shares * values, starts))

    total = sums(np.ones(len(levels)))
    means = sums(levels) / total
    spread = sums(variances + levels**2) / total - means**2
    return replace(mixture, levels=means, variances=spread, shares=total)


@compiled()
def _expect(
    values: Array,
    design: Array,
    coefficients: Array,
    levels: Array,
    variances: Array,
    scales: Array,
    multiplies: bool,
    outlier: float,
    members: Array,
    sums: Array,
) -> None:
    """Write the memberships of samples, and add up what classes are made of.

    Rows of ``sums`` are those of memberships times 1, v, v**2, f, f**2 and v * f, of values v and
    the field f. Sample after sample, so that threads of linear algebra decide nothing.
    """
    classes, terms = levels.size, coefficients.size
    for k in range(values.size):
        v, f = values[k], 0.0
        for term in range(terms):
            f += design[k, term] * coefficients[term]
        total = outlier
        for c in range(classes):
            beside = v - levels[c] - (levels[c] * f if multiplies else f)
            members[k, c] = scales[c] * np.exp(-0.5 * beside * beside / variances[c])
            total += members[k, c]
        for c in range(classes):
            members[k, c] /= total
            r = members[k, c]
            sums[0, c] += r
            sums[1, c] += r * v
            sums[2, c] += r * v * v
            sums[3, c] += r * f
            sums[4, c] += r * f * f
            sums[5, c] += r * v * f


@compiled()
def _add_normal(
    values: Array,
    design: Array,
    members: Array,
    levels: Array,
    amplitudes: Array,
    variances: Array,
    normal: Array,
    right: Array,
) -> None:
    """Add the normal equations of the field: the lower triangle, and the right side."""
    classes, terms = levels.size, right.size
    for k in range(values.size):
        weight, pull = 0.0, 0.0
        for c in range(classes):
            share = members[k, c] * amplitudes[c] / variances[c]
            weight += share * amplitudes[c]
            pull += share * (values[k] - levels[c])
        for i in range(terms):
            own = design[k, i]
            right[i] += own * pull
            own *= weight
            for j in range(i + 1):
                normal[i, j] += own * design[k, j]
