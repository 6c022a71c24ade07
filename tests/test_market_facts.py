"""Shares, deals, holdings and dependencies agree with the tables that they follow from."""

from datetime import date

import polars as pl
import pytest

from stackbook import facts

DERIVED = pl.col("source") == "stackbook-derived"
MADE_BY = {
    "Nvidia": "Nvidia GPU",
    "AMD": "AMD GPU",
    "Google": "Google TPU",
    "Amazon": "Amazon Trainium",
    "Huawei": "Huawei Ascend",
}


def shares(market: str, period: str, basis: str) -> dict[str, float]:
    rows = facts.table("market_shares").filter(DERIVED, market=market, period=period, basis=basis)
    return dict(rows.select("company", "share").collect().iter_rows())


def stock(day: date, unit: str) -> dict[str, float]:
    rows = facts.table("compute_owned").filter(quarter_end=day, owner="All")
    return dict(rows.select("designer", unit).collect().iter_rows())


def supplied(firm: str, layer: str) -> dict[str, float]:
    rows = facts.table("dependencies").filter(firm=firm, layer=layer)
    return dict(rows.select("supplier", "share").collect().iter_rows())


@pytest.mark.parametrize(
    ("unit", "installed", "added"),
    [("h100e", "installed compute", "added compute"), ("units", "installed units", "added units")],
)
def test_shares_of_designers_are_those_of_the_chips_owned(
    unit: str, installed: str, added: str
) -> None:
    now, before = stock(date(2025, 12, 31), unit), stock(date(2024, 12, 31), unit)
    growth = {name: now[name] - before[name] for name in now}
    for period, basis, chips in (("2025-12", installed, now), ("2025", added, growth)):
        rows = facts.table("market_shares").filter(
            market="AI accelerators by designer", period=period, basis=basis
        )
        found = dict(rows.select("company", "share").collect().iter_rows())
        total = sum(chips.values())
        expected = {name: count / total for name, count in chips.items()}
        assert found == pytest.approx(expected, abs=1e-4)


def test_shares_of_owners_are_those_of_the_chips_owned() -> None:
    owned = facts.table("compute_owned").filter(
        pl.col("owner") != "All", quarter_end=date(2025, 12, 31)
    )
    compute = dict(owned.group_by("owner").agg(pl.sum("h100e")).collect().iter_rows())
    total = sum(compute.values())
    found = shares("AI accelerators by owner", "2025-12", "installed compute")
    assert found == pytest.approx({name: compute[name] / total for name in found}, abs=1e-4)
    assert set(compute) - set(found) == {"Other", "China"}


@pytest.mark.parametrize("week", [date(2025, 11, 16), date(2026, 5, 4)])
@pytest.mark.parametrize(
    ("basis", "column"), [("tokens", "token_share"), ("spending", "usd_share")]
)
def test_shares_of_models_are_those_that_the_router_routed(
    week: date, basis: str, column: str
) -> None:
    used = facts.table("usage_shares").filter(week=week).group_by("developer").agg(pl.sum(column))
    found = shares("models on OpenRouter", f"{week:%Y-%m}", basis)
    routed = {name: share for name, share in used.collect().iter_rows() if share >= 1e-3}
    assert found == pytest.approx(routed, abs=1e-4)


def test_revenue_of_merchants_is_that_of_their_accounts() -> None:
    rows = facts.table("financials").filter(segment="Data Center", calendar_quarter="2026Q1")
    usd = dict(rows.select("company", "revenue_usd").collect().iter_rows())
    broadcom = facts.table("observations").filter(symbol="Rev_AVGO_AI").collect()
    usd["Broadcom"] = broadcom["central"].item()
    expected = {name: revenue / sum(usd.values()) for name, revenue in usd.items()}
    assert set(expected) == {"AMD", "Broadcom", "Nvidia"}
    assert shares("AI accelerators by designer", "2026Q1", "revenue") == pytest.approx(
        expected, abs=1e-4
    )


def test_no_source_gives_away_more_than_a_whole_market() -> None:
    sums = (
        facts.table("market_shares")
        .group_by("market", "period", "basis", "source")
        .agg(pl.sum("share"))
    )
    assert sums.filter(pl.col("share") > 1.005).collect().is_empty()


def test_a_pair_of_holder_and_held_has_one_current_row_and_no_firm_is_held_twice() -> None:
    rows = facts.table("holdings").collect()
    current = rows.filter("current")
    assert current.select("held", "holder").is_unique().all()
    pairs = rows.select("held", "holder").unique()
    assert current.select("held", "holder").sort(pl.all()).equals(pairs.sort(pl.all()))
    assert current.group_by("held").agg(pl.sum("share"))["share"].max() <= 1


@pytest.mark.parametrize(
    ("holder", "share"),
    [
        ("Nvidia", 30 / 852),
        ("Amazon", 15 / 852),
        ("SoftBank", 0.11 * (1 - 122 / 852) + 30 / 852),
    ],
)
def test_stakes_in_openai_follow_from_the_round(holder: str, share: float) -> None:
    row = facts.table("holdings").filter("current", held="OpenAI", holder=holder).collect()
    assert row["share"].item() == pytest.approx(share, abs=1e-4)


@pytest.mark.parametrize(
    ("held", "symbol"), [("OpenAI", "theta_MS_OAI"), ("Anthropic", "theta_ANT")]
)
def test_stakes_lie_in_the_range_of_the_parameter(held: str, symbol: str) -> None:
    holders = {"OpenAI": ["Microsoft"], "Anthropic": ["Amazon", "Google"]}[held]
    rows = facts.table("holdings").filter("current", pl.col("holder").is_in(holders), held=held)
    low, high = rows.select(pl.sum("low"), pl.sum("high")).collect().row(0)
    assert low <= facts.central(symbol) <= high


def test_what_a_firm_takes_at_a_layer_adds_up_to_all() -> None:
    sums = facts.table("dependencies").group_by("firm", "layer").agg(pl.sum("share")).collect()
    assert sums["share"].to_list() == pytest.approx([1.0] * sums.height, abs=1e-9)


@pytest.mark.parametrize("firm", ["Amazon", "CoreWeave", "Google", "Meta", "Microsoft", "Oracle"])
def test_an_owner_hangs_on_the_designers_whose_chips_it_owns(firm: str) -> None:
    owned = facts.table("compute_owned").filter(quarter_end=date(2025, 12, 31), owner=firm)
    compute = dict(owned.select("designer", "h100e").collect().iter_rows())
    expected = {name: chips / sum(compute.values()) for name, chips in compute.items()}
    assert supplied(firm, "accelerator") == pytest.approx(expected, abs=1.1e-3)


def test_what_stands_behind_an_accelerator_stands_behind_its_user() -> None:
    rows = facts.table("dependencies").filter(basis="mix of accelerators").collect()
    mixed = rows.select("firm", "layer").unique().rows()
    assert len(mixed) > 40
    for firm, layer in mixed:
        expected: dict[str, float] = {}
        for designer, part in supplied(firm, "accelerator").items():
            for supplier, share in supplied(MADE_BY[designer], layer).items():
                expected[supplier] = expected.get(supplier, 0) + part * share
        assert supplied(firm, layer) == pytest.approx(expected, abs=2.1e-3), (firm, layer)


def test_every_supplier_below_the_model_has_a_risk_and_no_other() -> None:
    upstream = ~pl.col("layer").is_in(["model", "platform"])
    needed = facts.table("dependencies").filter(upstream).select("layer", "supplier").collect()
    told = facts.table("supplier_risks").select("layer", "supplier").collect()
    assert set(needed.rows()) == set(told.rows())


def test_the_foundry_fails_as_the_parameters_say() -> None:
    row = facts.table("supplier_risks").filter(layer="foundry", supplier="TSMC").collect()
    rate, duration = facts.parameter("lam_shock"), facts.parameter("L_shock")
    assert row.select("rate_low", "rate", "rate_high").row(0) == (rate.low, rate.central, rate.high)
    span = row.select("duration_low", "duration", "duration_high").row(0)
    assert span == (duration.low, duration.central, duration.high)
    days = facts.table("observations").filter(symbol="D_inv_NVDA").collect()["central"].item()
    assert row["inventory_yr"].item() == pytest.approx(days / 365, abs=5e-3)


def test_outages_of_clouds_follow_from_those_seen() -> None:
    seen = facts.table("supply_shocks").filter(pl.col("date").dt.year() >= 2023, layer="cloud")
    counts = seen.with_columns(cloud=pl.col("event").str.split(" ").list.first()).collect()
    row = facts.table("supplier_risks").filter(
        layer="cloud", supplier="Amazon", hazard="outage of a region or service"
    )
    rate, duration = row.select("rate", "duration").collect().row(0)
    assert rate == pytest.approx(counts.filter(cloud="AWS").height / 3, abs=0.01)
    assert rate == pytest.approx(counts.filter(cloud="Azure").height / 3, abs=0.01)
    assert duration == pytest.approx(counts["duration_yr"].median(), rel=0.01)


def test_no_letter_of_intent_is_firm_money() -> None:
    firm = facts.table("deals").drop_nulls("firm_usd").collect()
    assert firm.height >= 15
    assert firm.filter(pl.col("status").is_in(["letter of intent", "lapsed"])).is_empty()
