"""Trends: exact recovery, outliers, the choice of a law, honest intervals, first passage."""

from math import exp, inf, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from stackbook.kernels import trends
from stackbook.kernels.jit import threads

YEARS = np.array([2016.3, 2017.1, 2018.0, 2019.4, 2020.2, 2021.7, 2022.5, 2023.9, 2024.6, 2025.5])


def line(rng, years, scale=0.3, growth=1.5):
    return np.exp((years - 2020) * log(growth) + rng.normal(0, scale, years.size))


def walk(rng, years, scale=0.3, growth=1.5):
    steps = np.diff(years, prepend=years[0])
    return np.exp(
        np.cumsum(steps * log(growth) + np.sqrt(steps) * rng.normal(0, scale, years.size))
    )


WALK = walk(np.random.default_rng(7), YEARS)


@pytest.mark.parametrize("growth", [0.05, 0.7, 1.0, 3.3])
def test_an_exponential_is_recovered_exactly(growth):
    fitted = trends.fit(YEARS, 40 * growth ** (YEARS - 2025.5), seed=1, draws=50)
    assert not fitted.wanders
    assert (fitted.level, fitted.growth) == pytest.approx((40, growth), rel=1e-9)
    assert fitted.scale == pytest.approx(0, abs=1e-9)
    ahead = trends.predict(fitted, [2026.5, 2027.5])
    np.testing.assert_allclose(ahead.central, [40 * growth, 40 * growth**2], rtol=1e-9)
    np.testing.assert_allclose(ahead.draws, np.tile(ahead.central[:, None], 50), rtol=1e-6)


def test_a_line_is_the_minimum_of_hubers_loss():
    y = np.log(line(np.random.default_rng(4), YEARS))
    y[2] += 3
    t = YEARS - YEARS[-1]
    fitted = trends.fit(YEARS, np.exp(y), seed=1, draws=10)
    assert not fitted.wanders
    slopes = [(y[j] - y[i]) / (t[j] - t[i]) for i in range(t.size) for j in range(i + 1, t.size)]
    start = np.median(y - np.median(slopes) * t)
    delta = 1.345 * 1.4826 * np.median(np.abs(y - start - np.median(slopes) * t))

    def loss(law):
        error = np.abs(y - law[0] - law[1] * t)
        return np.where(error < delta, error**2 / 2, delta * (error - delta / 2)).sum()

    best = optimize.minimize(loss, [start, 0.3], method="Nelder-Mead", tol=1e-12)
    assert (log(fitted.level), log(fitted.growth)) == pytest.approx(tuple(best.x), abs=1e-5)


def test_one_gross_outlier_moves_a_line_little():
    """Ten times too high, where it moves least squares by 4% a year."""
    years = np.linspace(2016, 2026, 24)
    values = line(np.random.default_rng(1), years, scale=0.1)
    wrong = values.copy()
    wrong[2] *= 10
    right, robust = (trends.fit(years, each, seed=1, draws=10) for each in (values, wrong))
    squares = exp(np.polyfit(years, np.log(wrong), 1)[0])
    assert not (right.wanders or robust.wanders)
    assert abs(squares / right.growth - 1) > 0.035
    assert abs(robust.growth / right.growth - 1) < 0.005


def test_a_walks_drift_is_its_whole_change_over_time():
    values = WALK
    fitted = trends.fit(YEARS, values, seed=1)
    assert fitted.wanders
    assert fitted.level == pytest.approx(values[-1])
    assert fitted.growth == pytest.approx((values[-1] / values[0]) ** (1 / (YEARS[-1] - YEARS[0])))


def restricted(y, t, covariance):
    """Minus twice the log of the restricted likelihood at the best scale, up to a constant."""
    x = np.column_stack([np.ones_like(t), t])
    basis = np.linalg.svd(x, full_matrices=True)[0][:, 2:]
    z, v = basis.T @ y, basis.T @ covariance @ basis
    dof = t.size - 2
    return np.linalg.slogdet(v)[1] + dof * log(z @ np.linalg.solve(v, z) / dof)


@given(seed=st.integers(0, 2**32 - 1), wanders=st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_law_is_the_likelier_one_by_any_basis_of_contrasts(seed, wanders):
    rng = np.random.default_rng(seed)
    years = np.sort(rng.uniform(2018, 2026, 9))
    values = (walk if wanders else line)(rng, years)
    t = years - years[0]
    likelihoods = [
        restricted(np.log(values), t, matrix)
        for matrix in (np.minimum(t[:, None], t[None, :]), np.eye(t.size))
    ]
    if abs(likelihoods[0] - likelihoods[1]) > 1e-6:
        chosen = trends.fit(years, values, seed=1, draws=10).wanders
        assert chosen == (likelihoods[0] < likelihoods[1])


def test_two_values_at_a_date_are_no_walk():
    values = WALK
    twice = np.append(YEARS, YEARS[4]), np.append(values, 1.2 * values[4])
    assert not trends.fit(*twice, seed=1, draws=10).wanders


@pytest.mark.parametrize("law", [line, walk])
def test_intervals_hold_what_they_say_where_the_law_is_true(law):
    """Of 500 made series of 20 points, 50% and 90% intervals half a year and two years ahead."""
    inside = np.zeros((2, 2))
    for seed in range(500):
        rng = np.random.default_rng(seed)
        years = np.append(np.sort(rng.uniform(2018, 2024, 20)), [2024.5, 2026.0])
        values = law(rng, years)
        ahead = trends.predict(trends.fit(years[:20], values[:20], seed, draws=400), years[20:])
        for row, level in enumerate((0.5, 0.9)):
            low, high = trends.interval(ahead.draws, level)
            inside[row] += (low <= values[20:]) & (values[20:] <= high)
    np.testing.assert_allclose(inside[0] / 500, 0.5, atol=0.08)
    np.testing.assert_allclose(inside[1] / 500, 0.9, atol=0.05)


@pytest.mark.parametrize("law", [line, walk])
def test_intervals_widen_with_the_horizon(law):
    fitted = trends.fit(YEARS, law(np.random.default_rng(7), YEARS), seed=1, draws=4000)
    low, high = trends.interval(trends.predict(fitted, [2026, 2028, 2030, 2035]).draws)
    assert (np.diff(np.log(high / low)) > 0).all()


def test_a_walks_interval_is_students():
    """Farmer and Lafond: variance K^2 (h + h^2 / T), with the tails of n - 2 degrees."""
    fitted = trends.fit(YEARS, WALK, seed=1, draws=200_000)
    ahead, span = 3.0, YEARS[-1] - YEARS[0]
    low, high = trends.interval(trends.predict(fitted, [YEARS[-1] + ahead]).draws)
    reach = stats.t.ppf(0.95, YEARS.size - 2) * fitted.scale * np.sqrt(ahead + ahead**2 / span)
    assert np.log(high / low)[0] == pytest.approx(2 * reach, rel=0.02)


def test_bits_and_thread_count():
    values = line(np.random.default_rng(4), YEARS)
    one = trends.fit(YEARS, values, seed=7)
    with threads(3):
        three = trends.fit(YEARS[::-1], values[::-1], seed=7)
    assert not one.wanders
    for ours, theirs in zip(one, three, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (trends.fit(YEARS, values, seed=8).growths != one.growths).any()


def exact(level, growth):
    return trends.fit(YEARS, level * growth ** (YEARS - YEARS[-1]), seed=1, draws=20)


@pytest.mark.parametrize(
    ("growth", "threshold", "years"),
    [(2.0, 80.0, 3.0), (0.5, 2.5, 2.0), (2.0, 5.0, inf), (0.5, 20.0, inf)],
)
def test_a_known_line_reaches_a_threshold(growth, threshold, years):
    """From a level of 10; the last two go away from it."""
    found = trends.reached(exact(10.0, growth), threshold)
    assert found.central == pytest.approx(YEARS[-1] + years)
    np.testing.assert_allclose(found.years, YEARS[-1] + years, rtol=1e-9)
    assert found.never(2026.0) == 1
    assert found.never(2029.0) == (years == inf)


def drifting(growth, draws=200_000):
    """A walk whose scale and drift are known."""
    fitted = trends.fit(YEARS, WALK, seed=1, draws=draws)
    known = np.full(draws, fitted.level), np.full(draws, growth), np.ones(draws)
    levels, growths, widths = known
    return fitted._replace(
        growth=growth, levels=levels, growths=growths, widths=widths, scale=0.4, wanders=True
    )


@pytest.mark.parametrize("growth", [1.3, 0.8])
def test_a_walk_first_gets_there_as_paths_do(growth):
    """Chance to have been there by a year: the formula of Bachelier and Levy."""
    fitted = drifting(growth)
    gap, drift, scale, time = log(1.5), log(growth), 0.4, 2.0
    found = trends.reached(fitted, 1.5 * fitted.level)
    root = scale * np.sqrt(time)
    expected = stats.norm.cdf((drift * time - gap) / root)
    expected += exp(2 * drift * gap / scale**2) * stats.norm.cdf((-gap - drift * time) / root)
    assert 1 - found.never(YEARS[-1] + time) == pytest.approx(expected, abs=0.005)
    ever = 1.0 if drift > 0 else exp(2 * drift * gap / scale**2)
    assert np.isfinite(found.years).mean() == pytest.approx(ever, abs=0.005)


def test_a_walk_without_drift_gets_there_as_levy_says():
    fitted = drifting(1.0)
    gap, scale, time = log(1.5), 0.4, 2.0
    found = trends.reached(fitted, 1.5 * fitted.level)
    expected = 2 * stats.norm.cdf(-gap / (scale * np.sqrt(time)))
    assert 1 - found.never(YEARS[-1] + time) == pytest.approx(expected, abs=0.005)
    assert np.isfinite(found.years).all() and (found.years > YEARS[-1]).all()


def test_what_is_beyond_the_threshold_in_a_draw_is_there():
    fitted = exact(10.0, 2.0)
    levels = fitted.levels.copy()
    levels[0] = 100.0
    assert trends.reached(fitted._replace(levels=levels), 80.0).years[0] == YEARS[-1]


def test_interval_by_hand():
    assert trends.interval(np.arange(101.0), 0.9) == pytest.approx((5, 95))
    low, high = trends.interval(np.array([np.arange(101.0), np.arange(101.0) * 2]), 0.5)
    assert (low.tolist(), high.tolist()) == ([25, 50], [75, 150])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: trends.fit(YEARS[:4], YEARS[:4], 1), "4 observations on 4 dates do not show"),
        (lambda: trends.fit([1, 1, 1, 2, 3.0], np.ones(5), 1), "5 observations on 3 dates"),
        (lambda: trends.fit(YEARS, 0 * YEARS, 1), "value 0: give finite years and values above 0"),
        (lambda: trends.fit(YEARS, YEARS[1:], 1), "give two columns of one length"),
        (lambda: trends.fit(YEARS, YEARS, 1, draws=0), "draws = 0: give 1 or more"),
        (lambda: trends.predict(exact(1, 2.0), [2020.0]), "none before the last observation"),
        (lambda: trends.predict(exact(1, 2.0), [2030.0, 2029.0]), "give years in order"),
        (lambda: trends.reached(exact(1, 2.0), 0.0), "threshold = 0: give a value above 0"),
        (lambda: trends.interval([1.0], 1.0), "level = 1: give a share between 0 and 1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
