"""The outlook on our tables: where it starts, what scenarios do, what was foreseen before."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from stackbook import StackbookError, facts, outlook, profiles
from stackbook.inputs import uncertain
from stackbook.kernels import outlook as kernel
from stackbook.kernels.capital import annuity
from stackbook.kernels.datacenter import HOURS_PER_YEAR
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
    assert stock == pytest.approx(facts.central("S_2027"), rel=2e-3)
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


# Scenarios as a table


def test_a_scenarios_values_follow_from_the_parameters_that_its_notes_name():
    def after(name, lever):
        return np.asarray(getattr(SCENARIOS[name], lever))[1:]

    assert set(SCENARIOS) - {"trend"} == {
        name
        for name in facts.table("scenario_levers").collect()["scenario"]
        if (Path(__file__).parents[1] / "book" / "scenarios" / f"{name}.yml").exists()
    }
    waits = facts.central("T_grid")
    assert after("power-bound", "power") == pytest.approx(24.6 / 12 / waits, rel=0.01)
    electricity = facts.parameter("p_e25")
    dear = electricity.high / electricity.central
    assert after("power-bound", "power_price") == pytest.approx(dear, rel=5e-3)
    rise = 1 + facts.central("dlog_HBM")
    assert after("memory-squeeze", "memory_price") == pytest.approx(rise**4, rel=1e-12)
    scarce = facts.parameter("K_HBM")
    assert after("memory-squeeze", "memory") == pytest.approx(scarce.low / scarce.central, rel=1e-9)
    lost = outlook.shock(2027, 1.0, facts.central("L_shock"))
    assert SCENARIOS["taiwan-shock"].chips == pytest.approx(lost)
    own = outlook.outlook(draws=1).own_share[0]
    steps = own + np.linspace(0, 1, 6)[1:] * (0.5 - own)
    np.testing.assert_allclose(SCENARIOS["open-silicon"].own_share, steps, atol=1e-3)
    margin = facts.central("mu_NVDA")
    steps = np.linspace(margin, 0.6, 4)[[1, 2, 3, 3, 3]]
    np.testing.assert_allclose(SCENARIOS["open-silicon"].nvidia_margin, steps, atol=1e-9)
    assert after("glut", "growth") == pytest.approx(0.5)


def test_shares_of_owners_are_as_counted_and_in_doubt(found):
    trend = found["trend"]
    counted = facts.table("compute_owned").collect()
    counted = counted.filter(counted["quarter_end"].cast(str) == "2025-12-31")
    google = counted.filter(owner="Google")
    at = trend.owners.index("Google")
    # Almost all that is held at the end of 2026 was bought in 2025 and 2026, at the same shares.
    counted_share = google["h100e"].sum() / counted.filter(counted["owner"] != "All")["h100e"].sum()
    first = trend.owner_shares[:, 0, at]
    assert first[0] == pytest.approx(counted_share, rel=0.06)
    low, high = np.quantile(first[1:], [0.05, 0.95])
    assert low < 0.95 * first[0] < 1.05 * first[0] < high
    # A designer's error is shared by all who own its chips: Google's own are sure to be Google's.
    tpu = trend.designer_shares[:, 0, trend.designers.index("Google")]
    assert np.corrcoef(first[1:], tpu[1:])[0, 1] > 0.5
    xai = trend.owner_shares[1:, 0, trend.owners.index("xAI")]
    assert 0 < np.std(xai) < 0.1 * np.mean(xai)


# A machine, and a chain


def on_its_cost(found):
    """The outlook with rents that pay what is added in 2026, and fall as machines get cheaper."""
    first = found.run.long_run_usd_per_hour[:, :1]
    rents = first * found.world.progress[:, None] ** -np.arange(len(YEARS))
    return found._replace(run=found.run._replace(rent_usd_per_hour=rents))


def test_a_machine_whose_rents_pay_it_is_worth_its_price(found):
    own = outlook.bought(on_its_cost(found["trend"]))
    over = own.value_usd / own.price_usd - 1
    assert over[0] == pytest.approx(0, abs=1e-12)
    # A few draws have years in which rents would no longer cover operation, and stop then.
    assert (over > -1e-9).all() and over.max() < 0.02 and np.mean(over < 1e-9) > 0.98
    # Rents that are lower by a tenth never do, the same rents and dearer electricity neither.
    trend = on_its_cost(found["trend"])
    less = trend.run._replace(rent_usd_per_hour=0.9 * trend.run.rent_usd_per_hour)
    assert (outlook.bought(trend._replace(run=less)).value_usd < own.price_usd).all()
    dear = trend._replace(power_price=2 * trend.power_price)
    assert (outlook.bought(dear).value_usd < own.value_usd).all()


def test_owning_and_renting_are_sums_of_what_is_paid(found):
    """Row 0 at no interest: by plain arithmetic, for a life that ends with YEARS."""
    trend = found["trend"]
    world = trend.world._replace(years=np.full(DRAWS + 1, 3.0))
    own = outlook.bought(trend._replace(world=world), 2027, rate=0.0, discount=0.25)
    w, rents = world, trend.run.rent_usd_per_hour[0]
    paid = sum(rents[1:4]) * 0.75 * w.availability * HOURS_PER_YEAR
    assert own.renting_usd[0] == pytest.approx(paid, rel=1e-9)
    price = w.it_usd[0] * w.progress[0] ** -2
    kw = w.kw[0, -1] * w.kw_progress[0] ** -2
    hours = w.availability * w.let[0] * HOURS_PER_YEAR
    site = kw * w.site_usd[0] * annuity(w.site_rate[0], w.site_years[0])
    yearly = kw * w.load[0] * w.usd_per_kwh[0] * hours + w.om_share[0] * price + site
    assert own.price_usd[0] == pytest.approx(price, rel=1e-12)
    assert own.owning_usd[0] == pytest.approx(price + 3 * yearly, rel=1e-9)
    longer = outlook.bought(trend, 2027, rate=0.0)
    assert longer.owning_usd[0] < own.owning_usd[0]  # what is left is worth something


def test_a_chain_of_2030_follows_the_scenario(found):
    terms = {
        row.symbol: np.full(DRAWS + 1, row.central)
        for row in profiles.terms("OpenAI on Oracle").values()
    }
    trend, open_silicon, squeeze = (
        outlook.chain_terms(found[name], 2030, terms, merchant=True)
        for name in ("trend", "open-silicon", "memory-squeeze")
    )
    assert open_silicon["chip_usd"][0] / trend["chip_usd"][0] == pytest.approx(0.25 / 0.4)
    assert squeeze["memory_usd"][0] / trend["memory_usd"][0] == pytest.approx(1.2**4)
    years = trend["server_usd"] * found["trend"].world.progress ** 5
    np.testing.assert_allclose(years, terms["server_usd"], rtol=1e-9)
    assert (trend["kw"] < terms["kw"]).all()
    np.testing.assert_array_equal(trend["eta"], terms["eta"])
    # Who designs its own chips pays what memory costs more, and no margin of others.
    plain, dear, same = (
        outlook.chain_terms(found[name], 2030, terms, merchant=False)
        for name in ("trend", "memory-squeeze", "open-silicon")
    )
    np.testing.assert_allclose(
        dear["chip_usd"] - plain["chip_usd"], dear["memory_usd"] - plain["memory_usd"], rtol=1e-9
    )
    np.testing.assert_allclose(same["chip_usd"], plain["chip_usd"], rtol=1e-12)


def test_power_of_a_run_moves_its_limit_alone():
    one, half = (outlook.run_limits(draws=DRAWS, power=power) for power in (1.0, 0.5))
    np.testing.assert_allclose(half["power"], one["power"] / 2, rtol=1e-12)
    for name in ("chips", "data", "latency"):
        np.testing.assert_array_equal(half[name], one[name])
