"""Training cost: published runs, identities and limits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackbook.kernels import chips, training_cost

flops = st.floats(1e18, 1e28)
peaks = st.floats(1e12, 1e16)
shares = st.floats(0.01, 1.0)
dollars = st.floats(1.0, 1e6)
hours = st.floats(0.1, 1e9)
H100 = 989.4e12


def test_llama_3_1_405b_takes_the_hours_that_its_developer_states():
    """30.84e6 H100-hours, at the 34.5% of the peak that they reached, idle ones included."""
    flop = 6 * 405e9 * 15.6e12
    taken = training_cost.accelerator_hours(flop, H100, 0.345 / 0.9, 0.9)
    assert taken == pytest.approx(30.84e6, rel=2e-3)
    days = training_cost.run_hours(flop, 16_384, H100, 0.345, 1.0) / 24
    assert days == pytest.approx(78.4, rel=2e-3)


def test_deepseek_v3_at_its_developers_rent():
    assert training_cost.rented_cost(2.788e6, 2.0, 0.0) == pytest.approx(5.576e6)


def test_llama_3_1_405b_owned_and_bought():
    """Published in dollars of December 2024; nominal by the price index of both months."""
    nominal = 119.863 / 119.349
    value = chips.old_chip_value(44_489.88, 0.14, 432 / 365.25)
    taken = 16_384 * 2142.0
    amortised = training_cost.amortised_cost(
        taken, value, 0.0, 0.14, 0.19, 1.275, 0.75, 1.1, 0.0771
    )
    assert amortised == pytest.approx(51_040_524 * nominal, rel=1e-3)
    bought = training_cost.acquisition_cost(16_384, 44_489.88, 0.19)
    assert bought == pytest.approx(896_044_949 * nominal, rel=1e-6)


def test_gpt_4_with_experiments_and_staff():
    """The publisher's medians: a factor 2.19 on all compute, and 35.8e6 USD of pay."""
    parts = 35.801e6, 39.641e6, 26.375e6, 15.449e6, 7.929e6
    computed = training_cost.programme_cost(40.155e6, 1 / 2.19, parts[0])
    assert computed == pytest.approx(sum(parts), rel=0.02)


@given(flops, st.floats(1.0, 1e6), peaks, shares, shares)
def test_the_accelerators_of_a_run_meet_its_deadline(flop, accelerators, peak, mfu, goodput):
    length = training_cost.run_hours(flop, accelerators, peak, mfu, goodput)
    needed = training_cost.accelerators_needed(flop, length, peak, mfu, goodput)
    assert needed == pytest.approx(accelerators)


@given(dollars, st.floats(0.01, 0.5), shares)
def test_hardware_held_to_its_end_costs_its_price(server_usd, oom_per_year, kept):
    """Without interest, the rent over all years of a value that falls is what was lost of it."""
    years = -np.log10(kept) / oom_per_year
    middles = (np.arange(4000) + 0.5) / 4000 * years
    value = chips.old_chip_value(server_usd, oom_per_year, middles)
    paid = training_cost.hardware_per_hour(value, 0.0, oom_per_year, 0.0).mean() * 8760 * years
    assert paid == pytest.approx(server_usd * (1 - kept), rel=1e-5, abs=1e-9)


@given(dollars, st.floats(0.0, 0.3), st.floats(0.01, 0.5), st.floats(0.0, 0.5))
def test_hardware_pays_depreciation_and_interest_on_the_whole_cluster(server_usd, rate, oom, share):
    per_year = 8760 * training_cost.hardware_per_hour(server_usd, rate, oom, share)
    assert per_year * (1 - share) == pytest.approx(server_usd * (rate + oom * np.log(10)))


@given(hours, dollars, st.floats(0.0, 0.99))
def test_a_run_costs_alike_owned_and_rented_at_the_cost_of_owning(taken, server_usd, discount):
    facility = 1.2, 0.75, 1.1, 0.08
    hardware = server_usd, 0.1, 0.14, 0.19
    owned = training_cost.amortised_cost(taken, *hardware, *facility)
    per_hour = training_cost.hardware_per_hour(*hardware) + 1.2 * 0.75 * 1.1 * 0.08
    rented = training_cost.rented_cost(taken, per_hour / (1 - discount), discount)
    assert rented == pytest.approx(owned)


@given(dollars, dollars, shares)
def test_experiments_and_staff_only_add(run_usd, staff_usd, final_share):
    assert training_cost.programme_cost(run_usd, 1.0, 0.0) == run_usd
    programme = training_cost.programme_cost(run_usd, final_share, staff_usd)
    assert programme >= run_usd + staff_usd
    assert (programme - staff_usd) * final_share == pytest.approx(run_usd, abs=1e-6)


@pytest.mark.parametrize(
    ("kernel", "args"),
    [
        (training_cost.accelerator_hours, (-1, H100, 0.4, 1)),
        (training_cost.accelerator_hours, (1e24, 0, 0.4, 1)),
        (training_cost.accelerator_hours, (1e24, H100, 0, 1)),
        (training_cost.accelerator_hours, (1e24, H100, 0.4, 0)),
        (training_cost.accelerator_hours, (1e24, H100, 0.4, 1.1)),
        (training_cost.run_hours, (1e24, 0, H100, 0.4, 1)),
        (training_cost.accelerators_needed, (1e24, 0, H100, 0.4, 1)),
        (training_cost.hardware_per_hour, (1e4, 0.1, 0.14, 1)),
        (training_cost.amortised_cost, (-1, 1e4, 0.1, 0.14, 0.19, 1, 0.7, 1.1, 0.08)),
        (training_cost.amortised_cost, (1, 1e4, 0.1, 0.14, 0.19, 1, 0.7, 0.9, 0.08)),
        (training_cost.rented_cost, (-1, 2, 0)),
        (training_cost.rented_cost, (1, 2, 1)),
        (training_cost.rented_cost, (1, 2, -0.1)),
        (training_cost.acquisition_cost, (-1, 1e4, 0.19)),
        (training_cost.programme_cost, (-1, 0.2, 1)),
        (training_cost.programme_cost, (1, 0, 1)),
        (training_cost.programme_cost, (1, 1.1, 1)),
        (training_cost.programme_cost, (1, 0.2, -1)),
    ],
)
def test_nan_outside_the_domain(kernel, args, assert_nan):
    assert_nan(kernel, args)
