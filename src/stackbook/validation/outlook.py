"""Section H: draws and sensitivity, and what was foreseen for the years to 2030."""

from collections.abc import Callable
from datetime import date
from functools import cache, partial
from math import log, log10, sqrt

import numpy as np

from stackbook import facts
from stackbook.kernels import limits, sampling, sensitivity
from stackbook.kernels.sampling import Floats
from stackbook.kernels.uncertainty import Z95, lognormal, normal_cdf, normal_quantile

from .limits import HOFFMANN, all_reduce


def ishigami(z: Floats) -> Floats:
    """Of three numbers that are even between -pi and pi, with a = 7 and b = 0.1."""
    x = np.pi * (2 * normal_cdf(z) - 1)
    return np.asarray((1 + 0.1 * x[2] ** 4) * np.sin(x[0]) + 7 * np.sin(x[1]) ** 2)


@cache
def indices() -> sensitivity.Indices:
    return sensitivity.sobol(ishigami, 3, 2**14, seed=0)


def first(x: int) -> float:
    return float(indices().first[x - 1])


def total(x: int) -> float:
    return float(indices().total[x - 1])


def ai_2027(years: float) -> float:
    """Growth of all compute: better chips, and more of them."""
    return float((facts.central("g_eff") * facts.central("g_prod")) ** years)


MONTHS = 33  # from March 2025 to December 2027


def observed(symbol: str) -> float:
    return float(facts.rows("observations", "symbol", symbol)["central"].item())


def electricity_2025() -> float:
    return observed("E_DC24") * (1 + observed("g_DC25"))


def electricity_growth() -> float:
    """A year, from 2024 to 2030."""
    return float((facts.central("E_DC30") / observed("E_DC24")) ** (1 / 6) - 1)


# Sevilla et al. 2024, medians of their assumptions, of the end of 2023 where they grow.
YEARS = 6
SECONDS = 1.56e7
PEAK = 2e15  # FLOP/s of an H100 at 8 bits
MFU = 0.375
LARGEST = 0.26  # the largest run's part of a country's power and of all chips
ACCELERATOR_POWER, POWER_GAIN = 1704.0, 1.28  # W of an H100 with all that it needs; a year
SITES, SITES_GROWTH = 40e9, 1.15  # W of all data centers of the United States
AI_SITES, OTHER_GROWTH = 3.04e9, 1.08
STOCK, MADE = 2.2e6, 1.85e6  # H100e, and H100e a year
MADE_GROWTH, CHIP_GAIN = 1.7, 1.44
TOKENS = 400e12, 20e15  # effective, 80% interval
BATCH = HOFFMANN.batch
TENSOR_BATCH = 330.0  # tokens for which the matrices of an accelerator are read once
BLOCKS = 4  # attention and feed-forward, both ways


def power_limit() -> float:
    others = (SITES - AI_SITES) * OTHER_GROWTH**YEARS
    power = LARGEST * (SITES * SITES_GROWTH**YEARS - others)
    each = ACCELERATOR_POWER / POWER_GAIN**YEARS
    return limits.power_limited_flop(power, each, PEAK, MFU, SECONDS)


def chip_limit() -> float:
    growth = MADE_GROWTH * CHIP_GAIN
    made = MADE * (growth**YEARS - 1) / log(growth)
    return limits.fleet_flop(LARGEST * (STOCK + made), PEAK, MFU, SECONDS)


def data_limit() -> float:
    tokens = sqrt(TOKENS[0] * TOKENS[1])
    return 6 * tokens * tokens / HOFFMANN.tokens_per_param


def run_seconds(flop: float) -> float:
    """Least time of a run on as many accelerators as could do it in SECONDS.

    Those that share a matrix are a square; each block waits for the sum over one of its sides,
    and products of matrices are left out, as in appendix E.
    """
    params = sqrt(flop / (6 * HOFFMANN.tokens_per_param))
    accelerators = flop / limits.fleet_flop(1, PEAK * CHIP_GAIN**YEARS, MFU, SECONDS)
    servers = max(1.0, sqrt(accelerators * TENSOR_BATCH / BATCH) / 8)
    layer = limits.layer_latency(0, 0, BLOCKS, all_reduce(3 * servers, servers))
    layers = HOFFMANN.layer_scale * params**HOFFMANN.layer_exponent
    tokens = HOFFMANN.tokens_per_param * params
    return float(limits.serial_seconds(tokens, BATCH, layers, layer))


def latency_limit() -> float:
    from scipy.optimize import brentq  # slow to import

    return float(10 ** brentq(lambda oom: run_seconds(10**oom) - SECONDS, 25, 35))


LIMITS = {
    "power": power_limit,
    "chips": chip_limit,
    "data": data_limit,
    "latency": latency_limit,
}


def oom(limit: Callable[[], float]) -> float:
    return log10(limit())


def largest_run() -> float:
    return min(limit() for limit in LIMITS.values())


def power_over_next() -> float:
    return power_limit() / min(limit() for name, limit in LIMITS.items() if name != "power")


HARDWARE = 0.96, 0.99  # of Nvidia's revenue from compute, 10th and 90th percentile
FROM, UNTIL = date(2022, 1, 1), date(2025, 12, 31)
Z90 = normal_quantile(0.9)
CHIPS = 7


def nvidia_stock(correlation: float, z: Floats) -> Floats:
    """H100-equivalents that Nvidia sold from the start of 2022 to the end of 2025, by draw.

    Rows of scores are the price of each chip, the same in all quarters, then hardware's share of
    revenue. Quarters that are not wholly of these years count by their days.
    """
    rows = facts.table("nvidia_quarters").collect().to_dicts()
    chips = sorted({row["chip"] for row in rows})
    matrix = np.full((CHIPS, CHIPS), correlation)
    np.fill_diagonal(matrix, 1.0)
    prices = dict(zip(chips, sampling.correlated(z[:CHIPS], matrix) * (Z95 / Z90), strict=True))
    stock = np.zeros(z.shape[1])
    for row in rows:
        first, last = row["quarter_start"], row["quarter_end"]
        days = (min(last, UNTIL) - max(first, FROM)).days + 1
        usd = row["compute_usd"] * row["share"] * days / ((last - first).days + 1)
        price = lognormal(row["price_low_usd"], row["price_high_usd"], prices[row["chip"]])
        stock += row["h100e"] * usd / price
    return np.asarray(stock * lognormal(*HARDWARE, z[CHIPS] * (Z95 / Z90)))


@cache
def stock_quantiles(correlation: float, draws: int = 2**14) -> dict[float, float]:
    model = partial(nvidia_stock, correlation)
    found = sampling.propagate(model, CHIPS + 1, draws, seed=0)
    return {at: float(np.quantile(found, at)) for at in (0.05, 0.5, 0.95)}


def stock(quantile: float) -> float:
    return stock_quantiles(facts.central("rho_p"))[quantile]


CASES: dict[tuple[str, str], Callable[[], float]] = {
    **{("H01", f"first_x{x}"): partial(first, x) for x in (1, 2, 3)},
    **{("H01", f"total_x{x}"): partial(total, x) for x in (1, 2, 3)},
    ("H02", "growth"): partial(ai_2027, MONTHS / 12),
    ("H02", "growth_a_year"): partial(ai_2027, 1),
    ("H02", "growth_as_printed"): partial(ai_2027, MONTHS / 12),
    ("H02", "growth_at_the_printed_rate"): lambda: 2.25 ** (MONTHS / 12),
    ("H03", "electricity_2025"): electricity_2025,
    ("H04", "growth"): electricity_growth,
    **{("H05", name): partial(oom, limit) for name, limit in LIMITS.items()},
    ("H05", "largest_run"): partial(oom, largest_run),
    ("H05", "power_over_next"): power_over_next,
    ("H06", "stock"): partial(stock, 0.5),
    ("H06", "stock_p05"): partial(stock, 0.05),
    ("H06", "stock_p95"): partial(stock, 0.95),
}
