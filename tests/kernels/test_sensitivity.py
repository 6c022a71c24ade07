"""Shares of variance and of regret: published values, identities, SALib, any map and order."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from stackbook.kernels import sensitivity
from stackbook.kernels.sampling import scores
from stackbook.kernels.sensitivity import estimate, sobol, tornado, value_of_information
from stackbook.kernels.uncertainty import Z95, lognormal, normal_cdf

FIRST, TOTAL = [0.3139, 0.4424, 0], [0.5576, 0.4424, 0.2437]  # Ishigami and Homma 1990


def ishigami(z):
    x = np.pi * (2 * normal_cdf(z) - 1)
    return np.sin(x[0]) + 7 * np.sin(x[1]) ** 2 + 0.1 * x[2] ** 4 * np.sin(x[0])


def bowed(z):
    """Two outputs of four quantities, the second of interactions."""
    return np.array([lognormal(1.0, 4.0, z).sum(axis=0), z[0] * z[1] + z[2]])


def randomly(model, dimensions, rows, seed):
    """Outputs at A, B and each AB of independent rows."""
    a, b = np.random.default_rng(seed).normal(size=(2, dimensions, rows))
    swapped = [np.where(np.arange(dimensions)[:, None] == i, b, a) for i in range(dimensions)]
    return np.array([model(x) for x in (a, b, *swapped)])


def test_h01_ishigami():
    found = sobol(ishigami, 3, 2**14, 1)
    assert found.first == pytest.approx(FIRST, abs=2e-3)
    assert found.total == pytest.approx(TOTAL, abs=2e-3)
    assert found.mean == pytest.approx(3.5, abs=1e-3)
    variance = 49 / 8 + 0.1 * np.pi**4 / 5 + 0.01 * np.pi**8 / 18 + 1 / 2
    assert found.variance == pytest.approx(variance, rel=2e-3)


def test_g_function_of_sobol():
    a = np.array([0, 1, 4.5, 9, 99, 99, 99, 99])[:, None]

    def g(z):
        return ((np.abs(4 * normal_cdf(z) - 2) + a) / (1 + a)).prod(axis=0)

    part = 1 / (3 * (1 + a[:, 0]) ** 2)
    whole = (1 + part).prod()
    found = sobol(g, 8, 2**14, 1)
    assert found.first == pytest.approx(part / (whole - 1), abs=3e-3)
    assert found.total == pytest.approx(part * whole / (1 + part) / (whole - 1), abs=3e-3)


def test_groups_of_an_additive_model_add_up_and_all_in_one_decide_it():
    """Shares of a sum are those of the variances, 1 : 4 : 9 : 16, alone and with all the others."""
    weight = np.arange(1.0, 5)[:, None]
    share = weight[:, 0] ** 2 / 30
    found = sobol(lambda z: (weight * z).sum(axis=0), 4, 2**13, 1, groups=["b", "a", "b", "c"])
    assert found.groups == ("b", "a", "c")
    expected = [share[0] + share[2], share[1], share[3]]
    assert found.first == pytest.approx(expected, abs=2e-3)
    assert found.total == pytest.approx(expected, abs=2e-3)
    one = sobol(ishigami, 3, 2**13, 1, groups="aaa")
    assert (*one.first, *one.total) == pytest.approx((1, 1), abs=5e-3)


@settings(max_examples=20)
@given(st.lists(st.floats(-1, 1), min_size=6, max_size=6), st.integers(0, 1000))
def test_invariant_19_first_order_add_up_to_1_at_most_and_totals_at_least(weights, seed):
    a, b, c, ab, bc, abc = weights

    def model(z):
        x, y, z = z
        return x + a * x + b * y + c * z + ab * x * y + bc * y * z + abc * x * y * z

    found = sobol(model, 3, 2**12, seed)
    assert found.first.sum() <= 1 + 0.05
    assert found.total.sum() >= 1 - 0.05
    slack = found.first_high - found.first_low + found.total_high - found.total_low
    assert (found.first <= found.total + slack).all()


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e3))
def test_another_zero_or_unit_of_the_output_changes_no_share(zero, unit):
    runs = randomly(ishigami, 3, 256, 1)
    for one, other in zip(
        estimate(runs, 1)[1:7], estimate(zero + unit * runs, 1)[1:7], strict=True
    ):
        assert one == pytest.approx(other, abs=1e-6)


def test_a_constant_output_has_no_shares_and_others_keep_theirs():
    both = sobol(lambda z: np.array([np.full(z.shape[1], 3.0), ishigami(z)]), 3, 256, 1)
    assert np.isnan(both.first[0]).all() and np.isnan(both.total_low[0]).all()
    alone = sobol(ishigami, 3, 256, 1)
    for one, other in zip(both[1:], alone[1:], strict=True):
        np.testing.assert_array_equal(one[1], other)


def with_salib(runs, **options):
    from SALib.analyze import sobol as salib  # slow to import

    size = len(runs) - 2
    problem = {"num_vars": size, "names": [f"x{i}" for i in range(size)], "bounds": [[0, 1]] * size}
    ordered = np.concatenate([runs[:1], runs[2:], runs[1:2]]).T.ravel()
    return salib.analyze(problem, ordered, calc_second_order=False, **options)


@pytest.mark.parametrize("output", [0, 1])
def test_estimates_are_those_of_salib_on_the_same_runs(output):
    runs = randomly(bowed, 4, 1000, 1)
    ours = estimate(runs, 1)
    theirs = with_salib(runs[:, output], conf_level=0.9, num_resamples=1000, seed=1)
    assert ours.first[output] == pytest.approx(theirs["S1"], rel=1e-12, abs=1e-13)
    assert ours.total[output] == pytest.approx(theirs["ST"], rel=1e-12, abs=1e-13)
    for low, high, width in (
        (ours.first_low, ours.first_high, theirs["S1_conf"]),
        (ours.total_low, ours.total_high, theirs["ST_conf"]),
    ):
        assert (high - low)[output] / 2 == pytest.approx(width, rel=0.25)


def test_intervals_hold_the_truth_nine_times_of_ten():
    hits = []
    for seed in range(300):
        found = estimate(randomly(ishigami, 3, 1024, seed), seed)
        hits.append((found.first_low <= FIRST) & (found.first_high >= FIRST))
        hits.append((found.total_low <= TOTAL) & (found.total_high >= TOTAL))
    assert 0.86 < np.mean(hits) < 0.93


def test_rows_of_a_sequence_err_less_than_their_intervals_say():
    found = [sobol(ishigami, 3, 1024, seed) for seed in range(20)]
    error = np.sqrt(np.mean([(x.first - FIRST) ** 2 for x in found], axis=0))
    width = np.mean([(x.first_high - x.first_low) / 2 for x in found], axis=0)
    assert (error < width / Z95).all()


def backwards(function, items):
    """The last first, each by a copy such as another process gets."""
    copies = [(pickle.dumps(function), item) for item in items]
    return [pickle.loads(task)(item) for task, item in copies[::-1]][::-1]


def test_the_same_bits_by_any_map_and_in_any_blocks(monkeypatch):
    whole = sobol(bowed, 4, 2048, 7, groups="aabc")
    monkeypatch.setattr(sensitivity, "BLOCK", 256)
    with ThreadPoolExecutor(2) as pool:
        for way in (map, backwards, pool.map):
            cut = sobol(bowed, 4, 2048, 7, groups="aabc", map=way)
            for one, other in zip(whole, cut, strict=True):
                np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sobol(ishigami, 3, 1000, 1), "count = 1000: give a power of two"),
        (lambda: sobol(ishigami, 3, 8, 1, groups="ab"), "2 groups: give a label for each of 3"),
        (lambda: sobol(ishigami, 3, 8, 1, bootstrap=0), "bootstrap = 0: give 1"),
        (lambda: value_of_information([[1, np.nan]], [[0, 1]]), "not finite in every draw"),
        (lambda: value_of_information(np.ones((2, 3)), np.ones((1, 3))), "2 actions in 3 draws"),
        (lambda: estimate([[1, 2], [1, np.nan], [3, 4]], 1), "output 0 are not all finite"),
        (lambda: estimate(1e200 * np.eye(3), 1), "or too large to square: give"),
        (lambda: estimate(np.ones((2, 9)), 1), r"runs of shape \(2, 9\) and 0 groups"),
        (
            lambda: value_of_information(np.ones((2, 9)), np.ones((1, 8))),
            r"worth of shape \(2, 9\)",
        ),
    ],
)
def test_errors_say_what_to_give(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_tornado_moves_one_quantity_at_a_time():
    bars = tornado(bowed, 4)
    assert bars.shape == (2, 4, 2)
    assert bars[0] - 3 * 2 == pytest.approx(np.array([[1.0, 4.0]] * 4))
    assert bars[1] == pytest.approx(np.array([[0, 0], [0, 0], [-Z95, Z95], [0, 0]]))


def test_a_tornado_misleads_where_quantities_act_together():
    """A product of two scores: no bar, no first order, and yet each has a hand in all of it."""
    found = sobol(lambda z: z[0] * z[1], 2, 2**14, 1)
    assert (tornado(lambda z: z[0] * z[1], 2) == 0).all()
    assert found.first == pytest.approx([0, 0], abs=0.02)
    assert found.total == pytest.approx([1, 1], abs=0.02)


def expected_gain(mean, deviation):
    """Of a choice between 0 and a normal worth, over the better of both in the mean."""
    ratio = abs(mean) / deviation
    return deviation * norm.pdf(ratio) - abs(mean) * norm.cdf(-ratio)


@pytest.mark.parametrize("mean", [0.0, 0.3, -1.0])
def test_value_of_information_of_a_normal_worth(mean):
    z = scores(2**15, 3, 1)
    worth = np.array([np.zeros(2**15), mean + 0.8 * z[0] + 0.6 * z[1]])
    found = value_of_information(worth, z)
    expected = [expected_gain(mean, 0.8), expected_gain(mean, 0.6), 0.0]
    assert found.perfect == pytest.approx(expected_gain(mean, 1.0), abs=3 * found.perfect_error)
    assert (np.abs(found.partial - expected) <= 3 * found.partial_error).all()
    assert found.partial_error.max() < 0.004
    both = value_of_information(worth, z, groups="aab")
    assert both.groups == ("a", "b")
    assert both.partial[0] == pytest.approx(found.perfect, rel=1e-9)


def test_value_of_information_of_a_curved_worth_is_that_of_an_option():
    """exp(x + noise) against a sure 1.5: a call at the money of what is known, Black 1976."""
    z = scores(2**16, 2, 1)
    s, noise, strike = 0.8, 0.5, 1.5
    worth = np.array([np.full(2**16, strike), np.exp(s * z[0] + noise * z[1] - noise**2 / 2)])
    forward = np.exp(s * s / 2)
    d = np.log(forward / strike) / s + s / 2
    call = forward * norm.cdf(d) - strike * norm.cdf(d - s)
    found = value_of_information(worth, z)
    assert found.partial[0] == pytest.approx(
        call - max(0, forward - strike), abs=3 * found.partial_error[0]
    )


def test_two_that_decide_together_are_worth_knowing_together_alone():
    """A worth of x y: E max(0, x y) = 1 / pi."""
    z = scores(2**15, 3, 1)
    worth = np.array([np.zeros(2**15), z[0] * z[1]])
    alone, both = value_of_information(worth, z), value_of_information(worth, z, groups="aab")
    assert (alone.partial < 3 * alone.partial_error).all()
    assert both.partial[0] == pytest.approx(1 / np.pi, abs=3 * both.partial_error[0])


def test_what_has_no_say_is_worth_nothing_even_in_a_tie():
    """Were they valued on the draws that they were fitted to, they would earn an error each."""
    random = np.random.default_rng(1)
    z, worth = random.normal(size=(60, 4096)), random.normal(size=(2, 4096))
    found = value_of_information(worth, z)
    assert (found.partial < 3 * found.partial_error).all()
    assert found.partial.mean() < 0.4 * found.partial_error.mean()


@given(st.integers(0, 2**32), st.integers(1, 4))
def test_knowing_nothing_costs_nothing_and_knowing_all_is_worth_most(seed, actions):
    random = np.random.default_rng(seed)
    z = random.normal(size=(2, 200))
    worth = random.normal(size=(actions, 2)) @ z + random.normal(size=(actions, 1))
    found = value_of_information(worth, z)
    assert (found.partial >= 0).all()
    assert (found.partial <= found.perfect + 1e-12).all()
