"""What to watch: thresholds, and when trends cross them."""

import numpy as np
import pytest

from stackbook import StackbookError, facts, inputs, outlook, series, watch
from stackbook.kernels import chips, datacenter
from stackbook.watch import ITEMS, NOW, Line


@pytest.fixture(scope="module")
def world():
    return outlook.outlook()


@pytest.mark.parametrize("name", ITEMS)
def test_a_threshold_is_in_the_unit_of_its_item_and_within_its_bounds(world, name):
    line, item = ITEMS[name].line(world), ITEMS[name].item
    most = series.item(item).most if item in series.ITEMS else np.inf
    assert np.isfinite(line.levels).all()
    assert ((line.levels > 0) & (line.levels < most)).all()
    assert (line.growths > 0).all()
    # Within three powers of ten of today: a wrong unit would be further off.
    assert 1e-3 < line.levels[0] / watch.today(name)["value"] < 1e3


def test_a_threshold_that_stays_is_crossed_as_series_says(world):
    fitted = series.trend("HHI, memory")
    plain = series.reached("HHI, memory", fitted, facts.central("HHI_hi"))
    ours = watch.crossing("HHI, memory", world)
    assert ours.central == pytest.approx(plain.central, rel=1e-12)
    np.testing.assert_allclose(ours.years, plain.years)


@pytest.mark.parametrize("pace", [0.8, 1.0, 1.2])
def test_a_threshold_that_moves_is_met_when_both_are_level(world, monkeypatch, pace):
    fitted = series.trend("price-performance")
    line = Line(fitted.reference - 1, np.array([2 * fitted.level / pace]), np.array([pace]))
    moved = ITEMS["price-performance"]._replace(line=lambda _: line)
    monkeypatch.setitem(ITEMS, "price-performance", moved)
    found = watch.crossing("price-performance", world)
    wait = np.log(2) / np.log(fitted.growth / pace)
    assert found.central == pytest.approx(fitted.reference + wait, rel=1e-9)
    by_draw = np.log(2 * fitted.level / fitted.levels) / np.log(fitted.growths / pace)
    by_draw = np.where(np.log(fitted.growths / pace) > 0, by_draw, np.inf)
    np.testing.assert_allclose(found.years, fitted.reference + np.maximum(by_draw, 0), rtol=1e-9)


def test_what_is_beyond_its_line_has_crossed_already(world, monkeypatch):
    fitted = series.trend("price-performance")
    line = Line(NOW, fitted.level * np.full(1, 0.01), np.ones(1))
    passed = ITEMS["price-performance"]._replace(line=lambda _: line)
    monkeypatch.setitem(ITEMS, "price-performance", passed)
    found = watch.crossing("price-performance", world)
    assert found.central == pytest.approx(fitted.reference, abs=1e-6)
    assert found.never(watch.UNTIL) == 0


def test_what_is_beyond_a_line_that_outruns_it_has_crossed_and_does_not_stay(world, monkeypatch):
    fitted = series.trend("price-performance")
    pace = 2 * fitted.growths.max()
    line = Line(fitted.reference, np.full(1, 0.9 * fitted.levels.min()), np.array([pace]))
    moved = ITEMS["price-performance"]._replace(line=lambda _: line)
    monkeypatch.setitem(ITEMS, "price-performance", moved)
    assert (watch.crossing("price-performance", world).years == fitted.reference).all()
    assert watch.beyond("price-performance", world, fitted.reference) == 1
    assert watch.beyond("price-performance", world, fitted.reference + 50) == 0


def test_a_line_below_the_least_is_never_met(world):
    """Four designers of equal size have an HHI of 2,500."""
    assert series.item("HHI, accelerators").least == pytest.approx(4 * 25.0**2)
    assert watch.crossing("HHI, accelerators", world).never(watch.UNTIL) == 1
    assert watch.beyond("HHI, accelerators", world) == 0


def test_power_is_crossed_where_it_limits_no_more(world):
    found, binding = watch.crossing("power energised", world), world.run.binding[1:]
    power = outlook.BINDING.index("power")
    assert found.never(watch.UNTIL) == np.mean(binding[:, -1] == power)
    now = found.years <= NOW + 0.5
    np.testing.assert_array_equal(now, (binding != power).all(axis=1))


def test_a_line_moves_by_its_factor():
    line = Line(2026.0, np.array([2.0, 4.0]), np.array([0.5, 1.0]))
    np.testing.assert_allclose(line.at(np.array([2025.0, 2028.0])), [[4.0, 4.0], [0.5, 4.0]])


def test_memory_is_held_against_ddr5_as_the_chapter_on_memory_does(world):
    symbols = map(facts.central, ("p_DDR5", "tau_HBM", "c_stack"))
    assert ITEMS["HBM price"].line(world).levels[0] == chips.memory_indifference(*symbols)


def test_an_old_chip_leaves_when_a_new_one_costs_less_than_its_site_and_power(world):
    """At the threshold both cost the same: an H100's lease and energy, all of what replaces it."""
    line, start = ITEMS["price-performance"].line(world).levels[0], world.world
    row = facts.rows("accelerators", "name", "GB200").row(0, named=True)
    now = row["bf16_flops"] / (facts.central("s_GPU") * facts.central("K_acc_GB200"))
    rate, life = facts.central("r_HS"), facts.central("n_IT")

    def running(kw: float) -> float:
        lease = 12 * facts.central("p_colo_25") * kw / datacenter.HOURS_PER_YEAR
        return lease + kw * facts.central("u_P") * facts.central("p_e25")

    hours = start.availability * datacenter.HOURS_PER_YEAR
    capital = start.it_usd[0] * rate / (1 - (1 + rate) ** -life) / hours
    new = running(facts.central("kW_GB200") / watch.h100e("GB200"))
    new += start.om_share[0] * start.it_usd[0] / hours
    assert running(facts.central("kW_H100")) == pytest.approx(new + capital * now / line, rel=2e-2)


def test_names_are_offered():
    with pytest.raises(StackbookError, match="power energised"):
        watch.watch("power enrgised")
    with pytest.raises(StackbookError, match="utilization"):
        watch.crossing("utilization", outlook.outlook())


def test_power_is_as_forecast(world):
    found = watch.predicted("power energised", np.array([NOW + 0.5, NOW + 2.5]))
    assert watch.today("power energised")["value"] == facts.central("K_GW26")
    assert found.central[0] == pytest.approx(facts.central("K_GW26"))
    assert found.central[1] / found.central[0] == pytest.approx(facts.central("g_GW") ** 2)
    low, high = np.quantile(found.draws[0], [0.05, 0.95])
    row = facts.parameter("K_GW26")
    assert (low, high) == pytest.approx((row.low, row.high), rel=1e-3)
    # It is what binds in the outlook where less of it comes than the line.
    line = ITEMS["power energised"].line(world).levels
    power = world.run.binding[:, 0] == outlook.BINDING.index("power")
    np.testing.assert_array_equal(inputs.uncertain("K_GW26") < line * (1 - 1e-9), power)
