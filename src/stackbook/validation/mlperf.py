"""Section D: what runs of MLPerf say of scale, generations and software, and what FLOP count."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import polars as pl

from stackbook import facts, inputs

from .training import observed


class Entry(NamedTuple):
    """One of table `mlperf_training`."""

    benchmark: str
    round: str
    accelerator: str
    accelerators: int
    submitter: str = "NVIDIA"

    @property
    def minutes(self) -> float:
        rows = facts.table("mlperf_training").filter(**self._asdict()).collect()
        return float(rows["minutes"].item())

    @property
    def accelerator_minutes(self) -> float:
        return self.accelerators * self.minutes


GPT_3, LLAMA, LORA = "GPT-3 175B", "Llama 3.1 405B", "Llama 2 70B LoRA"
GPT_3_SLOW = Entry(GPT_3, "v4.1", "H100 SXM", 256)
GPT_3_FAST = Entry(GPT_3, "v4.0", "H100 SXM", 11_616)  # its log was entered again in v4.1
COREWEAVE = partial(Entry, GPT_3, "v3.0", "H100 SXM", submitter="CoreWeave and NVIDIA")
GB200_2496 = Entry(LLAMA, "v5.0", "GB200", 2496, "CoreWeave, IBM and NVIDIA")
GB200 = partial(Entry, LLAMA, "v5.1", "GB200")
LORA_H100 = Entry(LORA, "v4.1", "H100 SXM", 8)

GPT_3_TOKENS = 300e9  # of the full training
SECONDS = 86_400  # of a day


def speed_up(fast: Entry, slow: Entry) -> float:
    return slow.minutes / fast.minutes


def gain(new: Entry, old: Entry) -> float:
    """In work an accelerator and minute; of one generation's entries, efficiency of scale."""
    return old.accelerator_minutes / new.accelerator_minutes


def share_of_training() -> float:
    """Of GPT-3's tokens that the benchmark trains on, at the batch of most entries."""
    batches = facts.table("mlperf_convergence").filter(benchmark=GPT_3, global_batch=2048)
    tokens = batches.select(pl.col("samples") * pl.col("tokens_per_sample")).collect()
    return float(tokens.item()) / GPT_3_TOKENS


def deepseek_flop_per_s() -> float:
    """An H800's in pre-training, at 6 FLOP for each parameter that multiplies."""
    model: dict[str, Any] = facts.rows("transformers", "name", "DeepSeek V3").row(0, named=True)
    flop = 6 * inputs.architecture("DeepSeek V3").matmul_parameters * model["tokens"]
    return float(flop / (3600 * observed("H_DSV3_pre")))


def deepseek_step_flop_per_s(context: float) -> float:
    """An H800's while steps run, with attention."""
    flop = inputs.architecture("DeepSeek V3").training_flop_per_token(context)
    return float(flop * observed("X_DSV3_day") / SECONDS / 2048)


def deepseek_sequence_flop() -> float:
    """Of 4,096 tokens, each of which predicts two."""
    model = inputs.architecture("DeepSeek V3")
    longer = model._replace(layers=model.layers + 1, expert_layers=model.expert_layers + 1)
    extra = 2 * model.width**2 + model.vocabulary * model.width
    return float(4096 * (longer.training_flop_per_token(4096) + 6 * extra))


CASES: dict[tuple[str, str], Callable[[], float]] = {
    ("D40", "extra_accelerator_time"): lambda: 1 / gain(GPT_3_FAST, GPT_3_SLOW) - 1,
    ("D40", "share_of_training"): share_of_training,
    ("D40", "speed_up"): lambda: speed_up(GPT_3_FAST, GPT_3_SLOW),
    ("D41", "software_gain"): lambda: (
        gain(Entry(GPT_3, "v4.0", "H100 SXM", 512), Entry(GPT_3, "v3.0", "H100 SXM", 512)) - 1
    ),
    ("D42", "gb200_512_to_2496"): lambda: gain(GB200_2496, Entry(LLAMA, "v5.0", "GB200", 512)),
    ("D42", "gb200_512_to_5120"): lambda: gain(GB200(5120), GB200(512)),
    ("D42", "h100_768_to_3584"): lambda: gain(COREWEAVE(3584), COREWEAVE(768)),
    ("D43", "b200_gpt_3"): lambda: gain(Entry(GPT_3, "v4.1", "B200", 64), GPT_3_SLOW),
    ("D43", "b200_lora"): lambda: gain(Entry(LORA, "v4.1", "B200", 8), LORA_H100),
    ("D43", "gb300_llama_405b"): lambda: gain(
        Entry(LLAMA, "v5.1", "GB300", 512), Entry(LLAMA, "v5.0", "H100 SXM", 512)
    ),
    ("D43", "gb300_lora"): lambda: gain(Entry(LORA, "v5.1", "GB300", 8), LORA_H100),
    ("D44", "gaudi_2_1024_gpt_3"): lambda: Entry(GPT_3, "v4.0", "Gaudi 2", 1024, "Intel").minutes,
    ("D44", "gb200_2560_llama_405b"): lambda: GB200(2560).minutes,
    ("D44", "gb200_2560_over_2496"): lambda: speed_up(GB200(2560), GB200_2496) - 1,
    ("D44", "gb200_512_lora"): lambda: Entry(LORA, "v5.0", "GB200", 512).minutes,
    ("D44", "gb200_5120_over_2496"): lambda: speed_up(GB200(5120), GB200_2496),
    ("D44", "gb300_512_llama_8b"): lambda: Entry("Llama 3.1 8B", "v5.1", "GB300", 512).minutes,
    ("D44", "h100_1536_gpt_3"): lambda: COREWEAVE(1536).minutes,
    ("D44", "h100_3584_gpt_3"): lambda: COREWEAVE(3584).minutes,
    ("D44", "h100_8192_llama_405b"): lambda: Entry(LLAMA, "v5.0", "H100 SXM", 8192).minutes,
    ("D45", "flop_per_s"): deepseek_flop_per_s,
    # Attention to all of 4,096 tokens is that to what came before in twice as many.
    ("D46", "flop_per_s_causal"): partial(deepseek_step_flop_per_s, 4096),
    ("D46", "flop_per_s_full"): partial(deepseek_step_flop_per_s, 8192),
    ("D47", "flop"): deepseek_sequence_flop,
}
