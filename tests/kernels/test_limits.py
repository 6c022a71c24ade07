"""Largest runs: limits and identities, plans by plain enumeration, published values of batches.

The published limits themselves are cases D33 to D36 of the validation.
"""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackbook.kernels import limits, reliability
from stackbook.validation.limits import H100

RECIPE = limits.Recipe(20, 0.156, 0.273, 2**22, 3e23, 1 / 6)
MONTH = 30.44 * 86400
sizes = st.floats(1e9, 1e14)
batches = st.floats(1e6, 1e9)
doublings = st.integers(0, 30)


def layers(params):
    return RECIPE.layer_scale * params**RECIPE.layer_exponent


def step(params, accelerators, machine=H100, batch=4e6):
    return limits.fastest_step(params, layers(params), batch, accelerators, machine)


def all_reduce(message, within, across, machine):
    fast = 2 * (within - 1) / within * message / machine.inner_bandwidth
    return fast + 2 * (across - 1) / across * (message / within) / machine.outer_bandwidth


def plain_fastest(params, depth, batch, accelerators, machine):
    """Every plan of powers of two in turn, from shapes of what one accelerator holds."""
    width = (params / depth / 8) ** 0.5
    powers = [2**i for i in range(accelerators.bit_length())]
    best = np.inf
    for data, stages, rows in product(powers, repeat=3):
        columns = accelerators // (data * stages * rows)
        if data * stages * rows * columns != accelerators or not rows <= columns <= 64 * rows:
            continue
        micro = batch / data / stages
        held = params / (rows * columns * stages)
        if stages > depth or micro < 1 or 2 * held + 8 * params / accelerators > machine.memory:
            continue
        tile = (4 * width / columns) * (width / rows)
        flop = 2 * micro * tile / (machine.matmul_share * machine.flop_per_s)
        read = 2 * tile / machine.memory_bandwidth
        products = 4 * max(flop, read) + 2 * max(flop, 2 * read) + 6 * machine.kernel_seconds
        bubble = (stages - 1) / (stages - 1 + depth)
        for inner_rows, inner_columns, inner_data in product([1, 2, 4, 8], repeat=3):
            inner = inner_rows, inner_columns, inner_data
            outer = rows / inner_rows, columns / inner_columns, data / inner_data
            if min(outer) < 1 or np.prod(inner) > machine.domain:
                continue
            sent = 2 * micro * stages * width
            moved = all_reduce(2 * held, inner_data, outer[2], machine)
            for message, within, across in (
                (sent / rows, inner_columns, outer[1]),
                (4 * sent / columns, inner_rows, outer[0]),
            ):
                moved += 2 * depth / stages * all_reduce(message, within, across, machine)
            if stages > 1:
                moved += 4 * depth * width * batch / accelerators / machine.outer_bandwidth
            waits = 4 * depth * sum(n > 1 for n in (*inner[:2], *outer[:2]))
            waits += 2 * (data > 1) + 2 * (depth - 1) * (stages > 1)
            seconds = max(depth * products, moved) / (1 - bubble)
            best = min(best, seconds + waits * machine.network_seconds)
    return best


@pytest.mark.parametrize("accelerators", [1, 4, 64, 1024])
@pytest.mark.parametrize("params", [1e9, 3e11])
def test_fastest_step_is_the_least_of_all_plans(params, accelerators):
    expected = plain_fastest(params, layers(params), 4e6, accelerators, H100)
    found = step(params, accelerators)
    if expected < np.inf:
        assert found.seconds == pytest.approx(expected, rel=1e-12)
        assert found.data * found.pipeline * found.tensor == accelerators
        mfu = 6 * params * 4e6 / (accelerators * H100.flop_per_s * found.seconds)
        assert found.mfu == pytest.approx(mfu)
    else:
        assert np.isnan(found.seconds)


def test_one_accelerator_without_latency_works_as_products_of_matrices_do():
    found = step(1e9, 1, H100._replace(kernel_seconds=0))
    assert found.mfu == pytest.approx(H100.matmul_share)


@given(
    sizes,
    doublings,
    st.sampled_from(["memory_bandwidth", "inner_bandwidth", "outer_bandwidth", "memory"]),
    st.sampled_from(["network_seconds", "kernel_seconds"]),
    st.floats(1, 10),
)
@settings(max_examples=50)
def test_a_better_machine_is_never_slower(params, doublings, wider, shorter, factor):
    slow = step(params, 2**doublings)
    better = {wider: getattr(H100, wider) * factor, shorter: getattr(H100, shorter) / factor}
    fast = step(params, 2**doublings, H100._replace(**better))
    assert np.isnan(slow.seconds) or fast.seconds <= slow.seconds * (1 + 1e-12)
    assert np.isnan(slow.mfu) or 0 < slow.mfu <= H100.matmul_share * (1 + 1e-12)
    assert not slow.latency > 1


@given(st.integers(3, 36), st.floats(0.1, 24))
@settings(max_examples=30, deadline=None)
def test_largest_run_ends_in_time_and_within_peak_and_wall(doublings, months):
    found = limits.largest_run(2**doublings, months * MONTH, H100, RECIPE)
    batch = limits.grown_batch(found.flop, RECIPE.batch, RECIPE.batch_flop, RECIPE.batch_exponent)
    tokens = RECIPE.tokens_per_param * found.params
    assert 6 * found.params * tokens == pytest.approx(found.flop)
    seconds = tokens / batch * found.plan.seconds
    fits = 2**doublings * H100.memory > 20 * found.params  # memory is not what ends it
    assert seconds <= months * MONTH * (1 + 1e-5)
    assert seconds == pytest.approx(months * MONTH, rel=1e-4) or not fits
    assert found.flop <= limits.fleet_flop(2**doublings, 989.4e12, 0.7, months * MONTH) * 1.0001
    kernels = limits.layer_latency(6, H100.kernel_seconds, 0, 0)
    assert found.flop <= limits.latency_wall(months * MONTH, kernels, *RECIPE)


def test_utilization_limit_is_where_the_mfu_of_largest_runs_passes():
    half = limits.utilization_limit(0.5, 3 * MONTH, H100, RECIPE)
    share = {
        limit.flop: limit.plan.mfu / H100.matmul_share
        for limit in (limits.largest_run(2**k, 3 * MONTH, H100, RECIPE) for k in range(3, 34))
    }
    assert min(part for flop, part in share.items() if flop < half) > 0.5
    assert max(part for flop, part in share.items() if flop > half) < 0.5
    assert limits.utilization_limit(0.8, 3 * MONTH, H100, RECIPE) < half
    assert np.isnan(limits.utilization_limit(1.0, 3 * MONTH, H100, RECIPE))


walls = st.floats(1e5, 1e8), st.floats(1e-6, 1e-3)


@given(*walls, st.floats(1, 200), st.floats(0.01, 1), st.floats(0, 0.5), batches, st.floats(0, 0.4))
def test_latency_wall_is_the_run_that_takes_its_time(
    seconds, layer, per_param, scale, exponent, batch, grows
):
    wall = limits.latency_wall(seconds, layer, per_param, scale, exponent, batch, 3e23, grows)
    params = np.sqrt(wall / (6 * per_param))
    grown = limits.grown_batch(wall, batch, 3e23, grows)
    depth = scale * params**exponent
    serial = limits.serial_seconds(per_param * params, grown, depth, layer)
    assert serial == pytest.approx(seconds, rel=1e-6)


def test_there_is_no_wall_where_the_batch_grows_as_fast_as_steps_and_layers():
    assert limits.latency_wall(1e7, 1e-4, 20, 0.1, 0.2, 4e6, 3e23, 0.6) == np.inf
    assert limits.latency_wall(1e7, 1e-4, 20, 0.1, 0.2, 4e6, 3e23, 0.5) < np.inf


def test_power_and_budget_buy_accelerators():
    """One GW of H100s at 1.73 kW for 100 days, and the hours of the same fleet at 2 USD."""
    fleet = 1e9 / 1730
    flop = limits.fleet_flop(fleet, 989.4e12, 0.4, 100 * 86400)
    assert flop == pytest.approx(1.98e27, rel=0.01)
    assert limits.power_limited_flop(1e9, 1730, 989.4e12, 0.4, 100 * 86400) == pytest.approx(flop)
    usd = fleet * 2400 * 2
    assert limits.budget_limited_flop(usd, 2, 989.4e12, 0.4) == pytest.approx(flop)


@given(st.floats(1e-7, 1e-3), st.floats(0.01, 1))
def test_failure_wall_is_where_more_accelerators_do_less(rate, restart):
    """Without checkpoints that stop the work; with them, more do less already there."""
    wall = limits.failure_wall(rate, restart)

    def work(accelerators, checkpoint):
        mtbf = reliability.mean_time_between_failures(accelerators, rate)
        return accelerators * reliability.best_goodput(checkpoint, restart, mtbf)

    assert work(wall, 0) > max(work(0.9 * wall, 0), work(1.1 * wall, 0))
    assert work(wall, 0.01 * restart) < work(0.9 * wall, 0.01 * restart)


def test_critical_batch_doubles_for_every_13_percent_of_loss():
    """As Kaplan et al. put it; 2e8 tokens at a loss of 1."""
    assert limits.critical_batch(1, 2e8, 0.21) == 2e8
    ratio = limits.critical_batch(0.87 * 2, 2e8, 0.21) / limits.critical_batch(2, 2e8, 0.21)
    assert ratio == pytest.approx(2, rel=0.05)


@given(st.floats(1e9, 1e15), batches, batches)
def test_tokens_and_steps_lie_on_the_hyperbola(fewest, batch, critical):
    tokens = limits.tokens_at_batch(fewest, batch, critical)
    steps = tokens / batch
    assert (tokens / fewest - 1) * (steps * critical / fewest - 1) == pytest.approx(1, rel=1e-6)
    assert limits.tokens_at_batch(fewest, critical, critical) == pytest.approx(2 * fewest)


@given(st.floats(1e9, 1e16), st.floats(1.1, 100), st.floats(0, 1))
def test_a_batch_grows_as_its_power(size, factor, exponent):
    one, more = (limits.grown_batch(s, 2e6, 1e11, exponent) for s in (size, size * factor))
    assert more / one == pytest.approx(factor**exponent)
    assert limits.grown_batch(1e11, 2e6, 1e11, exponent) == 2e6


def test_accelerators_are_powers_of_two():
    for accelerators in (0, 3, 96):
        with pytest.raises(ValueError, match=f"{accelerators} accelerators: give a power of two"):
            limits.largest_run(accelerators, MONTH, H100, RECIPE)
    with pytest.raises(ValueError, match="72 accelerators"):
        step(1e9, 8, H100._replace(domain=72))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("kernel", "args"),
    [
        (limits.fleet_flop, (-1, 1, 1, 1)),
        (limits.fleet_flop, (1, 1, 0, 1)),
        (limits.power_limited_flop, (1, 0, 1, 1, 1)),
        (limits.budget_limited_flop, (-1, 1, 1, 1)),
        (limits.budget_limited_flop, (1, 0, 1, 1)),
        (limits.failure_wall, (0, 1)),
        (limits.failure_wall, (1, 0)),
        (limits.critical_batch, (0, 1, 1)),
        (limits.critical_batch, (1, 1, 0)),
        (limits.grown_batch, (0, 1, 1, 1)),
        (limits.tokens_at_batch, (1, 1, 0)),
        (limits.layer_latency, (-1, 1, 1, 1)),
        (limits.serial_seconds, (1, 0, 1, 1)),
        (limits.latency_wall, (0, 1, 1, 1, 1, 1, 1, 0.1)),
        (limits.latency_wall, (1, 1, 1, 1, -1, 1, 1, 0.1)),
    ],
)
def test_nan_outside_the_domain(kernel, args, assert_nan):
    assert_nan(kernel, args)
