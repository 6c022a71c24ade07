"""Fitting laws to training runs, above all loss = e + a / params^alpha + b / tokens^beta.

For given exponents the law is linear in a, b and e. So the search projects: a grid over both
exponents, at each point the best a, b, e of a least-squares problem in closed form, and from every
valley of that map Newton steps to its bottom; of few runs, from every point. Nothing depends on a
guessed start. That the lowest bottom is the optimum is no theorem: tests compare it with SciPy's
from many starts. Deltas far below the residuals, and exponents near zero, are where it can fail.

Within this module `theta` is (a, b, e, alpha, beta), all 0 or more, of params and tokens over their
geometric means; `runs` has three rows: log params, log tokens, 1 / loss, with columns of no weight
to fill the last lanes.
"""

from math import inf, log, nan, sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stackbook.kernels.elementary import exp, log1p
from stackbook.kernels.jit import LANES, formula, on_threads, search, sum_products
from stackbook.kernels.scaling import Hoffmann, data_constrained_loss

Array = NDArray[np.float64]

HUBER = 1e-3  # residual of log loss at which Hoffmann et al. turn from squares to absolute values
GRID = np.geomspace(0.02, 2.0, 12)  # exponents at which the search looks for valleys
FEW = 200  # runs; of more, valleys within a valley are rare
STEP = log(GRID[1] / GRID[0])
FINE, ROUGH = 1e-13, 1e-2  # parts of the objective that are not worth a step
CHUNK = 250  # refits of a thread at once
MOST = 10_000_000  # picks in memory at once
REPETITION = np.geomspace(0.1, 1e4, 49)  # r_d and r_n at which their search looks for valleys

# Rows that `_terms` fills, a column a run: derivatives of log loss by theta, then of the objective.
_SLOPE, _INSIDE, _OUTSIDE, _OBJECTIVE = 5, 6, 7, 8
_PAIRS = tuple((i, j) for i in range(5) for j in range(i + 1))
_first_order = sum_products(
    (*((_SLOPE, i) for i in range(5)), (_OBJECTIVE,), *((_INSIDE, *pair) for pair in _PAIRS))
)
_majorizer = sum_products(tuple((_OUTSIDE, *pair) for pair in _PAIRS))


@formula
def huber_loss(residual: float, delta: float) -> float:
    """Half the square of a residual, and linear beyond delta.

    residual: of log loss [1]
    delta: above 0, may be infinite [1]
    returns: [1]
    source: Huber 1964
    """
    if not delta > 0:
        return nan
    clipped = min(max(residual, -delta), delta)
    return clipped * (residual - clipped / 2)


class Fit(NamedTuple):
    """The law of lowest objective: the sum of Huber losses of log residuals, or half squares."""

    law: Hoffmann
    objective: float


def fit(
    params: ArrayLike, tokens: ArrayLike, loss: ArrayLike, delta: float = HUBER, tied: bool = False
) -> Fit:
    """The law of lowest Huber loss of log residuals over training runs.

    params, tokens: of each run [1], [1]
    loss: of each run, nats per token [1]
    delta: log residual beyond which the loss is linear, infinite for least squares [1]
    tied: whether alpha = beta, as in Gadre et al. 2024 [1]
    returns: the law and its objective [1]; ValueError for bad runs, or too few or alike
    source: Hoffmann et al. 2022, equation 3; Golub and Pereyra 1973, variable projection
    """
    data = _Data.of(params, tokens, loss)
    theta, objective = _optimum(data, delta, tied)
    return Fit(data.law(theta), objective)


def refit(
    params: ArrayLike,
    tokens: ArrayLike,
    loss: ArrayLike,
    picks: ArrayLike,
    delta: float = HUBER,
    tied: bool = False,
) -> Array:
    """Laws fitted to some of the runs each, all at their own optimum.

    params, tokens, loss, delta, tied: as for fit [1], [1], [1], [1], [1]
    picks: positions of runs, those of a law a row, of shape (laws, picked) [1]
    returns: a law a row, of shape (laws, 5) [1]
    source: as for fit
    """
    data = _Data.of(params, tokens, loss)
    picks = np.asarray(picks)
    whole = picks.ndim == 2 and picks.shape[1] > 0 and picks.dtype.kind in "iu"
    if not (whole and ((picks >= 0) & (picks < data.size)).all()):
        raise ValueError(f"picks: give rows of whole numbers from 0 to {data.size - 1}")
    picks, delta = picks.astype(np.int64), float(delta)
    theta, _ = _optimum(data, delta, tied)
    robust = _robust(theta, delta, data.runs, data.weight)
    reach, powers = 1 if picks.shape[1] < FEW else 0, _powers(data.runs, GRID)
    shared = robust, reach, delta, tied, _basis(tied), data.runs, powers
    starts = range(0, len(picks), CHUNK)
    thetas = on_threads(lambda start: _refit(picks[start : start + CHUNK], *shared), starts)
    return data.laws(np.concatenate([np.empty((0, 5)), *thetas]))


def bootstrap(
    params: ArrayLike,
    tokens: ArrayLike,
    loss: ArrayLike,
    refits: int,
    seed: int,
    delta: float = HUBER,
    tied: bool = False,
) -> Array:
    """Laws fitted to as many runs drawn with replacement, each at its own optimum.

    params, tokens, loss, delta, tied: as for fit [1], [1], [1], [1], [1]
    refits: how many laws [1]
    seed: of the draws, the same on any number of threads [1]
    returns: a law a row, of shape (refits, 5) [1]
    source: Efron 1979; Besiroglu et al. 2024
    """
    size = np.size(loss)
    most = max(1, MOST // max(size, 1))
    random, laws = np.random.default_rng(seed), []
    for start in range(0, refits, most):
        picks = random.integers(0, size, (min(most, refits - start), size))
        laws.append(refit(params, tokens, loss, picks, delta, tied))
    return np.concatenate([np.empty((0, 5)), *laws])


def covariance(
    params: ArrayLike, tokens: ArrayLike, loss: ArrayLike, delta: float = HUBER, tied: bool = False
) -> Array:
    """Covariance of a, b, e, alpha and beta of the fit, for many runs.

    params, tokens, loss, delta, tied: as for fit [1], [1], [1], [1], [1]
    returns: of shape (5, 5) [1]; infinite where the runs do not tell the constants apart
    source: Huber 1967, sandwich of an M-estimator; curvature of the middle half of the runs
    """
    data = _Data.of(params, tokens, loss)
    theta, _ = _optimum(data, delta, tied)
    rows, basis = _at(theta, delta, data), _basis(tied)
    jacobian = basis.T @ rows[:5]
    bread = (jacobian * rows[_INSIDE]) @ jacobian.T
    scale = np.sqrt(np.diag(bread))
    if not (scale > 0).all() or not np.linalg.cond(bread / np.outer(scale, scale)) < 1e14:
        return np.full((5, 5), inf)
    half = np.linalg.solve(bread, jacobian * rows[_SLOPE])
    law = data.law(theta)
    natural = np.eye(5)
    for i in range(2):
        natural[i, i] = np.exp(theta[3 + i] * data.centre[i])
        natural[i, 3 + i] = law[i] * data.centre[i]
    half = natural @ basis @ half
    return np.asarray(half @ half.T)


def profile(
    params: ArrayLike,
    tokens: ArrayLike,
    loss: ArrayLike,
    level: float = 0.9,
    delta: float = HUBER,
    tied: bool = False,
) -> Array:
    """Intervals of a, b, e, alpha and beta within which the other constants can make up.

    params, tokens, loss, delta, tied: as for fit [1], [1], [1], [1], [1]
    level: probability that an interval holds the constant [1], between 0 and 1
    returns: low and high, of shape (5, 2); 0 or infinite where the runs set no end [1]
    source: Huber and Ronchetti 2009, ratio test of an M-estimator; with squares, an F test
    """
    if not 0 < level < 1:
        raise ValueError(f"level = {level:g}: give a probability between 0 and 1")
    data = _Data.of(params, tokens, loss)
    theta, objective = _optimum(data, delta, tied)
    rows = _at(theta, delta, data)
    spread = rows[_SLOPE] @ rows[_SLOPE] / rows[_INSIDE].sum()
    spread *= data.size / (data.size - _basis(tied).shape[1])
    score = NormalDist().inv_cdf((1 + level) / 2)
    limit = objective + score**2 / 2 * spread
    ends = np.empty((5, 2))
    for constant in range(5):
        runs, start = data.runs.copy(), theta.copy()
        if constant < 2:  # a or b is to stay as it is, not as it is at the mean run
            runs[constant] += data.centre[constant]
            start[constant] = data.law(theta)[constant]
        basis = _basis(tied, constant)
        for side, sign in enumerate((-1.0, 1.0)):
            ends[constant, side] = _profile_end(
                start, constant, sign, limit, float(delta), tied, basis, runs, data.weight
            )
    return ends


class Repetition(NamedTuple):
    """Constants of data_constrained_loss, and the sum of Huber losses that they leave."""

    r_d: float
    r_n: float
    objective: float


def fit_repetition(
    params: ArrayLike,
    tokens: ArrayLike,
    unique_tokens: ArrayLike,
    loss: ArrayLike,
    law: Hoffmann,
    delta: float = HUBER,
) -> Repetition:
    """What repeated tokens and excess parameters are worth, under the law of fresh tokens.

    params, tokens, unique_tokens: of each run [1], [1], [1]
    loss: of each run, nats per token [1]
    law: of runs without repetition [1]
    delta: log residual beyond which the loss is linear [1]
    returns: constants of 0.1 to 10,000 with the lowest objective [1], to 1e-6; at an end if open
    source: Muennighoff et al. 2023, appendix A, equation 17
    """
    runs = np.array([params, tokens, unique_tokens], np.float64)
    logs = np.log(np.asarray(loss, np.float64))
    if not (np.isfinite(logs).all() and np.isfinite(runs).all() and (runs > 0).all()):
        raise ValueError("give finite numbers above 0 for every run")

    def objectives(r_d: Array, r_n: Array) -> Array:
        predicted = data_constrained_loss(*runs, *law, r_d[:, None, None], r_n[None, :, None])
        residual = np.log(predicted) - logs
        return np.asarray(huber_loss(residual, delta).sum(axis=2))

    height = np.pad(objectives(REPETITION, REPETITION), 1, constant_values=inf)
    size = range(REPETITION.size)
    valleys = sorted(
        (height[i + 1, j + 1], REPETITION[i], REPETITION[j])
        for i in size
        for j in size
        if height[i + 1, j + 1] == height[i : i + 3, j : j + 3].min()
    )
    found = []
    for _, r_d, r_n in valleys[:20]:
        width = log(REPETITION[1] / REPETITION[0])
        while width > 1e-7:
            near = np.exp(np.linspace(-width, width, 9))
            both = [np.clip(r * near, REPETITION[0], REPETITION[-1]) for r in (r_d, r_n)]
            around = objectives(*both)
            i, j = np.unravel_index(np.argmin(around), around.shape)
            r_d, r_n, width = both[0][i], both[1][j], width / 2
        found.append(Repetition(float(r_d), float(r_n), float(around[i, j])))
    return min(found, key=lambda each: each.objective)


class PowerLaw(NamedTuple):
    """y = coefficient x^exponent."""

    coefficient: float
    exponent: float


def power_law(x: ArrayLike, y: ArrayLike) -> PowerLaw:
    """The power law of least squares of logarithms.

    x, y: of each point, above 0 [1], [1]
    returns: [1]
    source: definition
    """
    exponent, constant = np.polyfit(np.log(x), np.log(y), 1)
    return PowerLaw(float(np.exp(constant)), float(exponent))


def isoflop_optimum(params: ArrayLike, loss: ArrayLike) -> float:
    """Size of lowest loss for one budget of compute: bottom of a parabola in log params.

    params: of each run of the budget [1]
    loss: of each, nats per token [1]
    returns: [1]; NaN where the parabola has no bottom among the runs
    source: Hoffmann et al. 2022, approach 2
    """
    logs = np.log(np.asarray(params, np.float64))
    if logs.size < 3:
        return nan
    centre = logs.mean()
    bend, slope, _ = np.polyfit(logs - centre, np.asarray(loss, np.float64), 2)
    bottom = centre - slope / (2 * bend) if bend > 0 else nan
    return float(np.exp(bottom)) if logs.min() < bottom < logs.max() else nan


def interpolated_optimum(params: ArrayLike, loss: ArrayLike) -> float:
    """Size of lowest loss for one budget of compute: bottom of a smooth curve through all runs.

    params: of each run of the budget, all different [1]
    loss: of each, nats per token [1]
    returns: [1]; NaN where the lowest is at an end
    source: Porian et al. 2024, Akima interpolation of log loss over log params
    """
    from scipy.interpolate import Akima1DInterpolator

    order = np.argsort(params)
    x, y = np.log(np.asarray(params)[order]), np.log(np.asarray(loss)[order])
    curve = Akima1DInterpolator(x, y)
    turns = curve.derivative().roots(extrapolate=False)
    turns = turns[np.isfinite(turns)]
    lowest = min(turns, key=curve, default=nan)
    return float(np.exp(lowest)) if curve(lowest) < min(y[0], y[-1]) else nan


class _Data(NamedTuple):
    """Runs as the search takes them."""

    size: int
    centre: Array
    runs: Array
    weight: Array

    @classmethod
    def of(cls, params: ArrayLike, tokens: ArrayLike, loss: ArrayLike) -> "_Data":
        named = {"params": params, "tokens": tokens, "loss": loss}
        columns = {name: np.asarray(values, np.float64) for name, values in named.items()}
        shapes = {name: column.shape for name, column in columns.items()}
        if len(set(shapes.values())) > 1 or columns["loss"].ndim != 1:
            raise ValueError(f"runs have shapes {shapes}; give three columns of one length")
        for name, column in columns.items():
            bad = np.flatnonzero(~(np.isfinite(column) & (column > 0)))
            if bad.size:
                found = ", ".join(f"{name}[{i}] = {column[i]:g}" for i in bad[:3])
                more = f" and {bad.size - 3} more" if bad.size > 3 else ""
                raise ValueError(f"{found}{more}: give finite numbers above 0")
        size = columns["loss"].size
        if size < 6:
            raise ValueError(f"{size} runs do not fix five constants; give 6 or more")
        logs = np.log([columns["params"], columns["tokens"]])
        centre = logs.mean(axis=1)
        logs -= centre[:, None]
        (uu, uv), (_, vv) = logs @ logs.T
        for name, square in (("params", uu), ("tokens", vv)):
            if square < 1e-18 * size:
                raise ValueError(f"every run has the same {name}; give runs that differ in it")
        if uv > (1 - 1e-9) * sqrt(uu * vv):
            raise ValueError(
                "tokens rise with params alike in every run, so that their two terms cannot be "
                "told apart; give runs of one size and different tokens"
            )
        padded = -(-size // LANES) * LANES
        runs, weight = np.zeros((3, padded)), np.zeros(padded)
        runs[:2, :size], runs[2, :size] = logs, 1 / columns["loss"]
        runs[2, size:], weight[:size] = runs[2, 0], 1.0
        return cls(size, centre, runs, weight)

    def laws(self, thetas: Array) -> Array:
        laws = thetas.copy()
        with np.errstate(over="ignore"):  # of an exponent that follows a single run
            laws[:, :2] *= np.exp(laws[:, 3:] * self.centre)
        return laws

    def law(self, theta: Array) -> Hoffmann:
        return Hoffmann(*map(float, self.laws(theta[None])[0]))


def _basis(tied: bool, fixed: int | None = None) -> Array:
    """Directions, a column each, in which the search may move theta."""
    free = np.eye(5)
    if fixed is not None:
        free[:, fixed] = 0.0
    if tied:
        free[:, 3] += free[:, 4]
        free[:, 4] = 0.0
        if fixed is not None and fixed > 2:
            free[:, 3] = 0.0
    return np.ascontiguousarray(free[:, np.any(free != 0.0, axis=0)])


def _optimum(data: _Data, delta: float, tied: bool) -> tuple[Array, float]:
    """Theta at the lowest objective, and that objective.

    The map of least squares shows its valleys; a second one, in which runs far from the first
    optimum weigh less, shows those that outliers hid. Of few runs all points of it are starts.
    """
    if not delta > 0:
        raise ValueError(f"delta = {delta:g}: give a number above 0, or infinity")
    theta, weight, few = np.empty(5), data.weight, data.size < FEW
    shared = float(delta), tied, _basis(tied), data.runs, _powers(data.runs, GRID)
    best = _from_valleys(theta, inf, weight, weight, GRID.size if few else 0, *shared)
    if best < inf and delta < inf and not few:
        robust = _robust(theta, float(delta), data.runs, weight)
        best = _from_valleys(theta, best, weight, robust, 0, *shared)
    if not best < inf:
        raise ValueError("losses differ by more than numbers can hold; give them in another unit")
    return theta, best


def _at(theta: Array, delta: float, data: _Data) -> Array:
    """Rows of `_terms` at theta, with the curvature spread over the middle half of the runs.

    Only runs within delta have any, and these can be few; the density of residuals around zero,
    which is what counts, is about the same for half of all.
    """
    rows, delta = np.empty((9, data.weight.size)), float(delta)
    _terms(theta, inf, data.runs, data.weight, rows)
    wide = max(delta, float(np.median(np.abs(rows[_SLOPE, : data.size]))))
    _terms(theta, wide, data.runs, data.weight, rows)
    curvature = rows[_INSIDE] * (delta / wide if wide > delta else 1.0)
    _terms(theta, delta, data.runs, data.weight, rows)
    rows[_INSIDE] = curvature
    return rows


@search
def _powers(runs: Array, grid: Array) -> Array:
    """params^-x / loss and tokens^-x / loss for each exponent x, of shape (runs, 2, exponents)."""
    powers = np.empty((runs.shape[1], 2, grid.size))
    for i in range(runs.shape[1]):
        for row in range(2):
            for k in range(grid.size):
                powers[i, row, k] = exp(-grid[k] * runs[row, i]) * runs[2, i]
    return powers


@search
def _robust(theta: Array, delta: float, runs: Array, weight: Array) -> Array:
    """Weights under which least squares have the gradient of the Huber loss at theta."""
    rows = np.empty((9, weight.size))
    _terms(theta, delta, runs, weight, rows)
    weights: Array = rows[_INSIDE] + rows[_OUTSIDE]
    return weights


@search
def _terms(theta: Array, delta: float, runs: Array, weight: Array, rows: Array) -> None:
    """Each run's part of the objective and of its derivatives at theta."""
    a, b, e, alpha, beta = theta
    for i in range(weight.size):
        x = exp(-alpha * runs[0, i]) * runs[2, i]
        y = exp(-beta * runs[1, i]) * runs[2, i]
        total = a * x + b * y + e * runs[2, i]
        residual = log1p(total - 1)
        per = 1 / total
        rows[0, i], rows[1, i], rows[2, i] = x * per, y * per, runs[2, i] * per
        rows[3, i], rows[4, i] = -a * x * per * runs[0, i], -b * y * per * runs[1, i]
        clipped = min(max(residual, -delta), delta)
        inside = abs(residual) <= delta
        rows[_SLOPE, i] = clipped * weight[i]
        rows[_INSIDE, i] = weight[i] if inside else 0.0
        rows[_OUTSIDE, i] = weight[i] * (0.0 if inside else delta / abs(residual))
        rows[_OBJECTIVE, i] = clipped * (residual - clipped / 2) * weight[i]


@search
def _evaluate(
    theta: Array, delta: float, runs: Array, weight: Array, rows: Array, sums: Array
) -> None:
    """Fill rows, and sums: the gradient, the objective, and the curvature of residuals inside."""
    _terms(theta, delta, runs, weight, rows)
    _first_order(rows, sums)


@search
def _descend(
    theta: Array, delta: float, tolerance: float, basis: Array, runs: Array, weight: Array
) -> float:
    """Move theta along the basis to the bottom of its valley; returns the objective there.

    It stops where a step is to gain less than `tolerance`, a part of the objective.
    Damped Newton steps. With full damping (1) the quadratic lies above the Huber loss of linear
    residuals, so that steps descend; without it they converge at once near the bottom.
    """
    size = basis.shape[1]
    rows, sums, outside = np.empty((9, weight.size)), np.empty(21), np.empty(15)
    hessian, half, reduced = np.empty((5, 5)), np.empty((5, size)), np.empty((size, size))
    free, gradient, move = np.empty((5, size)), np.empty(size), np.empty(size)
    step, trial, trial_sums = np.empty(5), np.empty(5), np.empty(21)
    _evaluate(theta, delta, runs, weight, rows, sums)
    _majorizer(rows, outside)
    damping, tried = 1.0, False  # an undamped step, from here
    for _ in range(500):
        pair = 0
        for i in range(5):
            pull = 0.0  # along the basis, in which both exponents may be one
            for k in range(size):
                for j in range(5):
                    pull += basis[i, k] * basis[j, k] * sums[j]
            held = theta[i] == 0.0 and pull >= 0.0  # at its bound
            for k in range(size):
                free[i, k] = 0.0 if held else basis[i, k]
            for j in range(i + 1):
                near, far = sums[6 + pair], outside[pair]
                hessian[i, j] = hessian[j, i] = near + min(damping, 1.0) * far
                if i == j:
                    hessian[i, i] += 1e-3 * damping * (near + far)
                pair += 1
        for i in range(5):
            for k in range(size):
                half[i, k] = 0.0
                for j in range(5):
                    half[i, k] += hessian[i, j] * free[j, k]
        for k in range(size):
            gradient[k] = 0.0
            for i in range(5):
                gradient[k] += free[i, k] * sums[i]
            for m in range(k + 1):
                reduced[k, m] = 0.0
                for i in range(5):
                    reduced[k, m] += free[i, k] * half[i, m]
            reduced[k, k] *= 1 + 1e-12
            if reduced[k, k] == 0.0 and gradient[k] == 0.0:  # held, or exponent of a zero term
                reduced[k, k] = 1.0
        if not _solve(reduced, gradient, move):
            tried = True
            damping = 10 * max(damping, 0.1)
            if damping > 1e9:
                break
            continue
        part = 1.0  # of the step: exponents move by a half at most, nothing beyond zero
        for i in range(5):
            step[i] = 0.0
            for k in range(size):
                step[i] -= free[i, k] * move[k]
            if i > 2:
                part = min(part, 0.5 / abs(step[i]))
            if theta[i] > 0.0 and step[i] < 0.0:
                part = min(part, -theta[i] / step[i])
        gain = 0.0
        for i in range(5):
            trial[i] = theta[i] + part * step[i]
            if trial[i] < 1e-15 * theta[i] or (theta[i] == 0.0 and step[i] < 0.0):
                trial[i] = 0.0
            gain += (theta[i] - trial[i]) * sums[i]
        if not gain > tolerance * sums[5]:
            if damping == 0.0 or tried:
                break
            damping = 0.0
            continue
        _evaluate(trial, delta, runs, weight, rows, trial_sums)
        if trial_sums[5] < sums[5]:
            _majorizer(rows, outside)
            theta[:], sums[:] = trial, trial_sums
            damping, tried = 0.1 * damping if damping > 1e-3 else 0.0, False
        else:
            tried = tried or damping == 0.0
            damping = 10 * max(damping, 1e-3)
            if damping > 1e9:
                break
    objective: float = sums[5]
    return objective


@search
def _solve(matrix: Array, right: Array, x: Array) -> bool:
    """Solve a small positive definite system by Cholesky; False where it is none."""
    size = right.size
    for i in range(size):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= matrix[i, k] * matrix[j, k]
            if i > j:
                matrix[i, j] = total / matrix[j, j]
            elif total > 0:
                matrix[i, i] = sqrt(total)
            else:
                return False
    for i in range(size):
        total = right[i]
        for k in range(i):
            total -= matrix[i, k] * x[k]
        x[i] = total / matrix[i, i]
    for i in range(size - 1, -1, -1):
        total = x[i]
        for k in range(i + 1, size):
            total -= matrix[k, i] * x[k]
        x[i] = total / matrix[i, i]
    return True


@search
def _map(
    height: Array, coefficients: Array, weight: Array, tied: bool, runs: Array, powers: Array
) -> None:
    """Fill the map over pairs of exponents: its height, within a rim, and a, b, e at each point.

    Least squares of relative residuals, with a, b and e not negative.
    """
    size = powers.shape[2]
    ee = se = 0.0
    one, two, mixed = np.zeros((2, size)), np.zeros((2, size)), np.zeros((2, size))
    cross = np.zeros((size, size))
    for i in range(weight.size):
        if weight[i] == 0.0:
            continue
        e = runs[2, i]
        se += weight[i] * e
        ee += weight[i] * e * e
        for row in range(2):
            for k in range(size):
                weighted = weight[i] * powers[i, row, k]
                one[row, k] += weighted
                two[row, k] += weighted * powers[i, row, k]
                mixed[row, k] += weighted * e
        for k in range(size):
            weighted = weight[i] * powers[i, 0, k]
            for m in range(size):
                cross[k, m] += weighted * powers[i, 1, m]

    for k in range(size):
        for m in range(size):
            if not tied or k == m:
                height[k + 1, m + 1] = _projected(
                    (two[0, k], cross[k, m], mixed[0, k], two[1, m], mixed[1, m], ee),
                    (one[0, k], one[1, m], se),
                    coefficients[k, m],
                )


@search
def _from_valleys(
    theta: Array,
    best: float,
    weight: Array,
    map_weight: Array,
    reach: int,
    delta: float,
    tied: bool,
    basis: Array,
    runs: Array,
    powers: Array,
) -> float:
    """The lower of `best` and the objective reached from each valley; theta becomes its place.

    The map is under `map_weight`. Huber's loss of few runs, or of a delta far below the residuals,
    has small valleys within a valley: a second way down, over wider deltas, passes over them. With
    a `reach`, so many points around are starts as well.
    """
    size = powers.shape[2]
    height, coefficients = np.full((size + 2, size + 2), inf), np.empty((size, size, 3))
    _map(height, coefficients, map_weight, tied, runs, powers)
    starts, trial = np.zeros((size, size), np.bool_), np.empty(5)
    for k in range(size):
        for m in range(size):
            here = height[k + 1, m + 1]
            if not here < inf or np.min(height[k : k + 3, m : m + 3]) < here:
                continue
            seen = best < inf and abs(log(theta[3] / GRID[k])) < STEP
            if seen and abs(log(theta[4] / GRID[m])) < STEP:
                continue
            starts[max(k - reach, 0) : k + reach + 1, max(m - reach, 0) : m + reach + 1] = True
    total = np.sum(map_weight)
    for k in range(size):
        for m in range(size):
            here = height[k + 1, m + 1]
            if not (starts[k, m] and here < inf):
                continue
            typical = sqrt(max(1 + here / total, 0.0))  # residual at this point of the map
            for smooth in range(2):
                wide = max(16 * delta, typical) if smooth else delta
                if smooth and (delta == inf or not (reach or wide > 16 * delta)):
                    continue
                trial[:3], trial[3], trial[4] = coefficients[k, m], GRID[k], GRID[m]
                while wide > delta:
                    _descend(trial, wide, ROUGH, basis, runs, weight)
                    wide /= 4
                reached = _descend(trial, delta, FINE, basis, runs, weight)
                if reached < best:
                    best = reached
                    theta[:] = trial
    return best


@search
def _projected(
    products: tuple[float, ...], sums: tuple[float, float, float], coefficients: Array
) -> float:
    """Best a, b, e of 0 or more for given exponents; returns less what they explain."""
    xx, xy, xe, yy, ye, ee = products
    x, y, z = sums
    best = inf
    # All three, if none is negative; otherwise the best of two or one of them.
    l1, l2 = xy / xx, xe / xx
    d1 = yy - l1 * xy
    l3 = (ye - l1 * xe) / d1
    d2 = ee - l2 * xe - l3 * (ye - l1 * xe)
    y1 = y - l1 * x
    e = (z - l2 * x - l3 * y1) / d2
    b = y1 / d1 - l3 * e
    a = (x - xy * b - xe * e) / xx
    if d1 > 0 and d2 > 0 and a >= 0 and b >= 0 and e >= 0:
        coefficients[0], coefficients[1], coefficients[2] = a, b, e
        return -(a * x + b * y + e * z)
    for first, second, pp, pq, qq, p, q in (
        (0, 1, xx, xy, yy, x, y),
        (0, 2, xx, xe, ee, x, z),
        (1, 2, yy, ye, ee, y, z),
    ):
        both = pp * qq - pq * pq
        c, d = (p * qq - q * pq) / both, (q * pp - p * pq) / both
        if not (both > 0 and c >= 0):
            c, d = 0.0, q / qq
        elif d < 0:
            c, d = p / pp, 0.0
        if -(c * p + d * q) < best:
            best = -(c * p + d * q)
            coefficients[:] = 0.0
            coefficients[first], coefficients[second] = c, d
    return best


@search
def _refit(
    picks: NDArray[np.int64],
    robust: Array,
    reach: int,
    delta: float,
    tied: bool,
    basis: Array,
    runs: Array,
    powers: Array,
) -> Array:
    """Theta of each row of picks, the runs that were drawn."""
    thetas = np.full((picks.shape[0], 5), nan)
    for i in range(picks.shape[0]):
        weight = np.zeros(runs.shape[1])
        for pick in picks[i]:
            weight[pick] += 1.0
        _from_valleys(
            thetas[i], inf, weight, weight * robust, reach, delta, tied, basis, runs, powers
        )
    return thetas


@search
def _profile_end(
    theta: Array,
    constant: int,
    sign: float,
    limit: float,
    delta: float,
    tied: bool,
    basis: Array,
    runs: Array,
    weight: Array,
) -> float:
    """The value of a constant at which, all else refitted, the objective reaches the limit.

    Doubles the distance (of its logarithm) until it does, then bisects.
    """
    start = max(theta[constant], 1e-9 / np.mean(runs[2]))
    inner = theta.copy()
    near, far, step = 0.0, inf, 1e-3
    while near < 50 and not far - near <= 1e-9 * near:
        at = near + step if far == inf else (near + far) / 2
        trial = inner.copy()
        trial[constant] = start * exp(sign * at)
        if tied and constant > 2:
            trial[3:] = trial[constant]
        if _descend(trial, delta, FINE, basis, runs, weight) > limit:
            far = at
        else:
            near = at
            inner[:] = trial
            step *= 2
    open_end = 0.0 if sign < 0 else inf
    end: float = start * exp(sign * far) if far < inf else open_end
    return end
