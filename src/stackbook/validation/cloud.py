"""Section F: margins of clouds, commitments, the cost of leaving, and options."""

from collections.abc import Callable
from functools import cache, partial
from math import exp

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stackbook import facts
from stackbook.kernels import chips, cloud, uncertainty

from . import training_cost

COREWEAVE, GOOGLE = ("CoreWeave", "total"), ("Alphabet", "Google Cloud")

# Oracle's rental of Nvidia chips in a quarter, USD.
ORACLE_REVENUE, ORACLE_GROSS_PROFIT = 900e6, 125e6
FURTHER_DEPRECIATION = 0.07  # over revenue, that the same accounts name

INTEREST = 310.555e6  # CoreWeave's of the third quarter of 2025, net
EBITDA = {"2025Q1": 606.1e6, "2025Q2": 753.169e6, "2025Q3": 838.124e6}  # CoreWeave's, adjusted

# aibizhub's product: USD a month and an hour, discount of the rival.
BILL, ENGINEER, CHEAPER = 8000, 150, 0.3


def quarter(seller: tuple[str, str], name: str) -> dict[str, float]:
    company, segment = seller
    rows = facts.table("financials").filter(company=company, segment=segment, calendar_quarter=name)
    found: list[dict[str, float]] = (
        rows.select("revenue_usd", "operating_income_usd").collect().to_dicts()
    )
    (row,) = found
    return row


def operating_margin(seller: tuple[str, str], name: str) -> float:
    revenue, income = quarter(seller, name).values()
    return chips.margin(revenue, revenue - income)


def over_revenue(usd: float, name: str) -> float:
    """Of CoreWeave."""
    return usd / quarter(COREWEAVE, name)["revenue_usd"]


def rent_margin(accelerator: str) -> float:
    """In the rent of three years, rented at all hours."""
    costs = facts.table("accelerator_hour_costs").filter(
        accelerator=accelerator, source="semianalysis-inferencex-2026"
    )
    rent, cost = costs.select("usd_rent", "usd_owner_neocloud").collect().row(0)
    return float(cloud.rental_margin(rent, cost, 1.0))


def rents(**row: str) -> pl.DataFrame:
    return facts.table("rental_prices").filter(**row).sort("month").collect()


# No formula in the next three: that our rents are those behind the published change.


def contract_rise() -> float:
    index = rents(source="semianalysis-rental-index-2026", accelerator="H100 SXM")
    price = dict(index.filter(commitment="1-year").select("month", "usd_per_hour").rows())
    return float(price["2026-03"] / price["2025-10"] - 1)


def capacity_block_rise(source: str) -> float:
    row = rents(source=source, commitment="capacity-block", month="2026-01")
    return float(row["high"].item() / row["low"].item() - 1)


def aws_cut() -> float:
    daily = rents(source="aws-gpu-price-tracker-2026", accelerator="H100 SXM")
    price = dict(daily.select("month", "usd_per_hour").rows())
    return float(1 - price["2025-07"] / price["2025-05"])


@cache
def levels() -> NDArray[np.float64]:
    """Of demand, equally likely."""
    probability = (np.arange(1000) + 0.5) / 1000
    found: NDArray[np.float64] = np.exp(0.5 * uncertainty.normal_quantile(probability))
    return found


def committed() -> tuple[float, float]:
    """What AWS's discount over three years makes one reserve, with that discount."""
    discount = facts.central("d_AWS_3yr")
    return cloud.commitment(levels(), discount), discount


def share_of_demand() -> float:
    reserved, _ = committed()
    return float((levels() <= reserved).mean())


def cost_over_least() -> float:
    reserved, discount = committed()
    cost = cloud.commitment_cost(levels(), reserved, discount)
    return float(cost / cloud.commitment_cost(levels(), levels(), discount).min())


def haug(years: float, sigma: float, correlation: float) -> float:
    """22 for 20: what yields 6% or 4% before the date is not received."""
    volatility = cloud.exchange_sigma(0.2, sigma, correlation)
    received, given = 22 * exp(-0.06 * years), 20 * exp(-0.04 * years)
    return cloud.exchange_option(received, given, volatility, years)


def silver_for_gold() -> float:
    return cloud.exchange_option(1520.0, 100 * 16.0, cloud.exchange_sigma(0.2, 0.2, 0.7), 1.0)


def reserved_saving() -> float:
    """Of an H100 in a year, at CoreWeave."""
    discount = reserved_discount()
    demand = cloud.present_rent(2.23, 0.0, 1.0, 0.0, 1.0)
    return demand - cloud.present_reserved(2.23, discount, 0.0, 1.0, 0.0, 1.0)


def reserved_discount() -> float:
    return 1 - cloud.breakeven_utilization(2.23, 1.79)


def token_unit_discount() -> float:
    """Of OpenAI's Scale Tier over a month of the same input tokens."""
    mtok = 20_000 * 60 * 24 * 30 / 1e6
    return 1 - cloud.breakeven_utilization(5 * mtok, 3800.0)


def switching() -> float:
    rows = facts.table("switching_costs").filter(source="aibizhub-lock-in-2026").collect()
    hours = dict(rows.select("line", "hours").drop_nulls().rows())
    return float(
        cloud.Switching(
            engineering=ENGINEER * (hours["prompts"] + hours["retraining"]),
            requalification=ENGINEER * hours["evaluation"],
            egress=0.0,
            commitment=0.0,
            performance=BILL * 2 / 30,
        ).total
    )


def payback() -> float:
    """In months: the time at which the lock-in index without interest is the rival's discount."""
    return cloud.lock_in_index(switching(), 0.0, 1.0, 12 * BILL) / CHEAPER * 12


def egress(provider: str, condition: str | None = None) -> float:
    """Of 10 TB in a month."""
    tiers = facts.table("egress").filter(
        pl.col("condition").eq_missing(pl.lit(condition)), provider=provider, path="internet"
    )
    bill = 0.0
    for start, end, usd_per_gb in tiers.select("from_tb", "to_tb", "usd_per_gb").collect().rows():
        upto = min(10, end or 10)
        bill += cloud.egress_cost(1000.0 * upto, 1000.0 * start, usd_per_gb)
    return bill


def stake() -> float:
    rows = facts.table("startup_credits").filter(source="byteiota-openai-yc-2026").collect()
    return float(rows["usd"].item()) / 100e6


def outage_hours() -> float:
    """A year, as the loss at a dollar an hour."""
    return cloud.multihoming_cost(1.0, 0.0, 0.0, 0.0, 0.0, 0.001, 0.0, 1.0)


def rents_over_own() -> pl.DataFrame:
    """Runs that have both costs published."""
    both = training_cost.runs().drop_nulls(["amortised_usd", "rented_usd"])
    return both.with_columns(ratio=pl.col("rented") / pl.col("amortised"))


def rent_over_own(model: str) -> float:
    return float(rents_over_own().filter(model=model)["ratio"].item())


RUNS = {
    "bloom_176b": "BLOOM-176B",
    "gemini_1_0_ultra": training_cost.GEMINI,
    "gpt_3": "GPT-3 175B (davinci)",
    "gpt_4": "GPT-4 (Mar 2023)",
    "palm": "PaLM (540B)",
}
GOOGLE_QUARTERS = "2020Q2", "2024Q3", "2024Q4", "2025Q1", "2025Q3", "2025Q4"

CASES: dict[tuple[str, str], Callable[[], float]] = {
    ("F01", "gross_margin"): lambda: chips.margin(
        ORACLE_REVENUE, ORACLE_REVENUE - ORACLE_GROSS_PROFIT
    ),
    ("F01", "gross_margin_after_depreciation"): lambda: chips.margin(
        ORACLE_REVENUE, ORACLE_REVENUE * (1 + FURTHER_DEPRECIATION) - ORACLE_GROSS_PROFIT
    ),
    ("F02", "interest_over_revenue"): partial(over_revenue, INTEREST, "2025Q3"),
    ("F02", "operating_margin"): partial(operating_margin, COREWEAVE, "2025Q3"),
    ("F03", "operating_margin"): partial(operating_margin, GOOGLE, "2026Q1"),
    ("F04", "rental_margin"): partial(rent_margin, "GB200"),
    ("F05", "rental_margin"): partial(rent_margin, "H100 SXM"),
    ("F06", "price_rise"): contract_rise,
    ("F07", "cost_over_least"): cost_over_least,
    ("F07", "share_of_demand"): share_of_demand,
    ("F08", "investment_multiple"): partial(cloud.waiting_multiple, 0.04, 0.04, 0.2),
    ("F10", "option_value"): silver_for_gold,
    ("F11", "option_value"): partial(haug, 0.1, 0.15, -0.5),
    ("F12", "option_value"): partial(haug, 0.5, 0.20, 0.0),
    ("F13", "option_value"): partial(haug, 0.5, 0.15, 0.5),
    ("F14", "option_value"): partial(haug, 0.1, 0.25, 0.5),
    ("F16", "discount"): token_unit_discount,
    ("F17", "price_rise_p5e"): partial(capacity_block_rise, "press-aws-capacity-blocks-2026"),
    ("F17", "price_rise_p5en"): partial(capacity_block_rise, "administraciondesistemas-aws-2026"),
    ("F18", "adjusted_ebitda_margin"): partial(over_revenue, EBITDA["2025Q2"], "2025Q2"),
    ("F18", "operating_margin"): partial(operating_margin, COREWEAVE, "2025Q2"),
    ("F18", "operating_margin_2024q2"): partial(operating_margin, COREWEAVE, "2024Q2"),
    ("F19", "adjusted_ebitda_margin_2025q3"): partial(over_revenue, EBITDA["2025Q3"], "2025Q3"),
    ("F19", "operating_margin_2024q3"): partial(operating_margin, COREWEAVE, "2024Q3"),
    ("F20", "payback"): payback,
    ("F20", "switching_cost"): switching,
    ("F21", "egress_aws"): partial(egress, "AWS"),
    ("F21", "egress_azure"): partial(egress, "Azure"),
    ("F21", "egress_google"): partial(egress, "Google Cloud", "premium network"),
    ("F22", "price_cut"): aws_cut,
    ("F23", "stake"): stake,
    ("F24", "outage"): outage_hours,
    ("F25", "discount"): reserved_discount,
    ("F25", "saving"): reserved_saving,
    **{("F27", name): partial(rent_over_own, model) for name, model in RUNS.items()},
    ("F27", "median"): lambda: float(np.median(rents_over_own()["ratio"])),
    **{
        ("F28", f"operating_margin_{name.lower()}"): partial(operating_margin, GOOGLE, name)
        for name in GOOGLE_QUARTERS
    },
    ("F29", "adjusted_ebitda_margin"): partial(over_revenue, EBITDA["2025Q1"], "2025Q1"),
}
