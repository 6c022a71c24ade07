"""Five ways to come by tokens: reconciled with the layers' kernels, and a plain version."""

from math import exp, log1p

import numpy as np
import pytest
from plain import sourced_plainly

from stackbook import kernels
from stackbook.kernels import capital, cloud, datacenter, sourcing
from stackbook.kernels.sourcing import Api, Business, Fleet, Lines, Owner, Plan, Rental

DAY = tuple(1 + 0.6 * np.cos(np.arange(24) / 24 * 2 * np.pi))
EVEN = (1.0,)
ALONE = np.eye(3)
BUSINESS = Business(50_000.0, 0.0, 0.0, 0.08, 0.0)
API = Api(0.5, 0.0, 0.0, 0.0, 20_000.0, 12_000.0, 0.0, 30_000.0, 0.0, 0.0)
RENTAL = Rental(2.5, 0.0, 0.0, 0.4, 0.0)
FLEET = Fleet(10.0, 0.0, 8.0, 50_000.0, 200_000.0)
OWNER = Owner(45_000.0, 0.0, 3000.0, 1500.0, 1500.0, 1.0, 0.0, 0.0)
PLAN = Plan(years=5.0, term_years=1.0, vendors=3, profile=EVEN)
STORMY = (
    Business(np.array([3e4, 5e4, 9e4]), 0.5, 0.4, 0.1, 90.0),
    Api(0.5, -0.3, 0.2, 0.3, 2e4, 1e4, 0.8, 3e4, 0.005, 1e-4),
    Rental(np.array([2.0, 2.5, 3.0]), -0.15, 0.4, 0.35, 0.002),
    Fleet(10.0, 0.3, 8.0, 5e4, 2e5),
    Owner(4.5e4, 0.2, 3000.0, 1500.0, 1500.0, 0.96, 0.5, 0.003),
)
MOVING = np.array([[1, 0.2, 0.1], [0.2, 1, 0.5], [0.1, 0.5, 1]])


def bought(*records, plan=PLAN, correlation=ALONE, seed=1):
    given = [BUSINESS, API, RENTAL, FLEET, OWNER]
    for record in records:
        given[[type(each) for each in given].index(type(record))] = record
    return sourcing.sourced(*given, plan, correlation, seed)


def lines(found, way):
    return Lines(*found.usd[0, sourcing.WAYS.index(way)])


def years_of(rate, years):
    """Value today of a dollar a year, paid in the middle of each month."""
    times = (np.arange(round(12 * years)) + 0.5) / 12
    return np.exp(-log1p(rate) * times).sum() / 12


def test_api_pays_list_price_of_all_tokens():
    found = bought()
    bill = lines(found, "API")
    assert bill.tokens == pytest.approx(0.5 * found.mtok[0])
    assert bill.people == pytest.approx(20_000 + 12_000 * years_of(0.08, 5))
    assert sum(bill) == pytest.approx(bill.tokens + bill.people)


def test_rent_reconciles_with_present_rent():
    """50,000 million tokens a month take 6.85 replicas of 10 an hour, of 8 accelerators: 56."""
    bill = lines(bought(), "rented")
    whole = 56 * cloud.present_rent(2.5, 0.0, 1.0, 0.08, 5.0)
    assert bill.on_demand == pytest.approx(whole, rel=2e-5)  # months in place of a flow
    assert bill.people == pytest.approx(50_000 + 200_000 * years_of(0.08, 5))


def test_reservation_reconciles_with_present_reserved():
    bill = lines(bought(Rental(2.5, -0.2, 0.0, 0.4, 0.0)), "reserved")
    whole = 56 * cloud.present_reserved(2.5, 0.4, -0.2, 1.0, 0.08, 5.0)
    assert bill.on_demand == 0
    # The rent of the first month is that of its middle.
    assert bill.reserved == pytest.approx(whole * exp(log1p(-0.2) / 24), rel=2e-5)


def test_own_reconciles_with_owner_cost_of_the_layers():
    """Over its life and without resale, capital and yearly costs are those of `owner_cost`."""
    kw, load, pue, usd_per_kwh, om = 1.4, 0.8, 1.2, 0.08, 0.03
    electricity = datacenter.energy_cost(kw, load, pue, usd_per_kwh) * 8760
    site = 34_000.0 * capital.annuity(0.08, 20.0)
    owner = Owner(45_000.0, 0.0, site, electricity, om * 45_000, 1.0, 0.0, 0.0)
    bill = lines(bought(owner), "owned")
    terms = 45_000.0, 0.08, 5.0, 34_000.0, 0.08, 20.0, om, 1.0, kw, load, pue, usd_per_kwh
    whole = 56 * 8760 * datacenter.owner_cost(*terms)
    capital_year = bill.capital * capital.annuity(0.08, 5.0)
    others = (bill.site + bill.electricity + bill.operation) / years_of(0.08, 5)
    assert capital_year + others == pytest.approx(whole)
    assert bill.on_demand == 0


def test_resale_reconciles_with_present_owned():
    owner = OWNER._replace(resale=0.3)
    bill = lines(bought(owner), "owned")
    yearly = 3000.0 + 1500.0 + 1500.0
    whole = 56 * cloud.present_owned(45_000.0, 0.3, yearly, 0.08, 5.0)
    assert sum(bill) - bill.people == pytest.approx(whole, rel=2e-5)


def test_several_vendors_save_what_order_statistics_say():
    count, spread = 4000, 0.4
    api = API._replace(own_sigma=np.full(count, spread))
    found = bought(api, plan=PLAN._replace(years=1.0))
    ratio = found.usd[:, 4, sourcing.TOKENS] / found.usd[:, 0, sourcing.TOKENS].mean()
    error = ratio.std() / count**0.5
    assert ratio.mean() == pytest.approx(cloud.expected_lowest(3.0, spread, 0.0), abs=4 * error)


def test_expected_bill_is_that_without_volatility():
    """Prices and demand move about their expected paths, not about their medians."""
    count = 8000
    api, business = API._replace(sigma=np.full(count, 0.4)), BUSINESS._replace(sigma=0.3)
    tokens = bought(api, business).usd[:, 0, sourcing.TOKENS]
    still = bought().usd[0, 0, sourcing.TOKENS]
    assert tokens.mean() == pytest.approx(still, abs=4 * tokens.std() / count**0.5)


def test_correlation_of_rents_and_list_prices_is_the_one_asked_for():
    count = 6000
    moving = API._replace(sigma=np.full(count, 0.3)), RENTAL._replace(sigma=0.4)
    correlation = np.array([[1, 0, 0], [0, 1, 0.6], [0, 0.6, 1]])
    last = bought(*moving, correlation=correlation, plan=PLAN._replace(years=1 / 12)).usd
    logs = np.log(last[:, 0, sourcing.TOKENS]), np.log(last[:, 1, sourcing.ON_DEMAND])
    assert np.corrcoef(logs)[0, 1] == pytest.approx(0.6, abs=0.04)


def test_invariant_5_hours_held_and_rented_are_hours_needed_and_idle():
    needed, held, on_demand, idle = np.moveaxis(
        sourcing.sourced(*STORMY, PLAN._replace(profile=DAY), MOVING, 1).hours, 2, 0
    )
    assert held + on_demand == pytest.approx(needed + idle)
    assert needed[:, 1:4].min() > 0
    assert (needed[:, 1] == on_demand[:, 1]).all()


def test_every_line_as_in_a_plain_version():
    plan = Plan(years=2.5, term_years=1.0, vendors=2, profile=DAY, least=2.0)
    found = sourcing.sourced(*STORMY, plan, MOVING, 7)
    usd, mtok, last_usd = sourced_plainly(*STORMY, plan, MOVING, 7)
    np.testing.assert_allclose(found.usd, usd, rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(found.mtok, mtok, rtol=1e-9)
    np.testing.assert_allclose(found.last_usd, last_usd, rtol=1e-9)


@pytest.mark.parametrize("years", [2.5, 0.4])  # shorter than the lead time: nothing is bought
def test_the_plan_line_by_line_from_kernels_of_flows(years):
    plan = Plan(years=years, term_years=1.0, vendors=3, profile=DAY, least=2.0)
    calm = [type(r)(*(float(np.ravel(field)[0]) for field in r)) for r in STORMY]
    usd, _ = sourcing.planned(*calm, plan)
    flows = sourcing.by_flows(*calm, plan)
    np.testing.assert_allclose(usd[0], flows, rtol=1e-3, atol=0.01)  # months in place of a flow
    assert (usd[0, 3, sourcing.CAPITAL] == 0) == (years < 1)


def test_simulated_moves_and_savings_are_those_of_the_plan():
    """Within five sampling errors."""
    many = [*STORMY]
    many[0] = Business(np.full(8000, 3e4), 0.5, 0.0, 0.1, 90.0)
    many[2] = STORMY[2]._replace(usd_per_hour=2.0)
    usd = sourcing.sourced(*many, PLAN, MOVING, 5).usd
    expected, _ = sourcing.planned(*(r._replace() for r in many), PLAN)
    for way, line in ((0, sourcing.MOVES), (4, sourcing.MOVES), (4, sourcing.TOKENS)):
        drawn = usd[:, way, line]
        error = drawn.std() / drawn.size**0.5
        assert drawn.mean() == pytest.approx(expected[0, way, line], abs=5 * error)


def test_who_waits_for_delivery_pays_then():
    late = lines(bought(OWNER._replace(lead_years=2.0, resale=0.3)), "owned")
    whole = 56 * cloud.present_owned(45_000.0, 0.3, 0.0, 0.08, 3.0)
    assert late.capital == pytest.approx(whole * 1.08**-2)


@pytest.mark.parametrize("peak", [1.0, 2.0, 10.0])
def test_a_day_has_its_peak(peak):
    hours = sourcing.day(peak)
    assert max(hours) == hours[0] == pytest.approx(peak)
    assert np.mean(hours) == pytest.approx(1)
    assert hours[1:] == pytest.approx(hours[:0:-1])  # as far before the peak as after it
    with pytest.raises(ValueError, match="peak_to_mean = 24"):
        sourcing.day(24.0)


def test_demand_alone_puts_no_api_over_budget():
    """All its cost rises with tokens; people of a fleet do not fall with them."""
    business = Business(np.full(2000, 5e4), 0.0, 0.5, 0.08, 0.0)
    found = bought(business, API._replace(setup_usd=0.0, usd_per_year=0.0))
    assert np.abs(found.over_budget[:, 0]).max() < 1e-6 * found.total[:, 0].mean()
    worst = np.sort(found.over_budget[:, 1])[-100:].mean()
    assert found.worst[1] == pytest.approx(worst) and worst > 0


def test_freedom_to_leave_is_worth_nothing_without_volatility_or_to_an_owner():
    count = np.full(2000, 2.5)
    bills, plan = np.full(5, 1e6), PLAN._replace(years=3.0)
    moving = bought(Rental(count, 0.0, 0.4, 0.4, 0.0), plan=plan)
    still = bought(Rental(count, 0.0, 0.0, 0.4, 0.0), plan=plan)
    api, rented, reserved, owned, _ = sourcing.leaving_value(moving, bills, plan, 0.08, 1e4)
    assert api > 0 and rented > reserved > 0 and owned == 0
    assert sourcing.leaving_value(still, bills, plan, 0.08, 1e4) == pytest.approx(0, abs=1)
    assert sourcing.leaving_value(moving, bills, plan, 0.08, 1e5)[1] < rented


def test_a_fixed_cost_crosses_where_it_is_earned():
    volumes = np.geomspace(1, 1e4, 400)
    fixed = 100 + 0.2 * volumes
    assert sourcing.crossing(volumes, fixed, volumes) == pytest.approx(125, rel=1e-3)
    assert sourcing.crossing(volumes, volumes, fixed) == np.inf
    assert sourcing.crossing(volumes, 0.1 * volumes, fixed) == 0
    falling = np.where(volumes < 10, 50.0, fixed)  # ahead, behind, ahead: the last counts
    assert sourcing.crossing(volumes, falling, volumes + 60) > 10


def test_the_same_on_any_number_of_threads():
    records = [record._replace() for record in STORMY]
    records[0] = Business(np.linspace(1e4, 9e4, 1200), 0.5, 0.4, 0.1, 90.0)
    records[2] = records[2]._replace(usd_per_hour=2.5)
    one = sourcing.sourced(*records, PLAN, MOVING, 3)
    with kernels.threads(2):
        two = sourcing.sourced(*records, PLAN, MOVING, 3)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (BUSINESS._replace(mtok_per_month=-1.0), "Business.mtok_per_month = -1: give 0 or more"),
        (FLEET._replace(mtok_per_hour=0.0), "Fleet.mtok_per_hour = 0: give a number above 0"),
        (RENTAL._replace(discount=1.2), "Rental.discount = 1.2: give 0 to 1"),
        (API._replace(growth=-1.0), "Api.growth = -1: give a number above -1"),
        (OWNER._replace(capital_usd=np.nan), "Owner.capital_usd = nan: give 0 or more"),
    ],
)
def test_bad_numbers_are_named(record, message):
    with pytest.raises(ValueError, match=message):
        bought(record)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"years": 31.0}, "Plan.years = 31: give a month to 30 years"),
        ({"vendors": 0}, "Plan.vendors = 0: give 1 to 16"),
        ({"profile": (1.0, -1.0)}, "Plan.profile"),
    ],
)
def test_bad_plans_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        bought(plan=PLAN._replace(**change))


@pytest.mark.parametrize(
    "matrix",
    [
        [[1, 2, 0], [2, 1, 0], [0, 0, 1]],
        np.eye(2),
        np.eye(4),
        4 * np.eye(3),
        [[1, 0.5, 0], [0, 1, 0], [0, 0, 1]],
    ],
)
def test_a_correlation_has_to_be_one(matrix):
    with pytest.raises(ValueError, match="give a symmetric, positive definite matrix, 3 by 3"):
        bought(correlation=matrix)
