"""What a language model's loss follows from, and how a budget buys the lowest.

Parameters, tokens and FLOP are counts; loss is in nats per token of the data set of a law, so that
the losses of two laws compare only where their data and vocabulary are the same.
"""

from collections.abc import Callable
from math import inf, nan
from typing import Any, NamedTuple

import numpy as np

from stackbook.kernels.elementary import exp, expm1, log, log1p
from stackbook.kernels.jit import formula

LN2 = 0.6931471805599453
LN10 = 2.302585092994046


class Hoffmann(NamedTuple):
    """Constants of the law loss = e + a / params^alpha + b / tokens^beta."""

    a: float
    b: float
    e: float
    alpha: float
    beta: float


@formula
def kaplan_loss(
    params: float,
    tokens: float,
    critical_params: float,
    critical_tokens: float,
    alpha_n: float,
    alpha_d: float,
) -> float:
    """Loss by the first joint law, in which the lack of parameters and of tokens mix.

    params: parameters without embeddings [1], above 0
    tokens: tokens trained on [1], above 0
    critical_params, critical_tokens: scales N_c [1] and D_c [1], above 0
    alpha_n, alpha_d: exponents, above 0 [1]
    returns: [1], nats per token
    source: Kaplan et al. 2020, (1.5): L = ((N_c / N)^(alpha_N / alpha_D) + D_c / D)^alpha_D
    """
    if not (params > 0 and tokens > 0 and critical_params > 0 and critical_tokens > 0):
        return nan
    if not (alpha_n > 0 and alpha_d > 0):
        return nan
    lacking = _power(critical_params / params, alpha_n / alpha_d) + critical_tokens / tokens
    return _power(lacking, alpha_d)


@formula
def hoffmann_loss(
    params: float, tokens: float, a: float, b: float, e: float, alpha: float, beta: float
) -> float:
    """Loss as a floor, a term that parameters lower and one that tokens lower.

    params, tokens: parameters and tokens trained on, above 0 [1]
    a, b: scales of the two terms, 0 or more [1]
    e: loss that no size of model or data removes [1], 0 or more
    alpha, beta: exponents, 0 or more [1]
    returns: [1], nats per token
    source: Hoffmann et al. 2022, (2): L = E + A / N^alpha + B / D^beta
    """
    if not (params > 0 and tokens > 0 and a >= 0 and b >= 0 and e >= 0):
        return nan
    if not (alpha >= 0 and beta >= 0):
        return nan
    return e + a * _power(params, -alpha) + b * _power(tokens, -beta)


@formula
def effective_tokens(tokens: float, unique_tokens: float, r_d: float) -> float:
    """Fresh tokens that are worth as much as those trained on, many of which are repeated.

    tokens: tokens trained on [1], above 0
    unique_tokens: different tokens that there are [1], above 0
    r_d: repetitions after which one more is worth 1 / e of fresh tokens [1], above 0
    returns: [1]
    source: Muennighoff et al. 2023, (5): D' = U + U R* (1 - exp(-R / R*)), R = D / U - 1
    """
    return _saturated(tokens, unique_tokens, r_d)


@formula
def effective_params(params: float, unique_params: float, r_n: float) -> float:
    """Parameters that are worth as much as those of a model too large for its unique tokens.

    params: parameters [1], above 0
    unique_params: parameters that match the unique tokens, see matched_params [1], above 0
    r_n: excess, in multiples of the matched size, where one more adds 1 / e [1], above 0
    returns: [1]
    source: Muennighoff et al. 2023, (6): N' = U + U R* (1 - exp(-R / R*)), R = N / U - 1
    """
    return _saturated(params, unique_params, r_n)


@formula
def repeated_token_value(epochs: float, r_d: float) -> float:
    """What one more token is worth in fresh tokens, after some passes over the same data.

    epochs: passes already made [1], 1 or more
    r_d: repetitions after which one more is worth 1 / e of fresh tokens [1], above 0
    returns: [1], 0 to 1
    source: Muennighoff et al. 2023, slope of (5): exp(-R / R*), R = epochs - 1
    """
    return exp((1 - epochs) / r_d) if epochs >= 1 and r_d > 0 else nan


@formula
def repetition_half_life(r_d: float) -> float:
    """Repetitions of the data after which a token is worth half a fresh one.

    r_d: repetitions after which one more is worth 1 / e of fresh tokens [1], above 0
    returns: [1]; the paper calls r_d itself a half-life
    source: Muennighoff et al. 2023, from the slope of (5): R* ln(2)
    """
    return r_d * LN2 if r_d > 0 else nan


@formula
def matched_params(tokens: float, a: float, b: float, alpha: float, beta: float) -> float:
    """Size of the model for which some number of fresh tokens is compute-optimal.

    tokens: tokens trained on once [1], above 0
    a, b, alpha, beta: constants of hoffmann_loss, above 0 [1]
    returns: [1]
    source: Hoffmann et al. 2022, (4): alpha A / N^alpha = beta B / D^beta
    """
    if not (tokens > 0 and _is_law(a, b, alpha, beta)):
        return nan
    return _power(alpha * a / (beta * b) * _power(tokens, beta), 1 / alpha)


@formula
def data_constrained_loss(
    params: float,
    tokens: float,
    unique_tokens: float,
    a: float,
    b: float,
    e: float,
    alpha: float,
    beta: float,
    r_d: float,
    r_n: float,
) -> float:
    """Loss where tokens are repeated: as of their worth in fresh ones, and the model's likewise.

    params, tokens, unique_tokens: parameters, tokens trained on, different tokens, above 0 [1]
    a, b, e, alpha, beta: constants of hoffmann_loss [1]
    r_d, r_n: constants of effective_tokens and effective_params, above 0 [1]
    returns: [1], nats per token
    source: Muennighoff et al. 2023, (17)
    """
    unique = min(tokens, unique_tokens) if tokens > 0 and unique_tokens > 0 else nan
    matched = matched_params(unique, a, b, alpha, beta)
    worth = effective_params(params, matched, r_n)
    return hoffmann_loss(worth, effective_tokens(tokens, unique, r_d), a, b, e, alpha, beta)


@formula
def over_training_loss(
    flop: float, tokens_per_param: float, a: float, b: float, e: float, eta: float
) -> float:
    """Loss of a model that is trained on many tokens per parameter, where exponents are equal.

    flop: training compute, 6 FLOP a parameter and token [1], above 0
    tokens_per_param: [1], above 0
    a, b, e: scales of the two terms, above 0, and floor, 0 or more [1]
    eta: exponent [1], above 0
    returns: [1], nats per token; hoffmann_loss of a / 6^eta, b / 6^eta, e, 2 eta, 2 eta
    source: Gadre et al. 2024, (4): L(C, M) = E + (a M^eta + b M^-eta) C^-eta
    """
    if not (flop > 0 and tokens_per_param > 0 and _is_law(a, b, eta, eta) and e >= 0):
        return nan
    skew = _power(tokens_per_param, eta)
    return e + (a * skew + b / skew) * _power(flop, -eta)


@formula
def granular_moe_loss(
    params: float,
    tokens: float,
    granularity: float,
    a: float,
    b: float,
    e: float,
    alpha: float,
    beta: float,
    g: float,
    gamma: float,
) -> float:
    """Loss of a mixture of experts that are cut into finer ones, more of which a token uses.

    params, tokens: all parameters without embeddings, tokens trained on, above 0 [1]
    granularity: width of the dense feed-forward layer over an expert's [1], above 0
    a, b, e, alpha, beta: constants of hoffmann_loss, for limitless granularity [1]
    g, gamma: scale of what coarse experts lose, 0 or more, and its exponent, above 0 [1]
    returns: [1], nats per token
    source: Krajewski et al. 2024, (9): L = c + (g / G^gamma + a) / N^alpha + b / D^beta
    """
    if not (granularity > 0 and g >= 0 and gamma > 0 and a > 0):
        return nan
    coarse = a + g * _power(granularity, -gamma)
    return hoffmann_loss(params, tokens, coarse, b, e, alpha, beta)


@formula
def granular_moe_flop(params: float, tokens: float, granularity: float, expansion: float) -> float:
    """Training compute of a mixture of experts, with that of routing to many fine ones.

    params, tokens: all parameters without embeddings, tokens trained on, above 0 [1]
    granularity: width of the dense feed-forward layer over an expert's [1], above 0
    expansion: parameters of all experts over those of the dense layer [1], 1 or more
    returns: [1], for a width of 64 a layer, and one dense layer's worth of experts a token
    source: Krajewski et al. 2024: (12 c_f d^2 + c_r d E G) D n_blocks, c_f = 6, c_r = 14
    """
    if not (params > 0 and tokens > 0 and granularity > 0 and expansion >= 1):
        return nan
    width = _power(64 * params / (8 * expansion + 4), 1 / 3)
    return (72 * width + 14 * expansion * granularity) * width * (width / 64) * tokens


@formula
def saturated_experts(experts: float, e_start: float, e_max: float) -> float:
    """Number of experts as the loss sees it: from e_start for one, to e_max for any number.

    experts: experts of a layer, of which a token uses one [1], 1 or more
    e_start, e_max: value at one expert, and limit [1], 0 < e_start < e_max
    returns: [1]
    source: Clark et al. 2022, (1): 1 / E^ = 1 / (E - 1 + 1 / (1 / E_start - 1 / E_max)) + 1 / E_max
    """
    if not (experts >= 1 and 0 < e_start < e_max):
        return nan
    return 1 / (1 / (experts - 1 + 1 / (1 / e_start - 1 / e_max)) + 1 / e_max)


@formula
def routed_moe_loss(
    params: float,
    experts: float,
    slope_n: float,
    slope_e: float,
    slope_ne: float,
    intercept: float,
    e_start: float,
    e_max: float,
) -> float:
    """Loss of a mixture of experts at a fixed number of tokens, bilinear in two logarithms.

    params: parameters that one token uses [1], above 0
    experts: experts of a layer, of which a token uses one [1], 1 or more
    slope_n, slope_e, slope_ne: a, b and c, of log10 N, of log10 E^ and of their product [1]
    intercept: d [1]
    e_start, e_max: constants of saturated_experts [1]
    returns: [1], nats per token
    source: Clark et al. 2022, (1): log L = a log N + b log E^ + c log N log E^ + d, to base 10
    """
    if not params > 0:
        return nan
    n = log(params) / LN10
    seen = log(saturated_experts(experts, e_start, e_max)) / LN10
    return exp((slope_n * n + slope_e * seen + slope_ne * n * seen + intercept) * LN10)


@formula
def dense_equivalent_params(
    params: float,
    experts: float,
    slope_n: float,
    slope_e: float,
    slope_ne: float,
    e_start: float,
    e_max: float,
) -> float:
    """Size of the dense model with the loss of a mixture of experts, by routed_moe_loss.

    params: parameters that one token uses [1], above 0
    experts: experts of a layer, of which a token uses one [1], 1 or more
    slope_n, slope_e, slope_ne: constants of routed_moe_loss [1]; slope at one expert below 0
    e_start, e_max: constants of saturated_experts [1]
    returns: [1]
    source: Clark et al. 2022, (11), effective parameter count: L(N_eff, 1) = L(N, E)
    """
    seen = log(saturated_experts(experts, e_start, e_max)) / LN10
    one = log(e_start) / LN10 if e_start > 0 else nan
    dense = slope_n + slope_ne * one
    if not (params > 0 and dense < 0):
        return nan
    rise = (slope_ne * log(params) / LN10 + slope_e) * (seen - one) / dense
    return params * exp(rise * LN10)


@formula
def precision_params(
    params: float,
    weight_bits: float,
    activation_bits: float,
    kv_bits: float,
    gamma_w: float,
    gamma_a: float,
    gamma_kv: float,
    n_w: float,
    n_a: float,
    n_kv: float,
) -> float:
    """Parameters at full precision that are worth as much as those trained in fewer bits.

    params: parameters [1], above 0
    weight_bits, activation_bits, kv_bits: of weights, activations, KV cache [1], above 0
    gamma_w, gamma_a, gamma_kv: bits that divide the lost part by e [1], above 0
    n_w, n_a, n_kv: logarithm of the part that is lost at no bits [1]
    returns: [1], 0 where a part loses all
    source: Kumar et al. 2024, (4) and appendix K: N times 1 - exp(n - P / gamma) of each of three
    """
    if not (params > 0 and weight_bits > 0 and activation_bits > 0 and kv_bits > 0):
        return nan
    if not (gamma_w > 0 and gamma_a > 0 and gamma_kv > 0):
        return nan
    weights = -expm1(n_w - weight_bits / gamma_w)
    activations = -expm1(n_a - activation_bits / gamma_a)
    cache = -expm1(n_kv - kv_bits / gamma_kv)
    lost = weights <= 0 or activations <= 0 or cache <= 0
    return 0.0 if lost else params * weights * activations * cache


@formula
def quantization_loss(
    params: float,
    tokens: float,
    bits: float,
    c_t: float,
    gamma_d: float,
    gamma_n: float,
    gamma_post: float,
    n_post: float,
) -> float:
    """Loss that is added when weights are rounded to fewer bits after training.

    params, tokens: parameters and tokens trained on, above 0 [1]
    bits: of a weight afterwards [1], above 0
    c_t: scale [1], 0 or more
    gamma_d, gamma_n: exponents of tokens and parameters, above 0 [1]
    gamma_post: bits that divide the added loss by e [1], above 0
    n_post: offset of the exponent of bits [1]
    returns: [1], nats per token
    source: Kumar et al. 2024, (2) and appendix K: C_T D^gamma_D / N^gamma_N exp(b - P / gamma_post)
    """
    if not (params > 0 and tokens > 0 and bits > 0 and c_t >= 0):
        return nan
    if not (gamma_d > 0 and gamma_n > 0 and gamma_post > 0):
        return nan
    fall = n_post - bits / gamma_post
    return c_t * exp(gamma_d * log(tokens) - gamma_n * log(params) + fall)


@formula
def effective_flop(flop: float, years: float, doubling_years: float) -> float:
    """Compute that would have been needed some years ago for what today's algorithms do with less.

    flop: compute used [1], 0 or more
    years: time that algorithms had to improve [yr]
    doubling_years: time in which they halve the compute for a loss [yr], above 0
    returns: [1]
    source: Ho et al. 2024: C_eff = C 2^(t / T)
    """
    return flop * exp(LN2 * years / doubling_years) if flop >= 0 and doubling_years > 0 else nan


@formula
def optimal_params(flop: float, a: float, b: float, alpha: float, beta: float) -> float:
    """Size of the model with the lowest hoffmann_loss for a budget of training compute.

    flop: training compute, 6 FLOP a parameter and token [1], above 0
    a, b, alpha, beta: constants of hoffmann_loss, above 0 [1]
    returns: [1]
    source: Hoffmann et al. 2022, (4): G (C / 6)^(beta / (alpha + beta))
    """
    if not (flop > 0 and _is_law(a, b, alpha, beta)):
        return nan
    return _power(alpha * a / (beta * b) * _power(flop / 6, beta), 1 / (alpha + beta))


@formula
def optimal_tokens(flop: float, a: float, b: float, alpha: float, beta: float) -> float:
    """Tokens to train on for the lowest hoffmann_loss for a budget of training compute.

    flop: training compute, 6 FLOP a parameter and token [1], above 0
    a, b, alpha, beta: constants of hoffmann_loss, above 0 [1]
    returns: [1]
    source: Hoffmann et al. 2022, (4): (C / 6)^(alpha / (alpha + beta)) / G
    """
    return optimal_params(flop, b, a, beta, alpha)


@formula
def tokens_for_loss(
    params: float, loss: float, a: float, b: float, e: float, alpha: float, beta: float
) -> float:
    """Tokens that bring a model of some size to a loss.

    params: parameters [1], above 0
    loss: [1], nats per token; above what the model reaches with limitless tokens
    a, b, e, alpha, beta: constants of hoffmann_loss [1]
    returns: [1]; NaN where no number of tokens does
    source: Hoffmann et al. 2022, (2) solved for D
    """
    if not (params > 0 and _is_law(a, b, alpha, beta) and e >= 0):
        return nan
    left = loss - e - a * _power(params, -alpha)
    return _power(b / left, 1 / beta) if left > 0 else nan


@formula
def usd_per_flop(usd_per_hour: float, flop_per_s: float, mfu: float) -> float:
    """Price of a FLOP that counts, on an accelerator that is paid by the hour.

    usd_per_hour: of the accelerator [USD/h], 0 or more
    flop_per_s: its dense peak [1/s], above 0
    mfu: share of the peak that a model's FLOP reach [1], above 0
    returns: [USD]
    source: definition
    """
    if not (usd_per_hour >= 0 and flop_per_s > 0 and mfu > 0):
        return nan
    return usd_per_hour / (3600 * flop_per_s * mfu)


@formula
def tokens_for_budget(
    params: float,
    usd: float,
    training_usd_per_flop: float,
    serving_usd_per_flop: float,
    served_tokens: float,
) -> float:
    """Tokens that a model of some size can train on, after the cost of serving it is set aside.

    params: parameters [1], above 0
    usd: for training and serving [USD]
    training_usd_per_flop, serving_usd_per_flop: above 0, 0 or more [USD]
    served_tokens: read and written in the model's life [1], 0 or more
    returns: [1]; NaN where serving costs more than the budget
    source: lifetime_usd solved for the tokens
    """
    if not (params > 0 and training_usd_per_flop > 0):
        return nan
    if not (serving_usd_per_flop >= 0 and served_tokens >= 0):
        return nan
    left = usd / params - 2 * serving_usd_per_flop * served_tokens
    return left / (6 * training_usd_per_flop) if left >= 0 else nan


@formula
def lifetime_usd(
    params: float,
    tokens: float,
    training_usd_per_flop: float,
    serving_usd_per_flop: float,
    served_tokens: float,
) -> float:
    """Cost of training a model once and serving it for its life.

    params, tokens: parameters and tokens trained on, 0 or more [1]
    training_usd_per_flop, serving_usd_per_flop: 0 or more [USD]
    served_tokens: read and written in the model's life [1], 0 or more
    returns: [USD]
    source: Sardana et al. 2024, (6) with prices: 6 N D and 2 N D_inf FLOP
    """
    if not (params >= 0 and tokens >= 0 and training_usd_per_flop >= 0):
        return nan
    if not (serving_usd_per_flop >= 0 and served_tokens >= 0):
        return nan
    training = 6 * training_usd_per_flop * tokens
    return params * (training + 2 * serving_usd_per_flop * served_tokens)


@formula
def params_for_loss(
    loss: float,
    training_usd_per_flop: float,
    serving_usd_per_flop: float,
    served_tokens: float,
    a: float,
    b: float,
    e: float,
    alpha: float,
    beta: float,
) -> float:
    """Size of the model that reaches a loss at the lowest cost of training and serving.

    loss: [1], nats per token; above e
    training_usd_per_flop, serving_usd_per_flop: above 0, 0 or more [USD]
    served_tokens: read and written in the model's life [1], 0 or more
    a, b, e, alpha, beta: constants of hoffmann_loss [1]
    returns: [1]; tokens_for_loss gives the tokens
    source: Sardana et al. 2024, (3) with prices: least lifetime_usd at that hoffmann_loss
    """
    if not (loss > e >= 0 and _is_law(a, b, alpha, beta) and training_usd_per_flop > 0):
        return nan
    if not (serving_usd_per_flop >= 0 and served_tokens >= 0):
        return nan
    # Without serving, tokens leave alpha / (alpha + beta) of the loss above e. With it they leave
    # w times less, where w^(1 / beta) (w - 1) = k sets the slope of the cost to zero.
    share = alpha / (alpha + beta)
    tokens = _power(b / ((loss - e) * share), 1 / beta)
    serving = serving_usd_per_flop * served_tokens / (3 * training_usd_per_flop)
    k = serving / tokens * (1 - share)
    left = share * exp(-_log_over_training(k, 1 / beta))
    return _power(a / ((loss - e) * (1 - left)), 1 / alpha)


@formula
def implied_served_tokens(
    params: float,
    tokens: float,
    training_usd_per_flop: float,
    serving_usd_per_flop: float,
    a: float,
    b: float,
    alpha: float,
    beta: float,
) -> float:
    """Tokens to serve for which a model, as it was trained, is the cheapest of its loss.

    params, tokens: parameters and tokens trained on, above 0 [1]
    training_usd_per_flop, serving_usd_per_flop: above 0 [USD]
    a, b, alpha, beta: constants of hoffmann_loss, above 0 [1]
    returns: [1]; below 0 where it is too large even if it serves none
    source: Sardana et al. 2024, (3) with prices, solved for the tokens served
    """
    if not (params > 0 and tokens > 0 and _is_law(a, b, alpha, beta)):
        return nan
    if not (training_usd_per_flop > 0 and serving_usd_per_flop > 0):
        return nan
    # Elasticity of the loss in parameters over that in tokens: 1 where training alone counts.
    ratio = alpha * a * _power(params, -alpha) / (beta * b * _power(tokens, -beta))
    return 3 * tokens * (ratio - 1) * training_usd_per_flop / serving_usd_per_flop


@formula
def params_for_budget(
    usd: float,
    training_usd_per_flop: float,
    serving_usd_per_flop: float,
    served_tokens: float,
    a: float,
    b: float,
    alpha: float,
    beta: float,
) -> float:
    """Size of the model with the lowest loss that a budget can train and then serve.

    usd: for training and serving [USD], above 0
    training_usd_per_flop, serving_usd_per_flop: above 0, 0 or more [USD]
    served_tokens: read and written in the model's life [1], 0 or more
    a, b, alpha, beta: constants of hoffmann_loss, above 0 [1]
    returns: [1]; tokens_for_budget gives the tokens
    source: Sardana et al. 2024, the same optimum seen from the budget
    """
    if not (usd > 0 and training_usd_per_flop > 0 and _is_law(a, b, alpha, beta)):
        return nan
    if not (serving_usd_per_flop >= 0 and served_tokens >= 0):
        return nan
    # Serving costs as much as training on `serving` more tokens, which teach nothing. In units of
    # the optimal tokens without it, the slope of the loss is zero where the tokens, exp(x), have
    # (1 + beta) x = (1 - alpha) log(exp(x) + r). Newton's steps cannot miss: the difference of the
    # two sides rises in x, and its slope does not turn.
    flop = usd / training_usd_per_flop
    tokens = optimal_tokens(flop, a, b, alpha, beta)
    serving = serving_usd_per_flop * served_tokens / (3 * training_usd_per_flop)
    r = serving / tokens
    x = 0.0
    for _ in range(NEWTON):
        grown = exp(x)
        slope = 1 + beta - (1 - alpha) * grown / (grown + r)
        x -= ((1 + beta) * x - (1 - alpha) * log(grown + r)) / slope
    return flop / (6 * (tokens * exp(x) + serving))


def compute_optimal(loss: Callable[[Any, Any], Any], flop: Any) -> Any:
    """Size of the model with the lowest loss for budgets of training compute, by any law.

    loss: of arrays of parameters and budgets: `lambda n, c: kaplan_loss(n, c / (6 * n), *law)` [1]
    flop: budgets of training compute, float or array [1], above 1
    returns: parameters [1], within 1e-6; NaN where the law has no value
    source: definition, the least loss of 1 to flop parameters
    """
    budget = np.asarray(flop, dtype=float)
    low, high = np.zeros_like(budget), np.log(np.where(budget > 1, budget, nan))
    steps = np.linspace(0, 1, GRID).reshape(-1, *(1 for _ in budget.shape))
    for _ in range(ZOOMS):
        width = (high - low) / (GRID - 1)
        found = np.asarray(loss(np.exp(low + (high - low) * steps), budget))
        found = np.where(np.isnan(found), inf, found)
        best = low + width * np.argmin(found, axis=0)
        low, high = np.maximum(best - width, low), np.minimum(best + width, high)
    return np.where(np.isfinite(found.min(axis=0)), np.exp(best), nan)[()]


NEWTON = 7  # steps; the farthest start needs six to the last digit
GRID, ZOOMS = 33, 9  # points of a search, and how often it narrows to a sixteenth


@formula
def _power(x: float, exponent: float) -> float:
    """x^exponent for a positive x."""
    return exp(exponent * log(x))


@formula
def _is_law(a: float, b: float, alpha: float, beta: float) -> float:
    """Whether constants are of a law that falls in parameters and in tokens."""
    return 1.0 if a > 0 and b > 0 and alpha > 0 and beta > 0 else 0.0


@formula
def _saturated(total: float, unique: float, constant: float) -> float:
    """What adds less and less beyond `unique`."""
    if not (total > 0 and unique > 0 and constant > 0):
        return nan
    if total <= unique:
        return total
    return unique - unique * constant * expm1((1 - total / unique) / constant)


@formula
def _log_over_training(k: float, m: float) -> float:
    """The z of 0 or more with exp(m z) (exp(z) - 1) = k.

    Newton's method on the logarithm of both sides, which is concave in z: from a lower bound, as
    z exp((m + 1) z) >= k and Lambert's W(x) >= log(1 + x) / 2, it rises to the root.
    """
    if k < 1e-300:
        return k
    z = log1p((m + 1) * k) / (2 * (m + 1))
    for _ in range(NEWTON):
        grown = expm1(z)
        z -= (m * z + log(grown) - log(k)) / (m + 1 + 1 / grown)
    return z
