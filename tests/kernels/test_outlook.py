"""Compute, limits and rents by year: an oracle, limits that are known, invariants."""

from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from stackbook.kernels import outlook
from stackbook.kernels.capital import annuity
from stackbook.kernels.cloud import waiting_multiple
from stackbook.kernels.jit import threads
from stackbook.kernels.outlook import BINDING, LIMITS, Levers, World

WORLD = World(
    made=[2e6, 5e6, 13e6],
    kw=[2.0, 1.6, 0.9],
    rent_usd_per_hour=2.8,
    growth=3.3,
    slowing=0.65,
    elasticity=1.5,
    progress=1.38,
    it_usd=18_700,
    chip_share=0.7,
    memory_share=0.07,
    site_usd=16_500,
    kw_progress=1.26,
    load=0.75,
    usd_per_kwh=0.08,
    om_share=0.05,
    availability=0.995,
    let=0.75,
    rate=0.085,
    years=4.5,
    site_rate=0.08,
    site_years=20,
    riskless=0.04,
    sigma=0.4,
    limits=[60e6, 31e6, 24e6, 21e6],
    limit_growth=[1.75, 1.9, 1.65, 1.5],
)
FREE = WORLD._replace(limits=[np.inf] * 4)
HOURS = 8760.0
MOVES = Levers(
    growth=[1, 0.5, 1.2, -0.3, 1],
    chips=[1, 0.3, 1, 1, 1],
    memory_usd=[1, 2, 2, 1.5, 1],
    kwh_usd=[1, 1, 2, 2, 1],
    chip_usd=[1, 1, 0.8, 0.8, 0.8],
    power=[1, 1.5, 1, 0.5, 2],
)


def plainly(w, moves, years):
    """One path, vintage by vintage, with a root finder for rents and sums for annuities."""
    before, r = len(w.made), np.log1p(w.rate)
    lever = {name: np.broadcast_to(value, years) for name, value in moves._asdict().items()}
    it_usd = [w.it_usd * w.progress ** (before - 1 - v) for v in range(before)]
    kw = list(w.kw)
    for t in range(years):
        dearer = w.chip_share * (lever["chip_usd"][t] - 1)
        dearer += w.memory_share * (lever["memory_usd"][t] - 1)
        it_usd.append(w.it_usd * w.progress ** -(t + 1.0) * (1 + dearer))
        kw.append(w.kw[-1] * w.kw_progress ** -(t + 1.0))
    life = np.linspace(0, w.years, 20_001)
    # The flow of a dollar a year, at rates of interest and of falling rents, by Simpson's rule.
    weights = np.full(life.size, 2.0)
    weights[1::2], weights[0], weights[-1] = 4.0, 1.0, 1.0
    weights *= life[1] / 3
    flow, rents = np.exp(-r * life) @ weights, np.exp(-(r + np.log(w.progress)) * life) @ weights
    multiple = waiting_multiple(w.riskless, r + np.log(w.progress), w.sigma)
    built, log_wanted = list(w.made), None
    stock = sum(x * min(max(w.years - (before - 1 - v), 0), 1) for v, x in enumerate(built))
    log_wanted, seen, rows = np.log(stock), 1.0, []
    for t in range(years):
        now = before + t
        hours = w.availability * w.let * HOURS
        yearly = kw[now] * w.site_usd * annuity(w.site_rate, w.site_years)
        yearly += w.om_share * it_usd[now]
        yearly += kw[now] * w.load * w.usd_per_kwh * lever["kwh_usd"][t] * hours
        pays = [(m * it_usd[now] + yearly * flow) / (hours * rents) for m in (1, multiple)]

        def floor(v, t=t):
            energy = kw[v] * w.load * w.usd_per_kwh * lever["kwh_usd"][t]
            return energy + w.om_share * it_usd[v] / (HOURS * w.availability)

        trend = w.growth ** (w.slowing**t)
        falls = w.elasticity * np.log(w.progress)
        hoped = log_wanted + np.log(1 + seen * (trend - 1)) - falls
        log_wanted += np.log(1 + lever["growth"][t] * (trend - 1)) - falls
        seen = lever["growth"][t]
        ages = [min(max(w.years - (now - v), 0.0), 1.0) for v in range(now + 1)]
        worth = sum(built[v] * ages[v] for v in range(now) if floor(v) <= pays[1])
        ordered = np.exp(hoped) * (pays[1] / w.rent_usd_per_hour) ** -w.elasticity - worth
        factor = [lever[each][t] for each in ("chips", "chips", "memory", "power")]
        each = [x * g**t * f for x, g, f in zip(w.limits, w.limit_growth, factor, strict=True)]
        before_it = [min(max(w.years - (now - 1 - v), 0.0), 1.0) for v in range(now)]
        each[3] += sum(built[v] * (before_it[v] - ages[v]) * kw[v] for v in range(now)) / kw[now]
        most = min(each)
        built.append(min(max(ordered, 0.0), most))
        fleet = sorted((floor(v), built[v] * ages[v]) for v in range(now + 1))

        def wanted(rent, logs=log_wanted):
            return np.exp(logs) * (rent / w.rent_usd_per_hour) ** -w.elasticity

        total = sum(size for _, size in fleet)
        rent = brentq(lambda p, total=total: wanted(p) - total, 1e-6, 1e6, xtol=1e-14)
        if rent < fleet[-1][0]:  # some stand still, at the floor of the last that runs
            running = list(accumulate(size for _, size in fleet))
            for (each, _), up_to in zip(fleet, running, strict=True):
                if wanted(each) <= up_to:
                    rent = max(each, brentq(lambda p, x=up_to: wanted(p) - x, 1e-6, 1e6))
                    break
                next_floor = min((f for f, _ in fleet if f > each), default=np.inf)
                if wanted(next_floor) < up_to:
                    rent = brentq(lambda p, x=up_to: wanted(p) - x, 1e-6, 1e6, xtol=1e-14)
                    break
        rows.append((rent, built[now], total, min(wanted(rent), total) / total, pays[0]))
    return np.array(rows).T


@pytest.mark.parametrize("moves", [Levers(), MOVES, MOVES._replace(growth=[1, -0.6, -0.9, 0, 1])])
def test_a_path_is_that_of_a_plain_version(moves):
    found = outlook.run(WORLD, moves, 5)
    rent, added, stock, used, long_run = plainly(WORLD, moves, 5)
    np.testing.assert_allclose(found.additions[0], added, rtol=1e-9)
    np.testing.assert_allclose(found.stock[0], stock, rtol=1e-9)
    np.testing.assert_allclose(found.rent_usd_per_hour[0], rent, rtol=1e-8)
    np.testing.assert_allclose(found.utilization[0], used, rtol=1e-8)
    np.testing.assert_allclose(found.long_run_usd_per_hour[0], long_run, rtol=1e-9)


def drawn(count):
    """Draws of all inputs about those of WORLD."""
    stream = np.random.default_rng(1)

    def about(value, above=0.0, below=np.inf):
        central = np.asarray(value, float)
        spread = np.exp(0.2 * stream.standard_normal((count, *central.shape)))
        return np.clip(central * spread, above, below)

    fields = {name: about(value) for name, value in WORLD._asdict().items()}
    fields["growth"] = about(WORLD.growth, 1.0)
    fields["slowing"] = about(WORLD.slowing, 0.4, 0.9)
    for name in ("progress", "kw_progress", "years"):
        fields[name] = np.maximum(fields[name], 1.0)
    for name in ("availability", "let", "load", "chip_share", "memory_share"):
        fields[name] = np.minimum(fields[name], 1.0)
    return World(**fields)


DRAWN = drawn(1500)


@pytest.mark.parametrize("moves", [Levers(), MOVES])
def test_stock_is_its_vintages_additions_keep_all_limits_and_energy_is_power_times_time(moves):
    found = outlook.run(DRAWN, moves, 5)
    np.testing.assert_allclose(found.stock, found.alive.sum(axis=2), rtol=1e-12)
    new = found.alive[:, range(5), range(3, 8)]
    np.testing.assert_array_equal(new, found.additions)
    assert (found.additions[..., None] <= found.limits).all()
    assert (found.additions <= found.ordered).all()
    least = found.limits.min(axis=2)
    bound = found.binding < len(LIMITS)
    np.testing.assert_array_equal(found.additions[bound], least[bound])
    np.testing.assert_array_equal(found.binding[bound], found.limits.argmin(axis=2)[bound])
    np.testing.assert_array_equal(found.additions[~bound], found.ordered[~bound])
    full = found.utilization == 1
    load = np.broadcast_to(DRAWN.load[:, None], full.shape)
    twh = found.power_gw * load * HOURS / 1e3
    np.testing.assert_allclose(found.electricity_twh[full], twh[full], rtol=1e-9)
    assert (found.electricity_twh <= twh * (1 + 1e-12)).all()
    assert len(np.unique(found.binding)) > 2


def test_a_draw_is_what_it_is_alone_and_on_any_number_of_threads():
    found = outlook.run(DRAWN, MOVES, 5)
    with threads(3):
        again = outlook.run(DRAWN, MOVES, 5)
    for one, other in zip(found, again, strict=True):
        np.testing.assert_array_equal(one, other)
    alone = outlook.run(World(*(field[7] for field in DRAWN)), MOVES, 5)
    for one, other in zip(found, alone, strict=True):
        np.testing.assert_array_equal(one[7], other[0])


def test_without_limits_and_waiting_the_rent_is_the_long_run_cost():
    found = outlook.run(FREE._replace(sigma=0), Levers(), 5)
    np.testing.assert_allclose(found.rent_usd_per_hour, found.long_run_usd_per_hour, rtol=1e-9)
    assert (found.binding == BINDING.index("demand")).all()
    waits = outlook.run(FREE, Levers(), 5)
    np.testing.assert_allclose(waits.rent_usd_per_hour, waits.entry_usd_per_hour, rtol=1e-9)
    assert (waits.entry_usd_per_hour > waits.long_run_usd_per_hour).all()


def test_without_growth_what_is_added_replaces_what_retires():
    still = FREE._replace(growth=1, progress=1, kw_progress=1, kw=[0.9, 0.9, 0.9])
    entry = outlook.run(still, Levers(), 1).entry_usd_per_hour[0, 0]
    found = outlook.run(still._replace(rent_usd_per_hour=entry), Levers(), 5)
    np.testing.assert_allclose(found.stock, sum(WORLD.made), rtol=1e-9)
    np.testing.assert_allclose(found.rent_usd_per_hour, entry, rtol=1e-9)
    # 4.5 years: half of a vintage is left when it is four years old, which none is before.
    np.testing.assert_allclose(found.additions[0, :2], [0, 1e6], rtol=1e-9, atol=1e-3)


def test_power_that_old_machines_leave_goes_to_new_ones():
    short = WORLD._replace(limits=[np.inf, np.inf, np.inf, 1e6], limit_growth=[1.0] * 4)
    found = outlook.run(short, Levers(), 5)
    assert (found.binding == BINDING.index("power")).all()
    new_kw = 1e6 * WORLD.kw[-1] / 1.26 * np.cumsum(1.26 ** -np.arange(5.0))
    old_kw = np.dot(WORLD.made, WORLD.kw)
    np.testing.assert_allclose(found.power_gw[0], (old_kw + new_kw) / 1e6, rtol=1e-12)


def test_in_a_glut_the_rent_falls_to_energy_and_operation_and_the_oldest_stand_still():
    found = outlook.run(WORLD, Levers(growth=[-0.3, -0.8, 0]), 3)
    assert found.utilization[0, 1] < 1
    assert found.rent_usd_per_hour[0, 1] < 0.4
    assert found.additions[0, 2] == 0
    oldest = 2.0 * 0.75 * 0.08 + 0.05 * 18_700 * 1.38**2 / (HOURS * 0.995)
    assert found.rent_usd_per_hour[0, 1] <= oldest


@given(st.floats(0.2, 0.95), st.sampled_from(range(4)))
def test_a_tighter_limit_never_lowers_rents_while_all_is_used(factor, which):
    limits = np.array(WORLD.limits) * np.where(np.arange(4) == which, factor, 1.0)
    free, tight = (
        outlook.run(WORLD._replace(limits=x), Levers(), 5) for x in (WORLD.limits, limits)
    )
    assert (free.utilization == 1).all()
    assert (tight.rent_usd_per_hour >= free.rent_usd_per_hour * (1 - 1e-9)).all()
    assert (tight.stock <= free.stock * (1 + 1e-9)).all()


@given(st.floats(0.1, 1.5), st.floats(1.01, 2.0))
def test_more_demand_never_lowers_what_there_is_and_dearer_memory_no_rent(share, more):
    less, greater = (outlook.run(WORLD, Levers(growth=g), 5) for g in (share, share * more))
    assert (greater.stock >= less.stock * (1 - 1e-9)).all()
    assert (greater.additions[:, 0] >= less.additions[:, 0]).all()
    assert (greater.rent_usd_per_hour >= less.rent_usd_per_hour * (1 - 1e-9)).all()
    dear = outlook.run(WORLD, Levers(growth=share, memory_usd=more), 5)
    assert (dear.rent_usd_per_hour >= less.rent_usd_per_hour * (1 - 1e-9)).all()
    assert (dear.long_run_usd_per_hour > less.long_run_usd_per_hour).all()


def test_growth_that_is_set_takes_the_place_of_limits_and_of_what_pays():
    found = outlook.run(WORLD, Levers(stock_growth=[2.25, 2.25, np.nan]), 3)
    np.testing.assert_allclose(found.stock[0, :2], 20e6 * 2.25 ** np.array([1, 2]), rtol=1e-12)
    assert [BINDING[at] for at in found.binding[0]] == ["growth", "growth", "power"]
    assert found.additions[0, 1] > found.limits[0, 1].min()


def test_prices_double_with_all_dollars():
    """Invariant 9: doubled dollars double rents and costs, and leave all else as it is."""
    usd = {name: 2 * getattr(WORLD, name) for name in World._fields if "usd" in name}
    one, two = (outlook.run(w, MOVES, 5) for w in (WORLD, WORLD._replace(**usd)))
    np.testing.assert_allclose(two.rent_usd_per_hour, 2 * one.rent_usd_per_hour, rtol=1e-9)
    np.testing.assert_allclose(two.entry_usd_per_hour, 2 * one.entry_usd_per_hour, rtol=1e-9)
    np.testing.assert_allclose(two.stock, one.stock, rtol=1e-9)


def test_holdings_are_the_stock_and_follow_who_bought_each_vintage():
    found = outlook.run(DRAWN, Levers(), 5)
    shares = np.array([[0.5, 0.3, 0.2]] * 3 + [[0.1, 0.1, 0.8]] * 5)
    held = outlook.holdings(found.alive, shares)
    np.testing.assert_allclose(held.sum(axis=2), found.stock, rtol=1e-12)
    part = held / found.stock[..., None]
    assert (np.diff(part[:, :, 2], axis=1) >= -1e-12).all()
    assert part[0, -1, 2] > 0.7
    assert ((part >= 0) & (part <= 1)).all()
    with pytest.raises(ValueError, match="shares of shape"):
        outlook.holdings(found.alive, shares[1:])
    with pytest.raises(ValueError, match="sum of 1"):
        outlook.holdings(found.alive, shares / 2)


def test_the_largest_run_is_the_least_of_four():
    found = outlook.largest_run([[2e29, 5e30], [9e29, 1e30], [2e30, 2e30], [1e31, 1e31]])
    np.testing.assert_array_equal(found.flop, [2e29, 1e30])
    assert [outlook.RUN_LIMITS[at] for at in found.binding] == ["power", "chips"]
    with pytest.raises(ValueError, match="power, chips, data, latency"):
        outlook.largest_run([1e29, 1e30])


def test_data_allow_what_sevilla_et_al_print():
    """400 trillion and 20 quadrillion tokens: 6e28 and 2e32 FLOP, both rounded to one digit."""
    found = outlook.data_limited_flop(np.array([4e14, 2e16]), 20)
    np.testing.assert_allclose(np.log10(found), np.log10([6e28, 2e32]), atol=0.25)
    assert np.isnan(outlook.data_limited_flop(-1, 20))
    assert np.isnan(outlook.data_limited_flop(1, 0))


@pytest.mark.parametrize(
    ("world", "levers", "years", "message"),
    [
        (WORLD, Levers(), 0, "years = 0: give 1 or more"),
        (WORLD._replace(progress=0.9), Levers(), 5, "World.progress = 0.9: give 1 or more"),
        (WORLD._replace(let=1.2), Levers(), 5, "World.let = 1.2: give a share above 0"),
        (WORLD._replace(kw=[1.0, 1.0]), Levers(), 5, "World.kw: give 3 columns, not 2"),
        (WORLD._replace(limits=[1e6] * 3), Levers(), 5, "World.limits: give 4 columns, not 3"),
        (
            WORLD._replace(it_usd=[1e4, 2e4], let=[0.5] * 3),
            Levers(),
            5,
            r"World.it_usd of shape \(2,\): give 3 draws, or one",
        ),
        (WORLD, Levers(power=[1, 2]), 5, r"Levers.power of shape \(2,\): give one number, or 5"),
        (WORLD, Levers(chips=-1), 5, "Levers.chips = -1: give finite numbers of 0 or more"),
        (WORLD, Levers(growth=-1), 5, "Levers.growth = -1: give more"),
        # Owners who take a year's fall for the next, of a larger trend, would see nothing wanted.
        (WORLD._replace(slowing=1.5), Levers(growth=[-0.3, *[1.0] * 4]), 5, "give more"),
    ],
)
def test_bad_numbers_are_refused(world, levers, years, message):
    with pytest.raises(ValueError, match=message):
        outlook.run(world, levers, years)
