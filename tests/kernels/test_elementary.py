"""Elementary functions against decimal arithmetic, over all of their domain."""

import math
from decimal import Context, Decimal

import numpy as np
import pytest

from stackbook.kernels import elementary

DECIMAL = Context(prec=60)


def exact_expm1(x):
    power = DECIMAL.exp(x)
    return DECIMAL.subtract(power, 1) if abs(x) > 1e-20 else x * (1 + x / 2)


def exact_log1p(x):
    return DECIMAL.ln(DECIMAL.add(x, 1)) if abs(x) > 1e-20 else x * (1 - x / 2)


def steps(low, high, tiniest):
    """Even steps, and even steps of the logarithm to both sides of zero as far as they reach."""
    sizes = np.logspace(np.log10(tiniest), np.log10(max(-low, high)), 2000)
    grid = np.concatenate([np.linspace(low, high, 2000), sizes, -sizes])
    return grid[(low <= grid) & (grid <= high)]


NEAR_MINUS_ONE = -1 + np.logspace(-15.9, -0.1, 1000)
CASES = {
    "exp": (elementary.exp, DECIMAL.exp, 1, steps(-745.1, 709.78, 1e-20)),
    "expm1": (elementary.expm1, exact_expm1, 2, steps(-745.1, 709.78, 5e-324)),
    "expm1 near zero": (elementary.expm1, exact_expm1, 2, steps(-1.5, 1.5, 1e-9)),
    "log": (elementary.log, DECIMAL.ln, 2, np.logspace(-323, 308, 4000)),
    "log near 1": (elementary.log, DECIMAL.ln, 2, 1 + steps(-0.5, 1.5, 1e-15)),
    "log1p": (elementary.log1p, exact_log1p, 2, steps(-0.999, 1.7e308, 5e-324)),
    "log1p near zero": (elementary.log1p, exact_log1p, 2, steps(-0.999, 3, 1e-9)),
    "log1p near -1": (elementary.log1p, exact_log1p, 2, NEAR_MINUS_ONE),
}


@pytest.mark.parametrize("case", CASES)
def test_within_ulps_of_the_exact_value(case):
    function, exact, ulps, grid = CASES[case]
    for x, y in zip(grid.tolist(), function(grid).tolist(), strict=True):
        expected = exact(Decimal(x))
        assert abs(Decimal(y) - expected) <= ulps * Decimal(math.ulp(float(expected))), x


@pytest.mark.parametrize(
    ("function", "x", "expected"),
    [
        (elementary.exp, 0, 1),
        (elementary.exp, -np.inf, 0),
        (elementary.exp, -745.2, 0),
        (elementary.exp, 709.79, np.inf),
        (elementary.exp, np.inf, np.inf),
        (elementary.exp, np.nan, np.nan),
        (elementary.log, 1, 0),
        (elementary.log, 0, -np.inf),
        (elementary.log, np.inf, np.inf),
        (elementary.log, -1, np.nan),
        (elementary.log, np.nan, np.nan),
        (elementary.expm1, 0, 0),
        (elementary.expm1, -np.inf, -1),
        (elementary.expm1, 709.79, np.inf),
        (elementary.expm1, np.inf, np.inf),
        (elementary.expm1, np.nan, np.nan),
        (elementary.log1p, 0, 0),
        (elementary.log1p, -1, -np.inf),
        (elementary.log1p, np.nextafter(-1, -2), np.nan),
        (elementary.log1p, -np.inf, np.nan),
        (elementary.log1p, np.inf, np.inf),
        (elementary.log1p, np.nan, np.nan),
    ],
)
def test_limits(function, x, expected):
    np.testing.assert_equal(function(x), expected)


@pytest.mark.parametrize("function", [elementary.exp, elementary.expm1, elementary.log1p])
def test_same_bits_alone_in_a_loop_and_in_strides(function):
    """The SIMD part of a loop, its remainder and a loop over strides are compiled apart."""
    x = np.linspace(-0.99, 30, 10_003)
    alone = [function(value) for value in x]
    np.testing.assert_array_equal(function(x), alone)
    np.testing.assert_array_equal(function(np.repeat(x, 2)[::2]), alone)
