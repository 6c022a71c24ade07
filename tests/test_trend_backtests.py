"""Back-tests of trends: cuts, horizons and shares by hand, and that misses stay visible."""

import pytest

from stackbook import series
from stackbook.kernels import trends
from stackbook.validation import trend_backtests
from stackbook.validation.trend_backtests import Foreseen

RESULTS = trend_backtests.results()


def test_every_pair_of_a_cut_and_a_later_observation_is_there() -> None:
    years = series.item("capex").frame["year"].to_numpy()
    rows = trend_backtests.predictions("capex")
    cuts = years[trends.POINTS - 1 : -1]
    assert [(row.cut, row.year) for row in rows] == [(c, y) for c in cuts for y in years if y > c]


def test_a_prediction_is_that_of_the_trend_until_the_cut() -> None:
    row = trend_backtests.predictions("own silicon")[2]
    fitted = series.trend("own silicon", row.cut, trend_backtests.SEED, trend_backtests.DRAWS)
    assert fitted.reference == row.cut
    later = series.item("own silicon").frame["year"].to_numpy()
    told = series.predict("own silicon", fitted, later[later > row.cut])
    at = later[later > row.cut].tolist().index(row.year)
    assert row.central == told.central[at]
    assert (row.low_90, row.high_90) == tuple(e[at] for e in trends.interval(told.draws, 0.9))


def foreseen(observed: float, year: float, cut: float = 2024.0) -> Foreseen:
    return Foreseen("x", cut, year, observed, 10.0, 9.0, 11.0, 5.0, 20.0, False)


@pytest.mark.parametrize(
    ("year", "horizon"),
    [(2025.0, "up to 1 year"), (2025.1, "1 to 2 years"), (2027.0, "beyond 2 years")],
)
def test_horizon(year: float, horizon: str) -> None:
    assert foreseen(10.0, year).horizon == horizon


def test_coverage_by_hand() -> None:
    rows = [foreseen(10.0, 2025), foreseen(20.0, 2025), foreseen(40.0, 2025, 2024.5)]
    found = trend_backtests.coverage("x", "", rows)
    assert (found.cuts, found.observations) == (2, 3)
    assert (found.inside_50, found.inside_90) == pytest.approx((1 / 3, 2 / 3))
    assert (found.median_error, found.bias) == pytest.approx((1.0, 1.0))
    assert trend_backtests.coverage("x", "", [foreseen(5.0, 2025)]).median_error == pytest.approx(1)


def test_all_items_together_have_every_prediction() -> None:
    for horizon in trend_backtests.HORIZONS:
        each = [one for one in RESULTS if one.horizon == horizon and one.item != "all"]
        (every,) = (one for one in RESULTS if one.horizon == horizon and one.item == "all")
        assert every.observations == sum(one.observations for one in each)
        inside = sum(one.inside_90 * one.observations for one in each)
        assert every.inside_90 * every.observations == pytest.approx(inside)


def test_what_falls_short_stays_in_the_table() -> None:
    """Nothing is dropped for being wrong: some intervals hold far less than they say."""
    assert all(one.inside_50 <= one.inside_90 for one in RESULTS)
    assert min(one.inside_90 for one in RESULTS) < 0.6
    assert {one.item for one in RESULTS} - {"all"} <= set(series.ITEMS)
    near, _, far = (one.median_error for one in RESULTS if one.item == "all")
    assert near < far
