"""Section D: laws of loss fitted to public runs, and what laws and architectures imply."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stackbook import facts
from stackbook.inputs import architecture, constants, hoffmann
from stackbook.kernels import fitting, scaling
from stackbook.kernels.scaling import Hoffmann

Array = NDArray[np.float64]

GOPHER = 5.76e23  # FLOP
ABSOLUTE = 1e-9  # log residual from which the loss is linear: least absolute deviations


@cache
def runs(study: str, setting: str, *columns: str, fitted: bool = True) -> Array:
    """A row a column of the runs that the study fitted, or of all."""
    table = facts.table("scaling_runs").filter(pl.col("study") == study, setting=setting)
    if fitted:
        table = table.filter(pl.col("fitted"))
    return np.ascontiguousarray(table.select(columns).collect().to_numpy().T)


def one_run(study: str, setting: str, run: str) -> dict[str, Any]:
    key = {"study": study, "setting": setting, "run": run}
    return facts.table("scaling_runs").filter(**key).collect().row(0, named=True)


# The Chinchilla runs: Besiroglu et al. and Hoffmann et al.


def chinchilla() -> Array:
    return runs("chinchilla", "massivetext", "params", "tokens", "loss")


@cache
def best(delta: float) -> fitting.Fit:
    params, tokens, loss = chinchilla()
    return fitting.fit(params, tokens, loss, delta)


def params_exponent(laws: Any) -> Any:
    """Of compute, in the optimal size: beta / (alpha + beta)."""
    alpha, beta = np.transpose(laws)[3:]
    return beta / (alpha + beta)


@cache
def resampled() -> Array:
    """A law a row, each at its own optimum, from the draws of the publisher's notebook."""
    params, tokens, loss = chinchilla()
    picks = np.random.RandomState(42).randint(loss.size, size=(4000, loss.size))
    return fitting.refit(params, tokens, loss, picks)


def constant(delta: float, which: int) -> float:
    return best(delta).law[which]


def standard_error(which: int) -> float:
    return float(resampled()[:, which].std(ddof=1))


def quantile(probability: float, which: int) -> float:
    return float(np.quantile(resampled()[:, which], probability))


def allocation(law: Hoffmann) -> tuple[float, float]:
    """Optimal parameters and tokens at Gopher's budget."""
    scales = law.a, law.b, law.alpha, law.beta
    return scaling.optimal_params(GOPHER, *scales), scaling.optimal_tokens(GOPHER, *scales)


def tokens_per_param(law: Hoffmann) -> float:
    params, tokens = allocation(law)
    return tokens / params


def printed_tokens_per_param() -> float:
    return tokens_per_param(hoffmann("Hoffmann 2022", "as printed"))


def isoflop_exponent() -> float:
    """Approach 2, on the points of the figure within 15% of one of its nine budgets."""
    params, flop, loss = runs("chinchilla", "massivetext", "params", "flop", "loss", fitted=False)
    budgets = np.array([6e18, 1e19, 3e19, 6e19, 1e20, 3e20, 6e20, 1e21, 3e21])
    off = np.log(flop[:, None] / budgets)
    nearest = np.abs(off).argmin(axis=1)
    near = np.abs(off).min(axis=1) < 0.15
    optima = [
        fitting.isoflop_optimum(params[near & (nearest == i)], loss[near & (nearest == i)])
        for i in range(budgets.size)
    ]
    return fitting.power_law(budgets, optima).exponent


# Runs of other studies


def porian_exponent(setting: str) -> float:
    """Of the smooth optima of all budgets that have one."""
    params, flop, loss = runs("porian-2024", setting, "params", "flop", "loss")
    budgets = np.unique(flop)
    optima = np.array(
        [fitting.interpolated_optimum(params[flop == c], loss[flop == c]) for c in budgets]
    )
    found = np.isfinite(optima)
    return fitting.power_law(budgets[found], optima[found]).exponent


class OverTraining(NamedTuple):
    """Constants of over_training_loss."""

    a: float
    b: float
    e: float
    eta: float


@cache
def over_training(data: str) -> OverTraining:
    """Least squares of the loss: for a given eta linear in a, b and e."""
    from scipy.optimize import minimize_scalar

    params, tokens, loss = runs("over-training-2024", f"{data}/eval-c4", "params", "tokens", "loss")

    def solve(eta: float) -> tuple[Array, float]:
        terms = (6 * params**2) ** -eta, (6 * tokens**2) ** -eta, np.ones_like(loss)
        basis = np.transpose(terms)
        best = np.linalg.lstsq(basis, loss)[0]
        return best, float(((basis @ best - loss) ** 2).sum())

    eta = minimize_scalar(
        lambda eta: solve(eta)[1], bounds=(0.01, 0.5), method="bounded", options={"xatol": 1e-9}
    ).x
    a, b, e = map(float, solve(eta)[0])
    return OverTraining(a, b, e, float(eta))


def over_training_constant(data: str, name: str) -> float:
    return float(getattr(over_training(data), name))


def over_training_error(data: str, run: str) -> float:
    """Of the predicted loss, over the measured one."""
    one = one_run("over-training-2024", f"{data}/eval-c4", run)
    flop, ratio = 6 * one["params"] * one["tokens"], one["tokens"] / one["params"]
    loss = scaling.over_training_loss(flop, ratio, *over_training(data))
    return abs(float(loss / one["loss"]) - 1)


def ladder_loss() -> float:
    """Of OLMo's 13B model, predicted from sixteen small runs."""
    study = "olmo-ladder-2025", "olmo-2-mix/eval-c4"
    large = one_run(*study, "13B-step596k")
    law = fitting.fit(*runs(*study, "params", "tokens", "loss")).law
    return float(scaling.hoffmann_loss(large["params"], large["tokens"], *law))


# Repeated data: Muennighoff et al.

ONCE = cache(partial(hoffmann, "Muennighoff 2023", "C4, one epoch"))


def repetition() -> tuple[float, float]:
    found = constants("data-constrained", "Muennighoff 2023", "C4")
    return found["R_D"], found["R_N"]


def repeated_runs() -> Array:
    return runs("data-constrained-2023", "c4", "params", "tokens", "unique_tokens", "loss")


def repetition_objective(r_d: float, r_n: float) -> float:
    """Sum of Huber losses of log residuals."""
    *known, loss = repeated_runs()
    residual = np.log(scaling.data_constrained_loss(*known, *ONCE(), r_d, r_n) / loss)
    return float(fitting.huber_loss(residual, fitting.HUBER).sum())


@cache
def nearby_repetition() -> tuple[float, float]:
    """The minimum that the publisher's start (16, 4) leads to."""
    from scipy.optimize import minimize

    found = minimize(
        lambda logs: repetition_objective(*np.exp(logs)),
        np.log([16, 4]),
        method="Nelder-Mead",
        options={"xatol": 1e-6, "fatol": 1e-13},
    )
    r_d, r_n = map(float, np.exp(found.x))
    return r_d, r_n


@cache
def best_repetition() -> fitting.Repetition:
    params, tokens, unique, loss = repeated_runs()
    return fitting.fit_repetition(params, tokens, unique, loss, ONCE())


# Serving, experts, precision


@cache
def sardana() -> tuple[float, float]:
    """FLOP of a 13B model trained to its optimum and serving 2e12 tokens, and of the cheapest."""
    params, served = 13e9, 2e12
    law = hoffmann("Sardana 2024", "Chinchilla as used")
    tokens = scaling.matched_params(params, law.b, law.a, law.beta, law.alpha)
    loss = scaling.hoffmann_loss(params, tokens, *law)
    best = scaling.params_for_loss(loss, 1, 1, served, *law)
    usual = scaling.lifetime_usd(params, tokens, 1, 1, served)  # at 1 USD per FLOP
    return usual, scaling.lifetime_usd(
        best, scaling.tokens_for_loss(best, loss, *law), 1, 1, served
    )


def sardana_saves() -> float:
    usual, best = sardana()
    return usual - best


def mixture_gain(budget: float) -> float:
    """Compute of a dense model over that of the best mixture of 64 experts, for the same loss."""
    symbols = ("a", "b", "c", "alpha", "beta", "g", "gamma")
    found = constants("moe-granular", "Krajewski 2024", "experts 64 times the dense layer")
    law = [found[symbol] for symbol in symbols]

    def loss(granularity: float, params: Any, flop: Any) -> Any:
        tokens = flop / scaling.granular_moe_flop(params, 1, granularity, 64)
        return scaling.granular_moe_loss(params, tokens, granularity, *law)

    lowest = min(
        loss(g, scaling.compute_optimal(partial(loss, g), budget), budget)
        for g in 2.0 ** np.arange(8)
    )
    found = constants("moe-granular", "Krajewski 2024", "dense")
    dense = Hoffmann(*(found[symbol] for symbol in symbols[:5]))
    params = scaling.params_for_loss(lowest, 1, 0, 0, *dense)
    flop = 6 * params * scaling.tokens_for_loss(params, lowest, *dense)
    return float(flop / budget)


def clark_params() -> float:
    """Dense size that a model of 5 million parameters a token and 128 experts matches."""
    found = constants("moe-routed", "Clark 2022", "S-BASE")
    law = (found[symbol] for symbol in ("a", "b", "c", "E_start", "E_max"))
    return scaling.dense_equivalent_params(5e6, 128, *law)


def best_bits() -> float:
    """Where a bit buys most effective parameters, as training costs in proportion to bits."""
    found = constants("precision", "Kumar 2024", "training, integers")
    law = (found[f"{name}_{part}"] for name in ("gamma", "n") for part in ("w", "a", "kv"))
    bits = np.linspace(1, 16, 15_001)
    worth = scaling.precision_params(1, bits, bits, bits, *law) / bits
    return float(bits[np.argmax(worth)])


# Architectures


def training_flop(name: str) -> float:
    """A token's, in the sequences of 4,096 of DeepSeek's pre-training."""
    return float(architecture(name).training_flop_per_token(4096))


PORIAN = {
    "1_kaplan": "no-head/long-warmup/long-cosine/base",
    "2_last_layer": "head/long-warmup/long-cosine/base",
    "3_warm_up": "head/short-warmup/long-cosine/base",
    "4_decay": "head/short-warmup/matched-cosine/base",
    "5_tuned": "head/short-warmup/constant/tuned",
}
OF_A_CONSTANT: dict[tuple[str, str], Callable[[int], float]] = {
    ("D01", "{}"): partial(constant, ABSOLUTE),
    ("D01", "{}_error"): standard_error,
    ("D01", "{}_high"): partial(quantile, 0.975),
    ("D01", "{}_low"): partial(quantile, 0.025),
    ("D01", "huber_{}"): partial(constant, fitting.HUBER),
    ("D16", "approach_3_{}"): partial(constant, fitting.HUBER),
}

CASES: dict[tuple[str, str], Callable[[], float]] = {
    **{
        (case, quantity.format(name)): partial(compute, which)
        for (case, quantity), compute in OF_A_CONSTANT.items()
        for which, name in enumerate(Hoffmann._fields)
    },
    ("D01", "huber_sum"): lambda: best(fitting.HUBER).objective,
    ("D01", "params_exponent"): lambda: params_exponent(best(ABSOLUTE).law),
    ("D01", "params_exponent_error"): lambda: params_exponent(resampled()).std(ddof=1),
    ("D02", "params"): lambda: allocation(best(ABSOLUTE).law)[0],
    ("D02", "params_of_chinchilla"): lambda: allocation(best(ABSOLUTE).law)[0],
    ("D02", "tokens"): lambda: allocation(best(ABSOLUTE).law)[1],
    ("D02", "tokens_of_chinchilla"): lambda: allocation(best(ABSOLUTE).law)[1],
    ("D02", "tokens_per_param"): lambda: tokens_per_param(best(ABSOLUTE).law),
    ("D03", "tokens_per_param"): printed_tokens_per_param,
    ("D03", "tokens_per_param_of_chinchilla"): printed_tokens_per_param,
    ("D09", "half_life"): lambda: scaling.repetition_half_life(repetition()[0]),
    ("D09", "objective"): lambda: repetition_objective(*repetition()),
    ("D09", "r_d_global"): lambda: best_repetition().r_d,
    ("D09", "r_d_local"): lambda: nearby_repetition()[0],
    ("D09", "r_n_global"): lambda: best_repetition().r_n,
    ("D09", "r_n_local"): lambda: nearby_repetition()[1],
    ("D09", "value_of_four_epochs"): lambda: scaling.effective_tokens(4, 1, repetition()[0]) / 4,
    ("D16", "approach_2_exponent"): isoflop_exponent,
    ("D16", "approach_3_exponent"): lambda: params_exponent(best(fitting.HUBER).law),
    **{
        ("D17", f"{data}_{name}"): partial(over_training_constant, data, name)
        for data in ("c4", "redpajama", "refinedweb")
        for name in OverTraining._fields
    },
    ("D17", "error_1b4"): lambda: over_training_error("redpajama", "1b4-640"),
    ("D17", "error_6b9"): lambda: over_training_error("redpajama", "6b9-20"),
    **{
        ("D18", f"{data}_{step}"): partial(porian_exponent, f"{data}/{setting}")
        for data in ("refinedweb", "openwebtext2")
        for step, setting in PORIAN.items()
    },
    ("D18", "refinedweb_adjusted"): lambda: porian_exponent(
        "refinedweb/no-head/long-warmup/constant/tuned"
    ),
    ("D19", "loss_13b"): ladder_loss,
    ("D20", "flop_saved"): sardana_saves,
    ("D20", "share_saved"): lambda: sardana_saves() / sardana()[0],
    ("D21", "gain_at_1e20_flop"): lambda: mixture_gain(1e20),
    ("D21", "gain_at_1e25_flop"): lambda: mixture_gain(1e25),
    ("D22", "dense_params"): clark_params,
    ("D23", "bits"): best_bits,
    ("D24", "training_flop"): lambda: 6 * architecture("GPT-3").matmul_parameters * 300e9,
    ("D25", "deepseek_v2"): lambda: training_flop("DeepSeek V2"),
    ("D25", "deepseek_v3"): lambda: training_flop("DeepSeek V3"),
    ("D25", "llama_3_1_405b"): lambda: training_flop("Llama 3.1 405B"),
    ("D25", "qwen_72b"): lambda: training_flop("Qwen2.5 72B"),
}
