"""Natural experiments agree with the book's own tables and with themselves."""

from typing import Any

import polars as pl
import pytest

from stackbook import facts

EVENTS = ["AWS prices", "H20 licence", "HBM price", "TPU opened", "end of exclusivity"]


def rows(**where: Any) -> list[dict[str, Any]]:
    return facts.table("natural_experiments").filter(**where).collect().to_dicts()


def only(**where: Any) -> dict[str, Any]:
    (row,) = rows(**where)
    return row


def levels(row: dict[str, Any]) -> tuple[float, float]:
    return row["before"], row["after"]


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_moved_something_up_and_something_down(event: str) -> None:
    seen = rows(event=event, status="observed")
    assert len(seen) > 5
    assert {row["sign"] for row in seen} >= {-1, 1}


def test_a_change_follows_from_its_levels() -> None:
    told = [row for row in rows() if row["before"] is not None]
    assert len(told) > 80
    for row in told:
        before, after = levels(row)
        change = after - before if row["unit"] == "1" else after / before - 1
        assert change == pytest.approx(row["change"], abs=1e-4), row["quantity"]


def test_margins_are_those_of_the_quarterly_results() -> None:
    found = [row for row in rows() if row["quantity"].startswith("gross margin of ")]
    assert len(found) > 10
    results = facts.table("financials").filter(segment="total").collect()
    for row in found:
        company = row["quantity"].removeprefix("gross margin of ")
        for quarter, margin in zip(
            (row["date_before"], row["date_after"]), levels(row), strict=True
        ):
            there = results.filter(company=company, calendar_quarter=quarter)
            assert there["gross_margin"].to_list() == [margin]


def test_growth_of_clouds_is_that_of_their_results() -> None:
    results = facts.table("financials").collect()
    for segment in ("Intelligent Cloud", "AWS", "Google Cloud"):
        row = only(quantity=f"growth of {segment} over the year before")
        revenue = dict(
            results.filter(segment=segment).select("calendar_quarter", "revenue_usd").iter_rows()
        )
        for quarter, growth in zip(("2026Q1", "2026Q2"), levels(row), strict=True):
            base = revenue[f"2025{quarter[4:]}"]
            assert revenue[quarter] / base - 1 == pytest.approx(growth, abs=1e-4)


@pytest.mark.parametrize(
    ("quantity", "provider", "accelerator", "commitment"),
    [
        ("AWS, H100 on demand", "AWS", "H100 SXM", "on-demand"),
        ("AWS, H200 on demand", "AWS", "H200 SXM", "on-demand"),
        ("Google Cloud, H100 for a year", "Google Cloud", "H100 SXM", "1-year"),
        ("Google Cloud, H100 on demand", "Google Cloud", "H100 SXM", "on-demand"),
        ("Oracle, H100 on demand", "Oracle", "H100 SXM", "on-demand"),
        ("neoclouds, B200", "Silicon Data neocloud index", "B200", "unspecified"),
        ("neoclouds, H100", "Silicon Data neocloud index", "H100 SXM", "unspecified"),
        ("one-year contracts, H100", "SemiAnalysis rental index", "H100 SXM", "1-year"),
    ],
)
def test_rents_are_those_of_the_rental_table(
    quantity: str, provider: str, accelerator: str, commitment: str
) -> None:
    table = facts.table("rental_prices").filter(
        provider=provider, accelerator=accelerator, commitment=commitment
    )
    price = dict(table.select("month", "usd_per_hour").collect().iter_rows())
    found = [row for row in rows(quantity=quantity) if row["confidence"] != "low"]
    assert found
    for row in found:
        assert levels(row) == (price[row["date_before"]], price[row["date_after"]])


def test_prices_of_a_model_differ_between_its_channels_as_listed() -> None:
    prices = facts.table("api_prices").filter(model="gpt-5.5", prompt_over_tokens=0).collect()
    own = prices.filter(provider="OpenAI")["output_usd_per_mtok"][0]
    for channel, provider in (("Bedrock", "Amazon Bedrock"), ("Azure", "Azure")):
        there = prices.filter(provider=provider)["output_usd_per_mtok"][0]
        (row,) = (
            row
            for row in rows(quantity=f"GPT-5.5 output, price on {channel} over OpenAI")
            if row["before"] is not None
        )
        assert levels(row) == (own, there)


def test_the_share_of_microsoft_follows_from_the_deals() -> None:
    contracts = facts.table("deals").filter(kind="compute contract").collect()
    value = dict(contracts.select("id", "value_usd").iter_rows())
    before = ["openai-microsoft-compute-2025", "openai-oracle-compute-2025"]
    before += ["openai-coreweave-compute-2025"]
    after = [*before, "openai-aws-compute-2025", "openai-aws-compute-2026"]
    after += ["openai-cerebras-compute-2026"]
    row = only(quantity="share of Microsoft in OpenAI's announced compute contracts")
    for ids, share in zip((before, after), levels(row), strict=True):
        total = sum(value[each] for each in ids)
        assert value[before[0]] / total == pytest.approx(share, abs=1e-4)


def test_shares_of_compute_follow_from_the_chips() -> None:
    chips = facts.table("chips_made").group_by("quarter_end", "designer").agg(pl.sum("h100e"))
    made = {(str(end), who): h100e for end, who, h100e in chips.collect().iter_rows()}
    ends = {"2025Q1": "2025-03-31", "2025Q2": "2025-06-30"}
    ends |= {"2025Q3": "2025-09-30", "2025Q4": "2025-12-31"}
    designers = ["AMD", "Amazon", "Google", "Nvidia"]

    def sold(quarter: str, since: str | None) -> dict[str, float]:
        start = {who: made[ends[since], who] if since else 0 for who in designers}
        return {who: made[ends[quarter], who] - start[who] for who in designers}

    for who in ("Google", "Nvidia"):
        for what, since in (
            ("installed compute", (None, None)),
            ("compute sold in the quarter", ("2025Q1", "2025Q3")),
        ):
            row = only(quantity=f"share of {who} in {what}")
            for quarter, start, share in zip(("2025Q2", "2025Q4"), since, levels(row), strict=True):
                all_four = sold(quarter, start)
                assert all_four[who] / sum(all_four.values()) == pytest.approx(share, abs=1e-4)


def test_h20_sold_is_what_the_running_total_gained() -> None:
    total = facts.table("chips_made").filter(chip="H20").sort("quarter_end").collect()
    gained = dict(zip(total["quarter_end"].cast(str), total["units"].diff(), strict=True))
    for row, end in zip(
        rows(quantity="H20 sold in the quarter"), ("2025-06-30", "2025-09-30"), strict=True
    ):
        assert levels(row) == (gained["2025-03-31"], gained[end])


def test_the_charge_for_h20_is_most_of_the_fall_of_the_margin() -> None:
    charge = only(quantity="charge of Nvidia for H20")["after"]
    revenue = only(quantity="revenue of Nvidia")["before"]
    fall = only(quantity="gross margin of Nvidia", date_after="2025Q1")["change"]
    assert 0.7 < charge / revenue / -fall < 1


def test_memory_alone_raises_the_cost_of_a_b200() -> None:
    before, after = levels(only(quantity="cost of making B200"))
    rise = only(quantity="contract price of HBM3e")["change"]
    assert before == facts.central("c_B200")
    assert after - before == pytest.approx(rise * facts.central("c_hbm_B200"), rel=1e-9)


def test_the_concession_to_openai_is_the_parameter() -> None:
    row = only(quantity="cost of OpenAI's Nvidia fleet")
    parameter = facts.parameter("d_out")
    assert (-row["high"], -row["change"], -row["low"]) == (
        parameter.low,
        parameter.central,
        parameter.high,
    )
