"""Section G: concentration, margins on margins, bargains and bundles, holdings, and deals."""

from collections.abc import Callable
from datetime import date
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stackbook import facts
from stackbook.kernels import chips, datacenter, fleet, market, ownership, shapley, switching
from stackbook.kernels.capital import annuity

from .cloud import BILL
from .cloud import switching as bill_to_leave
from .datacenter import gb200


def designers() -> NDArray[np.float64]:
    """Shares of compute, end of 2025."""
    rows = facts.table("compute_owned").filter(owner="All", quarter_end=date(2025, 12, 31))
    compute = rows.collect()["h100e"].to_numpy()
    return np.asarray(compute / compute.sum(), float)


def clouds() -> list[float]:
    rows = facts.table("market_shares").filter(
        market="cloud infrastructure services", period="2026Q1", source="synergy-cloud-share"
    )
    named = rows.filter(pl.col("company").is_in(["Amazon", "Microsoft", "Google"]))
    return named.collect()["share"].to_list()


# Demand P = 10 - Q, and a cost of 2 upstream; two monopolists, or one.
APART = partial(market.successive_linear, 10.0, 1.0, [2.0, 0.0], [1, 1])
TOGETHER = partial(market.successive_linear, 10.0, 1.0, [2.0, 0.0], [np.inf, 1])


def nvidia_share_of_capital() -> float:
    """Its gross profit in a dollar of capital for a data center, at its margin of the quarter."""
    rows = facts.table("financials").filter(
        company="Nvidia", segment="total", calendar_quarter="2025Q3"
    )
    return facts.central("s_GPU") * float(rows.collect()["gross_margin"].item())


def nvidia_share_of_capital_by_bill() -> float:
    """The same from what a B200 costs to make."""
    gpu = gb200()
    price = facts.central("s_GPU") * (gpu["it_usd"] + gpu["site_usd"])
    return float(facts.central("s_GPU") * chips.margin(price, facts.central("c_B200")))


def deal(name: str) -> dict[str, Any]:
    return facts.table("deals").filter(id=name).collect().row(0, named=True)


def gw_year(name: str) -> float:
    row = deal(name)
    return float(datacenter.per_gw_year(row["value_usd"], row["term_yr"], row["power_gw"]))


def revenue_per_gw(year: int) -> float:
    rows = facts.table("observations").filter(subject="OpenAI", period=str(year)).collect()
    seen = dict(rows.select("symbol", "central").iter_rows())
    return datacenter.per_gw_year(seen[f"RR_OAI_{year}"], 1.0, seen[f"P_OAI_{year}"])


def spacex_hour() -> float:
    row = deal("anthropic-spacex-compute-2026")
    return float(12 * row["usd_per_month"] / (row["units"] * datacenter.HOURS_PER_YEAR))


# Three equal vendors; new customers react to a price with an elasticity of 3, and count the gain
# from a change over three years at 10%.
CUSTOMERS = 3, 3.0, 0.1, 3.0


def leaving_a_cloud() -> float:
    """Most in a year, of the customers whose cost of leaving is what a seen share implies."""
    vendors, elasticity, rate, years = CUSTOMERS
    cost = switching.implied_switching(facts.central("s_sw"), *CUSTOMERS)
    noise = (1 - 1 / vendors) / (elasticity * float(annuity(rate, years)))
    equal = np.ones(vendors)
    customers = switching.Customers(cost, noise, years, rate, 0.0)
    path = switching.over_time(equal / vendors, 100 * equal, [equal] * 5, customers)
    return float(path.switched.max())


def leaving_a_model() -> float:
    """A year, of customers who pay what a calculator says and no more."""
    return float(switching.implied_leaving(bill_to_leave() / (12 * BILL), *CUSTOMERS))


def half_of_each_other() -> NDArray[np.float64]:
    return ownership.outside_shares([[0.0, 0.5], [0.5, 0.0]])


def payment(firm: int, asset_recovery: float, claim_recovery: float) -> float:
    """Of three that owe each other a half each, and outsiders 1.5, 0.5 and 0.5."""
    owed = np.full((4, 4), 0.5)
    np.fill_diagonal(owed, 0.0)
    owed[0, 3], owed[3] = 1.5, 0.0
    found = ownership.cleared(owed, [0.5, 0.625, 0.75, 0.0], asset_recovery, claim_recovery)
    return float(found.payments[firm])


NEEDS = {"first": 8.0, "second": 11.0, "third": 13.0, "fourth": 18.0}


def airport(who: str) -> float:
    """Part of the cost of a runway that is as long as the longest needs."""
    parts = shapley.shapley(list(NEEDS), lambda some: max((NEEDS[x] for x in some), default=0.0))
    return float(dict(zip(NEEDS, parts, strict=True))[who])


PRESSURES = "downstream", "downstream_own_input", "downstream_own_margin", "rival", "upstream"


def vertical_pressure(what: str) -> float:
    """Two rivals that ask 20 for a product with an input of 10, all margins a half."""
    response = 0.5 * 10 / 20  # of the rival's price to that of its input
    turning = float(market.share_elasticity(0.5, 1.0, response))
    diverted = market.vertical_diversion(0.4, 0.5, turning, response)
    up = market.vguppi_upstream(diverted, 0.5, 20.0, 10.0)
    down = partial(market.vguppi_downstream, 0.25, 0.5, 10.0, 20.0)
    found = {
        "upstream": up,
        "rival": market.vguppi_rival(up, 0.5, 10.0, 20.0, turning),
        "downstream": down(0.0, 10.0, 0.0),
        "downstream_own_margin": down(0.5, 10.0, 0.0),
        "downstream_own_input": down(0.5, 10.0, turning),
    }
    return float(found[what])


def bus_riders(nest_correlation: float) -> float:
    """Share of each of two alike buses beside a car that is as good."""
    buyers = fleet.Buyers(0.5, nest_correlation, 1.5, 3.0, 100.0)
    return float(fleet.choices([3.0, 3.0, 3.0], ["car", "bus", "bus"], buyers).shares[1])


def equity_over_content() -> float:
    """Of a gigawatt: what Nvidia would have put into OpenAI over what it would have sold it."""
    rows = facts.table("natural_experiments").filter(
        quantity="Nvidia content of a gigawatt, less equity in OpenAI"
    )
    before, after = rows.select("before", "after").collect().row(0)
    return float(ownership.roundtrip_ratio(before - after, before))


def stake(holder: str) -> float:
    """In OpenAI, worked out from its rounds."""
    rows = facts.table("holdings").filter("current", held="OpenAI", holder=holder)
    return float(rows.collect()["share"].item())


CASES: dict[tuple[str, str], Callable[[], float]] = {
    ("G01", "hhi"): lambda: float(market.hhi(designers())),
    ("G02", "hhi"): lambda: float(market.hhi(clouds())),
    ("G03", "price"): lambda: float(APART().price),
    ("G03", "price_integrated"): lambda: float(TOGETHER().price),
    ("G03", "profit_downstream"): lambda: float(APART().profits[1]),
    ("G03", "profit_integrated"): lambda: float(TOGETHER().profits.sum()),
    ("G03", "profit_upstream"): lambda: float(APART().profits[0]),
    ("G03", "quantity"): lambda: float(APART().quantity),
    ("G03", "quantity_integrated"): lambda: float(TOGETHER().quantity),
    ("G03", "wholesale_price"): lambda: float(APART().wholesale[0]),
    ("G04", "gross_profit_over_capital"): nvidia_share_of_capital,
    ("G04", "gross_profit_over_capital_by_bill"): nvidia_share_of_capital_by_bill,
    ("G05", "usd_per_gw_year"): partial(gw_year, "openai-oracle-compute-2025"),
    **{
        ("G06", f"revenue_per_gw_{year}"): partial(revenue_per_gw, year)
        for year in (2023, 2024, 2025)
    },
    ("G07", "usd_per_hour"): spacex_hour,
    ("G08", "leaving"): leaving_a_cloud,
    ("G09", "hhi"): lambda: float(market.hhi([0.3, 0.3, 0.2, 0.2])),
    ("G10", "of_the_other"): lambda: float(half_of_each_other()[1, 0]),
    ("G10", "of_the_own"): lambda: float(half_of_each_other()[0, 0]),
    **{
        (case, f"payment_{firm + 1}"): partial(payment, firm, *recovered)
        for case, recovered in (("G11", (1.0, 1.0)), ("G12", (0.5, 0.7)))
        for firm in range(3)
    },
    **{("G13", f"{who}_part"): partial(airport, who) for who in NEEDS},
    ("G14", "bundle_price"): lambda: market.bundling("mixed").price_both,
    ("G14", "price_alone"): lambda: market.bundling("mixed").price_a,
    ("G14", "pure_bundle_price"): lambda: market.bundling("pure").price_both,
    ("G15", "equity_over_content"): equity_over_content,
    ("G16", "leaving"): leaving_a_model,
    **{("G18", each): partial(vertical_pressure, each) for each in PRESSURES},
    ("G19", "bus_share"): partial(bus_riders, 0.0),
    ("G19", "bus_share_nested"): partial(bus_riders, 1 - 1e-9),
    ("G20", "bundle_price"): lambda: market.bundling_entry("pure").price_both,
    ("G20", "profit"): lambda: market.bundling_entry("pure").profit,
    **{("G17", who.lower()): partial(stake, who) for who in ("Amazon", "Nvidia", "SoftBank")},
}
