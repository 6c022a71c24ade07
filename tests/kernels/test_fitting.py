"""Fits against published ones, SciPy from many starts, and data whose law is known."""

from math import inf
from statistics import NormalDist

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import huber_objective
from scipy.optimize import minimize

from stackbook import facts, kernels
from stackbook.kernels import fitting, scaling
from stackbook.kernels.scaling import Hoffmann

CHINCHILLA = facts.table("scaling_runs").filter(pl.col("study") == "chinchilla", "fitted").collect()
RUNS = tuple(CHINCHILLA[name].to_numpy() for name in ("params", "tokens", "loss"))
OPTIMUM = Hoffmann(477.81, 2143.46, 1.81722, 0.347309, 0.367173)


def scipy_fit(runs, weight, delta, starts, seed=0):
    """The lowest of many BFGS searches, over centred data."""
    logs = np.log(runs)
    logs[:2] -= logs[:2].mean(axis=1, keepdims=True)
    random, best = np.random.default_rng(seed), inf
    for _ in range(starts):
        start = [*np.log(random.uniform(0.02, 2, 3)), *random.uniform(0.05, 1.5, 2)]
        found = minimize(
            huber_objective, start, (*logs, weight, delta), "BFGS", True, options={"gtol": 1e-10}
        )
        if min(found.x[3:]) > 0:
            best = min(best, found.fun)
    return best


def made(law, size, noise, seed):
    """Runs of a law, with log-normal noise."""
    random = np.random.default_rng(seed)
    params, tokens = 10 ** random.uniform(7, 10, size), 10 ** random.uniform(9, 12, size)
    loss = scaling.hoffmann_loss(params, tokens, *law) * np.exp(random.normal(0, noise, size))
    return params, tokens, loss


def test_optimum_of_the_chinchilla_runs():
    law, objective = fitting.fit(*RUNS)
    assert objective == pytest.approx(1.018274e-3, rel=1e-6)
    # The bottom is flat: these five digits were found by a search that stopped a little earlier.
    np.testing.assert_allclose(law, OPTIMUM, rtol=1e-4)
    assert objective <= scipy_fit(RUNS, np.ones(240), fitting.HUBER, 10) * (1 + 1e-9)


def test_published_point_estimates_are_of_least_absolute_deviations():
    """Besiroglu et al. 2024 leave the scale of Huber's loss free, which drives it to zero."""
    law, _ = fitting.fit(*RUNS, delta=5e-9)
    np.testing.assert_allclose(law, [482.01, 2085.43, 1.8172, 0.3478, 0.3658], rtol=2e-4)


def test_published_standard_errors():
    """Besiroglu et al. 2024, over their own 4,000 draws: NumPy's old generator with seed 42."""
    old = np.random.RandomState(42)
    refits = fitting.refit(*RUNS, [old.choice(240, 240) for _ in range(4000)])
    assert refits.std(axis=0)[:2] == pytest.approx([124.58, 1293.23], rel=1e-3)
    np.testing.assert_allclose(refits.std(axis=0)[2:], [0.03, 0.02, 0.02], atol=0.005)
    low, high = np.percentile(refits, [2.5, 97.5], axis=0)
    # Their searches stop a little early, which shows in the ends.
    np.testing.assert_allclose(low, [285.2, 1042.4, 1.769, 0.317, 0.331], rtol=5e-3)
    np.testing.assert_allclose(high, [743.6, 5810.3, 1.871, 0.373, 0.415], rtol=5e-3)


def test_gross_outliers_do_not_stop_the_search():
    """Every twentieth loss in thousandths: far from the bottom no run lies within delta."""
    loss = RUNS[2].copy()
    loss[::20] /= 1000
    found = fitting.fit(RUNS[0], RUNS[1], loss)
    # Those twelve cost about log(1000) each, whatever the law.
    assert found.objective == pytest.approx(12e-3 * np.log(1000) + 1e-3, rel=0.02)
    np.testing.assert_allclose(found.law.e, OPTIMUM.e, rtol=0.05)


def test_refits_of_few_runs():
    random = np.random.default_rng(11)
    picks = random.integers(0, 240, (12, 25))
    laws = fitting.refit(*RUNS, picks, inf)
    for law, picked in zip(laws, picks, strict=True):
        weight = np.bincount(picked, minlength=240).astype(float)
        residual = np.log(scaling.hoffmann_loss(*RUNS[:2], *law) / RUNS[2])
        ours = (weight * residual**2).sum() / 2
        assert ours <= scipy_fit(RUNS, weight, inf, 12) * (1 + 1e-7)


def test_tied_exponents_stay_tied_at_zero():
    params = [1.3e8, 1.1e8, 1.7e9, 1.8e9, 3.3e8, 1.5e8, 3.1e9, 1.4e8]
    tokens = [7.3e9, 1.8e11, 1.3e11, 6.9e10, 2.6e11, 2.2e11, 9.9e10, 1.7e11]
    loss = [1.826, 1.333, 1.724, 1.368, 1.291, 2.623, 6.552, 2.195]
    law, _ = fitting.fit(params, tokens, loss, inf, tied=True)
    assert law.alpha == law.beta


def test_no_refits_are_no_laws():
    assert fitting.bootstrap(*RUNS, 0, seed=1).shape == (0, 5)


@pytest.mark.parametrize("picks", [[[0, 240]], [[-1, 3]], [1, 2], [[0.5]], [[]]])
def test_picks_that_are_no_runs_are_refused(picks):
    with pytest.raises(ValueError, match="rows of whole numbers from 0 to 239"):
        fitting.refit(*RUNS, picks)


def test_each_refit_is_at_its_own_global_optimum():
    picks = np.random.default_rng(3).integers(0, 240, (8, 240))
    refits = fitting.bootstrap(*RUNS, 8, seed=3)
    logs = np.log(RUNS)
    for law, picked in zip(refits, picks, strict=True):
        weight = np.bincount(picked, minlength=240).astype(float)
        theta = [*np.log(law[:3]), *law[3:]]
        ours, _ = huber_objective(theta, *logs, weight, fitting.HUBER)
        assert ours <= scipy_fit(RUNS, weight, fitting.HUBER, 8) * (1 + 1e-9)


def test_refits_are_the_same_bits_on_any_number_of_threads():
    one = fitting.bootstrap(*RUNS, 600, seed=7)
    with kernels.threads(3):
        np.testing.assert_array_equal(fitting.bootstrap(*RUNS, 600, seed=7), one)
    assert not np.array_equal(fitting.bootstrap(*RUNS, 600, seed=8), one)


@pytest.mark.parametrize("delta", [1e-3, inf])
@pytest.mark.parametrize("law", [OPTIMUM, Hoffmann(20.0, 4e5, 0.5, 0.15, 0.6)])
def test_exact_runs_give_their_law_back(law, delta):
    found, objective = fitting.fit(*made(law, 60, 0.0, 1), delta=delta)
    np.testing.assert_allclose(found, law, rtol=1e-6)
    assert objective < 1e-15


def test_tied_exponents():
    law = Hoffmann(300.0, 900.0, 1.7, 0.3, 0.3)
    found, _ = fitting.fit(*made(law, 60, 0.0, 1), tied=True)
    np.testing.assert_allclose(found, law, rtol=1e-6)
    assert fitting.fit(*RUNS, tied=True).objective > fitting.fit(*RUNS).objective


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    st.integers(0, 10**6),
    st.sampled_from([1e-3, 1e-2, inf]),
    st.floats(1e-4, 0.1),
    st.floats(0.0, 2.0),
    st.floats(0.05, 1.2),
    st.floats(0.05, 1.2),
)
def test_never_above_what_scipy_finds_from_many_starts(seed, delta, noise, e, alpha, beta):
    random = np.random.default_rng(seed)
    a, b = 10 ** (8.5 * alpha), 10 ** (10.5 * beta)  # each term about 1 in the middle
    params, tokens, loss = made(Hoffmann(a, b, e, alpha, beta), 40, noise, seed)
    loss[:4] *= random.uniform(1, 1.5, 4)  # outliers
    ours = fitting.fit(params, tokens, loss, delta).objective
    assert ours <= scipy_fit((params, tokens, loss), np.ones(40), delta, 12, seed) * (1 + 1e-7)


def test_units_of_params_and_tokens_do_not_matter():
    """A factor k in params moves a by k^alpha and nothing else."""
    law, objective = fitting.fit(*RUNS)
    other, same = fitting.fit(RUNS[0] / 1e6, RUNS[1] / 1e9, RUNS[2])
    moved = Hoffmann(law.a / 1e6**law.alpha, law.b / 1e9**law.beta, *law[2:])
    np.testing.assert_allclose(other, moved, rtol=1e-6)
    assert same == pytest.approx(objective, rel=1e-12)


def test_repeated_runs_weigh_double():
    """Twice the runs have twice the objective, and errors smaller by the root of two."""
    twice = [np.tile(column, 2) for column in RUNS]
    law, objective = fitting.fit(*RUNS)
    other, double = fitting.fit(*twice)
    np.testing.assert_allclose(other, law, rtol=1e-5)
    assert double == pytest.approx(2 * objective, rel=1e-12)
    halved = fitting.covariance(*twice) * 2
    np.testing.assert_allclose(halved, fitting.covariance(*RUNS), rtol=1e-3)


@pytest.mark.parametrize("delta", [1e-3, inf])
def test_covariance_and_profile_hold_the_law_as_often_as_they_say(delta):
    """200 made data sets of normal noise; 90% intervals cover 84% to 96% of the time."""
    law, hits = np.array(OPTIMUM), np.zeros((2, 5))
    for seed in range(200):
        runs = made(OPTIMUM, 220, 0.01, seed)
        ends = fitting.profile(*runs, 0.9, delta)
        hits[0] += (ends[:, 0] <= law) & (law <= ends[:, 1])
        error = np.sqrt(np.diag(fitting.covariance(*runs, delta)))[2:]
        hits[1, 2:] += np.abs(np.array(fitting.fit(*runs, delta).law)[2:] - law[2:]) < 1.645 * error
    share = hits / 200
    assert (np.abs(share[0] - 0.9) < 0.06).all()
    assert (np.abs(share[1, 2:] - 0.9) < 0.06).all()


def plain_law(constants, tied=False):
    """Residuals of the Chinchilla runs, and their derivatives by a, b, e, alpha, beta."""
    params, tokens, loss = RUNS

    def residual(x):
        alpha, beta = (x[3], x[3]) if tied else x[3:]
        return np.log((x[2] + x[0] / params**alpha + x[1] / tokens**beta) / loss)

    x = np.array(constants)[: 4 if tied else 5]
    steps = 1e-6 * np.diag(x)
    slopes = [(residual(x + h) - residual(x - h)) / (2 * h.sum()) for h in steps]
    return residual(x), np.array(slopes)


@pytest.mark.parametrize("tied", [False, True])
def test_covariance_is_the_sandwich_of_least_squares(tied):
    law, _ = fitting.fit(*RUNS, inf, tied)
    residual, slopes = plain_law(law, tied)
    bread = np.linalg.inv(slopes @ slopes.T)
    expected = bread @ (slopes * residual**2) @ slopes.T @ bread
    free = slice(4 if tied else 5)
    found = fitting.covariance(*RUNS, inf, tied)
    np.testing.assert_allclose(found[free, free], expected, rtol=2e-3)
    if tied:
        np.testing.assert_array_equal(found[3], found[4])


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_covariance_in_another_unit_of_loss(unit):
    scale = np.array([unit, unit, unit, 1, 1])
    found = fitting.covariance(RUNS[0], RUNS[1], RUNS[2] * unit)
    expected = fitting.covariance(*RUNS) * np.outer(scale, scale)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("constant", "side", "level", "delta", "tied"),
    [(3, 1, 0.9, inf, False), (0, 1, 0.9, 1e-3, False), (1, 0, 0.5, 1e-3, True)],
)
def test_profile_ends_are_where_a_fit_of_the_rest_says(constant, side, level, delta, tied):
    """With one constant held at its end, SciPy's best of the others meets the limit."""
    law, objective = fitting.fit(*RUNS, delta, tied)
    residual, slopes = plain_law(law, tied)
    wide = max(delta, np.median(np.abs(residual)))
    curved = (np.abs(residual) <= wide).sum() * min(delta / wide if wide < inf else 1, 1)
    squares = (np.clip(residual, -delta, delta) ** 2).sum()
    score = NormalDist().inv_cdf((1 + level) / 2)
    limit = objective + score**2 / 2 * squares / curved * 240 / (240 - len(slopes))

    end = fitting.profile(*RUNS, level, delta, tied)[constant, side]
    logs = np.log(RUNS)
    means = logs[:2].mean(axis=1)

    def held(free):
        """Theta of a and b at the mean run, from the constants that are not held."""
        x = np.insert(free, constant, end if constant > 2 else np.log(end))
        x = np.append(x, x[3]) if tied else x
        for i in range(2):
            x[i] -= x[3 + i] * means[i] if i == constant else 0.0
        centred = logs - [*means[:, None], [0.0]]
        return 1e6 * huber_objective(x, *centred, np.ones(240), delta)[0]

    start = [*np.log(law[:3]), *law[3 : 4 if tied else 5]]
    for i in range(2):
        start[i] -= law[3 + i] * means[i]
    start = np.delete(start, constant)
    for _ in range(4):
        start = minimize(
            held,
            start,
            method="Nelder-Mead",
            options={"maxfev": 4000, "xatol": 1e-9, "fatol": 1e-9},
        ).x
    assert held(start) / 1e6 == pytest.approx(limit, rel=1e-5)


def test_profile_of_a_constant_that_the_runs_leave_open():
    """A term hidden in noise: its scale may be nothing, so that the low end is zero."""
    random = np.random.default_rng(5)
    params, tokens, _ = made(OPTIMUM, 30, 0.0, 5)
    loss = 2 + 1e4 / tokens**0.5 + random.normal(0, 0.02, 30)
    assert fitting.profile(params, tokens, loss)[0, 0] == 0.0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p, t, y: (p, t, y[:-1]), "three columns of one length"),
        (lambda p, t, y: (p[:5], t[:5], y[:5]), "5 runs do not fix five constants"),
        (lambda p, t, y: (p, t, np.where(y < 2.4, np.nan, y)), r"loss\[\d+\] = nan.* and \d+ more"),
        (lambda p, t, y: (p, np.where(p > 1e10, -t, t), y), r"tokens\[\d+\] = -"),
        (lambda p, t, y: (np.full_like(p, 1e9), t, y), "every run has the same params"),
        (lambda p, t, y: (p, 20 * p, y), "tokens rise with params alike"),
    ],
)
def test_bad_runs_are_named(change, said):
    with pytest.raises(ValueError, match=said):
        fitting.fit(*change(*RUNS))


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="delta = 0: give a number above 0"):
        fitting.fit(*RUNS, delta=0.0)
    with pytest.raises(ValueError, match="level = 95: give a probability between 0 and 1"):
        fitting.profile(*RUNS, level=95)
    with pytest.raises(ValueError, match="another unit"):
        fitting.fit(RUNS[0], RUNS[1], RUNS[2] * 1e-200)


def test_one_budget_of_compute_suffices():
    """Where tokens fall as parameters rise, one term falls and the other rises."""
    params = np.geomspace(1e8, 1e10, 20)
    tokens = 1e21 / (6 * params)
    loss = scaling.hoffmann_loss(params, tokens, *OPTIMUM)
    np.testing.assert_allclose(fitting.fit(params, tokens, loss, inf).law, OPTIMUM, rtol=1e-3)


@given(st.floats(-10, 10), st.floats(1e-6, 10))
def test_huber_loss_is_square_near_zero_and_linear_beyond(residual, delta):
    size = abs(residual)
    expected = size**2 / 2 if size <= delta else delta * (size - delta / 2)
    assert fitting.huber_loss(residual, delta) == pytest.approx(expected)
    assert fitting.huber_loss(residual, inf) == residual**2 / 2
    assert np.isnan(fitting.huber_loss(residual, 0.0))


def test_repetition_of_made_runs():
    random, law = np.random.default_rng(1), Hoffmann(521.0, 1488.0, 1.87, 0.353, 0.353)
    unique = 10 ** random.uniform(8, 10, 60)
    tokens = unique * random.uniform(1, 60, 60)
    params = 10 ** random.uniform(7, 9.5, 60)
    loss = scaling.data_constrained_loss(params, tokens, unique, *law, 15.4, 5.3)
    found = fitting.fit_repetition(params, tokens, unique, loss, law)
    assert (found.r_d, found.r_n) == pytest.approx((15.4, 5.3), rel=1e-4)


def test_repetition_of_the_published_runs_has_a_lower_valley():
    """Muennighoff et al. 2023 report (15.39, 5.31), the bottom of a higher one."""
    table = facts.table("scaling_runs").filter(pl.col("study") == "data-constrained-2023", "fitted")
    table = table.with_columns(pl.col("unique_tokens").fill_null(pl.col("tokens"))).collect()
    runs = (table[name].to_numpy() for name in ("params", "tokens", "unique_tokens", "loss"))
    law = Hoffmann(*np.exp([6.255414, 7.3049974, 0.6254804]), 0.3526596, 0.3526596)
    found = fitting.fit_repetition(*runs, law)
    assert (found.r_d, found.r_n) == pytest.approx((95.4, 1.71), abs=0.05)
    assert found.objective < 0.015825


def test_repetition_of_bad_runs():
    with pytest.raises(ValueError, match="finite numbers above 0"):
        fitting.fit_repetition([1e8], [1e9], [1e9], [np.nan], OPTIMUM)


def test_lowest_of_two_bottoms():
    params = np.geomspace(1e8, 1e10, 9)
    loss = [3.0, 2.5, 2.2, 2.4, 2.6, 2.4, 2.3, 2.5, 3.0]
    assert fitting.interpolated_optimum(params, loss) == pytest.approx(params[2], rel=0.15)
    assert fitting.interpolated_optimum(params, loss[::-1]) == pytest.approx(params[6], rel=0.15)


def test_optimum_of_one_budget():
    params = np.geomspace(1e8, 1e10, 9)
    bowl = 2 + 0.1 * np.log(params / 7e8) ** 2
    assert fitting.isoflop_optimum(params, bowl) == pytest.approx(7e8)
    assert fitting.interpolated_optimum(params, np.exp(bowl)) == pytest.approx(7e8, rel=0.02)
    for optimum in (fitting.isoflop_optimum, fitting.interpolated_optimum):
        assert np.isnan(optimum(params[5:], bowl[5:]))  # the bottom lies before the first run
    assert np.isnan(fitting.isoflop_optimum(params, -bowl))
    assert np.isnan(fitting.isoflop_optimum(params[:2], bowl[:2]))


def test_power_law():
    x = np.geomspace(1, 1e6, 7)
    assert fitting.power_law(x, 3 * x**0.7) == pytest.approx((3, 0.7))
