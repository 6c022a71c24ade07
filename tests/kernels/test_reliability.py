"""Reliability: exact sums and simulated failures as oracles, identities and limits."""

from decimal import Context, Decimal, localcontext

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats

from stackbook.kernels import reliability
from stackbook.kernels.jit import threads

availabilities = st.floats(0.01, 1.0)
mtbfs = st.floats(0.1, 1e4)
TINIEST, LARGEST = 5e-324, 1.7e308
shares = st.floats(1e-3, 1.0)  # of the mean time between failures


@given(st.integers(1, 5000), availabilities, st.data())
def test_k_of_n_is_a_binomial_tail(parts, availability, data):
    needed = data.draw(st.integers(0, parts))
    value = reliability.k_of_n_availability(needed, parts, availability)
    expected = stats.binom.sf(needed - 1, parts, availability)
    assert value == pytest.approx(expected, rel=1e-9, abs=1e-280)  # scipy loses digits below
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


@given(st.integers(1, 64), availabilities, st.data())
def test_fixed_wiring_is_never_better_than_optical_switches(cubes, availability, data):
    """Whose slice works only if all of its own cubes do, where a switch takes any that work."""
    slice_cubes = data.draw(st.integers(1, cubes))
    share = cubes // slice_cubes * slice_cubes / cubes
    fixed = share * reliability.series_availability(slice_cubes, availability)
    switched = reliability.slice_goodput(cubes, slice_cubes, availability)
    assert fixed - 1e-12 <= switched <= share + 1e-12


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
def test_invariant_12_goodput_is_a_share(interval, checkpoint, restart, mtbf):
    args = (interval * mtbf, checkpoint * mtbf, restart * mtbf, mtbf)
    goodput = reliability.goodput(*args)
    assert 0 < goodput < 1
    assert reliability.first_order_goodput(*args) <= goodput + 1e-12


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.floats(0.01, 10))
def test_invariant_12_goodput_falls_with_the_number_of_parts(parts, more, interval):
    rate = 2e-5  # failures of a part in an hour
    few, many = (
        reliability.goodput(interval, 0.01, 0.1, reliability.mean_time_between_failures(n, rate))
        for n in (parts, parts + more)
    )
    assert few >= many
    assume(many > 0 and more > 1e-3 * parts)
    assert few > many


@given(st.floats(1e-4, 0.1), mtbfs)
def test_invariant_12_intervals_are_minima_of_lost_time(checkpoint, mtbf):
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


@given(shares, mtbfs)
def test_first_order_is_right_where_failures_are_rare(small, mtbf):
    """And checkpoints short: what it leaves out is of second order."""
    small = 0.01 * small
    args = (small * mtbf, small**2 * mtbf, small * mtbf, mtbf)
    first_order = reliability.first_order_goodput(*args)
    assert reliability.goodput(*args) == pytest.approx(first_order, abs=10 * small**2)


def test_daly_comes_to_young_where_checkpoints_are_short():
    assert reliability.daly_interval(1e-8, 1) == pytest.approx(
        reliability.young_interval(1e-8, 1), rel=1e-4
    )
    assert reliability.daly_interval(2.0, 1.0) == 1.0
    assert reliability.daly_interval(1.999, 1.0) == pytest.approx(1.0, rel=0.15)


times = st.floats(0, LARGEST) | st.sampled_from([0.0, TINIEST, 1e-300, 1.0, 1e300, LARGEST])
positive = times.filter(lambda time: time > 0)


@given(positive, times, times, positive)
def test_goodput_of_any_times_is_a_share(interval, checkpoint, restart, mtbf):
    assert 0 <= reliability.goodput(interval, checkpoint, restart, mtbf) <= 1


@given(st.floats(1e-9, 100), st.floats(0, 100), st.floats(0, 100), st.floats(0.5, 1e9))
def test_goodput_is_the_published_formula(interval, checkpoint, restart, mtbf):
    with localcontext(Context(prec=50)):
        tau, delta, again, mean = map(Decimal, (interval, checkpoint, restart, mtbf))
        time = mean * (again / mean).exp() * (((tau + delta) / mean).exp() - 1)
        expected = float(tau / time)
    value = reliability.goodput(interval, checkpoint, restart, mtbf)
    assert value == pytest.approx(expected, rel=1e-12)


def test_goodput_without_failures_and_without_end():
    assert reliability.goodput(3, 1, 1, np.inf) == 0.75
    assert reliability.goodput(np.inf, 1, 1, 10) == 0
    assert reliability.goodput(1, 1, np.inf, 10) == 0


@pytest.mark.parametrize("availability", [1e-17, 1e-10, 0.3, 1.0])
def test_one_part_has_its_own_availability(availability):
    """However small: 1 less it would lose its digits."""
    for value in (
        reliability.series_availability(1, availability),
        reliability.k_of_n_availability(1, 1, availability),
        reliability.k_of_n_availability(2, 2, availability) / availability,
        reliability.slice_goodput(1, 1, availability),
    ):
        assert value == pytest.approx(availability, rel=1e-14)


@given(st.floats(1e-6, 0.5), st.floats(0, 0.5), mtbfs)
def test_best_goodput_is_that_of_the_best_interval(checkpoint, restart, mtbf):
    """By search, to 0.1% where a checkpoint takes half of the time between failures; Young's
    interval, of first order, is never better than that."""
    args = checkpoint * mtbf, restart * mtbf, mtbf
    least = optimize.minimize_scalar(
        lambda x: -reliability.goodput(np.exp(x) * mtbf, *args),
        bounds=(-10, 3),
        method="bounded",
        options={"xatol": 1e-9},
    )
    best = reliability.best_goodput(*args)
    assert -least.fun * (1 - 1e-3) <= best <= -least.fun * (1 + 1e-9)
    young = reliability.goodput(reliability.young_interval(args[0], mtbf), *args)
    assert young <= -least.fun * (1 + 1e-9)


def test_best_goodput_without_checkpoints_loses_restarts_alone():
    assert reliability.best_goodput(0, 1, 10) == pytest.approx(np.exp(-0.1))
    assert reliability.best_goodput(1e-12, 1, 10) == pytest.approx(np.exp(-0.1), rel=1e-5)


@given(st.integers(0, 300), st.floats(1e-3, 300))
def test_a_missing_spare_is_erlangs_formula(spares, load):
    """Probability of the last state of a queue whose states have Poisson's probabilities."""
    states = stats.poisson.logpmf(np.arange(spares + 1), load)
    expected = np.exp(states[-1] - np.logaddexp.reduce(states))
    assert reliability.spare_missing(spares, load, 1) == pytest.approx(expected, rel=1e-9)


@given(st.floats(0, 0.9999), st.floats(0, 200), mtbfs)
def test_spares_needed_are_the_fewest(probability, load, mtbf):
    spares = reliability.spares_needed(probability, load * mtbf, mtbf)
    assert reliability.spare_missing(spares, load * mtbf, mtbf) <= 1 - probability
    if spares:
        assert reliability.spare_missing(spares - 1, load * mtbf, mtbf) > 1 - probability


@given(st.floats(0.01, 1), st.floats(0, 1), st.floats(0, 1), st.integers(0, 60), st.floats(0, 50))
def test_spares_never_hurt_and_many_make_waits_vanish(interval, checkpoint, restart, spares, load):
    args = interval, checkpoint, restart, 1.0
    few, more, many = (
        reliability.goodput_with_spares(*args, n, load) for n in (spares, spares + 1, 1000)
    )
    assert 0 <= few <= more <= many
    assert many == pytest.approx(reliability.goodput(*args))
    assert reliability.goodput_with_spares(*args, 0, 0) == reliability.goodput(*args)


def plain_goodput(interval, checkpoint, restart, work, spares, life, repair):
    """Share of work in the time of a run; `life` and `repair` draw times."""
    time = kept = ready = 0.0  # `ready` is when work goes on
    failure, repaired = life(), []
    while True:
        while failure >= max(time, ready) + interval + checkpoint:
            time, kept = max(time, ready) + interval + checkpoint, kept + interval
            if kept >= work:
                return kept / time
        time = failure
        repaired = [back for back in repaired if back > time] + [time + repair()]
        if len(repaired) > spares:
            time = min(repaired)
            repaired.remove(time)
        failure, ready = time + life(), time + restart


def exactly(share, simulated):
    """Within four standard errors."""
    return abs(simulated.goodput - share) < 4 * simulated.error


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("interval", "restart", "mtbf"), [(0.1, 0.2, 3), (0.5, 0, 1), (2, 1, 1)])
def test_simulation_meets_dalys_model(interval, restart, mtbf, seed):
    simulated = reliability.simulated_goodput(interval, 0.05, restart, mtbf, 1000, 100, seed)
    assert simulated.error < 0.002
    assert exactly(reliability.goodput(interval, 0.05, restart, mtbf), simulated)


@pytest.mark.parametrize("spares", [0, 2, 8])
def test_simulation_meets_erlangs_formula(spares):
    args = 0.3, 0.02, 0.1, 2.0
    simulated = reliability.simulated_goodput(*args, 20_000, 100, 3, spares, repair=10)
    assert exactly(reliability.goodput_with_spares(*args, spares, 10), simulated)
    waiting = reliability.spare_missing(spares + 1, 10, 2)
    assert simulated.waiting == pytest.approx(waiting, rel=0.05)


def test_waits_do_not_depend_on_how_repairs_vary():
    """All of one length, as plain events: Erlang's formula is about their mean alone."""
    rng = np.random.default_rng(4)
    plain = plain_goodput(0.3, 0.02, 0.1, 50_000, 2, lambda: rng.exponential(2), lambda: 10)
    assert plain == pytest.approx(
        reliability.goodput_with_spares(0.3, 0.02, 0.1, 2, 2, 10), rel=0.02
    )


@pytest.mark.parametrize("shape", [0.6, 1.0, 2.0])
def test_simulation_of_failures_that_come_in_bursts_or_regularly(shape):
    """As plain events, whose times between failures NumPy draws."""
    rng = np.random.default_rng(5)
    mean = special.gamma(1 + 1 / shape)
    plain = [
        plain_goodput(
            0.3,
            0.02,
            0.1,
            2000,
            3,
            lambda: 2 * rng.weibull(shape) / mean,
            lambda: rng.exponential(4),
        )
        for _ in range(20)
    ]
    simulated = reliability.simulated_goodput(0.3, 0.02, 0.1, 2, 2000, 200, 6, 3, 4, shape)
    error = np.hypot(np.std(plain) / np.sqrt(19), simulated.error)
    assert abs(np.mean(plain) - simulated.goodput) < 4 * error


@given(st.floats(0.01, 10), st.floats(0, 5), st.floats(0.1, 100), st.integers(2, 120))
def test_simulation_without_failures_loses_checkpoints_alone(interval, checkpoint, work, runs):
    simulated = reliability.simulated_goodput(interval, checkpoint, 1, 1e12, work, runs, 0)
    assert simulated.goodput == pytest.approx(1 / (1 + checkpoint / interval))
    assert simulated.error == simulated.failures == simulated.lost == 0


@given(
    st.floats(0.05, 1),  # above the mean time between failures a run may never end
    st.floats(0, 0.5),
    st.floats(0, 1),
    st.integers(0, 5) | st.just(np.inf),
    st.floats(0, 5),
    st.floats(0.5, 3),
)
@settings(max_examples=30)
def test_simulated_shares_add_up(interval, checkpoint, restart, spares, repair, shape):
    simulated = reliability.simulated_goodput(
        interval, checkpoint, restart, 1, 50, 60, 7, spares, repair, shape
    )
    shares = simulated.goodput, *simulated[2:6]
    assert sum(shares) == pytest.approx(1)
    assert min(shares) >= 0


def test_simulation_is_the_same_on_any_number_of_threads_and_of_its_seed():
    args = 0.3, 0.02, 0.1, 2, 100, 230
    one = reliability.simulated_goodput(*args, 8, 1, 4)
    with threads(3):
        assert reliability.simulated_goodput(*args, 8, 1, 4) == one
    assert reliability.simulated_goodput(*args, 9, 1, 4) != one


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"interval": 0}, "interval = 0: give a finite number above 0"),
        ({"mtbf": np.nan}, "mtbf = nan: give a finite number above 0"),
        ({"restart": -1}, "restart = -1: give a finite number of 0 or more"),
        ({"spares": 1.5}, "spares = 1.5: give a whole number"),
        ({"runs": 1}, "runs = 1: give 2 or more"),
        ({"interval": 100, "runs": 2}, "no run ends where failures come every 1 h"),
    ],
)
def test_what_cannot_be_simulated_is_named(changes, said):
    args = {"interval": 0.1, "checkpoint": 0.1, "restart": 0.1, "mtbf": 1, "work": 10}
    with pytest.raises(ValueError, match=said):
        reliability.simulated_goodput(**{**args, "runs": 10, "seed": 1, **changes})


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
        (reliability.k_of_n_availability, (1e-12, 1_000_000, 0.9)),
        (reliability.slice_goodput, (8, 9, 0.9)),
        (reliability.slice_goodput, (8, 1.5, 0.9)),
        (reliability.slice_goodput, (64.5, 16, 0.9)),
        (reliability.slice_goodput, (8, 2, 0)),
        (reliability.slice_goodput, (np.inf, 2, 0.9)),
        (reliability.young_interval, (-1, 1)),
        (reliability.daly_interval, (1, 0)),
        (reliability.goodput, (0, 1, 1, 1)),
        (reliability.goodput, (1, 1, -1, 1)),
        (reliability.first_order_goodput, (1, 1, 1, 0)),
        (reliability.best_goodput, (0, -1, 1)),
        (reliability.best_goodput, (0, 1, 0)),
        (reliability.best_goodput, (-1, 1, 1)),
        (reliability.spare_missing, (0.5, 1, 1)),
        (reliability.spare_missing, (-1, 1, 1)),
        (reliability.spare_missing, (1, 1, 0)),
        (reliability.spares_needed, (1, 1, 1)),
        (reliability.spares_needed, (0.9, -1, 1)),
        (reliability.spares_needed, (0.5, 1e9, 1)),
        (reliability.goodput_with_spares, (1, 1, 1, 1, 0.5, 1)),
    ],
)
def test_nan_outside_the_domain(kernel, args, assert_nan):
    assert_nan(kernel, args)
