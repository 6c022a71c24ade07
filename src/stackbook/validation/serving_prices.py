"""Section E: a day of DeepSeek's service, energy of a query, and how fast prices fall."""

from collections.abc import Callable
from functools import cache, partial
from math import exp

import polars as pl

from stackbook import facts, inputs
from stackbook.kernels import datacenter, token_prices, training_cost

from .training import h100_peak, observed

SECONDS = 86_400  # of a day
RENT = 2.0  # USD an H800-hour, as DeepSeek assumes
MILLION = 1e6

# Epoch AI's query to GPT-4o; the 1,500 W hold the server and the site.
QUERY = {"tokens": 500, "params": 100e9, "mfu": 0.1, "kw": 1.5, "load": 0.7}
WH = 1 / 3600  # in joules per watt-hour


def nodes() -> float:
    """Busy with prompts or with answers, from the day's tokens and the rates of a node."""
    prompts = token_prices.nodes_for_flow(observed("T_day_input") / SECONDS, observed("X_pre"), 1.0)
    answers = token_prices.nodes_for_flow(
        observed("T_day_output") / SECONDS, observed("X_dec"), 1.0
    )
    return prompts + answers


def day_cost() -> float:
    return observed("N_day_H800") * 24 * RENT


def day_revenue() -> float:
    """All tokens at the list prices of R1; DeepSeek bills no more for input that it keeps."""
    prompts, answers = observed("T_day_input"), observed("T_day_output")
    tokens = prompts + answers
    fresh = observed("p_R1_cachemiss")
    price = token_prices.billed_price(
        input_usd=fresh,
        output_usd=observed("p_R1_output"),
        cache_read_usd=observed("p_R1_cachehit"),
        cache_write_usd=fresh,
        output_share=answers / tokens,
        read_share=observed("T_day_cached") / prompts,
        write_share=0.0,
        batch_share=0.0,
        batch_discount=0.0,
        free_share=0.0,
    )
    return price * tokens / MILLION


def query_energy() -> float:
    """Watt-hours, at 2 FLOP a parameter and token."""
    flop = 2 * QUERY["params"] * QUERY["tokens"]
    hours = training_cost.accelerator_hours(flop, h100_peak(), QUERY["mfu"], 1.0)
    return 1000 * datacenter.energy_used(QUERY["kw"], QUERY["load"], 1.0, hours)


def prompt_energy() -> float:
    """Watt-hours of a prompt to Gemini, from its accelerators and what is added to them."""
    chips, hosts, idle, overhead = (
        observed(f"s_gem_{part}") for part in ("accelerator", "host", "idle", "overhead")
    )
    it = chips + hosts + idle
    joules = token_prices.served_energy(
        observed("e_gem_accelerator") / WH,
        hosts / chips,
        idle / (chips + hosts),
        datacenter.pue_from_overhead(overhead / (it + overhead)),
    )
    return joules * WH


def records(benchmark: str, level_of: str) -> pl.DataFrame:
    """Models that were the cheapest at or above a level when new."""
    return (
        facts.table("token_price_records").filter(benchmark=benchmark, level_of=level_of).collect()
    )


@cache
def trend(benchmark: str, level_of: str) -> tuple[float, float, float]:
    """Factor a year by which the price of a level fell, and its 90% interval, as Epoch AI."""
    from scipy import stats

    points = records(benchmark, level_of)
    years = points["date"].dt.epoch("d") / 365
    fit = stats.linregress(years, points["usd_per_mtok"].log10())
    reach = stats.t.ppf(0.95, points.height - 2) * fit.stderr
    fall, low, high = (float(10 ** -(fit.slope + d)) for d in (0.0, reach, -reach))
    return fall, low, high


def whole_fall() -> float:
    prices = records("MMLU", "GPT-3.5")["usd_per_mtok"]
    return float(prices[0] / prices[-1])


# GPT-3.5's score on MMLU, from its first price to that of the last open weights at its level.


def fall_ends() -> tuple[float, float]:
    """First and last price [USD per million tokens]."""
    fall = records(*LEVELS["mmlu_gpt_3_5"])
    last = fall.filter(pl.col("model").str.starts_with("Llama-3.1"))
    return float(fall["usd_per_mtok"][0]), float(last["usd_per_mtok"][0])


def fall_parts(parameters: float) -> dict[str, float]:
    """What each part multiplied the price by, if the first model had so many parameters."""
    rents = facts.table("rental_prices").filter(commitment="3-year").collect()
    then = rents.filter(month="2022-11", accelerator="A100 PCIe 80GB")["usd_per_hour"].item()
    later = rents.filter(month="2024-02", accelerator="H100 SXM")["usd_per_hour"].item()
    chips = facts.table("accelerators").collect()
    names = "A100 SXM 80GB", "H100 SXM"
    old, new = (chips.filter(name=name)["bf16_flops"].item() for name in names)
    size = float(inputs.architecture("Llama 3.1 8B").parameters)
    before = token_prices.PriceFactors(then, old, 1.0, parameters, 0.0)
    known = before.fall(token_prices.PriceFactors(later, new, 1.0, size, 0.0))
    first, last = fall_ends()
    return {
        "an hour's rent": exp(-known.rent),
        "a faster chip": exp(-known.chip),
        "a smaller model": exp(-known.model),
        "software and margin": exp(known.total) * last / first,
    }


LEVELS = {
    "mmlu_gpt_3_5": ("MMLU", "GPT-3.5"),
    "mmlu_gpt_3_5_turbo": ("MMLU", "GPT-3.5 Turbo"),
    "gpqa_gpt_4": ("GPQA Diamond", "GPT-4-0314"),
    "gpqa_gpt_4o": ("GPQA Diamond", "GPT-4o-2024-05"),
}


def trend_part(level: str, part: int) -> float:
    return trend(*LEVELS[level])[part]


CASES: dict[tuple[str, str], Callable[[], float]] = {
    ("E01", "average_nodes"): nodes,
    ("E02", "daily_cost"): day_cost,
    ("E02", "daily_revenue"): day_revenue,
    ("E02", "profit_over_cost"): lambda: day_revenue() / day_cost() - 1,
    ("E07", "query_energy"): query_energy,
    ("E11", "price_fall"): whole_fall,
    **{("E20", level): partial(trend_part, level, 0) for level in LEVELS},
    ("E20", "gpqa_gpt_4_high"): partial(trend_part, "gpqa_gpt_4", 2),
    ("E20", "gpqa_gpt_4_low"): partial(trend_part, "gpqa_gpt_4", 1),
    ("E21", "prompt_energy"): prompt_energy,
}
