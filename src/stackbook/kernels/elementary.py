"""Exponential and logarithm in plain arithmetic.

A C library takes one number at a time; without calls and branches LLVM turns a whole loop over a
formula into SIMD. Nothing depends on the processor or its library, so that results do not either.
"""

from math import inf, nan

import numpy as np

from stackbook.kernels.jit import fma, formula

PER_LN2 = 1.4426950408889634  # 1 / ln(2)
LN2_HIGH = 0.6931471803691238  # first 32 bits of ln(2): a product with an exponent is exact
LN2_LOW = 1.9082149292705877e-10  # the rest of it
SHIFT = 1.5 * 2**52  # adding it rounds to a whole number, which the lowest bits then hold
ONE, SQRT_HALF = (int(np.float64(x).view(np.int64)) for x in (1.0, 0.5**0.5))
FRACTION = 2**52 - 1


@formula
def exp(x: float) -> float:
    """Exponential function, within 1 ulp.

    x: exponent [1]
    returns: [1]
    source: definition, exp(x) = 2^k exp(x - k ln(2))
    """
    x = 710.0 if x > 710 else x
    x = -746.0 if x < -746 else x
    k = _whole(x * PER_LN2)
    part = 512.0 if x > 0 else -512.0  # 2^k can overflow or vanish where the result does not
    scale = 2.0**512 if x > 0 else 2.0**-512
    return (1 + _expm1_rest(x, k)) * _power_of_two(k - part) * scale


@formula
def expm1(x: float) -> float:
    """exp(x) - 1, within 2 ulp also where x is small.

    x: exponent [1]
    returns: [1]
    source: definition, expm1(x) = 2^k expm1(x - k ln(2)) + 2^k - 1
    """
    x = 710.0 if x > 710 else x
    x = -40.0 if x < -40 else x
    k = _whole(x * PER_LN2)
    scale = _power_of_two(k - 1)  # 2^k can overflow where the result does not
    y = 2 * ((scale - 0.5) + _expm1_rest(x, k) * scale)
    return x if abs(x) < 1e-16 else y  # y takes halves, which the least numbers do not have


@formula
def log(x: float) -> float:
    """Natural logarithm, within 2 ulp.

    x: argument [1], 0 or more
    returns: [1]
    source: definition, log(x) = k ln(2) + log1p(f) where x = 2^k (1 + f)
    """
    small = x < 2.0**-1000  # where the bits of the exponent end
    bits = np.float64(x * 2.0**60 if small else x).view(np.int64) - SQRT_HALF
    k = ((bits + ONE) >> 52 & 0x7FF) - 1023.0
    f = np.int64((bits & FRACTION) + SQRT_HALF).view(np.float64) - 1
    y: float = _log1p_rest(f, k - 60 if small else k)
    y = y if x < inf else x
    y = y if x > 0 else nan
    return -inf if x == 0 else y


@formula
def log1p(x: float) -> float:
    """Natural logarithm of 1 + x, within 2 ulp also where x is small.

    x: argument [1], -1 or more
    returns: [1]
    source: definition, log1p(x) = k ln(2) + log1p(f) where 1 + x = 2^k (1 + f)
    """
    u = 1 + x
    lost = (1 - (u - (u - 1))) + (x - (u - 1))  # 1 + x = u + lost, exactly
    bits = np.float64(u).view(np.int64) - SQRT_HALF  # so that 1 + f is sqrt(1/2) to sqrt(2)
    k = ((bits + ONE) >> 52 & 0x7FF) - 1023.0
    f = np.int64((bits & FRACTION) + SQRT_HALF).view(np.float64) - 1
    f = f + lost * _power_of_two(-k if k < 64 else -64.0)
    y: float = _log1p_rest(f, k)
    y = y if x < inf else x
    y = y if x > -1 else nan
    return -inf if x == -1 else y


@formula
def _log1p_rest(f: float, k: float) -> float:
    """k ln(2) + log1p(f), for f of sqrt(1/2) - 1 to sqrt(2) - 1."""
    # log1p(f) = 2 atanh(s) = f - s (f - z q), where q is the minimax polynomial in z = s^2 of
    # (2 atanh(s) - 2s) / s^3 (Remez exchange, error 3e-16).
    s = f / (2 + f)
    z = s * s
    z2 = z * z
    q0 = fma(0.39999999999898445, z, 0.666666666666667)
    q2 = fma(0.22222211072894535, z, 0.28571428626398654)
    q4 = fma(0.14617872803129472, z2, fma(0.1533159698024087, z, 0.18182893216800716))
    q = fma(fma(q4, z2, q2), z2, q0)
    return k * LN2_HIGH + (f - fma(s, fma(-z, q, f), -k * LN2_LOW))


@formula
def _expm1_rest(x: float, k: float) -> float:
    """expm1(x - k ln(2)), where k is x / ln(2), rounded."""
    high, low = fma(-k, LN2_HIGH, x), k * LN2_LOW
    r = high - low
    lost = (high - r) - low
    # q is the minimax polynomial of (exp(r) - 1 - r) / r^2 for r of -ln(2)/2 to ln(2)/2
    # (Remez exchange, error 1.4e-18); in pairs, as a processor waits less than in Horner's order.
    r2 = r * r
    r4 = r2 * r2
    q0 = fma(0.1666666666666667, r, 0.5)
    q2 = fma(0.008333333333326134, r, 0.041666666666666685)
    q4 = fma(0.0001984126987482399, r, 0.0013888888888874398)
    q6 = fma(2.7557255396471e-06, r, 2.480158734733946e-05)
    q8 = fma(2.0921589370829142e-09, r2, fma(2.510521838664829e-08, r, 2.7557252912472866e-07))
    q = fma(fma(q8, r4, fma(q6, r2, q4)), r4, fma(q2, r2, q0))
    return r + fma(r2, q, lost)


@formula
def _whole(x: float) -> float:
    """The nearest whole number, below 2^51."""
    return (x + SHIFT) - SHIFT


@formula
def _power_of_two(k: float) -> float:
    """2^k for a whole number from -1022 to 1023: k goes into the bits of the exponent."""
    return np.int64((np.float64(k + SHIFT).view(np.int64) << 52) + ONE).view(np.float64)
