"""Section D: what training runs cost, by the methods of Cottier et al. 2024."""

from collections.abc import Callable
from datetime import date
from functools import cache, partial

import numpy as np
import polars as pl

from stackbook import facts
from stackbook.kernels import chips, training_cost

PRICE_INDEX = 119.349  # of the published dollars, those of December 2024
COMMITTED = {"AWS": "d_AWS_3yr", "Azure": "d_AZ_3yr", "Google Cloud": "d_GCP_3yr"}
LLAMA, GEMINI = "Llama 3.1-405B", "Gemini 1.0 Ultra"
PROGRAMMES = {
    "gpt_3": "GPT-3 175B (davinci)",
    "opt_175b": "OPT-175B",
    "gpt_4": "GPT-4 (Mar 2023)",
    "gemini_1_0_ultra": GEMINI,
}


@cache
def runs(prices: str = "quoted") -> pl.DataFrame:
    """Every run with what it cost by each method, in dollars of PRICE_INDEX, as far as it follows.

    prices: of hardware; "quoted" are those of the table, by the publisher's rule; "ours" those of
    table accelerators, with the mean mark-up of servers
    """
    central, col = facts.central, pl.col
    discounts = {cloud: central(symbol) for cloud, symbol in COMMITTED.items()}
    server = pl.when(col("price_of") == "server").then(1.0).otherwise(central("k_srv"))
    price = {"quoted": col("price_usd") * server, "ours": col("our_usd") * central("k_srv")}
    is_tpu = col("accelerator").str.starts_with("TPU")
    on_demand = col("rent_commitment") == "on-demand"
    days = (col("started") - col("valued_from")).dt.total_days()
    ours = facts.table("accelerators").select(accelerator="name", our_usd="price_usd")
    t = (
        facts.table("training_runs")
        .join(ours, on="accelerator", how="left")
        .with_columns(
            col("accelerators_used").cast(pl.Float64),
            server_usd=price[prices],
            # Hardware that is used before its price could be had is worth that price.
            years=pl.max_horizontal(days, 0) / 365.25,
            load=pl.when(is_tpu).then(central("u_P_TPU")).otherwise(central("u_P")),
            discount=pl.when(on_demand)
            .then(col("rent_provider").replace_strict(discounts, default=None))
            .otherwise(0.0),
            deflator=PRICE_INDEX / col("price_index"),
        )
        .collect()
    )
    from_compute = training_cost.accelerator_hours(
        t["compute_flop"], t["flop_per_s"], t["mfu"], 1.0
    )
    counted = t["accelerators_used"] * t["hours"]
    hours = t["accelerator_hours"].fill_null(counted).fill_null(from_compute)
    value = chips.old_chip_value(t["server_usd"], central("g_pp"), t["years"])
    hardware = value, 0.0, central("g_pp"), central("phi_ic")
    energy = t["kw"], t["load"], t["pue"], t["usd_per_kwh"]
    bought = t["accelerators_used"], t["server_usd"], central("phi_ic")
    costs = {
        "amortised": training_cost.amortised_cost(hours, *hardware, *energy),
        "rented": training_cost.rented_cost(hours, t["rent_usd_per_hour"], t["discount"]),
        "acquired": training_cost.acquisition_cost(*bought),
    }
    return t.with_columns(**{method: usd * t["deflator"] for method, usd in costs.items()})


def cost(method: str, model: str) -> float:
    return float(runs().filter(model=model)[method].item())


def errors(method: str, prices: str = "quoted") -> pl.Series:
    """Size of our error for every run that has a published cost, over that cost."""
    known = runs(prices).drop_nulls([method, f"{method}_usd"])
    return (known[method] / known[f"{method}_usd"] - 1).abs()


def median_error(method: str, prices: str = "quoted") -> float:
    return float(np.median(errors(method, prices)))


def within(error: float, method: str, prices: str = "quoted") -> int:
    return int((errors(method, prices) <= error).sum())


def staff_usd(model: str) -> float:
    staff = facts.table("observations").filter(symbol="C_staff", subject=model)
    return float(staff.collect()["central"].item())


def programme_usd(model: str) -> float:
    """With experiments and people, in nominal dollars, from the publisher's estimates of both."""
    all_runs = facts.table("observations").filter(symbol="x_programme").collect()["central"].item()
    run = runs().filter(model=model).select(pl.col("amortised") / pl.col("deflator")).item()
    return float(training_cost.programme_cost(run, 1 / all_runs, staff_usd(model)))


def staff_shares() -> list[float]:
    return [staff_usd(model) / programme_usd(model) for model in PROGRAMMES.values()]


@cache
def growth() -> tuple[float, float, float]:
    """Factor a year of cost with its 90% interval, as the paper: accelerator known, since 2016."""
    from scipy import stats

    paper = pl.col("released").is_between(date(2016, 1, 1), date(2024, 5, 31))
    known = (
        runs().drop_nulls("amortised_usd").filter(pl.col("accelerator_basis") != "assumed", paper)
    )
    years = known["released"].dt.epoch("d") / 365.25
    fit = stats.linregress(years, known["amortised"].log10())
    reach = stats.t.ppf(0.95, known.height - 2) * fit.stderr
    rate, low, high = (float(10 ** (fit.slope + d)) for d in (0.0, -reach, reach))
    return rate, low, high


METHODS = "amortised", "rented", "acquired"

CASES: dict[tuple[str, str], Callable[[], float]] = {
    **{("D08", f"{method}_llama_3_1_405b"): partial(cost, method, LLAMA) for method in METHODS},
    **{("D08", f"{method}_median_error"): partial(median_error, method) for method in METHODS},
    **{("D08", f"{method}_within_quarter"): partial(within, 0.25, method) for method in METHODS},
    ("D08", "amortised_within_hundredth"): partial(within, 0.01, "amortised"),
    ("D08", "our_prices_median_error"): partial(median_error, "amortised", "ours"),
    ("D08", "our_prices_within_quarter"): partial(within, 0.25, "amortised", "ours"),
    **{
        ("D08", f"programme_{name}"): partial(programme_usd, model)
        for name, model in PROGRAMMES.items()
    },
    ("D08", "rented_gemini_1_0_ultra"): partial(cost, "rented", GEMINI),
    ("D08", "rented_palm"): partial(cost, "rented", "PaLM (540B)"),
    ("D08", "staff_share_high"): lambda: max(staff_shares()),
    ("D08", "staff_share_low"): lambda: min(staff_shares()),
    ("D15", "growth"): lambda: growth()[0],
    ("D15", "growth_high"): lambda: growth()[2],
    ("D15", "growth_low"): lambda: growth()[1],
    ("F09", "rent_over_own"): lambda: cost("rented", LLAMA) / cost("amortised", LLAMA),
}
