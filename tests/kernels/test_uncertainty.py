"""Draws have the percentiles that they were made from."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import brentq
from scipy.stats import lognorm, norm

from stackbook.kernels.uncertainty import (
    Z95,
    beta,
    lognormal,
    normal_cdf,
    normal_quantile,
    two_piece_lognormal,
)


def test_low_and_high_are_the_5th_and_95th_percentile():
    assert lognormal(2.0, 18.0, norm.ppf([0.05, 0.5, 0.95])) == pytest.approx([2, 6, 18])


def test_draws_follow_the_lognormal_distribution_of_scipy():
    z = np.random.default_rng(1).standard_normal(1000)
    sigma = np.log(9) / (2 * norm.ppf(0.95))
    assert lognormal(2.0, 18.0, z) == pytest.approx(lognorm(sigma, scale=6).ppf(norm.cdf(z)))


def test_a_range_of_no_width_is_its_value_and_a_bad_one_is_nan():
    assert lognormal(3.0, 3.0, 1.7) == 3.0
    assert np.isnan(lognormal(np.array([0.0, -1.0, 2.0]), np.array([1.0, 1.0, 1.0]), 0.0)).all()


def test_two_pieces_meet_at_the_median_and_keep_three_percentiles():
    scores = norm.ppf([0.05, 0.5, 0.95])
    assert two_piece_lognormal(2.0, 3.0, 18.0, scores) == pytest.approx([2, 3, 18])
    assert two_piece_lognormal(2.0, 3.0, 18.0, 0.0) == 3.0


def test_two_equal_pieces_are_a_lognormal():
    z = np.linspace(-4, 4, 81)
    assert two_piece_lognormal(2.0, 6.0, 18.0, z) == pytest.approx(lognormal(2.0, 18.0, z))


@pytest.mark.parametrize("width", [3.0, 1e6, 1e15, 1e40, 1e150])
def test_a_wide_piece_keeps_its_digits_on_either_side(width):
    """At the score of a bound the draw is the bound, however far it lies from the median."""
    bounds = two_piece_lognormal(1 / width, 1.0, width, norm.ppf([0.05, 0.95]))
    assert bounds == pytest.approx([1 / width, width], rel=1e-12, abs=0)


def test_a_median_outside_its_range_is_nan():
    assert np.isnan(two_piece_lognormal(2.0, 1.0, 18.0, 0.5))
    assert np.isnan(two_piece_lognormal(2.0, 19.0, 18.0, 0.5))


# The widest has nearly all its mass at 0 and 1, the last but one is a needle.
SHARES = [(0.3, 0.6), (0.01, 0.99), (0.9, 0.97), (0.001, 0.4), (0.5, 0.5001), (1e-4, 0.9999)]


@pytest.mark.parametrize(("p05", "p95"), SHARES)
def test_a_beta_keeps_its_percentiles_and_is_that_of_scipy(p05, p95):
    assert beta(p05, p95, [-Z95, Z95]) == pytest.approx([p05, p95], rel=1e-8)
    z = np.linspace(-8, 8, 10_001)
    shapes = shapes_of(p05, p95)
    assert stats.beta(*shapes).ppf([0.05, 0.95]) == pytest.approx([p05, p95], rel=1e-9)
    below = z < 0  # SciPy keeps the digits of small probabilities alone
    assert beta(p05, p95, z[below]) == pytest.approx(
        stats.beta(*shapes).ppf(norm.cdf(z[below])), rel=1e-8, abs=0
    )
    assert beta(p05, p95, z[~below]) == pytest.approx(
        stats.beta(*shapes).isf(norm.sf(z[~below])), rel=1e-8
    )


def shapes_of(p05, p95):
    """Plainly: the spread of log odds gives the sum of both shapes, the median their ratio."""

    def ends(size, mean):
        return stats.beta(mean * size, (1 - mean) * size).ppf([0.05, 0.95])

    def mean_for(size):
        return brentq(lambda m: ends(size, m)[0] - p05, 1e-9, 1 - 1e-9, xtol=1e-15, rtol=1e-14)

    def miss(log_size):
        return ends(np.exp(log_size), mean_for(np.exp(log_size)))[1] - p95

    size = np.exp(brentq(miss, np.log(0.2), np.log(1e9), xtol=1e-13, rtol=1e-13))
    return mean_for(size) * size, (1 - mean_for(size)) * size


@given(st.floats(0.001, 0.999), st.floats(0.001, 0.999), st.floats(-40, 40), st.floats(0, 3))
def test_a_beta_is_a_fraction_that_rises_and_mirrors(one, other, z, rise):
    p05, p95 = sorted((one, other))
    found = beta(p05, p95, np.array([z, z + rise]))
    assert (found >= 0).all() and (found <= 1).all() and found[0] <= found[1]
    assert beta(1 - p95, 1 - p05, -z) == pytest.approx(1 - found[0], abs=1e-8)


def test_a_beta_keeps_shapes_and_missing_scores_and_a_range_of_no_width():
    found = beta(0.2, 0.4, np.array([[0.0, np.nan], [-20.0, -8.0]]))
    assert np.isnan(found).tolist() == [[False, True], [False, False]]
    assert found[1, 0] == found[1, 1]
    assert beta(0.2, 0.2, np.array([1.5, np.nan])) == pytest.approx([0.2, np.nan], nan_ok=True)


@given(st.floats(0.01, 0.99), st.floats(-9, -1), st.floats(-3, 3))
def test_a_narrow_beta_shrinks_to_its_number(at, digits, z):
    """As a normal of its two percentiles does, the nearer the narrower."""
    width = at * (1 - at) * 10**digits
    normal = at + width * (0.5 + z / (2 * Z95))
    assert beta(at, at + width, z) == pytest.approx(
        normal, abs=2 * width * 10**digits + 1e-8 * width + 1e-15
    )


NO_BETA = [(0, 0.5), (0.5, 1), (0.5, 0.4), (1e-100, 0.5), (1e-300, 1e-299), (0.1, np.nan)]


@pytest.mark.parametrize("ends", NO_BETA)
def test_a_beta_that_cannot_be_says_so(ends):
    with pytest.raises(ValueError, match=r"^p05 = .*: (give|no beta)"):
        beta(*ends, 0.0)


def circle(digits):
    """2 pi by Machin's formula."""
    with localcontext() as context:
        context.prec = digits + 10

        def arctan_of_one_over(x):
            power, total, n = Decimal(1) / x, Decimal(0), 1
            while power > Decimal(10) ** -(digits + 5):
                total += power / n if n % 4 == 1 else -power / n
                power, n = power / (x * x), n + 2
            return total

        return 8 * (4 * arctan_of_one_over(5) - arctan_of_one_over(239))


TAU = circle(700)


def exact_cdf(z):
    """Phi(z) = 1/2 + phi(z) (z + z^3 / 3 + z^5 / 15 + ...), with digits enough to lose many."""
    with localcontext() as context:
        context.prec = 700
        z = Decimal(z)
        term, total, n = z, Decimal(0), 1
        while abs(term) > Decimal(10) ** -690:
            total, n = total + term, n + 2
            term *= z * z / n
        return Decimal("0.5") + total * (-z * z / 2).exp() / TAU.sqrt()


@pytest.mark.parametrize("z", [*np.linspace(-37.1, 8.1, 114), -2.45415106, -1.96, -Z95, 1e-9])
def test_normal_cdf_within_6_ulp_of_its_series(z):
    exact = exact_cdf(z)
    assert abs(Decimal(float(normal_cdf(z))) - exact) <= 6 * Decimal(np.spacing(float(exact)))


@given(st.floats(-37, 37))
def test_normal_cdf_is_that_of_scipy_and_adds_up_to_one(z):
    assert normal_cdf(z) == pytest.approx(norm.cdf(z), rel=1e-12, abs=0)
    assert normal_cdf(z) + normal_cdf(-z) == pytest.approx(1, rel=1e-15)


def test_normal_cdf_of_the_ends_and_tables():
    ends = normal_cdf(np.array([-np.inf, -1e300, -39, 0, 39, 1e300, np.inf]))
    np.testing.assert_array_equal(ends, [0, 0, 0, 0.5, 1, 1, 1])
    assert normal_cdf(Z95) == pytest.approx(0.95, rel=1e-15)
    assert normal_cdf(1.96) == pytest.approx(0.9750021, abs=5e-8)
    assert np.isnan(normal_cdf(np.nan))


def test_normal_cdf_never_falls():
    assert (np.diff(normal_cdf(np.linspace(-40, 10, 1_000_001))) >= 0).all()


@given(st.floats(1e-300, 1, exclude_max=True))
def test_normal_quantile_is_that_of_scipy_and_undoes_the_cdf(probability):
    z = normal_quantile(probability)
    assert z == pytest.approx(norm.ppf(probability), rel=1e-13, abs=1e-15)
    slack = 1e-15 * (1 + z * z)  # a score has as many digits, and a far tail loses some
    assert normal_cdf(z) == pytest.approx(probability, rel=slack, abs=1e-300)


def test_normal_quantile_of_percentiles_and_nan_outside():
    assert normal_quantile(0.95) == pytest.approx(Z95, rel=1e-15)
    assert normal_quantile(0.5) == pytest.approx(0, abs=1e-15)
    outside = np.array([0.0, 1.0, -0.1, 1.1, np.nan, np.inf])
    assert np.isnan(normal_quantile(outside)).all()
