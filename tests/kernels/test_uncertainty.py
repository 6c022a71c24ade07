"""Draws have the percentiles that they were made from."""

import numpy as np
import pytest
from scipy.stats import lognorm, norm

from stackbook.kernels.uncertainty import lognormal, two_piece_lognormal


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
