"""Natural experiments: what the model says of them by hand, and that its misses are told."""

from math import log

import pytest

from stackbook import facts
from stackbook.validation import backtests
from stackbook.validation.backtests import Backtest, Change

RESULTS = backtests.results()
EVENTS = ["AWS prices", "H20 licence", "HBM price", "TPU opened", "end of exclusivity"]


def the(quantity: str, event: str = "", after: str = "") -> Backtest:
    (one,) = (
        one
        for one in RESULTS
        if one.quantity == quantity and event in one.event and one.when.endswith(after)
    )
    return one


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_has_two_quantities_that_can_fail(event: str) -> None:
    assert sum(one.event == event and not one.used for one in RESULTS) >= 2


def test_what_fails_says_why_and_nothing_else_does() -> None:
    for one in RESULTS:
        assert bool(one.why) == (not one.right), one.quantity
        assert one.ours.low <= one.ours.central <= one.ours.high, one.quantity


def test_what_is_seen_is_of_the_table_and_not_what_better_sources_deny() -> None:
    table = facts.table("natural_experiments").collect()
    known = {
        (row["event"], row["quantity"], f"{row['date_before']} to {row['date_after']}"): row
        for row in table.filter(table["confidence"] != "low").to_dicts()
    }
    for one in RESULTS:
        row = known[one.event, one.quantity, one.when]
        assert (one.observed.central, one.source) == (row["change"], row["source"])
        assert one.observed.sign == row["sign"]


def outcome(ours: tuple[float, float, float], seen: float) -> tuple[bool, bool, bool]:
    found = RESULTS[0]._replace(ours=Change(*ours), observed=Change(seen, seen, seen))
    return found.sign_right, found.order_right, found.within


@pytest.mark.parametrize(
    ("ours", "seen", "expected"),
    [
        ((0.1, 0.2, 0.3), 0.25, (True, True, True)),
        ((0.1, 0.2, 0.3), 0.65, (True, False, False)),  # beyond a factor of three
        ((0.1, 0.2, 0.7), 0.65, (True, False, True)),
        ((0.1, 0.2, 0.3), 0.5, (True, True, False)),
        ((0.1, 0.2, 0.3), -0.2, (False, False, False)),
        ((-0.3, 0.2, 0.3), -0.2, (False, False, True)),
        ((0.0, 0.005, 0.0), 0.0, (True, True, True)),  # neither moves
        ((0.0, 0.0, 0.0), 0.2, (False, False, False)),
        ((0.1, 0.2, 0.3), 0.0, (False, False, False)),
        ((-0.3, -0.2, -0.1), -0.065, (True, False, False)),
    ],
)
def test_sign_order_and_range(
    ours: tuple[float, float, float], seen: float, expected: tuple[bool, bool, bool]
) -> None:
    assert outcome(ours, seen) == expected


def test_list_price_and_channel_by_hand() -> None:
    """A markup on what a lab keeps of a dollar: 80%, or 94.4% of one on average to 2030."""
    average = 0.2 * 38 / 135
    ours = the("list price of OpenAI's flagship, output", "exclusivity", "07-09").ours
    assert ours == pytest.approx((0.8 / (1 - average) - 1, 0, 0))
    channel = the("GPT-5.5 output, price on Bedrock over OpenAI").ours
    assert channel == pytest.approx((1 / 0.92 - 1, 1 / 0.75 - 1, 1 / 0.67 - 1))


def test_rents_of_2025_by_hand() -> None:
    """A rent falls by what the fleet outgrows demand, over the elasticity; demand as before."""
    count = {day.isoformat(): chips for day, chips in backtests.stock().items()}
    fell, came = 2.99 / 3.99, count["2025-12-31"] / count["2025-03-31"]
    grew = count["2025-03-31"] / count["2024-06-30"]
    for elasticity, ours in zip((3.0, 1.5, 0.8), the("RunPod, H100 on demand").ours, strict=True):
        quarters = 274 / 365.25 / 0.75
        wanted = (log(grew) + elasticity * log(fell)) / quarters
        assert log(1 + ours) == pytest.approx((wanted - log(came)) / elasticity, rel=1e-6)


def test_margins_by_hand() -> None:
    margin = the("gross margin of AMD", "H20").ours
    assert margin.central == pytest.approx(-0.8 / 7.438)
    back = the("gross margin of Nvidia", "H20", "2025Q2").ours
    assert back.central == pytest.approx(4.5 / 44.062)
    absorbed = the("gross margin of Nvidia", "HBM").ours
    assert absorbed == pytest.approx((-580 / 37_229, 0, 0))


def test_a_concession_ends_where_the_option_or_the_cost_is() -> None:
    """No more than the whole rent between price and cost is given up."""
    ours = the("cost of OpenAI's Nvidia fleet").ours
    assert -0.5 < ours.low <= ours.high < 0


def test_contracts_of_microsoft_by_hand() -> None:
    new = 1 - 3**-0.5
    ours = the("share of Microsoft in OpenAI's announced compute contracts").ours
    assert ours.central == pytest.approx(new * (0.2 / 0.62 - 0.4368), abs=1e-6)
    assert ours.low == pytest.approx(new * (0.2 - 0.4368), abs=1e-6)
