"""Which uncertain numbers decide: shares of variance, one at a time, and what knowing one is worth.

A model takes standard normal scores, as `kernels.sampling` says. The design of Saltelli et al.
has two matrices of scores, A and B, and for each group of quantities AB: A with that group of B.
"""

import builtins
from collections.abc import Hashable, Sequence
from functools import partial
from itertools import combinations
from math import factorial, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stackbook.kernels.jit import search
from stackbook.kernels.sampling import BLOCK, Floats, Map, Model, outputs, scores
from stackbook.kernels.uncertainty import Z95

BATCHES = 128  # of consecutive rows, which a bootstrap resamples
DEGREE = 5  # of the polynomials that a worth is regressed on

Labels = Sequence[Hashable]


class Indices(NamedTuple):
    """Shares of variance with 90% intervals, of shape (outputs, groups), or (groups,).

    `first` is of each group alone, `total` with all its interactions.
    """

    groups: tuple[Hashable, ...]
    first: Floats
    first_low: Floats
    first_high: Floats
    total: Floats
    total_low: Floats
    total_high: Floats
    mean: Floats
    variance: Floats


def sobol(
    model: Model,
    dimensions: int,
    count: int,
    seed: int,
    *,
    groups: Labels | None = None,
    bootstrap: int = 200,
    map: Map = builtins.map,
) -> Indices:
    """Sobol indices of a model: count (groups + 2) runs.

    model, dimensions: from scores to outputs [1], rows of scores that it takes [1]
    count: rows of A and of B [1], a power of two
    seed: of the scores and of the bootstrap [1]
    groups: a label for each row of scores; those of one vary together [1]
    bootstrap: resamples behind the intervals [1]
    map: runs the blocks [1], e.g. a thread pool's; the result is the same bits with any
    returns: shares of variance [1]; NaN of an output that does not vary
    source: Saltelli et al. 2010, table 2, (b) and (f)
    """
    if count < 2 or count & (count - 1):
        raise ValueError(f"count = {count}: give a power of two, for which Sobol points balance")
    names, columns = _grouped(groups, dimensions)
    task = partial(_runs, model, dimensions, count, seed, columns)
    runs = np.concatenate(list(map(task, range(0, count, BLOCK))), axis=-1)
    return estimate(runs, seed, groups=names, bootstrap=bootstrap)


def _grouped(groups: Labels | None, dimensions: int) -> tuple[tuple[Hashable, ...], list[Any]]:
    """Names of the groups, in order of appearance, and the rows of scores of each."""
    labels = tuple(range(dimensions) if groups is None else groups)
    if len(labels) != dimensions:
        raise ValueError(f"{len(labels)} groups: give a label for each of {dimensions} dimensions")
    names = tuple(dict.fromkeys(labels))
    return names, [[i for i, label in enumerate(labels) if label == name] for name in names]


def _runs(
    model: Model, dimensions: int, count: int, seed: int, columns: list[list[int]], start: int
) -> Floats:
    """Outputs of a block of rows at A, B and each AB, of shape (groups + 2, ..., rows)."""
    both = scores(min(BLOCK, count - start), 2 * dimensions, seed, skip=start)
    a, b = both[:dimensions], both[dimensions:]
    first = outputs(model, a)
    runs = np.empty((len(columns) + 2, *first.shape))
    runs[0], runs[1] = first, outputs(model, b)
    mixed = a.copy()
    for run, rows in zip(runs[2:], columns, strict=True):
        mixed[rows] = b[rows]
        run[...] = outputs(model, mixed)
        mixed[rows] = a[rows]
    return runs


def estimate(
    runs: ArrayLike, seed: int, *, groups: Labels | None = None, bootstrap: int = 200
) -> Indices:
    """Sobol indices from outputs at A, at B, and at A with each group of B.

    runs: of shape (groups + 2, outputs, rows), or without outputs [1]
    seed: of the bootstrap, which resamples 128 batches of rows [1]
    groups: their names [1]
    bootstrap: resamples behind the intervals [1]
    returns: shares of variance [1]; intervals hold 90% for independent rows, more for Sobol's
    source: Saltelli et al. 2010, table 2, (b) and (f); Archer et al. 1997
    """
    values = np.asarray(runs, float)
    size, rows = len(values) - 2, values.shape[-1]
    names = tuple(range(size) if groups is None else groups)
    if bootstrap < 1:
        raise ValueError(f"bootstrap = {bootstrap}: give 1 resample or more, best 200")
    if values.ndim not in (2, 3) or size < 1 or len(names) != size or rows < 2:
        raise ValueError(
            f"runs of shape {values.shape} and {len(names)} groups: give runs at A, B and one "
            "matrix for each group, of two or more rows"
        )
    shape = values.shape[1:-1]
    values = values.reshape(size + 2, -1, rows)
    batches = min(BATCHES, rows)
    ends = np.arange(batches + 1) * rows // batches
    centre = _means(values)
    sums = _sums(values, centre, ends)
    bad = np.argwhere(~np.isfinite(sums).all(axis=(0, 2)))
    if bad.size:
        raise ValueError(
            f"runs of output {bad[0, 0]} are not all finite, or too large to square: give finite "
            "numbers, if need be of a larger unit"
        )
    each = np.arange(batches)[None]
    picks = np.random.default_rng(seed).integers(0, batches, (bootstrap, batches))
    first, total, mean, variance = (x[0] for x in _shares(_resampled(sums, each)))
    some = _shares(_resampled(sums, picks))
    low, high = np.quantile(some[:2], [0.05, 0.95], axis=1)
    indices = (first, low[0], high[0], total, low[1], high[1])
    moments = (centre + mean, variance)
    return Indices._make(
        [names, *(x.reshape(*shape, size) for x in indices), *(x.reshape(shape) for x in moments)]
    )


def _shares(sums: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """First-order and total indices, mean and variance from what `_sums` adds up."""
    mean, square, rows = (sums[..., i] for i in (-3, -2, -1))
    mean = mean / rows
    variance = square / rows - mean * mean
    size = (sums.shape[-1] - 3) // 2
    with np.errstate(all="ignore"):  # an output that does not vary
        shares = sums[..., : 2 * size] / (rows * variance)[..., None]
    return shares[..., :size], shares[..., size:], mean, variance


@search
def _means(runs: Floats) -> Floats:
    """Of each output over all runs."""
    means = np.zeros(runs.shape[1])
    for run in runs:
        for output in range(len(means)):
            total = 0.0
            for value in run[output]:
                total += value
            means[output] += total / (runs.shape[0] * runs.shape[2])
    return means


@search
def _sums(runs: Floats, centre: Floats, ends: NDArray[np.int64]) -> Floats:
    """What the indices are made of, added up over each batch, of outputs less their centre.

    Columns: products of the first order, of the total, then A and B, their squares, and rows.
    """
    size, batches = len(runs) - 2, len(ends) - 1
    sums = np.zeros((batches, len(centre), 2 * size + 3))
    for output in range(len(centre)):
        middle = centre[output]
        a, b = runs[0, output], runs[1, output]
        for batch in range(batches):
            start, end = ends[batch], ends[batch + 1]
            into = sums[batch, output]
            for group in range(size):
                mixed = runs[2 + group, output]
                first = total = 0.0
                for n in range(start, end):
                    change = mixed[n] - a[n]
                    first += (b[n] - middle) * change
                    total += change * change
                into[group], into[size + group] = first, total / 2
            level = square = 0.0
            for n in range(start, end):
                at_a, at_b = a[n] - middle, b[n] - middle
                level += at_a + at_b
                square += at_a * at_a + at_b * at_b
            into[2 * size], into[2 * size + 1] = level / 2, square / 2
            into[2 * size + 2] = end - start
    return sums


@search
def _resampled(sums: Floats, picks: NDArray[np.int64]) -> Floats:
    """Sums over the batches that each row of picks names."""
    total = np.zeros((len(picks), *sums.shape[1:]))
    for row in range(len(picks)):
        for batch in picks[row]:
            total[row] += sums[batch]
    return total


def tornado(model: Model, dimensions: int, z: float = Z95) -> Floats:
    """Outputs where one quantity is low or high and all others are at their medians.

    model, dimensions: from scores to outputs [1], rows of scores that it takes [1]
    z: score of high, and less it of low [1]
    returns: low and high, of shape (outputs, dimensions, 2), or without outputs [1]
    source: Howard 1988
    """
    ends = np.concatenate([-z * np.eye(dimensions), z * np.eye(dimensions)], axis=1)
    found = outputs(model, ends)
    return np.stack([found[..., :dimensions], found[..., dimensions:]], axis=-1)


class Information(NamedTuple):
    """What it is worth to know everything, or one group of quantities, before one decides.

    Errors are standard errors: a worth below two of them is noise.
    """

    groups: tuple[Hashable, ...]
    perfect: float
    perfect_error: float
    partial: Floats
    partial_error: Floats


def value_of_information(
    worth: ArrayLike, z: ArrayLike, groups: Labels | None = None
) -> Information:
    """Expected value of perfect and of partial perfect information, by regression.

    worth: net benefit of each action, of shape (actions, draws) [USD], or any unit
    z: standard normal scores behind them, of shape (dimensions, draws), in no order [1]
    groups: a label for each row of scores; those of one get known together [1]
    returns: 0 or more [USD]; each half of the draws decides by the other's curves, so not by noise
    source: Strong, Oakley and Brennan 2014; halves as in Chernozhukov et al. 2018
    """
    gains, z = np.asarray(worth, float), np.asarray(z, float)
    if gains.ndim != 2 or z.ndim != 2 or gains.shape[1] != z.shape[1]:
        raise ValueError(
            f"worth of shape {gains.shape} and scores of {z.shape}: give (actions, draws) and "
            "(dimensions, draws)"
        )
    if not (np.isfinite(gains).all() and np.isfinite(z).all()):
        raise ValueError("worth or scores are not finite in every draw: leave such draws out")
    if gains.shape[0] < 1 or gains.shape[1] < 4:
        raise ValueError(
            f"worth of {gains.shape[0]} actions in {gains.shape[1]} draws: give 1 action or more "
            "in 4 draws or more, best thousands"
        )
    names, columns = _grouped(groups, len(z))
    draws = gains.shape[1]
    gains = gains - gains[np.argmax(gains.mean(axis=1))]  # over the action that is best unknowing
    halves = slice(draws // 2), slice(draws // 2, draws)  # of a sequence, each is as even
    found = [_earned(gains.max(axis=0))]
    for rows in columns:
        basis = _basis(z[rows])
        chosen = np.empty(draws, int)
        for known, blind in (halves, halves[::-1]):
            of_known = basis[known].T  # nearly orthogonal, so that normal equations do
            curves = np.linalg.lstsq(of_known @ of_known.T, of_known @ gains[:, known].T)[0]
            chosen[blind] = np.argmax(basis[blind] @ curves, axis=1)
        found.append(_earned(gains[chosen, np.arange(draws)]))
    (perfect, *partly), (error, *errors) = zip(*found, strict=True)
    return Information(names, perfect, error, np.array(partly), np.array(errors))


def _basis(z: Floats) -> Floats:
    """Hermite polynomials of each score and products of two scores, a row a draw."""
    scale = [sqrt(factorial(k)) for k in range(1, DEGREE + 1)]
    powers = [np.polynomial.hermite_e.hermevander(x, DEGREE)[:, 1:] / scale for x in z]
    pairs = [(x * y)[:, None] for x, y in combinations(z, 2)]
    return np.concatenate([np.ones((z.shape[1], 1)), *powers, *pairs], axis=1)


def _earned(gain: Floats) -> tuple[float, float]:
    """The mean, 0 or more, and its standard error."""
    return max(float(gain.mean()), 0.0), float(gain.std(ddof=1)) / sqrt(gain.size)
