"""Section D: memory and time of training steps under published plans, and a plan's best split."""

from collections.abc import Callable
from functools import cache, partial
from math import sqrt
from typing import Any

import numpy as np

from stackbook import facts, inputs
from stackbook.kernels import training, training_cost
from stackbook.kernels.training import Step

from . import throughput

GIB = 2**30
KORTHIKANTI = "korthikanti-recomputation-2022"
MODELS = {
    "megatron_22b": "Megatron 22B",
    "gpt_3": "GPT-3",
    "mt_nlg_530b": "MT-NLG 530B",
    "megatron_1t": "Megatron 1T",
}
SPARED = {  # by sequence parallelism and by recomputation
    "none": {},
    "sequence": {"sequence": 1},
    "selective": {"recompute": 1},
    "both": {"sequence": 1, "recompute": 1},
    "full": {"recompute": 2},
}
POD = 8960  # TPU v5p


@cache
def steps(model: str) -> dict[str, throughput.Prediction]:
    """The two steps that Korthikanti et al. 2022 timed, by what they compute again."""
    rows = facts.table("training_throughput").filter(source=KORTHIKANTI, model=MODELS[model])
    found, _ = throughput.measurements(rows.collect().iter_rows(named=True))
    return {str(one.row["recompute"]): throughput.predict(one) for one in found}


def iteration(model: str, recompute: str) -> float:
    return float(steps(model)[recompute].step.seconds)


def iteration_error() -> float:
    """Mean absolute error of the eight times."""
    of_all = [one for model in MODELS for one in steps(model).values()]
    return float(np.mean([abs(p.step.seconds / p.measured.seconds - 1) for p in of_all]))


def held(model: str, spared: str) -> Step:
    """The step without what `spared` names, and with scores of attention in memory."""
    one = steps(model)["selective"]
    plan = one.plan._replace(**{"zero": 0, "recompute": 0, "sequence": 0} | SPARED[spared])
    measured = one.measured
    return training.step(
        measured.layout, measured.cluster, inputs.efficiency("Ampere"), measured.batch, plan
    )


def weights_gib(model: str) -> float:
    step = held(model, "none")
    return (step.bytes - step.activation_bytes) / GIB


def activations_gib(model: str, spared: str) -> float:
    return held(model, spared).activation_bytes / GIB


def activation_share(model: str, spared: str) -> float:
    return activations_gib(model, spared) / activations_gib(model, "none")


def llama_70b_days() -> float:
    chip = inputs.cluster("TPU v5p")
    return float(training_cost.run_hours(6.3e24, POD, chip.flops, 0.4, 1)) / 24


def fsdp_degree() -> float:
    """The split at which weights, gathered over X, and states, over N / X, take equally long.

    A weight of one matrix crosses two axes of the torus, a state one.
    """
    ffn = inputs.architecture("Llama 3.1 70B").ffn
    return sqrt(2 * 2**22 * POD / ffn)


def _cases() -> dict[tuple[str, str], Callable[[], Any]]:
    found: dict[tuple[str, str], Callable[[], Any]] = {}
    for model in MODELS:
        number = {"gpt_3": "D10", "megatron_22b": "D11"}.get(model, "D50")
        for recompute in ("full", "selective"):
            found[number, f"{model}_{recompute}"] = partial(iteration, model, recompute)
        found["D51", model] = partial(weights_gib, model)
        for spared in ("none", "both"):
            found["D52", f"{model}_{spared}"] = partial(activations_gib, model, spared)
        for spared in ("sequence", "selective", "both", "full"):
            found["D53", f"{model}_{spared}"] = partial(activation_share, model, spared)
    return found


CASES = {
    **_cases(),
    ("D12", "run"): llama_70b_days,
    ("D13", "fsdp_degree"): fsdp_degree,
    ("D50", "mean_error"): iteration_error,
}
