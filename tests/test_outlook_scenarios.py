"""The outlook on our tables: where it starts, what scenarios do, what was foreseen before."""

from functools import partial

import numpy as np
import pytest

from stackbook import StackbookError, facts, outlook
from stackbook.inputs import uncertain
from stackbook.kernels import outlook as kernel
from stackbook.outlook import BINDING, RUN_LIMITS, YEARS, Levers

DRAWS = 1000
SCENARIOS = outlook.scenarios()


@pytest.fixture(scope="module")
def found():
    return {name: outlook.outlook(levers, draws=DRAWS) for name, levers in SCENARIOS.items()}


def test_it_starts_from_compute_and_rents_as_seen(found):
    trend = found["trend"]
    owned = facts.table("compute_owned").collect().filter(owner="All")
    seen = owned.filter(owned["quarter_end"].cast(str) == "2025-12-31")["h100e"].sum()
    assert trend.start_stock[0] == pytest.approx(seen, rel=1e-12)
    assert trend.start_rent[0] == facts.central("w_H100_25")
    # What chips draw, and all of it at the meter as the AI Index has it.
    power = {
        row["symbol"]: row["central"] for row in facts.table("observations").collect().to_dicts()
    }
    assert power["P_AI_chips"] < trend.start_power[0] < power["P_AI_dc"]


@pytest.mark.parametrize("name", SCENARIOS)
def test_shares_add_up_and_every_scenario_is_of_the_one_model(found, name):
    one = found[name]
    for shares in (one.owner_shares, one.designer_shares):
        np.testing.assert_allclose(shares.sum(axis=-1), 1, rtol=1e-9)
        assert (shares >= 0).all()
    run = one.run
    set_growth = run.binding == BINDING.index("growth")
    assert (set_growth | (run.additions <= run.limits.min(axis=-1))).all()
    for each in (run.rent_usd_per_hour, run.stock, one.token_cost, one.chip_price):
        assert np.isfinite(each).all()
        assert (each > 0).all()
    assert (one.hhi < 10_000).all()
    np.testing.assert_allclose(one.own_share, one.own_share[0], atol=0.25)


def test_ai_2027_reaches_its_forecast(found):
    at = YEARS.index(2027)
    stock = found["ai-2027"].run.stock[0, at]
    assert stock == pytest.approx(facts.central("S_2027"), rel=1e-9)
    start = found["ai-2027"].start_stock[0]
    assert (stock / start) ** 0.5 == pytest.approx(2.25, abs=0.005)


def test_scenarios_move_as_their_stories_say(found):
    trend, at = found["trend"].run, YEARS.index(2027)
    bound, glut, taiwan, squeeze = (
        found[name].run for name in ("power-bound", "glut", "taiwan-shock", "memory-squeeze")
    )
    later = slice(at, None)
    assert (bound.rent_usd_per_hour[0, later] > trend.rent_usd_per_hour[0, later]).all()
    assert (bound.stock[0, later] < trend.stock[0, later]).all()
    assert (glut.rent_usd_per_hour[0, later] < trend.rent_usd_per_hour[0, later]).all()
    assert (glut.short_run_usd_per_hour <= glut.rent_usd_per_hour * (1 + 1e-9)).all()
    assert taiwan.additions[0, at] == pytest.approx(0.25 * trend.limits[0, at, 1], rel=1e-12)
    assert taiwan.rent_usd_per_hour[0, at] > trend.rent_usd_per_hour[0, at]
    dearer = found["memory-squeeze"].memory_price / found["trend"].memory_price
    np.testing.assert_allclose(dearer, [[1, *[1.2**4] * 4]] * (DRAWS + 1), rtol=1e-12)
    assert (squeeze.long_run_usd_per_hour[0, later] > trend.long_run_usd_per_hour[0, later]).all()
    own = found["open-silicon"]
    assert own.own_share[-1] == pytest.approx(0.5)
    assert (own.chip_price[0] < found["trend"].chip_price[0]).all()
    nvidia = own.designers.index("Nvidia")
    shares = own.designer_shares[0, -1, nvidia], found["trend"].designer_shares[0, -1, nvidia]
    assert shares[0] < shares[1]
    # A margin of 60 instead of 75% leaves 0.25 / 0.4 of the price.
    last = own.chip_price[0, -1] / found["trend"].chip_price[0, -1]
    assert last == pytest.approx(0.25 / 0.4, rel=1e-9)


def test_trend_lies_among_what_others_foresee(found):
    """Power of AI in 2030, of table `capacities`; no input was fitted to either end."""
    rows = facts.rows("capacities", "item", "AI data-center power at the end of the year, world")
    seen = rows.filter(rows["year"] == 2030)
    low, high = seen["low"].min(), seen["central"].max()
    assert low < found["trend"].run.power_gw[0, -1] < high
    cowos = facts.rows("capacities", "item", "CoWoS in the year, TSMC")
    planned = cowos.filter(cowos["year"] == 2026)["central"].item()
    assert facts.central("K_CoWoS") == planned


def test_invariant_22_without_ranges_the_median_is_the_central_run():
    world = outlook.start(partial(uncertain, draws=DRAWS), DRAWS)
    medians = []
    for part in (1.0, 0.1, 0.001):
        fields = {}
        for name, value in world._asdict().items():
            column = np.asarray(value, float)
            central = column if column.ndim == 0 else column[0]
            # Draws go to the central value in proportion.
            fields[name] = central * (column / central) ** part
        narrow = kernel.World(**fields)
        run = kernel.run(narrow, kernel.Levers(), len(YEARS))
        medians.append(np.median(run.stock[1:], axis=0) / run.stock[0])
        rents = np.median(run.rent_usd_per_hour[1:], axis=0) / run.rent_usd_per_hour[0]
    assert abs(medians[1] - 1).max() < abs(medians[0] - 1).max()
    np.testing.assert_allclose(medians[2], 1, rtol=1e-3)
    np.testing.assert_allclose(rents, 1, rtol=1e-3)


def test_a_given_value_replaces_that_of_the_table():
    low, high = (outlook.outlook(values={"g_W": x}, draws=50).run for x in (2.0, 4.0))
    assert (low.rent_usd_per_hour[0] < high.rent_usd_per_hour[0]).all()
    with pytest.raises(StackbookError, match=r"no input 'g_V' .did you mean g_"):
        outlook.outlook(values={"g_V": 2.0}, draws=10)


def test_owners_drift_to_what_is_asked():
    found = outlook.outlook(Levers(owners={"Google": 0.5, "xAI": 0.0}), draws=10)
    at = found.owners.index("Google")
    assert (np.diff(found.owner_shares[0, :, at]) > 0).all()
    assert 0.3 < found.owner_shares[0, -1, at] < 0.5
    trend = outlook.outlook(draws=10)
    assert found.hhi[0, -1] > trend.hhi[0, -1]
    with pytest.raises(StackbookError, match=r"no owner 'Gogle' .did you mean Google"):
        outlook.outlook(Levers(owners={"Gogle": 0.5}), draws=10)
    with pytest.raises(StackbookError, match=r"add up to 1\.2"):
        outlook.outlook(Levers(owners={"Google": 0.6, "Meta": 0.6}), draws=10)
    with pytest.raises(StackbookError, match="give 0 to 1"):
        outlook.outlook(Levers(owners={"Google": -0.1}), draws=10)


@pytest.mark.parametrize(
    ("shock", "factors"),
    [
        ((2027, 1.0, 0.75), (1, 0.25, 1, 1, 1)),
        ((2027, 0.5, 1.5), (1, 0.5, 0.75, 1, 1)),
        ((2030, 0.2, 2.0), (1, 1, 1, 1, 0.8)),
    ],
)
def test_a_shock_is_spread_over_the_years_that_it_lasts(shock, factors):
    assert outlook.shock(*shock) == pytest.approx(factors)


def test_the_hindcast_uses_nothing_of_later_but_growth():
    found = outlook.hindcast(DRAWS)
    assert found.years == (2024, 2025)
    made = 1_599_968 - 289_671  # of 2023
    growth = facts.central("g_eff") * 250 / 110, 2.05 * facts.central("g_GB")
    np.testing.assert_allclose(found.run.limits[0, 0, 1:3], np.multiply(growth, made), rtol=1e-9)
    # The range of the rents holds what came, that of the stock does not.
    low, high = np.quantile(found.run.rent_usd_per_hour[1:, 1], [0.05, 0.95])
    assert low < found.rent[1][1] < high
    assert np.quantile(found.run.stock[1:, 1], 0.95) < found.stock[1][1]
    assert found.rent_at_stock[0, 1] < found.run.rent_usd_per_hour[0, 1]


def test_the_largest_run_of_2030_is_as_published_from_our_inputs():
    found = outlook.run_limits(draws=DRAWS)
    published = {"power": 2e29, "chips": 9e29, "data": 2e30, "latency": 1e31}
    for name, flop in published.items():
        assert np.median(found[name][1:]) == pytest.approx(flop, rel=0.3), name
    least = outlook.largest_run(draws=DRAWS)
    counts = np.bincount(least.binding[1:], minlength=len(RUN_LIMITS))
    assert RUN_LIMITS[counts.argmax()] == "power"
    assert np.median(least.flop[1:]) == pytest.approx(facts.central("C_2030"), rel=0.3)
    few = outlook.run_limits(accelerators=1e6, draws=DRAWS)
    assert few["chips"][0] == pytest.approx(found["chips"][0] / 100, rel=1e-12)
