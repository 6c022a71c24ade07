"""Chains, their terms and the accounts of layers agree with the tables that they draw on."""

import polars as pl
import pytest

from stackbook import facts
from stackbook.kernels import datacenter

NODES = 11
GB200 = "OpenAI on Azure"


def terms(profile: str) -> dict[str, float]:
    rows = facts.table("profile_terms").filter(profile=profile).select("symbol", "central")
    return dict(rows.collect().iter_rows())


def owner_cost(profile: str) -> float:
    of = terms(profile)
    return datacenter.owner_cost(
        *(of["chip_usd"] + of["network_usd"] + of["server_usd"], of["rate_it"], of["life_it"]),
        *(of["site_usd"], of["rate_site"], of["life_site"], facts.central("om_IT"), 1.0),
        *(of["kw"], facts.central("u_P"), 1.0, facts.central("p_e25")),
    )


def test_every_chain_has_all_nodes_and_all_terms() -> None:
    profiles = facts.table("profiles").collect()
    nodes = profiles.group_by("profile").len()
    rows = facts.table("profile_terms").collect().join(nodes, on="profile", how="semi")
    assert nodes["len"].unique().to_list() == [NODES] and profiles["layer"].n_unique() == NODES
    counts = rows.group_by("profile").len()
    assert counts.height == nodes.height
    assert counts["len"].unique().to_list() == [rows["symbol"].n_unique()]


def test_who_brands_a_merchant_chip_also_supplies_it_and_own_silicon_has_a_programme() -> None:
    owners = facts.table("profiles").collect().pivot("layer", index="profile", values="owner")
    for row in owners.iter_rows(named=True):
        merchant = row["accelerator"] == row["chip supply"]
        assert merchant == (row["accelerator"] == "Nvidia")
        assert merchant == (terms(row["profile"])["programme_usd"] == 0)


@pytest.mark.parametrize(
    ("profile", "bill"),
    [
        (GB200, "c_B200"),
        ("Google on TPU", "c_v7"),
        ("Startup on a neocloud", "c_B200"),
    ],
)
def test_the_parts_of_an_accelerator_are_its_bill(profile: str, bill: str) -> None:
    of = terms(profile)
    parts = of["package_usd"] + of["memory_usd"] + of["chip_other_usd"]
    assert parts == pytest.approx(facts.central(bill), rel=1e-3)
    assert parts < of["chip_usd"]


def test_a_gb200_and_its_site_cost_what_its_rack_does_over_72() -> None:
    of = terms(GB200)
    servers = of["chip_usd"] + of["network_usd"] + of["server_usd"]
    assert servers == pytest.approx(facts.central("C_rack_IT") / 72, rel=1e-3)
    assert of["site_usd"] == pytest.approx(facts.central("C_rack_DC") / 72, rel=1e-3)


@pytest.mark.parametrize(
    ("profile", "published"),
    [(GB200, "tco_GB200_h"), ("OpenAI on Oracle", "tco_GB200_n")],
)
def test_owners_cost_of_a_gb200_is_the_published_one(profile: str, published: str) -> None:
    assert owner_cost(profile) == pytest.approx(facts.central(published), rel=0.05)


def test_a_tpu_costs_google_as_much_less_than_a_gb200_as_is_published() -> None:
    low, high = facts.parameter("d_TPU").low, facts.parameter("d_TPU").high
    assert low is not None and high is not None
    assert low < 1 - owner_cost("Google on TPU") / owner_cost(GB200) < high


@pytest.mark.parametrize(
    ("profile", "symbol", "parameter"),
    [
        (GB200, "royalty", "tau_MS"),
        ("Google on TPU", "eta", "eta_TPU"),
        ("Startup on a neocloud", "cloud_margin", "mu_su"),
        ("Startup on a neocloud", "lab_utilization", "U_rel"),
        ("Startup on a neocloud", "chip_usd", "p_B200"),
    ],
)
def test_terms_that_are_parameters_have_their_value(
    profile: str, symbol: str, parameter: str
) -> None:
    assert terms(profile)[symbol] == facts.central(parameter)


def test_accounts_of_companies_with_all_quarters_are_their_sum() -> None:
    quarters = (
        facts.table("financials")
        .with_columns(period=pl.col("fiscal_quarter").str.head(6))
        .group_by("company", "segment", "period")
        .agg(pl.len(), pl.col("revenue_usd", "operating_income_usd").sum())
        .filter(pl.col("len") == 4, pl.col("operating_income_usd") != 0)
        .collect()
    )
    both = (
        facts.table("layer_accounts")
        .collect()
        .join(quarters, on=["company", "segment", "period"], suffix="_quarters")
    )
    assert both.height >= 10
    for name in ("revenue_usd", "operating_income_usd"):
        assert both[name].to_list() == both[f"{name}_quarters"].to_list()


def test_each_layer_has_accounts() -> None:
    upstream = set(facts.table("profiles").collect()["layer"]) - {"model", "platform"}
    assert set(facts.table("layer_accounts").collect()["layer"]) == upstream
