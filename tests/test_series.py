"""Watch items: rows by hand from the tables, and that a trend sees nothing after its end."""

from math import inf
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from stackbook import OVERLAY, StackbookError, facts, series
from stackbook.kernels import market, trends

NAMES = list(series.ITEMS)
LONG = [name for name in NAMES if series.ITEMS[name].history]
known = set(facts.table("sources").collect()["key"])


@pytest.mark.parametrize("name", NAMES)
def test_an_item_is_in_order_with_ranges_and_sources(name: str) -> None:
    one = series.item(name)
    frame = one.frame
    assert frame.columns == ["year", "value", "low", "high", "sources"]
    assert frame["year"].is_sorted()
    assert ((frame["value"] > 0) & (frame["value"] < one.most)).all()
    assert (frame["low"] <= frame["value"]).all()
    assert (frame["value"] <= frame["high"]).all()
    assert one.sources and set(one.sources) <= known
    assert one.today == frame.tail(1).to_dicts()[0]
    assert one.better in ("higher", "lower", "")


def test_some_items_are_levels_without_a_history() -> None:
    assert set(NAMES) - set(LONG) == {
        *("HHI, HBM", "HHI, models", "clouds of a lab", "output speed", "utilization")
    }


@pytest.mark.parametrize("name", LONG)
def test_a_trend_is_in_the_items_unit_and_below_its_bound(name: str) -> None:
    one, fitted = series.item(name), series.trend(name, draws=200)
    ahead = series.predict(name, fitted, [fitted.reference, 2031.0])
    assert ((ahead.draws > 0) & (ahead.draws < one.most)).all()
    low, high = trends.interval(ahead.draws, 0.9)
    assert low[-1] < ahead.central[-1] < high[-1]
    if fitted.wanders:
        last = one.frame.filter(pl.col("year") == fitted.reference)["value"]
        assert ahead.central[0] == pytest.approx(last.item())


@pytest.mark.parametrize("name", ["own silicon", "capex"])
def test_a_trend_reaches_where_it_leads(name: str) -> None:
    fitted = series.trend(name, draws=200)
    year = fitted.reference + 2
    (there,) = series.predict(name, fitted, [year]).central
    assert series.reached(name, fitted, there).central == pytest.approx(year)


def test_no_later_observation_enters_a_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Capital outlays of 2025 are made a thousandth: a fit until 2024 keeps its bits."""
    before = series.trend("capex", until=2025.0, draws=100)
    whole = series.trend("capex", draws=100)
    rows = facts.table("financials").filter(pl.col("calendar_quarter") >= "2025").collect()
    changed = rows.filter(pl.col("capex_usd").is_not_null()).with_columns(
        capex_usd=pl.col("capex_usd") // 1000, replaces=pl.col("source"), source=pl.lit(OTHER)
    )
    changed.write_csv(tmp_path / "financials.csv")
    monkeypatch.setenv(OVERLAY, str(tmp_path))
    assert series.item("capex").today["value"] < 1e9
    for ours, theirs in zip(before, series.trend("capex", until=2025.0, draws=100), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert series.trend("capex", draws=100).growth < whole.growth


OTHER = "stackbook-judgement"


def test_price_performance_by_hand() -> None:
    (row,) = facts.table("accelerators").filter(name="MI355X").collect().to_dicts()
    frame = series.item("price-performance").frame
    value = row["bf16_flops"] / row["price_usd"]
    (found,) = frame.filter((pl.col("value") / value - 1).abs() < 1e-12).to_dicts()
    assert found["year"] == pytest.approx(2025 + 162 / 365.25, abs=1e-9)  # 12 June


def test_quotes_of_a_seller_last_three_months() -> None:
    """The median takes each seller's last quote, and forgets one after a quarter."""
    months = ["2025-01-15", "2025-02-15", "2025-02-15", "2025-05-15"]
    quotes = pl.DataFrame(
        {
            "month": pl.Series(months).str.to_date(),
            "provider": ["A", "A", "B", "B"],
            "usd_per_hour": [9.0, 3.0, 2.0, 4.0],
            "source": ["x", "x", "y", "z"],
        }
    )
    found = series.asked(quotes)
    assert found["usd_per_hour"].to_list() == [9.0, 2.5, 4.0]
    assert found["low"].to_list() == [9.0, 2.0, 4.0]
    assert found["high"].to_list() == [9.0, 3.0, 4.0]
    assert found["sources"].to_list() == [["x"], ["x", "y"], ["z"]]


def test_a_token_price_stays_until_a_cheaper_model_comes() -> None:
    frame = series.item("token price, o1-mini level").frame
    assert frame["value"].to_list() == [5.25, 5.25, 0.175, 0.175, 0.1375, 0.1375, 0.1375, 0.07675]
    assert frame["year"].to_list() == pytest.approx([2024.752 + k / 4 for k in range(8)], abs=0.01)


def test_compute_of_a_quarter_is_a_difference_of_totals() -> None:
    owned = facts.table("compute_owned").filter(owner="All", designer="Nvidia").collect()
    totals = dict(owned.select(pl.col("quarter_end").cast(pl.String), "h100e").iter_rows())
    last = series.item("compute added, Nvidia").today
    assert last["value"] == totals["2025-12-31"] - totals["2025-09-30"]
    assert last["year"] == pytest.approx(2025.87, abs=0.01)  # the next quarter is incomplete


def test_own_silicon_leaves_out_what_designers_sell() -> None:
    year_end = series.made().filter(pl.col("quarter_end").cast(pl.String) == "2025-12-31")
    own = {row["designer"]: row["own"] for row in year_end.to_dicts()}
    assert own["Nvidia"] == own["AMD"] == 0
    whole = sum(own.values()) / year_end["h100e"].sum()
    assert series.item("own silicon").today["value"] == pytest.approx(whole)


def test_concentration_is_the_middle_of_what_the_rest_can_be() -> None:
    rows = facts.table("market_shares").filter(market="DRAM", period="2025Q1", basis="revenue")
    low, high = market.hhi_bounds(rows.collect()["share"].to_numpy())
    frame = series.item("HHI, memory").frame
    (row,) = frame.filter(pl.col("year") == 2025.125).to_dicts()
    assert (row["low"], row["high"]) == (low, high)
    assert row["value"] == pytest.approx((low + high) / 2)


def test_capex_is_of_quarters_in_which_all_five_filed() -> None:
    frame = series.item("capex").frame
    assert frame["value"][-1] == 181_543_000_000
    assert frame.filter(pl.col("year").is_between(2024.0, 2024.5)).is_empty()  # one is missing


def test_records_rise() -> None:
    for name in ("training cost", "training compute"):
        assert series.item(name).frame["value"].is_sorted()


def test_odds_and_back() -> None:
    assert series.odds("own silicon", [0.2, 0.5]).tolist() == [0.25, 1.0]
    assert series.odds("capex", [2.0]).tolist() == [2.0]
    assert series.item("capex").most == inf


def test_errors_name_the_item() -> None:
    with pytest.raises(StackbookError, match=r"'H100 rents' \(did you mean H100 rent\?\)"):
        series.item("H100 rents")
    fitted = series.trend("own silicon", draws=10)
    with pytest.raises(StackbookError, match=r"own silicon: threshold 1.5 is not between 0 and 1"):
        series.reached("own silicon", fitted, 1.5)
