"""Joint draws of uncertain quantities, and a model's outputs at them.

Draws start as standard normal scores, a row for each quantity. A model maps an array of scores,
(dimensions, draws), to its outputs, (draws,) or (outputs, draws), draw by draw, and leaves the
array as it is.
"""

import builtins
from collections.abc import Callable, Iterable
from functools import partial
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stackbook.kernels.jit import search
from stackbook.kernels.uncertainty import normal_quantile

Floats = NDArray[np.float64]
Model = Callable[[Floats], Floats]
Map = Callable[..., Iterable[Any]]  # as the builtin map, which keeps the order

MOST = 2**30  # points of a Sobol sequence
BLOCK = 8_192  # draws that are made and go through a model at once

_SINGULAR = 1e-12  # of a variance that others explain but for rounding


def scores(count: int, dimensions: int, seed: int, method: str = "sobol", skip: int = 0) -> Floats:
    """Standard normal scores of a scrambled low-discrepancy sequence.

    count: draws [1], best a power of two
    dimensions: quantities [1]
    seed: of the scrambling [1]
    method: sobol or halton [1]
    skip: draws of the sequence that come before [1]; so blocks join to the same bits
    returns: of shape (dimensions, count) [1], finite
    source: Sobol 1967, Halton 1960, as in SciPy; at the centres of Sobol's cells
    """
    from scipy.stats import qmc  # slow to import

    engines = {"sobol": qmc.Sobol, "halton": qmc.Halton}
    if method not in engines:
        raise ValueError(f"method = {method!r}: give sobol or halton")
    if min(count, dimensions, skip + 1) < 1:
        raise ValueError(f"{count} x {dimensions} scores after {skip}: give 1 or more, after 0")
    if skip + count > MOST:
        raise ValueError(f"{count} scores after {skip}: give {MOST} in all at most")
    engine = engines[method](dimensions, seed=seed)
    if skip:
        engine.fast_forward(skip)
    whole = count if skip else 1 << (count - 1).bit_length()  # else SciPy warns of other numbers
    points = engine.random(whole)[:count].T + (2.0**-31 if method == "sobol" else 0)
    inside = np.clip(np.ascontiguousarray(points), 2.0**-54, 1 - 2.0**-53)
    return np.asarray(normal_quantile(inside))


def correlated(z: ArrayLike, correlation: ArrayLike) -> Floats:
    """Scores that correlate, from scores that do not: a Gaussian copula.

    z: independent standard normal scores, a row a quantity [1]
    correlation: of the scores, symmetric and positive definite [1]
    returns: of the shape of z [1]
    source: definition, Cholesky factor
    """
    z, matrix = np.asarray(z, float), np.asarray(correlation, float)
    if z.ndim != 2 or matrix.shape != (len(z), len(z)):
        raise ValueError(
            f"correlation of shape {matrix.shape} for scores of {z.shape}: give a row and a column "
            "for each row of scores"
        )
    diagonal = np.eye(len(z), dtype=bool)
    for wrong, remedy in (
        (~(np.abs(matrix) <= 1), "give -1 to 1"),
        (diagonal & (matrix != 1), "give 1 of a quantity with itself"),
        (np.abs(matrix - matrix.T) > _SINGULAR, "give the same above and below the diagonal"),
    ):
        if wrong.any():
            i, j = np.argwhere(wrong)[0]
            raise ValueError(f"correlation[{i}, {j}] = {matrix[i, j]:g}: {remedy}")
    factor, fails = _cholesky(matrix)
    if fails >= 0:
        raise ValueError(
            f"correlation row {fails} contradicts or repeats those above (the matrix is not "
            "positive definite): bring it nearer to 0"
        )
    return _mixed(factor, np.ascontiguousarray(z))


@search
def _cholesky(matrix: Floats) -> tuple[Floats, int]:
    """The lower factor, and the first row that is not independent of those above, or -1."""
    size = len(matrix)
    factor = np.zeros((size, size))
    for i in range(size):
        for j in range(i + 1):
            rest = matrix[i, j]
            for k in range(j):
                rest -= factor[i, k] * factor[j, k]
            if j < i:
                factor[i, j] = rest / factor[j, j]
            elif rest > _SINGULAR:
                factor[i, i] = sqrt(rest)
            else:
                return factor, i
    return factor, -1


@search
def _mixed(factor: Floats, z: Floats) -> Floats:
    """factor @ z of a lower factor, in one order on any processor and for any number of draws."""
    mixed = np.zeros(z.shape)
    for i in range(len(factor)):
        for j in range(i + 1):
            weight = factor[i, j]
            if weight != 0:
                for n in range(z.shape[1]):
                    mixed[i, n] += weight * z[j, n]
    return mixed


def propagate(
    model: Model, dimensions: int, count: int, seed: int, *, map: Map = builtins.map
) -> Floats:
    """Outputs of a model at the scores of a Sobol sequence, made and run block by block.

    model: from scores to outputs, as this module says [1]
    dimensions: rows of scores that it takes [1]
    count: draws [1], best a power of two
    seed: of the scores [1]
    map: runs the blocks [1], e.g. a thread pool's; the result is the same bits with any
    returns: in the order of the draws, of shape (count,) or (outputs, count) [1]
    source: Caflisch 1998, quasi-Monte Carlo
    """
    starts = range(0, max(count, 1), BLOCK)  # of none, `scores` says what to give
    parts = map(partial(_propagated, model, dimensions, count, seed), starts)
    return np.concatenate(list(parts), axis=-1)


def _propagated(model: Model, dimensions: int, count: int, seed: int, start: int) -> Floats:
    rows = min(BLOCK, count - start)
    return outputs(model, scores(rows, dimensions, seed, skip=start))


def outputs(model: Model, z: Floats) -> Floats:
    """Outputs of a model, checked.

    model: from scores to outputs, as this module says [1]
    z: its scores, of shape (dimensions, draws) [1]
    returns: of shape (draws,) or (outputs, draws) [1]; ValueError for another, or what is no number
    source: definition
    """
    found = np.asarray(model(z), float)
    if found.ndim not in (1, 2) or found.shape[-1] != z.shape[1]:
        raise ValueError(
            f"the model gives shape {found.shape} for {z.shape[1]} draws: give (draws,) or "
            "(outputs, draws)"
        )
    if not np.isfinite(found).all():
        draw = np.argwhere(~np.isfinite(found))[0][-1]
        raise ValueError(
            f"the model gives no finite number at scores {z[:, draw].round(3).tolist()}: narrow "
            "the ranges to its domain"
        )
    return found
