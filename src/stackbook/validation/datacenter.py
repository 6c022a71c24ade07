"""Section C: what an accelerator-hour costs its owner, and power."""

from datetime import date

import polars as pl

from stackbook import facts
from stackbook.kernels import datacenter

RACK = {"it_usd": 3.4e6, "site_usd": 2.5e6}  # Bernstein 2025, an NVL72 rack of 72 accelerators
SHARED = {"om_share": 0.05, "availability": 1, "kw": 2.34, "load": 0.8, "pue": 1}
GB200 = {**{k: v / 72 for k, v in RACK.items()}, **SHARED, "usd_per_kwh": 0.08}
HYPERSCALER = {"it_rate": 0.09, "it_years": 5, "site_rate": 0.08, "site_years": 20}
NEOCLOUD = {"it_rate": 0.13, "it_years": 4, "site_rate": 0.10, "site_years": 15}


def fleet_mw() -> float:
    """Nvidia's chips made by the end of 2025 at the rated power of each."""
    made = (
        facts.table("chips_made")
        .filter(pl.col("designer") == "Nvidia", pl.col("quarter_end") == date(2025, 12, 31))
        .join(facts.table("accelerators"), left_on="chip", right_on="name")
    )
    kw = datacenter.facility_kw(pl.col("tdp_w") / 1e3, 1, 1)
    return float(made.select((pl.col("units") * kw).sum() / 1e3).collect().item())


def colocation_and_electricity() -> float:
    """The larger of two shares: GB200 on the capital above, H100 on its published cost."""
    site = datacenter.capital_cost(GB200["site_usd"], 0.08, 20, 1)
    energy = datacenter.energy_cost(2.34, 0.8, 1, 0.08)
    gb200 = (site + energy) / datacenter.owner_cost(**GB200, **HYPERSCALER)
    kw = facts.parameter("kW_H100").central
    site = datacenter.capital_cost(facts.parameter("k_MW").central / 1e3 * kw, 0.08, 20, 1)
    energy = datacenter.energy_cost(kw, 0.8, 1, 0.08)
    h100 = (site + energy) / facts.parameter("tco_H100_h").central
    return max(gb200, h100)


CASES = {
    ("C01", "power_per_rack"): lambda: datacenter.kw_per_rack(35e9, 5.9e6),
    ("C01", "racks_per_gw"): lambda: datacenter.racks_per_gw(35e9, 5.9e6),
    ("C02", "tco_per_hour"): lambda: datacenter.owner_cost(**GB200, **HYPERSCALER),
    ("C03", "tco_per_hour"): lambda: datacenter.owner_cost(**GB200, **NEOCLOUD),
    ("C04", "share_of_tco"): colocation_and_electricity,
    ("C05", "pue"): lambda: datacenter.pue_from_overhead(0.08),
    ("C06", "revenue_per_gw_year"): lambda: datacenter.per_gw_year(2.08e9, 0.25, 0.95),
    ("C07", "fleet_power"): fleet_mw,
}
