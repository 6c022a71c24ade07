"""Cases of section H from other sides: closed forms, plain sums, and what their inputs imply."""

from datetime import timedelta
from itertools import pairwise
from math import log10, pi, prod, sqrt

import numpy as np
import polars as pl
import pytest

from stackbook import facts, inputs, profiles
from stackbook.kernels import sampling, sensitivity
from stackbook.kernels.chain import anatomy
from stackbook.kernels.uncertainty import normal_cdf
from stackbook.press.chapters import Book
from stackbook.press.scenarios import Scenario, scenario
from stackbook.validation import outlook

PUBLISHED = {
    (case, quantity): value
    for case, quantity, value in facts.table("published_cases")
    .select("case", "quantity", "value")
    .collect()
    .iter_rows()
}
SOLD = facts.table("nvidia_quarters").collect()


# --- Indices ---


def test_published_indices_are_those_of_the_closed_form() -> None:
    """V1 = (1 + b pi^4 / 5)^2 / 2, V2 = a^2 / 8, V13 = 8 b^2 pi^8 / 225."""
    a, b = 7.0, 0.1
    one, two, both = (1 + b * pi**4 / 5) ** 2 / 2, a**2 / 8, 8 * b**2 * pi**8 / 225
    all_ = one + two + both
    first, total = (one, two, 0.0), (one + both, two, both)
    for x in range(3):
        assert PUBLISHED["H01", f"first_x{x + 1}"] == pytest.approx(first[x] / all_, abs=5e-5)
        assert PUBLISHED["H01", f"total_x{x + 1}"] == pytest.approx(total[x] / all_, abs=5e-5)


WEIGHTS = np.array([0.0, 1.0, 4.5, 9.0])


def g_function(z: sampling.Floats) -> sampling.Floats:
    """Sobol's: a product of |4 x - 2| + a over 1 + a, of x even between 0 and 1."""
    parts = np.abs(4 * normal_cdf(z) - 2) + WEIGHTS[:, None]
    return np.asarray((parts / (1 + WEIGHTS[:, None])).prod(axis=0))


def test_indices_of_the_g_function_are_those_of_its_closed_form() -> None:
    found = sensitivity.sobol(g_function, len(WEIGHTS), 2**14, seed=0)
    alone = 1 / (3 * (1 + WEIGHTS) ** 2)
    others = [prod(np.delete(1 + alone, i)) for i in range(len(WEIGHTS))]
    variance = prod(1 + alone) - 1
    np.testing.assert_allclose(found.first, alone / variance, atol=0.01)
    np.testing.assert_allclose(found.total, alone * others / variance, atol=0.01)


# --- The largest run of 2030 ---


def test_limits_of_a_run_come_in_the_order_that_was_published() -> None:
    ours = {name: limit() for name, limit in outlook.LIMITS.items()}
    published = {name: PUBLISHED["H05", name] for name in ours}
    assert sorted(ours, key=ours.__getitem__) == sorted(published, key=published.__getitem__)
    assert 10 ** PUBLISHED["H05", "largest_run"] == pytest.approx(2e29, rel=1e-3)
    assert outlook.largest_run() == ours["power"]


def test_power_of_a_run_is_the_one_that_was_published() -> None:
    """8 GW of 30; 6 GW take a run of 2e29."""
    gain = outlook.POWER_GAIN**outlook.YEARS
    accelerators = outlook.power_limit() / (outlook.PEAK * outlook.MFU * outlook.SECONDS)
    assert accelerators * outlook.ACCELERATOR_POWER / gain == pytest.approx(8e9, rel=0.15)


@pytest.mark.parametrize("flop", [1e29, 1e31, 1e33])
def test_the_time_that_latency_takes_is_that_of_appendix_e(flop: float) -> None:
    params, peak = sqrt(flop / 120), outlook.PEAK * outlook.CHIP_GAIN**6 * outlook.MFU
    side = sqrt(flop / (outlook.SECONDS * peak) * 330 / 60e6)
    doublings = max(0.0, np.ceil(np.log2(side / 8)))
    block = 6.8e-6 + 2 * (2 * 0.6e-6 + doublings * 5e-6)
    seconds = 20 * params / 60e6 * 0.088 * params**0.27 * 4 * block
    assert outlook.run_seconds(flop) == pytest.approx(seconds, rel=1e-12)


def test_the_latency_limit_is_the_largest_run_that_ends_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flop = outlook.latency_limit()
    times = [outlook.run_seconds(flop * (1 + off)) for off in (-1e-6, 1e-6)]
    assert times[0] <= outlook.SECONDS * (1 + 1e-6) and times[1] >= outlook.SECONDS * (1 - 1e-6)
    monkeypatch.setattr(outlook, "BATCH", 2 * outlook.BATCH)
    assert outlook.latency_limit() > 2 * flop


# --- What Nvidia sold ---


def test_quarters_follow_each_other_and_their_chips_have_all_revenue() -> None:
    quarters = SOLD.group_by("quarter_start", "quarter_end", maintain_order=True).agg(
        pl.col("share").sum(), pl.col("compute_usd").n_unique()
    )
    assert quarters["share"].to_list() == pytest.approx([1.0] * len(quarters))
    assert set(quarters["compute_usd"]) == {1}
    for before, after in pairwise(quarters.to_dicts()):
        assert after["quarter_start"] - before["quarter_end"] == timedelta(days=1)
    assert quarters["quarter_start"][0] <= outlook.FROM
    assert quarters["quarter_end"][-1] >= outlook.UNTIL


def test_units_of_each_chip_are_those_that_its_publisher_counts() -> None:
    """At the middle of every range, to the end of 2025; and a chip counts for as many H100s."""
    counted = facts.table("chips_made").filter(designer="Nvidia", quarter_end=outlook.UNTIL)
    by_chip = {row["chip"]: row for row in counted.collect().to_dicts()}
    older = facts.table("chips_made").filter(pl.col("designer") == "Nvidia").collect()
    for (chip,), rows in SOLD.group_by("chip", maintain_order=True):
        last = by_chip.get(chip) or older.filter(chip=chip).sort("quarter_end").to_dicts()[-1]
        units = 0.0
        for row in rows.to_dicts():
            whole = (row["quarter_end"] - row["quarter_start"]).days + 1
            counting = min(row["quarter_end"], outlook.UNTIL) - max(
                row["quarter_start"], outlook.FROM
            )
            usd = row["compute_usd"] * row["share"] * (counting.days + 1) / whole
            units += usd * sqrt(0.96 * 0.99) / sqrt(row["price_low_usd"] * row["price_high_usd"])
        assert units == pytest.approx(last["units"], rel=0.015), chip
        assert rows["h100e"][0] == pytest.approx(last["h100e"] / last["units"], rel=1e-3)


def test_without_correlation_the_range_is_too_narrow() -> None:
    """So that the case holds the copula and not only the median."""
    alone = outlook.stock_quantiles(0.0)
    assert alone[0.05] > 1.04 * PUBLISHED["H06", "stock_p05"]
    joint = [outlook.stock_quantiles(each) for each in (0.0, 0.5, 0.95)]
    widths = [found[0.95] / found[0.05] for found in joint]
    assert widths == sorted(widths)


@pytest.mark.parametrize("width", [0.1, 0.01, 0.0])
def test_invariant_22_the_median_stock_meets_the_central_one(width: float) -> None:
    dimensions = outlook.CHIPS + 1
    z = width * sampling.scores(2**11, dimensions, seed=1)
    central = outlook.nvidia_stock(0.5, np.zeros((dimensions, 1)))
    median = np.median(outlook.nvidia_stock(0.5, z))
    assert abs(median / central.item() - 1) <= 0.02 * width + 1e-12


@pytest.mark.parametrize("name", profiles.names())
@pytest.mark.parametrize("width", [0.1, 0.01, 0.0])
def test_invariant_22_the_median_price_of_a_chain_meets_the_central_one(
    name: str, width: float
) -> None:
    """Every uncertain term of a profile, and every parameter that all share, drawn at once."""
    terms = profiles.uncertain_terms(name)
    shared = {symbol: facts.parameter(symbol) for symbol in profiles.SHARED}
    z = width * sampling.scores(2**11, len(terms) + len(shared), seed=2)
    draws = {
        each: at(row, np.concatenate([[0.0], scores]))
        for (each, row), scores, at in zip(
            [*terms.items(), *shared.items()],
            z,
            [profiles.at_scores] * len(terms) + [inputs.at_scores] * len(shared),
            strict=True,
        )
    }
    price = anatomy(profiles.chain(name, draws=draws)).price_usd
    expected = anatomy(profiles.chain(name, draws=1)).price_usd[0]
    assert price.size == 2**11 + 1
    assert price[0] == pytest.approx(expected, rel=1e-12)
    assert abs(np.median(price) / expected - 1) <= 0.5 * width + 1e-12  # skewed ranges


# --- Scenarios ---


@pytest.fixture(scope="module")
def told() -> dict[str, Scenario]:
    return {name: scenario(Book(), name) for name in ("trend", "ai-2027")}


def falling(change: float, years: float) -> float:
    """Mean of a rent over a contract, over what it is at the start."""
    rate = -np.log(1 + change)
    return float((1 - np.exp(-rate * years)) / (rate * years))


@pytest.mark.parametrize(
    ("name", "growth", "oom"),
    [
        ("trend", facts.central("g_W"), facts.central("g_pp")),
        ("ai-2027", PUBLISHED["H02", "growth_a_year"], log10(facts.central("g_eff"))),
    ],
)
def test_a_scenario_follows_from_the_growth_that_it_tells_of(
    name: str, growth: float, oom: float, told: dict[str, Scenario]
) -> None:
    found, change = told[name].parameters, 10**-oom - 1
    cloud = Book().chapter("layers/cloud-platform").parameters
    usual = cloud["rent_growth"].default
    rise = {years: falling(change, years) / falling(usual, years) for years in (1, 3)}
    expected = {
        **dict.fromkeys(("demand_growth", "bill_growth", "startup_growth"), growth - 1),
        "oom_per_year": oom,
        "rent_growth": change,
        "rent_one_year": facts.central("p_r1_H100") * rise[1],
        "rent_gb200": facts.central("p_r3_GB200") * rise[3],
        "cloud_margin": 1 - (1 - cloud["cloud_margin"].default) / rise[1],
        "your_cloud_margin": 0.0,
    }
    assert found.get("outlook_scenario", "trend") == name
    for parameter in set(found) - {"outlook_scenario"}:
        assert found[parameter] == pytest.approx(expected[parameter], abs=0.005), parameter
