"""Data center: sums and splits of owner costs and energy, plain sums as oracles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackbook import validation
from stackbook.kernels import capital, datacenter
from stackbook.validation.datacenter import rack


def test_capex_identity_closes():
    """Rack power from dollars per gigawatt, and dollars per gigawatt from rack power."""
    usd = sum(rack().values())
    kw = datacenter.kw_per_rack(35e9, usd)
    assert datacenter.capex_per_gw(**rack(), kw=kw) == pytest.approx(35e9)
    assert datacenter.racks_per_gw(35e9, usd) * kw == pytest.approx(1e6)


def test_gw_year_of_h100_at_two_dollars():
    """A gigawatt of H100s at 2 USD/h rents for about 10 bn USD a year."""
    assert datacenter.gw_year_revenue(2.0, 1, 1.73) == pytest.approx(10e9, rel=0.05)


dollars = st.floats(1.0, 1e6)
rates = st.floats(0.0, 0.5)
lives = st.integers(1, 40)
shares = st.floats(0.01, 1.0)


@given(
    it_usd=dollars,
    it_rate=rates,
    it_years=lives,
    site_usd=dollars,
    site_rate=rates,
    site_years=lives,
    om_share=shares,
    availability=shares,
    kw=st.floats(0, 10),
    load=shares,
    pue=st.floats(1, 3),
    usd_per_kwh=st.floats(0, 1),
)
def test_owner_cost_is_the_sum_of_its_parts(**p):
    """Returns of and on capital, operation and energy, each against plain arithmetic."""
    hours = 8760 * p["availability"]
    expected = 0.0
    for what in ("it", "site"):
        usd, rate, years = p[f"{what}_usd"], p[f"{what}_rate"], p[f"{what}_years"]
        payments = np.sum((1.0 + rate) ** -np.arange(1.0, years + 1))
        charge = datacenter.capital_cost(usd, rate, years, p["availability"])
        assert charge == pytest.approx(usd / payments / hours)
        assert charge == pytest.approx(
            datacenter.depreciation_cost(usd, years, p["availability"])
            + datacenter.return_cost(usd, rate, years, p["availability"])
        )
        expected += charge
    expected += p["om_share"] * p["it_usd"] / hours
    expected += p["kw"] * p["load"] * p["pue"] * p["usd_per_kwh"]
    assert datacenter.owner_cost(**p) == pytest.approx(expected)


@given(st.floats(0, 100), shares)
def test_used_hours_pay_for_idle_ones(usd_per_hour, utilization):
    assert datacenter.used_cost(usd_per_hour, utilization) * utilization == pytest.approx(
        usd_per_hour
    )
    assert datacenter.used_cost(usd_per_hour, 1) == usd_per_hour


machines = st.tuples(
    st.floats(0.1, 10), st.integers(1, 24), st.floats(1, 3), st.floats(0.1, 1e4)
)  # rated power, hours of a day at it, PUE of the site, tokens per second


@given(st.lists(machines, min_size=1, max_size=6), st.integers(1, 400))
def test_invariant_3_energy_is_conserved(fleet, days):
    """What meters at the sites of a mixed fleet add up, hour by hour: power x time, tokens x
    their joules, and never more than capacity x time x PUE."""
    metered = tokens = 0.0  # kWh
    for hour in range(24):
        for kw, busy, pue, tokens_per_second in fleet:
            metered += days * kw * pue if hour < busy else 0.0
            tokens += days * 3600 * tokens_per_second
    kw, busy, pue, tokens_per_second = np.array(fleet).T
    load, hours = busy / 24, 24 * days
    assert datacenter.energy_used(kw, load, pue, hours).sum() == pytest.approx(metered)
    watt = 1000 * datacenter.facility_kw(kw, load, pue)
    joules = datacenter.joules_per_token(watt.sum(), tokens_per_second.sum())
    assert joules * tokens == pytest.approx(3.6e6 * metered)
    assert metered <= datacenter.energy_used(kw, 1, pue, hours).sum() * (1 + 1e-12)


def test_invariant_21_one_capital_stack_meets_three_published_figures():
    """Two costs of an hour, and with the dearer one the margin in a three-year rent; from the
    rack's dollars, with nothing of ours."""
    kw = 1e6 / (35e9 / 5.9e6) / 72
    running = 0.05 * 3.4e6 / 72 / 8760 + 0.08 * kw * 0.8

    def cost(it_rate, it_years, site_rate, site_years):
        it = 3.4e6 * it_rate / (1 - (1 + it_rate) ** -it_years)
        site = 2.5e6 * site_rate / (1 - (1 + site_rate) ** -site_years)
        return (it + site) / 72 / 8760 + running

    hyperscaler, neocloud = cost(0.09, 5, 0.08, 20), cost(0.13, 4, 0.10, 15)
    ours = {"C02": hyperscaler, "C03": neocloud, "C08": 1 - neocloud / 3.30}
    for case, value in ours.items():
        (one,) = validation.results(case)
        assert one.met, case
        assert one.computed == pytest.approx(value, rel=1e-9), case


@given(st.floats(0, 500), st.floats(0, 10))
def test_a_year_of_rented_hours_pays_twelve_rents(usd_per_kw_month, kw):
    rent = datacenter.colocation_cost(usd_per_kw_month, kw)
    assert rent * 8760 == pytest.approx(12 * usd_per_kw_month * kw)


@given(st.floats(0, 0.9))
def test_pue_is_facility_over_it_energy(overhead):
    assert datacenter.pue_from_overhead(overhead) * (1 - overhead) == pytest.approx(1)


def test_energy_of_a_token():
    """Power is energy by time: at 700 W, 1 kWh serves as many tokens as come in its hours."""
    joules = datacenter.joules_per_token(700, 500)
    assert 3.6e6 / joules == pytest.approx(500 * 3600 / 0.7)


def test_carbon_is_operation_and_making():
    """8 cm2 at 642 gCO2/kWh and 2.75 kWh/cm2, spread over five years."""
    die = datacenter.embodied_carbon(800, 642, 2.75, 200, 500, 0.5)
    assert die == pytest.approx(8 * (642 * 2.75 + 200 + 500) / 0.5)
    only_made = datacenter.carbon_per_hour(0, 0.8, 1.2, 369, die, 5, 0.9)
    assert only_made * 5 * 8760 * 0.9 == pytest.approx(die)
    only_run = datacenter.carbon_per_hour(1.0, 0.8, 1.2, 369, 0, 5, 0.9)
    assert only_run == pytest.approx(0.8 * 1.2 * 369)


def test_carbon_of_memory():
    """A 36 GB server module of DDR4 at ACT's 65 gCO2/GB and its yield of 0.875: 2.7 kg."""
    assert datacenter.embodied_memory_carbon(36, 65, 0.875) == pytest.approx(2674, abs=1)


@given(st.floats(0, 2e10), st.floats(0, 1e10), st.floats(1e-4, 0.5), lives, st.integers(0, 7))
def test_early_power_is_a_stream_moved_forward(revenue, cost, rate, years, lead):
    t = np.arange(1.0, years + 1)
    gain = (1 + rate) ** -t - (1 + rate) ** -(t + lead)
    expected = np.sum((revenue - cost) * gain) - 1e9
    value = datacenter.early_power_value(revenue, cost, rate, years, lead, 1e9)
    assert value == pytest.approx(expected, rel=1e-9, abs=1.0)


@given(st.floats(1e6, 1e10), st.floats(1e-4, 0.5), lives)
def test_power_that_never_comes_loses_the_whole_present_value(net, rate, years):
    value = datacenter.early_power_value(net, 0, rate, years, np.inf, 0)
    assert value == pytest.approx(capital.present_value(net, rate, years))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("kernel", "args"),
    [
        (datacenter.available_hours, (0,)),
        (datacenter.available_hours, (1.01,)),
        (datacenter.capital_cost, (1e4, 0.1, 5, 0)),
        (datacenter.depreciation_cost, (1e4, 0, 1)),
        (datacenter.return_cost, (1e4, -1, 5, 1)),
        (datacenter.operation_cost, (1e4, 0.05, 2)),
        (datacenter.facility_kw, (-1, 0.8, 1.2)),
        (datacenter.energy_cost, (1, 1.1, 1.2, 0.08)),
        (datacenter.energy_cost, (1, 0.8, 0.9, 0.08)),
        (datacenter.owner_cost, (1e4, 0.1, 0, 1e4, 0.1, 20, 0.05, 1, 1, 0.8, 1, 0.08)),
        (datacenter.colocation_cost, (150, -1)),
        (datacenter.used_cost, (2.0, 0)),
        (datacenter.pue_from_overhead, (1,)),
        (datacenter.joules_per_token, (700, 0)),
        (datacenter.embodied_carbon, (800, 642, 2.75, 200, 500, 0)),
        (datacenter.embodied_memory_carbon, (-1, 65, 0.9)),
        (datacenter.embodied_memory_carbon, (192, 65, 0)),
        (datacenter.carbon_per_hour, (1, 0.8, 1.2, 369, 1e4, 0, 1)),
        (datacenter.early_power_value, (1e10, 0, 0.1, 5, -1, 0)),
        (datacenter.capex_per_gw, (3.4e6, 2.5e6, 0)),
        (datacenter.racks_per_gw, (35e9, 0)),
        (datacenter.kw_per_rack, (0, 5.9e6)),
        (datacenter.gw_year_revenue, (2.0, 1.1, 1.73)),
        (datacenter.per_gw_year, (1e9, 0, 1)),
        (datacenter.per_gw_year, (1e9, 1, 0)),
        (datacenter.energy_used, (1, 0.8, 1.2, -1)),
    ],
)
def test_nan_outside_the_domain(kernel, args, assert_nan):
    assert_nan(kernel, args)
