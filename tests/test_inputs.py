"""Uncertain inputs: the percentiles that the table states, and what they do to a result."""

import numpy as np
import polars as pl
import pytest

from stackbook import facts, findings, inputs
from stackbook.kernels import chips


@pytest.fixture
def stated(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, float]]:
    """The records of findings, by name."""
    records: dict[str, dict[str, float]] = {}
    monkeypatch.setattr(
        findings,
        "_glue",
        lambda name, _, record=None: records.update({name: record} if record else {}),
    )
    return records


def test_every_parameter_has_the_percentiles_of_its_row() -> None:
    for row in facts.table("parameters").collect().to_dicts():
        low, central, high = (
            row["central"] if row[end] is None else row[end] for end in ("low", "central", "high")
        )
        values = inputs.uncertain(row["symbol"])
        assert values[0] == central
        found = np.quantile(values[1:], [0.05, 0.5, 0.95], method="hazen")
        assert found == pytest.approx([low, central, high], rel=1e-3), row["symbol"]


def test_a_readers_value_moves_the_range_in_proportion() -> None:
    doubled = inputs.uncertain("W_N5", 2 * facts.parameter("W_N5").central)
    assert doubled == pytest.approx(2 * inputs.uncertain("W_N5"))


SHARES = facts.table("parameters").filter(pl.col("share")).select("symbol").collect()["symbol"]


@pytest.mark.parametrize("value", [0.0, 0.1, 0.75, 0.99, 1.0])
def test_every_draw_of_a_share_is_a_share(value: float) -> None:
    for symbol in SHARES:
        draws = inputs.uncertain(symbol, value)
        assert draws[0] == value
        assert draws.min() >= 0
        assert draws.max() <= 1
        assert np.median(draws[1:]) == pytest.approx(value, abs=1e-3), symbol


@pytest.mark.parametrize(
    ("symbol", "value", "message"),
    [
        ("rho_red", 1.2, "rho_red: 1.2 is out of range; give 0 to 1, as it is a share"),
        ("rho_red", np.nan, "rho_red: nan is out of range"),
        ("W_N5", -5.0, "W_N5: -5 is out of range; give 0 to any number above"),
    ],
)
def test_a_value_out_of_range_is_refused(symbol: str, value: float, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        inputs.uncertain(symbol, value)


def test_a_name_has_the_same_draws_everywhere_and_two_are_independent() -> None:
    assert (inputs.uncertain("W_N5") == inputs.uncertain("W_N5")).all()
    first, second = inputs.spread("a", 1, 2, 3)[1:], inputs.spread("b", 1, 2, 3)[1:]
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05


@pytest.mark.parametrize("width", [0.3, 0.1, 0.01, 0.0])
def test_invariant_22_medians_meet_the_central_run_as_ranges_shrink(width: float) -> None:
    cost, margin = (
        inputs.spread(name, value * (1 - width), value, value * (1 + width))
        for name, value in (("cost", 5000.0), ("margin", 0.6))
    )
    prices = chips.price(cost, np.minimum(margin, 0.95))
    assert prices[0] == chips.price(5000.0, 0.6)
    sampling = 0.1 * width
    assert abs(np.median(prices[1:]) / prices[0] - 1) <= sampling + 1e-12


def test_draws_give_a_finding_its_range(stated: dict[str, dict[str, float]]) -> None:
    findings.finding("wafer", inputs.uncertain("W_N5"), "USD")
    row = facts.parameter("W_N5")
    assert stated["wafer"]["value"] == row.central
    assert stated["wafer"]["low"] == pytest.approx(row.low, rel=1e-5)
    assert stated["wafer"]["high"] == pytest.approx(row.high, rel=1e-5)


def test_a_range_is_widened_to_hold_the_central_value(stated: dict[str, dict[str, float]]) -> None:
    findings.finding("odd", np.array([5.0, *np.linspace(1, 2, 100)]), "1")
    assert stated["odd"]["high"] == 5.0


@pytest.mark.parametrize(
    ("value", "how", "message"),
    [
        (1.0, {}, "give a range, or say in `why` that it has none"),
        (1.0, {"low": 0.5, "high": 2.0, "why": "counted"}, "give a range, or say in `why`"),
        (1.0, {"low": 0.5}, "give low and high, or neither"),
        (3.0, {"low": 0.5, "high": 2.0}, "3 lies outside its range 0.5 to 2"),
        (np.array([1.0, 2.0]), {"low": 0.5, "high": 2.0}, "draws have their own range"),
        (np.inf, {"why": "counted"}, "value is inf; state it in words instead"),
        (np.array([1.0, np.nan]), {}, "outside its range|is nan"),
        (np.ones((1, 1)), {}, r"finding one: give a central value and draws, not shape \(1, 1\)"),
        (np.array([]), {}, r"finding one: give a central value and draws, not shape \(0,\)"),
        (np.array([1.0]), {}, r"finding one: give a central value and draws, not shape \(1,\)"),
        (1.0, {"why": " "}, "give a range, or say in `why`"),
    ],
)
def test_a_finding_without_a_range_or_a_reason_is_refused(
    value: float, how: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        findings.finding("one", value, "1", **how)  # type: ignore[arg-type]
