"""Reliability: published interruptions and goodput, exact sums and simulated failures."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import optimize, stats

from stackbook.kernels import reliability

availabilities = st.floats(0.01, 1.0)
mtbfs = st.floats(0.1, 1e4)
shares = st.floats(1e-3, 1.0)  # of the mean time between failures

LLAMA = 419 / (54 * 24) / 16_384  # unexpected interruptions for each GPU-hour (Meta 2024)


def test_interruptions_of_llama_3():
    """Meta 2024: 419 in 54 days on 16,384 GPUs, one in about three hours, yet more than 90% of
    time effective; here with 10 s for a checkpoint and 10 min for a restart."""
    mtbf = reliability.mean_time_between_failures(16_384, LLAMA)
    assert mtbf == pytest.approx(3.09, rel=0.005)
    checkpoint, restart = 10 / 3600, 10 / 60
    interval = reliability.young_interval(checkpoint, mtbf)
    first_order = reliability.first_order_goodput(interval, checkpoint, restart, mtbf)
    assert first_order == pytest.approx(0.904, abs=0.0005)
    goodput = reliability.goodput(interval, checkpoint, restart, mtbf)
    assert 0.90 < goodput == pytest.approx(first_order, abs=0.005)


@pytest.mark.parametrize(
    ("mtbf_hours", "minutes", "tolerance"), [(24, 117, 0.5), (6, 57, 0.5), (0.25, 9.1, 0.05)]
)
def test_daly_figures(mtbf_hours, minutes, tolerance):
    """Daly 2006, Figures 3 to 5: the best interval with 5 minutes for a checkpoint."""
    interval = reliability.daly_interval(5 / 60, mtbf_hours) * 60
    assert interval == pytest.approx(minutes, abs=tolerance)


@pytest.mark.parametrize(("slice_cubes", "goodput"), [(16, 0.75), (32, 0.50), (48, 0.75)])
@pytest.mark.parametrize("host", [0.990, 0.995])
def test_slices_of_a_tpu_v4_pod(slice_cubes, goodput, host):
    """Jouppi et al. 2023, Figure 4: 64 cubes of 16 hosts; three slices of 1K chips, one of 2K or
    of 3K, the rest is spare. With fixed wiring a slice of 1K would hardly ever be whole."""
    cube = reliability.series_availability(16, host)
    assert reliability.slice_goodput(64, slice_cubes, cube) == pytest.approx(goodput, abs=0.01)
    assert reliability.series_availability(slice_cubes, cube) < 0.3


def test_without_optical_switches_hosts_must_be_up_99_9_percent():
    """Jouppi et al. 2023: fixed wiring offers reasonable goodput only at 99.9%."""
    static = [reliability.series_availability(256, host) for host in (0.990, 0.995, 0.999)]
    assert static == pytest.approx([0.08, 0.28, 0.77], abs=0.01)


@given(st.integers(1, 5000), availabilities, st.data())
def test_k_of_n_is_a_binomial_tail(parts, availability, data):
    needed = data.draw(st.integers(0, parts))
    value = reliability.k_of_n_availability(needed, parts, availability)
    expected = stats.binom.sf(needed - 1, parts, availability)
    assert value == pytest.approx(expected, rel=1e-9, abs=1e-300)
    assert 0 <= value <= 1


@given(st.integers(1, 500), availabilities)
def test_k_of_n_limits(parts, availability):
    k_of_n = reliability.k_of_n_availability
    assert k_of_n(0, parts, availability) == pytest.approx(1)
    series = reliability.series_availability(parts, availability)
    assert k_of_n(parts, parts, availability) == pytest.approx(series)
    assert k_of_n(1, parts, availability) == pytest.approx(1 - (1 - availability) ** parts)
    assert k_of_n(parts, parts, 1) == 1


@given(st.integers(1, 64), availabilities, st.data())
def test_slice_goodput_is_an_expected_value(cubes, availability, data):
    """Over every number of cubes that work; at slices of one cube, the availability of cubes."""
    slice_cubes = data.draw(st.integers(1, cubes))
    work = np.arange(cubes + 1)
    used = work // slice_cubes * slice_cubes
    expected = np.sum(stats.binom.pmf(work, cubes, availability) * used) / cubes
    value = reliability.slice_goodput(cubes, slice_cubes, availability)
    assert value == pytest.approx(expected, rel=1e-9, abs=1e-12)
    one = reliability.slice_goodput(cubes, 1, availability)
    assert one == pytest.approx(availability)
    assert one >= value - 1e-12


def test_availability_from_failure_and_repair():
    """A part that works for 999 h and is repaired for 1 h; simulated lives agree."""
    assert reliability.steady_availability(999, 1) == 0.999
    rng = np.random.default_rng(1)
    up, down = rng.exponential(30, 100_000).sum(), rng.exponential(10, 100_000).sum()
    assert reliability.steady_availability(30, 10) == pytest.approx(up / (up + down), rel=0.01)


@given(st.integers(1, 100_000), st.floats(1e-8, 1e-2))
def test_failures_of_parts_add_up(parts, rate):
    one = reliability.mean_time_between_failures(1, rate)
    assert reliability.mean_time_between_failures(parts, rate) == pytest.approx(one / parts)


def simulated_goodput(interval, checkpoint, restart, mtbf, segments, seed=1):
    """Share of work in the time of many segments, each repeated until no failure falls into it."""
    rng = np.random.default_rng(seed)
    time, failure = 0.0, rng.exponential(mtbf)
    for _ in range(segments):
        while True:
            end = time + interval + checkpoint
            if failure >= end:
                break
            time = failure
            while True:  # a restart can fail as well
                failure = time + rng.exponential(mtbf)
                if failure >= time + restart:
                    time += restart
                    break
                time = failure
        time = end
    return segments * interval / time


@pytest.mark.parametrize("mtbf", [1.0, 3.0, 10.0])
@pytest.mark.parametrize("interval", [0.1, 0.5, 2.0])
def test_goodput_of_simulated_failures(interval, mtbf):
    simulated = simulated_goodput(interval, 0.05, 0.2, mtbf, 20_000)
    value = reliability.goodput(interval, 0.05, 0.2, mtbf)
    assert value == pytest.approx(simulated, rel=0.02)


@given(shares, st.floats(0, 1), st.floats(0, 1), mtbfs)
def test_goodput_is_a_share(interval, checkpoint, restart, mtbf):
    args = (interval * mtbf, checkpoint * mtbf, restart * mtbf, mtbf)
    goodput = reliability.goodput(*args)
    assert 0 < goodput < 1
    assert reliability.first_order_goodput(*args) <= goodput + 1e-12


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.floats(0.01, 10))
def test_goodput_falls_with_the_number_of_parts(parts, more, interval):
    few, many = (
        reliability.goodput(interval, 0.01, 0.1, reliability.mean_time_between_failures(n, LLAMA))
        for n in (parts, parts + more)
    )
    assert few >= many
    assume(many > 0 and more > 1e-3 * parts)
    assert few > many


@given(st.floats(1e-4, 0.1), mtbfs)
def test_intervals_are_minima_of_lost_time(checkpoint, mtbf):
    """Of Young to first order, exactly; of Daly nearly of the complete model, where the loss is
    within 1e-5 of the least. Around both the second difference is positive."""
    checkpoint *= mtbf

    def lost(model, interval):
        return 1 / model(interval, checkpoint, 0.0, mtbf)

    young = reliability.young_interval(checkpoint, mtbf)
    daly = reliability.daly_interval(checkpoint, mtbf)
    for model, best in [
        (reliability.first_order_goodput, young),
        (reliability.goodput, daly),
        (reliability.goodput, young),
    ]:
        below, at, above = (lost(model, best * x) for x in (0.9, 1.0, 1.1))
        assert below + above > 2 * at
    slope = reliability.first_order_goodput(
        np.array([0.99, 1.01]) * young, checkpoint, 0.0, mtbf
    ) - reliability.first_order_goodput(young, checkpoint, 0.0, mtbf)
    assert (slope < 0).all()
    least = optimize.minimize_scalar(
        lambda x: lost(reliability.goodput, x * mtbf), bounds=(1e-4, 2.0), method="bounded"
    )
    assert lost(reliability.goodput, daly) == pytest.approx(least.fun, rel=1e-5)


def test_daly_comes_to_young_where_checkpoints_are_short():
    assert reliability.daly_interval(1e-8, 1) == pytest.approx(
        reliability.young_interval(1e-8, 1), rel=1e-4
    )
    assert reliability.daly_interval(2.0, 1.0) == 1.0
    assert reliability.daly_interval(1.999, 1.0) == pytest.approx(1.0, rel=0.15)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("kernel", "args"),
    [
        (reliability.mean_time_between_failures, (0, 1e-5)),
        (reliability.mean_time_between_failures, (8, 0)),
        (reliability.steady_availability, (0, 1)),
        (reliability.steady_availability, (1, -1)),
        (reliability.series_availability, (-1, 0.9)),
        (reliability.series_availability, (8, 1.1)),
        (reliability.k_of_n_availability, (9, 8, 0.9)),
        (reliability.k_of_n_availability, (1.5, 8, 0.9)),
        (reliability.k_of_n_availability, (7, 8.5, 0.9)),
        (reliability.k_of_n_availability, (7, 8, 0)),
        (reliability.k_of_n_availability, (7, np.inf, 0.9)),
        (reliability.slice_goodput, (8, 9, 0.9)),
        (reliability.slice_goodput, (8, 1.5, 0.9)),
        (reliability.slice_goodput, (8, 2, 0)),
        (reliability.slice_goodput, (np.inf, 2, 0.9)),
        (reliability.young_interval, (-1, 1)),
        (reliability.daly_interval, (1, 0)),
        (reliability.goodput, (0, 1, 1, 1)),
        (reliability.goodput, (1, 1, -1, 1)),
        (reliability.first_order_goodput, (1, 1, 1, 0)),
    ],
)
def test_nan_outside_the_domain(kernel, args):
    assert np.isnan(kernel(*args))
    assert np.isnan(kernel(*(np.full(9, arg, float) for arg in args))).all()
