"""Tails of the binomial distribution against decimal arithmetic and scipy, of any size."""

from decimal import Context, Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from stackbook.kernels import chips, reliability
from stackbook.kernels.binomial import binomial_tail

MILLION = 1_000_000


def exact_tail(parts, spares, odds):
    """Term by term, with 50 digits."""
    with localcontext(Context(prec=50, Emin=-(10**9), Emax=10**9)):
        odds = Decimal(odds)
        ways = total = Decimal(1)
        for failed in range(spares):
            ways *= odds * (parts - failed) / (failed + 1)
            total += ways
            if ways < total * Decimal(10) ** -30:
                break
        return float(total / (1 + odds) ** parts)


@pytest.mark.parametrize(
    ("parts", "spares", "odds"),
    [
        (1, 0, 0.25),
        (1, 0, 1e300),
        (144, 12, 0.005),
        (144, 143, 3.0),
        (5000, 199, 0.04),
        (5000, 205, 0.042),
        (5000, 4000, 1.0),
        (5000, 1500, 1.0),
        (970_000, 70_000, 1e-3),
        (970_000, 70_000, 0.08),
        (970_000, 69_000, 0.078),
        (MILLION, 500_000, 1.0),
        (MILLION, 499_000, 1.0),
        (MILLION, 0, 5e-4),
        (MILLION, 999_900, 1e4),
    ],
)
def test_tail_to_twelve_digits(parts, spares, odds):
    """Few failures and many, in the middle of the distribution and far from it."""
    expected = exact_tail(parts, spares, odds)
    assert binomial_tail(parts, spares, odds) == pytest.approx(expected, rel=1e-12, abs=1e-300)


@given(st.integers(1, 20_000), st.floats(1e-6, 1e3), st.floats(-8, 8))
def test_tail_of_scipy(parts, odds, score):
    """Anywhere around the expected number of failures."""
    fails = odds / (1 + odds)
    spread = np.sqrt(parts * fails / (1 + odds))
    spares = int(np.clip(parts * fails + score * spread, 0, parts))
    expected = stats.binom.cdf(spares, parts, fails)
    assert binomial_tail(parts, spares, odds) == pytest.approx(expected, rel=1e-11, abs=1e-300)


@given(st.integers(1, 5000), st.floats(0, 1e3), st.data())
def test_more_spares_help_and_none_or_all_are_powers(parts, odds, data):
    spares = data.draw(st.integers(0, parts - 1))
    value, more = (binomial_tail(parts, k, odds) for k in (spares, spares + 1))
    assert 0 <= value <= more * (1 + 1e-13) <= 1 + 1e-13
    none = (1 + odds) ** -float(parts)
    assert binomial_tail(parts, 0, odds) == pytest.approx(none, rel=1e-12, abs=1e-300)
    assert binomial_tail(parts, parts, odds) == 1


def test_parts_that_never_or_always_fail():
    assert binomial_tail(8, 0, 0.0) == 1
    assert binomial_tail(8, 7, np.inf) == 0
    assert binomial_tail(8, 8, np.inf) == 1


@pytest.mark.parametrize("density", [0.05, 0.1, 0.5, 1.6])
@pytest.mark.parametrize("redundant", [0.2, 0.75])
def test_yield_of_a_whole_wafer(density, redundant):
    """Cerebras WSE-3: 46,225 mm2, 970,000 cores of which 70,000 are spares. No die is lost for its
    cores, so that the yield is that of the rest; a perfect wafer there is not."""
    args = (46_225, density, redundant)
    rest = chips.poisson_yield(46_225 * (1 - redundant), density)
    assert chips.harvested_yield(*args, 970_000, 70_000) == pytest.approx(rest, rel=1e-11, abs=0)
    perfect = chips.poisson_yield(46_225, density)
    assert chips.harvested_yield(*args, 970_000, 0) == pytest.approx(perfect, rel=1e-10, abs=0)


def test_slices_of_a_large_pod_are_shares():
    availability = np.array([1e-3, 0.5, 0.9, 0.999, 1.0])
    for slice_cubes in (1, 7, 100, 10_000):
        goodput = reliability.slice_goodput(10_000, slice_cubes, availability)
        assert ((goodput >= 0) & (goodput <= 1)).all()
    one = reliability.slice_goodput(10_000, 1, availability)
    assert one == pytest.approx(availability, rel=1e-11)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "args",
    [
        (8, 9, 0.1),
        (8, -1, 0.1),
        (8.5, 1, 0.1),
        (8, 1.5, 0.1),
        (2e6, 1, 0.1),
        (8, 1, -0.1),
    ],
)
def test_nan_outside_the_domain(args, assert_nan):
    assert_nan(binomial_tail, args)
