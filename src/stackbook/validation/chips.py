"""Section A: what chips cost and sell for."""

from functools import cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stackbook import facts, inputs
from stackbook.kernels import chips
from stackbook.kernels.uncertainty import lognormal


def bill(*parts: float) -> float:
    """Cost of a list of parts, as published bills give it: losses are a part of their own."""
    silicon, hbm, packaging, test, *aux = parts
    return chips.unit_cost(silicon, 1, hbm, packaging, 1, test, sum(aux))


def logic_die() -> float:
    """The H100's, from wafer price, die area, defect density and harvest."""
    accelerators = facts.table("accelerators").collect()
    die_mm2: float = accelerators.row(by_predicate=pl.col("name") == "H100 SXM", named=True)[
        "die_mm2"
    ]
    central = {s: facts.parameter(s).central for s in ("W_N5", "d_w", "e_w", "D0_N5", "rho_red")}
    sold, made = 132, 144  # streaming multiprocessors
    return chips.die_cost(
        central["W_N5"],
        chips.gross_dies(central["d_w"], central["e_w"], die_mm2),
        chips.harvested_yield(die_mm2, central["D0_N5"], central["rho_red"], made, made - sold),
    )


def b200_cost(quantile: float) -> float:
    """Quantile of the sum of the published parts, each over its range, independently."""
    parts = (f"c_{part}_B200" for part in ("logic", "hbm", "pkg", "loss", "oth"))
    return float(np.quantile(sum(map(inputs.uncertain, parts)), quantile))


@cache
def drawn(low: float, high: float, seed: int) -> NDArray[np.float64]:
    """Lognormal draws whose 90% interval is (low, high), as the source has them."""
    scores = np.random.default_rng(seed).standard_normal(400_000)
    return np.asarray(lognormal(low, high, scores))


def tpu_price(quantile: float) -> float:
    prices = chips.price(drawn(4600, 5500, seed=1), drawn(0.50, 0.65, seed=2))
    return float(np.quantile(prices, quantile))


def price_deflation() -> float:
    """The ratio of expected prices, which is not the price at the ratio of mean margins."""
    now, before = (
        np.mean(chips.price(1.0, drawn(*margins, seed=1)))
        for margins in [(0.50, 0.65), (0.55, 0.70)]
    )
    return float(now / before)


CASES = {
    ("A01", "manufacturing_cost"): lambda: bill(300, 1350, 750, 920),
    ("A01", "logic_die_cost"): logic_die,
    ("A02", "gross_margin"): lambda: chips.margin(28_000, 3320),
    ("A03", "manufacturing_cost"): lambda: bill(900, 2900, 1100, 0, 1000, 500),
    ("A03", "cost_p05"): lambda: b200_cost(0.05),
    ("A03", "cost_p95"): lambda: b200_cost(0.95),
    ("A04", "cost_increase"): lambda: (
        bill(900, 2900 * 1.2, 1100, 0, 1000, 500) - bill(900, 2900, 1100, 0, 1000, 500)
    ),
    ("A05", "price_median"): lambda: tpu_price(0.50),
    ("A05", "price_p05"): lambda: tpu_price(0.05),
    ("A05", "price_p95"): lambda: tpu_price(0.95),
    ("A06", "price_ratio"): price_deflation,
    ("A07", "factor_at_discount_05"): lambda: chips.discount_advantage(0.5, 0.05),
    ("A07", "factor_at_discount_10"): lambda: chips.discount_advantage(0.5, 0.10),
    ("A08", "yield_poisson"): lambda: chips.poisson_yield(814, 0.1),
    ("A08", "yield_murphy"): lambda: chips.murphy_yield(814, 0.1),
    ("A08", "yield_negative_binomial"): lambda: chips.negative_binomial_yield(814, 0.1, 3),
    ("A09", "gross_dies"): lambda: chips.gross_dies(300, 0, 814),
    ("A10", "share_of_capex_saved"): lambda: 0.39 * (1 - chips.price(1 - 0.74, 0.50)),
}
