"""Scaling laws: published values, identities and limits, SciPy's searches as oracles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from stackbook.inputs import constants, hoffmann
from stackbook.kernels import scaling
from stackbook.kernels.scaling import Hoffmann

BESIROGLU = Hoffmann(482.0, 2085.4, 1.817, 0.3478, 0.3659)
PRINTED = Hoffmann(406.4, 410.7, 1.69, 0.34, 0.28)  # Hoffmann et al., rounded
GOPHER = 5.76e23  # FLOP

laws = st.builds(
    Hoffmann,
    st.floats(10, 5000),
    st.floats(10, 5000),
    st.floats(0, 3),
    st.floats(0.1, 1.3),
    st.floats(0.1, 1.3),
)
counts = st.floats(1e6, 1e15)
budgets = st.floats(1e18, 1e30)
usd_per_flop = st.floats(1e-20, 1e-16)
served = st.floats(0, 1e18)


def optimum(law, flop):
    keys = law.a, law.b, law.alpha, law.beta
    return scaling.optimal_params(flop, *keys), scaling.optimal_tokens(flop, *keys)


# Published values


def test_besiroglu_give_gopher_s_budget_about_what_chinchilla_got():
    params, tokens = optimum(BESIROGLU, GOPHER)
    assert params == pytest.approx(72.4e9, rel=5e-3)
    assert tokens == pytest.approx(1.327e12, rel=5e-3)
    assert tokens / params == pytest.approx(18.3, rel=5e-3)


def test_rounded_constants_of_hoffmann_contradict_their_own_advice():
    params, tokens = optimum(PRINTED, GOPHER)
    assert tokens / params == pytest.approx(92.6, rel=5e-3)


def test_four_epochs_are_worth_nearly_four():
    assert scaling.effective_tokens(4, 1, 15.39) / 4 == pytest.approx(0.931, rel=5e-4)


def test_muennighoff_s_matched_params_are_a_fixed_share_of_unique_tokens():
    law = hoffmann("Muennighoff 2023", "C4, one epoch")
    matched = scaling.matched_params(1e11, law.a, law.b, law.alpha, law.beta)
    assert matched / 1e11 == pytest.approx(0.051, abs=5e-4)


@pytest.mark.parametrize(
    ("params", "served_tokens", "cheapest", "more_tokens", "saved", "digits"),
    [(7e9, 1e11, 6e9, 1.18, 0.01, 0.005), (13e9, 2e12, 7e9, 2.16, 0.17, 0.005)],
)
def test_sardana_s_examples(params, served_tokens, cheapest, more_tokens, saved, digits):
    """A Chinchilla-optimal model against the cheapest over its life, with FLOP as the price."""
    law = hoffmann("Sardana 2024", "Chinchilla as used")
    tokens = scaling.matched_params(params, law.b, law.a, law.beta, law.alpha)
    loss = scaling.hoffmann_loss(params, tokens, *law)
    best = scaling.params_for_loss(loss, 1, 1, served_tokens, *law)
    best_tokens = scaling.tokens_for_loss(best, loss, *law)
    assert best == pytest.approx(cheapest, rel=digits)
    assert best_tokens / tokens == pytest.approx(more_tokens, abs=digits)
    cost = scaling.lifetime_usd([params, best], [tokens, best_tokens], 1, 1, served_tokens)
    assert 1 - cost[1] / cost[0] == pytest.approx(saved, abs=digits)


def krajewski(setting):
    found = constants("moe-granular", "Krajewski 2024", setting)
    keys = ["a", "b", "c", "alpha", "beta", *(["g", "gamma"] if "g" in found else [])]
    return [found[key] for key in keys]


@pytest.mark.parametrize(
    ("active", "tokens", "granularity", "flop", "loss"),
    [(1e9, 28.94e9, 16, 1.93e20, 2.491), (70e9, 941.07e9, 32, 4.16e23, 1.694)],
)
def test_krajewski_s_optimal_mixtures(active, tokens, granularity, flop, loss):
    """Their Table 2: 64 experts' worth of parameters, 43 times those that a token uses."""
    law = krajewski("experts 64 times the dense layer")
    params = active * (8 * 64 + 4) / 12
    ours = scaling.granular_moe_flop(params, tokens, granularity, 64)
    assert ours == pytest.approx(flop, rel=5e-3)
    ours = scaling.granular_moe_loss(params, tokens, granularity, *law)
    assert ours == pytest.approx(loss, rel=1e-2)  # the printed constants are rounded

    def at_budget(n, c):
        d = c / scaling.granular_moe_flop(n, 1, granularity, 64)
        return scaling.granular_moe_loss(n, d, granularity, *law)

    assert scaling.compute_optimal(at_budget, flop) == pytest.approx(params, rel=0.03)


def test_krajewski_s_mixture_is_worth_20_times_the_compute_of_a_dense_model():
    law = krajewski("experts 64 times the dense layer")
    dense = Hoffmann(*krajewski("dense"))

    def at_budget(n, c):
        d = c / scaling.granular_moe_flop(n, 1, 16, 64)
        return scaling.granular_moe_loss(n, d, 16, *law)

    loss = at_budget(scaling.compute_optimal(at_budget, 1e20), 1e20)
    params = scaling.params_for_loss(loss, 1, 0, 0, *dense)
    flop = 6 * params * scaling.tokens_for_loss(params, loss, *dense)
    assert flop / 1e20 == pytest.approx(20, rel=0.1)


def clark(method):
    found = constants("moe-routed", "Clark 2022", method)
    return [found[key] for key in ("a", "b", "c", "d", "E_start", "E_max")]


def test_clark_s_small_mixture_matches_a_dense_model_of_55_million():
    a, b, c, _, *seen = clark("S-BASE")
    dense = scaling.dense_equivalent_params(5e6, 128, a, b, c, *seen)
    assert dense == pytest.approx(55e6, rel=0.1)  # the printed constants are rounded


def test_clark_s_experts_stop_helping_at_the_cutoff():
    cutoff = constants("moe-routed", "Clark 2022", "S-BASE")["N_cutoff"]
    losses = scaling.routed_moe_loss(cutoff, [1, 64], *clark("S-BASE"))
    assert losses[1] == pytest.approx(losses[0], rel=2e-3)
    small, large = scaling.routed_moe_loss([cutoff / 100, cutoff * 100], 64, *clark("S-BASE"))
    dense = scaling.routed_moe_loss([cutoff / 100, cutoff * 100], 1, *clark("S-BASE"))
    assert small < dense[0]
    assert large > dense[1]


def test_kaplan_s_joint_fit_has_parameters_rise_as_compute_to_the_0575():
    found = constants("kaplan", "Kaplan 2020", "joint fit")
    law = [found[key] for key in ("N_c", "D_c", "alpha_N", "alpha_D")]
    flop = np.array([1e22, 1e24])
    params = scaling.compute_optimal(lambda n, c: scaling.kaplan_loss(n, c / (6 * n), *law), flop)
    assert np.log10(params[1] / params[0]) / 2 == pytest.approx(0.575, abs=5e-4)


# Identities and limits


@given(counts, counts, laws)
def test_hoffmann_loss_is_its_formula_and_falls_in_both(params, tokens, law):
    loss = scaling.hoffmann_loss(params, tokens, *law)
    expected = law.e + law.a * params**-law.alpha + law.b * tokens**-law.beta
    assert loss == pytest.approx(expected, rel=1e-13)
    assert scaling.hoffmann_loss(params * 2, tokens, *law) <= loss
    assert scaling.hoffmann_loss(params, tokens * 2, *law) <= loss


@given(counts, counts)
def test_kaplan_loss_has_the_laws_of_one_variable_as_limits(params, tokens):
    law = 6.4e13, 1.8e13, 0.076, 0.103
    assert scaling.kaplan_loss(params, np.inf, *law) == pytest.approx((6.4e13 / params) ** 0.076)
    assert scaling.kaplan_loss(np.inf, tokens, *law) == pytest.approx((1.8e13 / tokens) ** 0.103)
    expected = ((6.4e13 / params) ** (0.076 / 0.103) + 1.8e13 / tokens) ** 0.103
    assert scaling.kaplan_loss(params, tokens, *law) == pytest.approx(expected, rel=1e-13)


@given(counts, counts, st.floats(0.1, 100))
def test_repeated_tokens_are_worth_less_than_fresh_ones(tokens, unique, r_d):
    worth = scaling.effective_tokens(tokens, unique, r_d)
    assert min(tokens, unique) <= worth <= tokens * (1 + 1e-15)
    assert worth <= unique * (1 + r_d) * (1 + 1e-12)
    assert worth == scaling.effective_params(tokens, unique, r_d)  # the same form


@given(st.floats(1.5, 50), st.floats(1, 50))
def test_value_of_one_more_token_is_the_slope_of_effective_tokens(epochs, r_d):
    step = 1e-4
    above, below = scaling.effective_tokens([epochs + step, epochs - step], 1, r_d)
    slope = (above - below) / (2 * step)
    assert scaling.repeated_token_value(epochs, r_d) == pytest.approx(slope, rel=1e-6, abs=1e-10)
    half = scaling.repetition_half_life(r_d)
    assert scaling.repeated_token_value(1 + half, r_d) == pytest.approx(0.5)


@given(counts, counts, laws, st.floats(1, 50), st.floats(1, 50))
def test_data_constrained_loss_where_all_is_fresh_is_hoffmann_loss(params, tokens, law, r_d, r_n):
    matched = scaling.matched_params(tokens, law.a, law.b, law.alpha, law.beta)
    params = min(params, matched)
    fresh = scaling.data_constrained_loss(params, tokens, tokens, *law, r_d, r_n)
    assert fresh == pytest.approx(scaling.hoffmann_loss(params, tokens, *law), rel=1e-12)
    repeated = scaling.data_constrained_loss(params, tokens, tokens / 10, *law, r_d, r_n)
    assert repeated >= fresh


@given(budgets, st.floats(0.1, 1e4), laws, st.floats(0.05, 0.4))
def test_over_training_law_is_hoffmann_s_with_equal_exponents(flop, ratio, law, eta):
    params = (flop / 6 / ratio) ** 0.5
    same = Hoffmann(law.a / 6**eta, law.b / 6**eta, law.e, 2 * eta, 2 * eta)
    ours = scaling.over_training_loss(flop, ratio, law.a, law.b, law.e, eta)
    assert ours == pytest.approx(scaling.hoffmann_loss(params, params * ratio, *same), rel=1e-12)


@given(counts, counts, st.floats(1, 64), laws, st.floats(0, 100), st.floats(0.1, 2))
def test_granular_mixture_lies_between_coarse_and_limitless(params, tokens, fine, law, g, gamma):
    loss = scaling.granular_moe_loss(params, tokens, fine, *law, g, gamma)
    coarse = law._replace(a=law.a + g)
    assert scaling.hoffmann_loss(params, tokens, *law) <= loss * (1 + 1e-12)
    assert loss <= scaling.hoffmann_loss(params, tokens, *coarse) * (1 + 1e-12)


@given(counts, st.floats(1, 1e4))
def test_dense_equivalent_has_the_loss_of_the_mixture(params, experts):
    a, b, c, d, *seen = clark("RL-R")
    dense = scaling.dense_equivalent_params(params, experts, a, b, c, *seen)
    mixture = scaling.routed_moe_loss(params, experts, a, b, c, d, *seen)
    assert scaling.routed_moe_loss(dense, 1, a, b, c, d, *seen) == pytest.approx(mixture)
    assert scaling.saturated_experts(1, *seen) == pytest.approx(seen[0])
    assert seen[0] <= scaling.saturated_experts(experts, *seen) * (1 + 1e-12) <= seen[1]


@given(counts, st.floats(1, 32), st.floats(0.5, 5), st.floats(-1, 2))
def test_few_bits_cost_parameters_and_many_cost_none(params, bits, gamma, n):
    law = *[gamma] * 3, *[n] * 3
    kept = max(1 - np.exp(n - bits / gamma), 0)
    worth = scaling.precision_params(params, bits, bits, bits, *law)
    assert worth == pytest.approx(params * kept**3, abs=1e-12 * params)
    assert scaling.precision_params(params, 400, 400, 400, *law) == params


@given(counts, counts, st.floats(1, 16))
def test_rounding_after_training_costs_most_where_tokens_abound(params, tokens, bits):
    law = 0.0598, 0.5068, 0.3439, 0.5907, 1.1277
    added = scaling.quantization_loss(params, tokens, bits, *law)
    expected = 0.0598 * tokens**0.5068 / params**0.3439 * np.exp(1.1277 - bits / 0.5907)
    assert added == pytest.approx(expected, rel=1e-12)
    assert scaling.quantization_loss(params, tokens * 2, bits, *law) > added
    assert scaling.quantization_loss(params, tokens, bits + 1, *law) < added


@given(budgets, st.floats(-10, 10), st.floats(0.1, 3))
def test_effective_flop_doubles(flop, years, doubling):
    expected = flop * 2 ** (years / doubling)
    assert scaling.effective_flop(flop, years, doubling) == pytest.approx(expected, rel=1e-12)


# Allocation


def test_price_of_a_flop():
    """An hour at 40% of 1e15 FLOP/s is 1.44e18 FLOP."""
    assert 1.44e18 * scaling.usd_per_flop(2.0, 1e15, 0.4) == pytest.approx(2.0)
    assert np.isnan(scaling.usd_per_flop(2.0, 1e15, 0.0))


@given(budgets, laws)
def test_optimum_spends_the_budget_and_beats_its_neighbours(flop, law):
    params, tokens = optimum(law, flop)
    assert 6 * params * tokens == pytest.approx(flop, rel=1e-12)
    best = scaling.hoffmann_loss(params, tokens, *law)
    others = params * np.array([0.5, 0.9, 1.1, 2])
    assert (scaling.hoffmann_loss(others, flop / (6 * others), *law) >= best * (1 - 1e-12)).all()
    matched = scaling.matched_params(tokens, law.a, law.b, law.alpha, law.beta)
    assert matched == pytest.approx(params, rel=1e-9)


@given(counts, counts, laws)
def test_tokens_for_loss_give_that_loss(params, tokens, law):
    loss = scaling.hoffmann_loss(params, tokens, *law)
    found = scaling.tokens_for_loss(params, loss, *law)
    if not np.isnan(found):  # the last digits of the loss still hold the tokens
        assert scaling.hoffmann_loss(params, found, *law) == pytest.approx(loss, rel=1e-12)
    floor = scaling.hoffmann_loss(params, np.inf, *law)
    assert np.isnan(scaling.tokens_for_loss(params, floor * (1 - 1e-12), *law))


@given(budgets, usd_per_flop, usd_per_flop, laws)
def test_without_serving_the_cheapest_model_is_compute_optimal(flop, training, serving, law):
    law = law._replace(e=0.0)  # a loss close to its floor has no digits left to tell the size
    params, tokens = optimum(law, flop)
    loss = scaling.hoffmann_loss(params, tokens, *law)
    cheapest = scaling.params_for_loss(loss, training, serving, 0, *law)
    assert cheapest == pytest.approx(params, rel=1e-11)
    keys = law.a, law.b, law.alpha, law.beta
    bought = scaling.params_for_budget(flop * training, training, serving, 0, *keys)
    assert bought == pytest.approx(params, rel=1e-11)


@given(st.floats(1.9, 3.5), usd_per_flop, usd_per_flop, served)
def test_params_for_loss_agree_with_scipy_s_search(loss, training, serving, tokens):
    law = BESIROGLU
    cheapest = scaling.params_for_loss(loss, training, serving, tokens, *law)

    def cost(log_params):
        params = np.exp(log_params)
        trained = scaling.tokens_for_loss(params, loss, *law)
        return scaling.lifetime_usd(params, trained, training, serving, tokens)

    least = np.log(law.a / (loss - law.e)) / law.alpha  # reaches it with limitless tokens
    found = optimize.minimize_scalar(
        cost, bounds=(least + 1e-9, least + 10), method="bounded", options={"xatol": 1e-10}
    )
    assert np.exp(found.x) == pytest.approx(cheapest, rel=1e-5)
    assert cost(np.log(cheapest)) <= found.fun * (1 + 1e-12)


@given(st.floats(1.9, 3.5), usd_per_flop, usd_per_flop, served)
def test_params_for_loss_meet_the_first_order_condition(loss, training, serving, tokens):
    """The loss falls by parameters as by tokens, each by its share of the cost (Sardana et al.)."""
    law = BESIROGLU
    params = scaling.params_for_loss(loss, training, serving, tokens, *law)
    trained = scaling.tokens_for_loss(params, loss, *law)
    by_params = law.alpha * law.a * params**-law.alpha
    by_tokens = law.beta * law.b * trained**-law.beta
    wedge = 1 + serving * tokens / (3 * training * trained)
    assert by_params / by_tokens == pytest.approx(wedge, rel=1e-9)
    keys = law.a, law.b, law.alpha, law.beta
    implied = scaling.implied_served_tokens(params, trained, training, serving, *keys)
    assert implied == pytest.approx(tokens, rel=1e-6, abs=1e-8 * trained * training / serving)


@given(st.floats(1e2, 1e12), usd_per_flop, usd_per_flop, served, laws)
def test_budget_and_loss_are_two_views_of_one_optimum(usd, training, serving, tokens, law):
    keys = law.a, law.b, law.alpha, law.beta
    prices = training, serving, tokens
    params = scaling.params_for_budget(usd, *prices, *keys)
    trained = scaling.tokens_for_budget(params, usd, *prices)
    wedge = 1 + serving * tokens / (3 * training * trained)
    by_params = law.alpha * law.a * params**-law.alpha
    by_tokens = law.beta * law.b * trained**-law.beta
    # Tokens are what serving leaves of the budget: few digits where it leaves little.
    assert by_params / by_tokens == pytest.approx(wedge, rel=1e-10 * wedge)
    assert scaling.lifetime_usd(params, trained, *prices) == pytest.approx(usd, rel=1e-12)


def test_the_cheapest_model_of_a_loss_costs_the_budget_that_buys_it():
    keys = BESIROGLU.a, BESIROGLU.b, BESIROGLU.alpha, BESIROGLU.beta
    prices = 1e-18, 3e-18, np.array([0, 1e10, 1e12, 1e14, 1e16])
    params = scaling.params_for_loss(2.0, *prices, *BESIROGLU)
    tokens = scaling.tokens_for_loss(params, 2.0, *BESIROGLU)
    usd = scaling.lifetime_usd(params, tokens, *prices)
    np.testing.assert_allclose(scaling.params_for_budget(usd, *prices, *keys), params, rtol=1e-10)


@given(st.floats(1.9, 3.5), st.floats(1e8, 1e18), st.floats(1.1, 100))
def test_more_served_tokens_make_the_model_smaller(loss, tokens, factor):
    few, many = scaling.params_for_loss(loss, 1e-18, 1e-18, [tokens, tokens * factor], *BESIROGLU)
    assert many < few
    keys = BESIROGLU.a, BESIROGLU.b, BESIROGLU.alpha, BESIROGLU.beta
    few, many = scaling.params_for_budget(1e7, 1e-18, 1e-18, [tokens, tokens * factor], *keys)
    assert many < few


@given(st.lists(st.floats(1e15, 1e30), min_size=1, max_size=5), laws)
def test_compute_optimal_finds_hoffmann_s_optimum(flop, law):
    flop = np.array(flop)
    inner = [1 < params < c for params, c in zip(optimum(law, flop)[0], flop, strict=True)]
    found = scaling.compute_optimal(
        lambda n, c: scaling.hoffmann_loss(n, c / (6 * n), *law._replace(e=0.0)), flop
    )
    np.testing.assert_allclose(found[inner], optimum(law, flop)[0][inner], rtol=1e-6)


def test_compute_optimal_takes_floats_and_says_nan():
    def loss(n, c):
        return scaling.hoffmann_loss(n, c / (6 * n), *BESIROGLU)

    assert scaling.compute_optimal(loss, GOPHER) == pytest.approx(72.5e9, rel=1e-3)
    assert np.isnan(scaling.compute_optimal(loss, [np.nan, -1, 0, 1])).all()
    assert np.isnan(scaling.compute_optimal(lambda n, c: n * c * np.nan, GOPHER))


def test_scarce_data_make_epochs_worth_more_than_parameters():
    """With 1e11 unique tokens and 100 times the compute that suits them (Muennighoff et al.)."""
    law = hoffmann("Muennighoff 2023", "C4, one epoch")
    repeats = constants("data-constrained", "Muennighoff 2023", "C4")
    unique = 1e11
    matched = scaling.matched_params(unique, law.a, law.b, law.alpha, law.beta)
    flop = 6 * matched * unique * 100

    def loss(n, c):
        d = c / (6 * n)
        return scaling.data_constrained_loss(n, d, unique, *law, repeats["R_D"], repeats["R_N"])

    params = scaling.compute_optimal(loss, flop)
    found = optimize.minimize_scalar(
        lambda x: loss(np.exp(x), flop),
        bounds=(np.log(matched), np.log(matched * 100)),
        method="bounded",
        options={"xatol": 1e-9},
    )
    assert params == pytest.approx(np.exp(found.x), rel=1e-5)
    epochs = flop / (6 * params) / unique
    assert epochs > params / matched
    assert params < optimum(law, flop)[0]


@pytest.mark.parametrize(
    ("formula", "args"),
    [
        (scaling.hoffmann_loss, (1e9, 1e10, *BESIROGLU)),
        (scaling.kaplan_loss, (1e9, 1e10, 6.4e13, 1.8e13, 0.076, 0.103)),
        (scaling.optimal_params, (1e20, 482, 2085, 0.35, 0.37)),
        (scaling.effective_tokens, (2, 1, 15)),
        (scaling.precision_params, (1e9, 8, 8, 8, 2, 2, 2, 0, 0, 0)),
        (scaling.granular_moe_flop, (1e9, 1e10, 8, 64)),
    ],
)
def test_nothing_and_less_is_outside_the_domain(formula, args):
    assert np.isfinite(formula(*args))
    for i in range(len(args)):
        if args[i] == 0:
            continue  # an offset may be any number
        bounded = formula is scaling.hoffmann_loss and i > 1  # a term of it may be nothing
        for bad in (-1.0,) if bounded else (0.0, -1.0):
            assert np.isnan(formula(*args[:i], bad, *args[i + 1 :])), i
