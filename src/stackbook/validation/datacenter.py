"""Section C: what an accelerator-hour costs its owner, and power."""

from datetime import date

import polars as pl

from stackbook import facts
from stackbook.kernels import chips, datacenter

HYPERSCALER = {"it_rate": 0.09, "it_years": 5, "site_rate": 0.08, "site_years": 20}
NEOCLOUD = {"it_rate": 0.13, "it_years": 4, "site_rate": 0.10, "site_years": 15}
USE = {"load": 0.8, "pue": 1, "usd_per_kwh": 0.08}  # of utility power
GPUS = 72


def rack() -> dict[str, float]:
    """Capital for a GB200 NVL72 rack (Bernstein 2025)."""
    return {"it_usd": facts.central("C_rack_IT"), "site_usd": facts.central("C_rack_DC")}


def rack_kw() -> float:
    return datacenter.kw_per_rack(facts.central("K_GW"), sum(rack().values()))


def gb200() -> dict[str, float]:
    """All inputs of `owner_cost` for an accelerator of that rack but the terms of its capital."""
    capital = {name: usd / GPUS for name, usd in rack().items()}
    operation = {"om_share": facts.central("om_IT"), "availability": 1}
    return {**capital, **operation, "kw": rack_kw() / GPUS, **USE}


def hour(terms: dict[str, float]) -> float:
    """Cost of an hour of a GB200 on an owner's terms of capital."""
    return datacenter.owner_cost(**gb200(), **terms)


def fleet_mw() -> float:
    """Nvidia's chips made by the end of 2025 at the rated power of each."""
    made = (
        facts.table("chips_made")
        .filter(pl.col("designer") == "Nvidia", pl.col("quarter_end") == date(2025, 12, 31))
        .join(facts.table("accelerators"), left_on="chip", right_on="name")
    )
    kw = datacenter.facility_kw(pl.col("tdp_w") / 1e3, 1, 1)
    return float(made.select((pl.col("units") * kw).sum() / 1e3).collect().item())


def colocation_and_electricity(site_usd: float, kw: float, usd_per_hour: float) -> float:
    """Share of an hour's cost, on a hyperscaler's terms of capital."""
    rate, years = HYPERSCALER["site_rate"], HYPERSCALER["site_years"]
    site = datacenter.capital_cost(site_usd, rate, years, 1)
    return (site + datacenter.energy_cost(kw, **USE)) / usd_per_hour


def gb200_share() -> float:
    gpu = gb200()
    return colocation_and_electricity(gpu["site_usd"], gpu["kw"], hour(HYPERSCALER))


def h100_share() -> float:
    """Of its published cost."""
    kw = facts.central("kW_H100")
    site_usd = facts.central("k_MW") / 1e3 * kw
    return colocation_and_electricity(site_usd, kw, facts.central("tco_H100_h"))


def revenue_per_gw_year() -> float:
    """CoreWeave's in the first quarter of 2026, at the middle of its range of active power."""
    quarter = facts.table("financials").filter(
        company="CoreWeave", segment="total", period_end=date(2026, 3, 31)
    )
    usd: float = quarter.collect()["revenue_usd"].item()
    return datacenter.per_gw_year(usd, 0.25, (0.85 + 1.05) / 2)


CASES = {
    ("C01", "power_per_rack"): rack_kw,
    ("C01", "racks_per_gw"): lambda: datacenter.racks_per_gw(
        facts.central("K_GW"), sum(rack().values())
    ),
    ("C02", "tco_per_hour"): lambda: hour(HYPERSCALER),
    ("C03", "tco_per_hour"): lambda: hour(NEOCLOUD),
    ("C04", "share_of_tco_gb200"): gb200_share,
    ("C04", "share_of_tco_h100"): h100_share,
    ("C05", "pue"): lambda: datacenter.pue_from_overhead(0.08),
    ("C06", "revenue_per_gw_year"): revenue_per_gw_year,
    ("C07", "fleet_power"): fleet_mw,
    ("C08", "margin_in_rent"): lambda: chips.margin(facts.central("p_r3_GB200"), hour(NEOCLOUD)),
}
