"""Section D: what training runs reached, cost and lost to failures."""

from typing import Any

from stackbook import facts, inputs
from stackbook.kernels import reliability

LLAMA_3 = 16_384  # accelerators of its longest run


def observed(symbol: str) -> float:
    rows = facts.table("observations").filter(symbol=symbol).collect()
    return float(rows["central"].item())


def tokens(name: str) -> float:
    return float(facts.table("ai_models").filter(name=name).collect()["tokens"].item())


def llama_flop_per_s() -> float:
    """A GPU's over the hours of the run, at 6 FLOP for each parameter that multiplies."""
    flop = 6 * inputs.architecture("Llama 3.1 405B").matmul_parameters * tokens("Llama 3.1-405B")
    return flop / (3600 * observed("H_405"))


def h100_peak() -> float:
    chip: dict[str, Any] = (
        facts.table("accelerators").filter(name="H100 SXM").collect().row(0, named=True)
    )
    return float(chip["bf16_flops"])


def llama_mtbf() -> float:
    failures_per_hour = facts.central("lambda_gpu") / 24
    return reliability.mean_time_between_failures(LLAMA_3, failures_per_hour)


def llama_goodput() -> float:
    """At the best interval for our judgement of the time of a checkpoint and of a restart."""
    checkpoint, restart = (facts.central(symbol) / 3600 for symbol in ("delta_ck", "R_fail"))
    interval = reliability.daly_interval(checkpoint, llama_mtbf())
    return reliability.goodput(interval, checkpoint, restart, llama_mtbf())


CASES = {
    ("D04", "flop_per_s"): llama_flop_per_s,
    ("D04", "share_of_peak"): lambda: llama_flop_per_s() / h100_peak(),
    # No formula: that our rows of hours and tokens are those of the published figures.
    ("D05", "cost"): lambda: 2 * observed("H_DSV3"),
    ("D05", "hours_per_trillion_tokens"): lambda: 2.664e6 / (tokens("DeepSeek-V3") / 1e12),
    ("D06", "mean_time_between_failures"): llama_mtbf,
    ("D07", "goodput"): llama_goodput,
}
