"""Facts of commitments, egress and switching agree with what they are said to follow from."""

import polars as pl
import pytest

from stackbook import facts


def test_list_discounts_are_the_parameters_of_the_same_name() -> None:
    rows = facts.table("commitments").filter(pl.col("source") == "cottier-training-cost-2024")
    provider = {"AWS": "AWS", "Azure": "AZ", "Google Cloud": "GCP"}
    found = rows.select("provider", "term_months", "discount").collect().rows()
    assert len(found) == 6
    for name, months, discount in found:
        assert facts.central(f"d_{provider[name]}_{months // 12}yr") == discount


@pytest.mark.parametrize(
    ("row", "usd", "tokens_per_minute", "days", "usd_per_mtok"),
    [
        ("openai-scale-tier-gpt-4o-2024", 3800, 20_000, 30, 5),
        ("openai-scale-tier-gpt-4o-2025", 124.59, 30_000, 1, 2.5),
        ("openai-scale-tier-gpt-5-2025", 75, 25_000, 1, 1.25),
    ],
)
def test_a_token_unit_costs_its_discount_off_the_same_tokens_at_list_price(
    row: str, usd: float, tokens_per_minute: float, days: float, usd_per_mtok: float
) -> None:
    list_price = tokens_per_minute * 60 * 24 * days / 1e6 * usd_per_mtok
    (discount,) = facts.table("commitments").filter(id=row).collect()["discount"]
    assert 1 - usd / list_price == pytest.approx(discount, abs=5e-4)


def test_tiers_of_egress_join_and_fall() -> None:
    tiers = facts.table("egress").filter(path="internet").collect()
    for (_, area, _), rows in tiers.group_by("provider", "area", "condition"):
        rows = rows.sort("from_tb")
        paid = rows.filter(pl.col("usd_per_gb") > 0)["usd_per_gb"]
        assert rows["from_tb"][0] == 0, area
        assert rows["to_tb"].to_list()[:-1] == rows["from_tb"].to_list()[1:]
        assert paid.is_sorted(descending=True)


@pytest.mark.parametrize("case", ["system of 500 calls a day", "product on 8,000 USD a month"])
def test_the_lines_of_a_fully_told_switch_are_its_total(case: str) -> None:
    rows = facts.table("switching_costs").filter(pl.col("case") == case)
    total = rows.filter(line="total").collect().row(0, named=True)
    lines = rows.filter(pl.col("line") != "total").collect()
    for column in ("low", "usd", "high"):
        if total[column] is not None:
            assert lines[column].sum() == pytest.approx(total[column], abs=1)
