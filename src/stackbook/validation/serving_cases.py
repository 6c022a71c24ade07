"""Section E: published figures of serving that rest on its roofline, frontier and load."""

from collections.abc import Callable
from functools import cache, partial
from math import inf
from typing import Any

import numpy as np

from stackbook import facts, inputs
from stackbook.kernels import batching, datacenter, serving
from stackbook.kernels.serving import Efficiency, Layout, Plan, Traffic
from stackbook.kernels.training import Cluster

from .serving import DRAWN
from .training import observed

MILLION = 1e6
NODE = 8  # accelerators of a server
TRTLLM = "TensorRT-LLM"
KEPT = {  # models whose cache a token's bytes are published of
    "deepseek_v3": "DeepSeek V3",
    "qwen_2_5_72b": "Qwen2.5 72B",
    "llama_3_1_405b": "Llama 3.1 405B",
}

# All at peak, nothing waits, and a network takes no time.
IDEAL = Efficiency(
    **dict.fromkeys(("matmul", "experts", "weights", "cache", "attention"), 1.0),
    **dict.fromkeys(("layer", "latent_layer", "expert_layer", "host", "iteration"), 0.0),
    **dict.fromkeys(("request", "latency", "skew", "first", "burst"), 0.0),
    **dict.fromkeys(("up", "out"), inf),
)


# Austin et al. 2025 serve Llama 3 70B in 8 bits on TPU v5e, which multiplies in 16.

BATCH, CONTEXT = 32, 8192


def v5e() -> tuple[Layout, Cluster]:
    return inputs.served(inputs.architecture("Llama 3.1 70B"), "TPU v5e", "FP8", 1.0)


def v5e_decode() -> float:
    """Seconds in which weights and cache are read; below a batch of 120, arithmetic hides."""
    reading = IDEAL._replace(matmul=inf)
    traffic = Traffic(CONTEXT, 0)
    return float(serving.decode_seconds(*v5e(), reading, Plan(tp=8), traffic, float(BATCH)))


def v5e_prompt() -> float:
    """Seconds of all products with parameters, the output matrix for each token, no scores."""
    mfu = IDEAL._replace(matmul=0.4)
    tokens = float(CONTEXT)
    return float(serving.rows_seconds(*v5e(), mfu, Plan(tp=16), tokens, tokens))


# Erdil 2025: Mistral Large 2 in 16 bits on a server of H200; the constants are of his notebook.

ERDIL = {"batch": 20, "context": 100_000, "flops": 1e15, "launch": 4e-6, "usd": 2.1}


def mistral_decode() -> float:
    """Seconds; four products a layer start in turn, and two are reduced in the protocol LL."""
    m, c = inputs.served(inputs.architecture("Mistral Large 2"), "H200 SXM", "BF16", 2.0)
    c = c._replace(flops=ERDIL["flops"], flops_16=ERDIL["flops"])
    reduce = c.base_latency + 2 * (NODE - 1) * c.rank_latency
    his = IDEAL._replace(layer=4 * ERDIL["launch"], latency=reduce, up=0.5)
    traffic = Traffic(ERDIL["context"], 0)
    return float(serving.decode_seconds(m, c, his, Plan(tp=NODE), traffic, ERDIL["batch"]))


def mistral_cost() -> float:
    """USD per million output tokens."""
    return token_cost(ERDIL["usd"], ERDIL["batch"] / NODE / mistral_decode())


def mistral_mfu() -> float:
    flop = ERDIL["batch"] * inputs.architecture("Mistral Large 2").decode_flop(ERDIL["context"])
    return float(flop / (NODE * ERDIL["flops"] * mistral_decode()))


def token_cost(usd_per_hour: float, tokens_per_s: float) -> float:
    """USD per million tokens of an accelerator."""
    return usd_per_hour / 3600 / tokens_per_s * MILLION


# A day of DeepSeek's service, whose engine is its own: constants are the mean of all engines.

DECODES = Plan(dp=144, ep=144)
PREFILLS = Plan(dp=32, ep=32)
ANSWER = 800.0  # tokens of an answer; half of them stand in the mean cache
PROMPTS = 8.0  # of an accelerator of the pool of prompts, at once


def h800() -> tuple[Layout, Cluster, Efficiency]:
    served = inputs.served(inputs.architecture("DeepSeek V3"), "H800 SXM", "FP8", 2.0)
    return *served, inputs.serving_efficiency("Hopper", "FP8", "")


def per_token() -> float:
    """Seconds between the tokens of a user."""
    return 1 / observed("v_day_user")


def decode_floor() -> float:
    """Seconds of an iteration at peak, with the requests that the rate of a node implies."""
    m, c, _ = h800()
    batch = observed("X_dec") / NODE * per_token() * DECODES.dp
    traffic = Traffic(observed("S_kv"), 0)
    return float(serving.decode_seconds(m, c, IDEAL, DECODES, traffic, batch))


def decode_per_node() -> float:
    """Output tokens a second at the speed of users."""
    traffic = Traffic(observed("S_kv") - ANSWER / 2, ANSWER, hits=1.0)
    limit = per_token() * serving.SPREAD
    return float(serving.saturated(*h800(), DECODES, traffic, limit, inf).output_per_s) * NODE


def prefill_per_node() -> float:
    """Input tokens a second, those that the cache holds with them; prompts as long as a cache."""
    length = observed("S_kv")
    hits = observed("T_day_cached") / observed("T_day_input")
    batch = PROMPTS * PREFILLS.dp
    point = serving.static(*h800(), PREFILLS, Traffic(length, 1, hits), batch)
    return float(length / point.prompt / PREFILLS.dp) * NODE


# Frontiers.


@cache
def output_per_s(
    model: str,
    accelerator: str,
    precision: str,
    engine: str,
    traffic: Traffic,
    speed: float,
    *,
    cache_bytes: float = 1.0,
    drafts: bool = False,
    ttft: float = inf,
    apart: bool = True,
    tensor: bool = False,
) -> float:
    """The most output of an accelerator at a speed, with replicas within a scale-up domain.

    With multi-token prediction if `drafts`; by tensor parallelism alone if `tensor`.
    """
    m, c = inputs.served(inputs.architecture(model), accelerator, precision, cache_bytes)
    family = facts.rows("accelerators", "name", accelerator, "accelerator")["family"].item()
    e = inputs.serving_efficiency(family, precision, engine)
    options = serving.plans(m, c, int(c.domain), (0, 1, 2, 3) if drafts else (0,))
    if tensor:
        options = [plan for plan in options if plan == Plan(tp=plan.tp)]
    speeds = np.array([speed])
    return float(
        serving.frontier(m, c, e, traffic, speeds, options, ttft, apart=apart).output_per_s[0]
    )


def rented(accelerator: str) -> dict[str, Any]:
    """Cost and power of an accelerator-hour when the figures were published."""
    rows = facts.table("accelerator_hour_costs").filter(accelerator=accelerator, as_of="2026-04-03")
    return rows.collect().row(0, named=True)


def drawn(input_tokens: int, output_tokens: int) -> Traffic:
    """Mean lengths of InferenceX, which draws from 80% to 100% of the nominal ones."""
    return Traffic(DRAWN * input_tokens, DRAWN * output_tokens)


# InferenceX v2: DeepSeek R1 in 4 bits, 8,192 tokens in and 1,024 out.

RUN = "front-0304"  # the run that costs 0.057 USD
FAST = 150.0  # tokens a second and user


def r1_cost(accelerator: str, speed: float, drafts: bool) -> float:
    """USD per million tokens, prompts with answers."""
    traffic = drawn(8192, 1024)
    output = output_per_s(
        *("DeepSeek V3", accelerator, "NVFP4", TRTLLM, traffic, speed),
        drafts=drafts,
    )
    tokens = output * (1 + traffic.input_tokens / traffic.output_tokens)
    return token_cost(rented(accelerator)["usd_owner_hyperscaler"], tokens)


def front(run: str) -> dict[str, Any]:
    """A run of table `serving_fronts`."""
    return facts.table("serving_fronts").filter(run=run).collect().row(0, named=True)


def b200_cost(drafts: bool) -> float:
    return r1_cost("B200", front(RUN)["tokens_per_s_per_user"], drafts)


def fastest() -> float:
    """Tokens a second of a user alone on GB300, without drafts, at the best plan."""
    m, c = inputs.served(inputs.architecture("DeepSeek V3"), "GB300", "NVFP4", 1.0)
    e = inputs.serving_efficiency("Blackwell", "NVFP4", TRTLLM)
    options = serving.plans(m, c, int(c.domain), (0,))
    traffic = drawn(8192, 1024)
    times = [serving.decode_seconds(m, c, e, plan, traffic, 1.0) for plan in options]
    return 1 / float(min(times))


def speed_price(slow: str, fast: str) -> float:
    """What a token costs at the speed of one run, over that at another's, on the same system."""
    rates = []
    for run in map(front, (slow, fast)):
        output = output_per_s(
            *("DeepSeek V3", run["accelerator"], run["precision"], run["engine"]),
            *(drawn(run["input_tokens"], run["output_tokens"]), run["tokens_per_s_per_user"]),
        )
        rates.append(output)
    return rates[0] / rates[1]


def oss_per_mw(accelerator: str) -> float:
    """Tokens a second and MW of gpt-oss 120B at 90 to a user, prompts of 1k, answers of 8k."""
    traffic = drawn(1024, 8192)
    output = output_per_s(
        *("gpt-oss 120B", accelerator, "MXFP4", "vLLM", traffic, 90.0),
        cache_bytes=2.0,
        apart=False,
        tensor=True,
    )
    tokens = output * (1 + traffic.input_tokens / traffic.output_tokens)
    return float(tokens / rented(accelerator)["kw"] * 1000)


def qwen_output(apart: bool) -> float:
    """Qwen3 32B on H200 within 300 ms to the first token and 10 ms to each other one."""
    traffic = Traffic(4000, 500, hits=500 / 4000)
    return output_per_s(
        *("Qwen3 32B", "H200 SXM", "FP8", TRTLLM, traffic, 100.0), ttft=0.3, apart=apart
    )


# Load: iterations that take longer by as much for each request.

ALONE, MORE = 0.02, 0.001  # seconds of an iteration without requests, and for each
ANSWERED, ASKED = 400, 20_000  # tokens of an answer, requests


def law_rise() -> float:
    return float(batching.loaded_latency(1.0, 1.0, 0.5))


@cache
def simulated_rise() -> float:
    """Mean latency of simulated requests at half the load that no replica can bear, over alone."""
    slope = ANSWERED * MORE
    one = np.ones(ASKED, np.int64)
    arrival = batching.poisson(0.5 / slope, ASKED, 1)
    requests = batching.Requests(arrival, one, ANSWERED * one, -one, 0 * one)
    most = 4096
    pace = batching.Pace(np.full(most + 1, ALONE), 0.0, MORE, 0.0)
    replica = batching.Replica(most * ANSWERED, 0, most, most, True)
    served = batching.serve(requests, pace, replica)
    settled = slice(ASKED // 10, None)
    return float(np.mean((served.finish - arrival)[settled])) / (ANSWERED * (ALONE + MORE))


# Wall power under MLPerf.


def wall_joules(system: str, model: str, precision: str, tp: int) -> float:
    """Joules of a server for an output token, offline, at the usual share of its rated power."""
    rows = facts.table("systems").filter(name=system).collect()
    machine = rows.filter(rows["power_kw"].is_not_null()).row(0, named=True)
    accelerator = machine["accelerator"]
    m, c = inputs.served(inputs.architecture(model), accelerator, precision, 1.0)
    family = facts.rows("accelerators", "name", accelerator, "accelerator")["family"].item()
    e = inputs.serving_efficiency(family, precision, TRTLLM)
    rule = facts.table("mlperf_serving_rules").filter(model=model, scenario="offline")
    lengths = rule.select("input_tokens", "output_tokens").collect().row(0)
    point = serving.saturated(m, c, e, Plan(tp=tp), Traffic(*lengths), inf, inf)
    kw = datacenter.facility_kw(machine["power_kw"], facts.central("u_P"), 1.0)
    return float(datacenter.joules_per_token(1000 * kw, NODE * point.output_per_s))


def kept(model: str) -> float:
    return float(inputs.architecture(KEPT[model]).kv_bytes_per_token(2.0))


CASES: dict[tuple[str, str], Callable[[], float]] = {
    **{("E03", model): partial(kept, model) for model in KEPT},
    ("E04", "token_time"): lambda: 1000 * v5e_decode(),
    ("E04", "throughput"): lambda: BATCH / v5e_decode(),
    ("E05", "token_time"): lambda: 1000 * mistral_decode(),
    ("E05", "token_cost"): mistral_cost,
    ("E05", "mfu"): mistral_mfu,
    ("E06", "decode_floor"): lambda: 1000 * decode_floor(),
    ("E06", "bandwidth_use"): lambda: decode_floor() / per_token(),
    ("E06", "decode_per_node"): decode_per_node,
    ("E06", "prefill_per_node"): prefill_per_node,
    ("E08", "cost_without_drafts"): partial(b200_cost, False),
    ("E08", "cost_with_drafts"): partial(b200_cost, True),
    ("E08", "gain_of_drafts"): lambda: b200_cost(False) / b200_cost(True),
    ("E09", "h100"): partial(oss_per_mw, "H100 SXM"),
    ("E09", "b200"): partial(oss_per_mw, "B200"),
    ("E09", "b200_over_h100"): lambda: oss_per_mw("B200") / oss_per_mw("H100 SXM"),
    ("E10", "output_apart"): partial(qwen_output, True),
    ("E10", "gain_of_pools"): lambda: qwen_output(True) / qwen_output(False),
    ("E12", "prompt_time"): v5e_prompt,
    ("E13", "rise"): law_rise,
    ("E13", "simulated_rise"): simulated_rise,
    ("E22", "h200_23_to_46"): partial(speed_price, "front-0625", "front-0624"),
    ("E22", "gb300_19_to_38"): partial(speed_price, "front-0450", "front-0452"),
    ("E22", "gb300_19_to_57"): partial(speed_price, "front-0450", "front-0453"),
    ("E23", "cost_with_drafts"): partial(r1_cost, "GB300", FAST, True),
    ("E23", "speed_without_drafts"): fastest,
    ("E24", "h200_llama_2_70b"): partial(wall_joules, "DGX H200", "Llama 2 70B", "FP8", 1),
    ("E24", "b200_llama_2_70b"): partial(wall_joules, "DGX B200", "Llama 2 70B", "NVFP4", 1),
    ("E24", "b200_llama_3_1_405b"): partial(wall_joules, "DGX B200", "Llama 3.1 405B", "NVFP4", 2),
}
