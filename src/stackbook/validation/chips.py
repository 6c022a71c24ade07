"""Section A: what chips cost and sell for."""

from functools import cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stackbook import facts, inputs
from stackbook.kernels import chips
from stackbook.kernels.uncertainty import lognormal

H100 = ("c_logic_H100", "c_hbm_H100", "c_pkg_H100", "c_test_H100")
B200 = ("c_logic_B200", "c_hbm_B200", "c_pkg_B200", "c_loss_B200", "c_oth_B200")


def bill(parts: tuple[str, ...], hbm_rise: float = 0) -> float:
    """Cost of published parts (silicon, memory, packaging, others), where losses are a part."""
    silicon, hbm, packaging, *others = map(facts.central, parts)
    return chips.unit_cost(silicon, 1, hbm * (1 + hbm_rise), packaging, 1, 0, sum(others))


def logic_die() -> float:
    """The H100's, from wafer price, die area, defect density and harvest."""
    accelerators = facts.table("accelerators").collect()
    die_mm2: float = accelerators.row(by_predicate=pl.col("name") == "H100 SXM", named=True)[
        "die_mm2"
    ]
    central = {s: facts.central(s) for s in ("W_N5", "d_w", "e_w", "D0_N5", "rho_red")}
    sold, made = 132, 144  # streaming multiprocessors
    return chips.die_cost(
        central["W_N5"],
        chips.gross_dies(central["d_w"], central["e_w"], die_mm2),
        chips.harvested_yield(die_mm2, central["D0_N5"], central["rho_red"], made, made - sold),
    )


def b200_cost(quantile: float) -> float:
    """Quantile of the sum of the published parts, each over its range, independently."""
    return float(np.quantile(sum(map(inputs.uncertain, B200)), quantile))


@cache
def drawn(symbol: str, seed: int) -> NDArray[np.float64]:
    """Lognormal draws whose 90% interval is the range of the row, as the source has them."""
    row = facts.parameter(symbol)
    scores = np.random.default_rng(seed).standard_normal(400_000)
    return np.asarray(lognormal(row.low, row.high, scores))


def tpu_price(quantile: float) -> float:
    prices = chips.price(drawn("c_v7", seed=1), drawn("mu_AVGO24", seed=2))
    return float(np.quantile(prices, quantile))


def price_deflation() -> float:
    """The ratio of expected prices, which is not the price at the ratio of mean margins."""
    now, before = (
        np.mean(chips.price(1.0, drawn(margin, seed=1))) for margin in ("mu_AVGO24", "mu_AVGO23")
    )
    return float(now / before)


def saved_by_lower_margin() -> float:
    """Share of capital, where a margin of 74% on the accelerators falls to 50%."""
    return facts.central("s_GPU") * (1 - chips.price(1 - 0.74, 0.50))


CASES = {
    ("A01", "manufacturing_cost"): lambda: bill(H100),
    ("A01", "logic_die_cost"): logic_die,
    ("A02", "gross_margin"): lambda: chips.margin(28_000, bill(H100)),
    ("A03", "manufacturing_cost"): lambda: bill(B200),
    ("A03", "cost_p05"): lambda: b200_cost(0.05),
    ("A03", "cost_p95"): lambda: b200_cost(0.95),
    ("A04", "cost_increase"): lambda: bill(B200, hbm_rise=0.2) - bill(B200),
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
    ("A10", "share_of_capex_saved"): saved_by_lower_margin,
}
