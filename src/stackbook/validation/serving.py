"""Measured serving, anybody's, beside what `kernels.serving` expects of the operating point.

Rows have the columns of table `serving_points`. What a row leaves empty of its plan is chosen as
the plan of most throughput that agrees with what it says.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from math import inf, isfinite, nan
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stackbook import StackbookError, facts, inputs
from stackbook.kernels import serving
from stackbook.kernels.serving import CLOSED, DECODE, MOST_LOAD, STATIC, Layout, Plan, Traffic
from stackbook.kernels.training import Cluster
from stackbook.kernels.transformer import Transformer
from stackbook.validation import reading
from stackbook.validation.reading import Unread
from stackbook.validation.training import observed

REQUIRED = ("model", "accelerator", "accelerators", "mode")
QUANTITIES = ("tpot", "ttft", "rate")  # time per output token, to first token; output rate
MEASURED = (
    "tpot_ms",
    "ttft_ms",
    "output_tokens_per_s_per_accelerator",
    "output_tokens_per_s_total",
)
HEADS = ("model", "accelerators", "precision", "engine", "plan", "requests", "quantity")
NOTE = (
    "tpot: time per output token, ttft: time to first token [ms]; rate: output tokens/s of an "
    "accelerator; * outside its interval"
)
SUMS = ("sums by", "", "quantity", "rows")
UNITS = ("tpot ms", "ttft ms", "rate")
COLUMNS = ("tpot_ms", "ttft_ms", "output_tokens_per_s_per_accelerator")
SCALES = (1e3, 1e3, 1.0)
DRIVES = {  # how a mode drives the system, by what its name holds
    "disagg": None,
    "prefill": None,
    "decode": DECODE,
    "static": STATIC,
    "offline": MOST_LOAD,
    "max": MOST_LOAD,
    "server": MOST_LOAD,
    "interactive": MOST_LOAD,
    "agg": CLOSED,
}
DRIVEN = {CLOSED: "closed loop", STATIC: "static batch", MOST_LOAD: "most load", DECODE: "decode"}
MIXES = ({1024, 8192}, {1024})  # nominal lengths of InferenceX, which draws 80% to 100% of them
DRAWN = 0.9
DECODED = 1000.0  # output tokens of a pool that only decodes, where rows do not say
DRAFTS = 1  # tokens that multi-token prediction drafts, unless a row says otherwise


class Measurement(NamedTuple):
    """A row that can be computed."""

    line: int  # of the file
    row: Mapping[str, Any]  # as given
    group: tuple[str, str, str]  # source, model, accelerator
    model: Transformer
    layout: Layout
    cluster: Cluster
    family: str
    precision: str
    engine: str
    drive: int
    accelerators: int
    plan: Plan | None  # None where the row does not tell it
    traffic: Traffic
    load: tuple[float, float, float]  # requests, limits of tpot and ttft [1], [s], [s]
    seen: tuple[float, float, float]  # tpot, ttft [s], rate [1/s]; NaN where not measured

    @property
    def kind(self) -> str:
        """What decides how well it can be foreseen: a group of `serving_accuracy`."""
        experts = "mixture of experts" if self.layout.expert_layers else "dense"
        return f"{DRIVEN[self.drive]}, {experts}"

    @property
    def fit(self) -> bool:
        """Whether it serves to fit: neither drafted, nor of a run that may be, nor production."""
        drafted = str(self.row.get("speculation") or "")
        unknown = not drafted and self.layout.latent and "agg" in str(self.row["mode"])
        return drafted in ("none", "") and not unknown and self.drive != DECODE


def read(path: str) -> tuple[list[Measurement], list[Unread], list[str]]:
    """The measurements of a CSV file in the layout of table `serving_points`.

    With the rows that cannot be computed, and a hint at each column that is likely misspelt.
    """
    rows, hints = reading.read(path, "serving_points", REQUIRED, MEASURED)
    return *measurements(rows), hints


def published() -> list[Measurement]:
    """The rows of table `serving_points`, but for a pool of prompts, which has no output."""
    table = facts.table("serving_points").collect()
    found, unread = measurements(table.iter_rows(named=True))
    for one in unread:
        if table["mode"][one.line - 2] != "production prefill":
            raise StackbookError(f"serving_points, row {one.line}: {one.reason}")
    return found


def measurements(
    rows: Iterable[Mapping[str, Any]],
) -> tuple[list[Measurement], list[Unread]]:
    """Rows that can be computed, and those that cannot, numbered as lines of a file."""
    return reading.measurements(rows, measurement)


def measurement(line: int, row: Mapping[str, Any]) -> Measurement:
    """A row as the kernels take it; StackbookError says what they cannot make of it."""
    mode = str(row.get("mode") or "").lower()
    drive = next((code for word, code in DRIVES.items() if word in mode), None)
    if drive is None:
        raise StackbookError(
            f"mode is {row.get('mode')!r}; give aggregated, static batch, offline, maximum load, "
            "server, interactive or decode"
        )
    count = reading.whole(row, "accelerators")
    if not count:
        raise StackbookError("accelerators is empty")
    name = reading.accelerator(str(row["accelerator"]))
    model = reading.architecture(row)
    chip = facts.rows("accelerators", "name", name, "accelerator").row(0, named=True)
    precision = _precision(row, chip)
    engine = _engine(row)
    layout, cluster = inputs.served(model, name, precision, _cache_bytes(engine, precision))
    plan, count = _plan(row, count, mode)
    if plan and _speculates(row):
        plan = plan._replace(drafts=DRAFTS)
    if plan and serving.weight_bytes(layout, plan) > cluster.memory_bytes:
        share = serving.weight_bytes(layout, plan) / cluster.memory_bytes
        raise StackbookError(
            f"weights in {precision} fill {share:.1f} times the memory of each {name}; "
            "mend tp, ep, accelerators or precision"
        )
    traffic, limits = _traffic(row, mode)
    requests = reading.number(row, "concurrency")
    if drive in (CLOSED, STATIC) and not requests:
        raise StackbookError(f"concurrency is empty; mode {row['mode']!r} needs it")
    seen = _seen(row, count, drive, requests, traffic)
    if drive == DECODE:
        limits = (seen[0] * serving.SPREAD, inf)
    group = str(row.get("source") or "no source"), str(row["model"]), name
    return Measurement(
        *(line, row, group, model, layout, cluster, str(chip["family"]), precision, engine, drive),
        *(count, plan, traffic, (requests or 0.0, *limits), seen),
    )


def candidates(one: Measurement) -> list[Plan]:
    """Plans that a row leaves open: replicas of 1, 2, 4, … accelerators within a domain.

    Where requests are told, they are of one replica, which has all accelerators.
    """
    if one.plan:
        return [one.plan]
    most = min(one.accelerators, max(one.cluster.domain, serving.SERVER))
    sizes = [2**power for power in range(7) if 2**power <= most]
    sizes = [size for size in sizes if one.accelerators % size == 0] or [1]
    if one.drive in (CLOSED, STATIC):
        sizes = [one.accelerators]
    found = [Plan(tp=size) for size in sizes]
    if one.layout.expert_layers:
        found += [Plan(tp=size, ep=size) for size in sizes if size > 1]
        found += [Plan(dp=size, ep=size) for size in sizes if size > 1]
    return found


class Stacked(NamedTuple):
    """What kernels take of measurements, each a row."""

    layouts: NDArray[np.float64]
    clusters: NDArray[np.float64]
    traffics: NDArray[np.float64]
    loads: NDArray[np.float64]


def stacked(several: list[Measurement]) -> Stacked:
    return Stacked(
        np.array([one.layout for one in several]),
        np.array([one.cluster for one in several], float),
        np.array([one.traffic for one in several]),
        np.array([(one.drive, *one.load) for one in several], float),
    )


def expected(
    several: list[Measurement], plans: list[Plan], efficiencies: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Time per output token and to first token [s], and output rate [1/s], for each row a plan."""
    layouts, clusters, traffics, loads = stacked(several)
    chosen = np.array(plans, np.int64)
    return serving.measured(layouts, clusters, efficiencies, chosen, traffics, loads)


def completed(several: list[Measurement], efficiencies: NDArray[np.float64]) -> list[Plan]:
    """The plan of each row, of those that it leaves open the one of most throughput."""
    options = [(row, plan) for row, one in enumerate(several) for plan in candidates(one)]
    rows = [row for row, _ in options]
    rates = expected([several[row] for row in rows], [p for _, p in options], efficiencies[rows])
    best: dict[int, tuple[float, Plan]] = {}
    for (row, plan), rate in zip(options, rates[:, 2], strict=True):
        if row not in best or rate > best[row][0]:
            best[row] = rate, plan
    return [best[row][1] for row in range(len(several))]


class Prediction(NamedTuple):
    """A measurement, what the model expects, and between what bounds nine of ten should lie."""

    measured: Measurement
    plan: Plan
    expected: tuple[float, float, float]  # tpot, ttft [s], rate [1/s]
    low: tuple[float, float, float]
    high: tuple[float, float, float]

    @property
    def quantities(self) -> list[int]:
        """What was measured, of tpot, ttft and rate."""
        return [at for at in range(len(QUANTITIES)) if isfinite(self.measured.seen[at])]

    def error(self, at: int) -> float:
        """Expected over measured, less 1."""
        return self.expected[at] / self.measured.seen[at] - 1

    def covered(self, at: int) -> bool:
        return bool(self.low[at] <= self.measured.seen[at] <= self.high[at])

    @property
    def lines(self) -> list[list[str]]:
        """Cells for `stackbook validate serving`: a line for each quantity that was measured."""
        one, (_, model, accelerator) = self.measured, self.measured.group
        split = " ".join(f"{k}{value}" for k, value in self.plan._asdict().items() if value > 1)
        load = f"{one.load[0]:,.0f} of" if one.load[0] else str(one.row["mode"])
        lengths = f"{one.traffic.input_tokens:,.0f}+{one.traffic.output_tokens:,.0f}"
        told = [model, f"{one.accelerators} {accelerator}", one.precision, one.engine, split]
        found = []
        for at in self.quantities:
            scale, unit = SCALES[at], UNITS[at]
            mark = "" if self.covered(at) else " *"
            values = [self.expected[at], one.seen[at], self.low[at], self.high[at]]
            ours, seen, low, high = (f"{value * scale:,.4g}" for value in values)
            interval = f"{low} to {high}{mark}"
            found.append(
                [*told, f"{load} {lengths}", unit, ours, seen, f"{self.error(at):+.1%}", interval]
            )
        return found

    @property
    def read_as(self) -> str:
        """How the model was understood: its name in table `transformers`, or its shape."""
        return reading.read_as(self.measured.row, self.measured.model)

    def told(self) -> dict[str, Any]:
        """The row as given, with what the model makes of it beside."""
        found = dict(self.measured.row) | {
            "read_as": self.read_as,
            "read_precision": self.measured.precision,
            "read_engine": self.measured.engine or "any",
            "plan": self.plan._asdict(),
        }
        for at, (name, scale) in enumerate(zip(COLUMNS, SCALES, strict=True)):
            seen = at in self.quantities
            found |= {
                f"predicted_{name}": self.expected[at] * scale,
                f"measured_{name}": self.measured.seen[at] * scale if seen else None,
                f"error_{name}": self.error(at) if seen else None,
                f"low_{name}": self.low[at] * scale,
                f"high_{name}": self.high[at] * scale,
                f"covered_{name}": self.covered(at) if seen else None,
            }
        return found


@cache
def _fitted() -> tuple[frozenset[Transformer], frozenset[str]]:
    """Models and accelerators that the constants were fitted to."""
    columns = facts.table("serving_points").select("model", "accelerator").collect()
    names = columns["model"].unique(maintain_order=True)
    models = frozenset(reading.architecture({"model": name}) for name in names)
    return models, frozenset(columns["accelerator"].unique())


def predictions(
    measured: list[Measurement], unread: list[Unread]
) -> tuple[list[Prediction], list[Unread]]:
    """What the model expects of rows, and those that no plan can serve beside the unread."""
    if not measured:
        return [], unread
    efficiency, errors_of = cache(inputs.serving_efficiency), cache(inputs.serving_errors)
    constants = np.array([efficiency(one.family, one.precision, one.engine) for one in measured])
    chosen = completed(measured, constants)
    values = expected(measured, chosen, constants)
    models, accelerators = _fitted()
    found, without = [], []
    for one, plan, value in zip(measured, chosen, values, strict=True):
        if not (np.isfinite(value[:2]).all() and value[2] > 0):
            reason = "no replica of its accelerators holds the model within the limits"
            without.append(Unread(one.line, one.group[1], reason))
            continue
        seen = one.model in models, one.group[2] in accelerators
        errors = [errors_of(each, one.kind, *seen) for each in QUANTITIES]
        ends = ([off[end] for off in errors] for end in ("low", "high"))
        if one.drive == DECODE:  # its time per output token is a limit here, no result
            one = one._replace(seen=(nan, nan, one.seen[2]))
        low, high = (tuple(value * end) for end in ends)
        found.append(Prediction(one, plan, tuple(value), low, high))
    return found, sorted([*unread, *without])


class Summary(NamedTuple):
    """Errors of several predictions of a quantity."""

    by: str
    group: str
    quantity: str
    rows: int
    median_error: float  # absolute
    mean_error: float  # absolute
    p90_error: float  # absolute
    bias: float  # median, signed
    coverage: float

    @property
    def labels(self) -> tuple[object, ...]:
        return self.by, self.group, self.quantity, self.rows


def summaries(predictions: list[Prediction]) -> list[Summary]:
    """By source, model and accelerator, and of all."""
    found = []
    for by, name in enumerate(("source", "model", "accelerator", "all")):
        owners = [one.measured.group[by] if by < 3 else "all" for one in predictions]
        for group in sorted(set(owners)):
            own = [one for one, owner in zip(predictions, owners, strict=True) if owner == group]
            for at, quantity in enumerate(QUANTITIES):
                seen = [one for one in own if at in one.quantities]
                if seen:
                    errors = reading.sizes(np.array([one.error(at) for one in seen]))
                    inside = float(np.mean([one.covered(at) for one in seen]))
                    told = Summary(name, group, quantity, len(seen), **errors, coverage=inside)
                    found.append(told)
    return found


# How a row's words are read.


def _precision(row: Mapping[str, Any], chip: Mapping[str, Any]) -> str:
    """Of the weights; what no column says, the model's name does, or its usual checkpoint."""
    said = reading.plain(str(row.get("precision") or ""))
    if said in reading.EMPTY:
        name = reading.plain(str(row["model"]))
        told = re.search(r"(mx|nv)?fp[48]|[bf]f?p?16|int[48]|w[48]a\d+", name)
        told_by = f"{row['mode']} {row.get('source')}".lower()
        if told:
            said = told[0]
        elif re.search(r"mlperf|offline|server|interactive", told_by):  # the least that it has
            own = {"NVFP4": "fp4_flops", "FP8": "fp8_flops"}
            return next((each for each, peak in own.items() if chip[peak]), "BF16")
        else:
            said = NATIVE.get(reading.named(str(row["model"])) or "", "bf16")
    if said not in FORMATS:
        known = "BF16, FP8, NVFP4 or MXFP4"
        raise StackbookError(f"precision is {row.get('precision')!r}; give {known}")
    found = FORMATS[said]
    native = NATIVE.get(reading.named(str(row["model"])) or "")
    return "MXFP4" if found == "NVFP4" and native == "mxfp4" else found


NATIVE = {  # precision of a checkpoint as it was published, where it is not 16 bits
    "DeepSeek V3": "fp8",
    "Kimi K2": "fp8",
    "gpt-oss 120B": "mxfp4",
    "gpt-oss 20B": "mxfp4",
}
FORMATS = (
    dict.fromkeys(("bf16", "fp16", "16", "float16", "bfloat16", "16bit"), "BF16")
    | dict.fromkeys(("fp8", "8", "int8", "w8a8", "w8a16", "fp8e4m3", "mxfp8", "8bit"), "FP8")
    | dict.fromkeys(("fp4", "4", "nvfp4", "int4", "uint4", "w4a16", "w4a8", "4bit"), "NVFP4")
    | dict.fromkeys(("mxfp4", "w4a16mxfp4"), "MXFP4")
)
ENGINES = {  # by what their names hold
    "tensorrt": "TensorRT-LLM",
    "trt": "TensorRT-LLM",
    "sglang": "SGLang",
    "vllm": "vLLM",
    "llmboost": "vLLM",
    "cuda": "TensorRT-LLM",
}
EAGER = "vLLM of 2023"  # its host starts each kernel


def _engine(row: Mapping[str, Any]) -> str:
    said = str(row.get("engine") or "").lower()
    told = f"{said} {row.get('source') or ''}".lower()
    if "splitwise" in told or "fastertransformer" in told:
        return EAGER
    return next((engine for word, engine in ENGINES.items() if word in said), "")


def _cache_bytes(engine: str, precision: str) -> float:
    """Of a number in the cache, which rows do not tell: 8 bits where that is an engine's usual."""
    return 1.0 if engine == "TensorRT-LLM" and precision != "BF16" else 2.0


def _plan(row: Mapping[str, Any], count: int, mode: str) -> tuple[Plan | None, int]:
    """The plan that a row tells, and the accelerators that it takes."""
    tp, pp = reading.whole(row, "tp"), reading.whole(row, "pp") or 1
    ep, dp = reading.whole(row, "ep") or 1, reading.whole(row, "attention_dp") or 1
    if not tp:
        return (Plan(dp=ep, ep=ep), count) if ep > 1 else (None, count)
    told = f"{mode} {row.get('source') or ''} {row.get('run') or ''}".lower()
    if "inferencex" in told and ep > 1 and count == ep * ep:  # which gives tp x ep for accelerators
        count, tp, dp = ep, min(tp, ep), min(dp, ep)
    if dp > 1:
        tp = max(1, count // (dp * pp))
    if tp * dp * pp > count:
        raise StackbookError(
            f"tp x attention_dp x pp is {tp * dp * pp}, above {count} accelerators"
        )
    return Plan(tp=tp, dp=dp, ep=min(ep, tp * dp), pp=pp), count


DRAFTING = "1.2.0rc6.post3"  # of TensorRT-LLM: the runs that InferenceX made with it drafted


def _speculates(row: Mapping[str, Any]) -> bool:
    told = str(row.get("speculation") or "").strip().lower()
    release = f"{row.get('engine') or ''} {row.get('release') or ''}"
    drafting = DRAFTING in release and reading.named(str(row["model"])) == "DeepSeek V3"
    return told not in reading.EMPTY if told else drafting


def _traffic(row: Mapping[str, Any], mode: str) -> tuple[Traffic, tuple[float, float]]:
    """Lengths of a row's requests, and its limits of times [s]."""
    into, out = reading.number(row, "input_tokens"), reading.number(row, "output_tokens")
    limits = (inf, inf)
    scenario = next((s for s in ("offline", "server", "interactive") if s in mode), None)
    if scenario:
        name = reading.named(str(row["model"]))
        rules = facts.table("mlperf_serving_rules").filter(model=name, scenario=scenario).collect()
        if rules.height and (not into or scenario != "offline"):
            rule = rules.row(0, named=True)
            into, out = into or rule["input_tokens"], out or rule["output_tokens"]
            tpot, ttft = rule["tpot_p99_ms"], rule["ttft_p99_ms"]
            limits = (tpot / 1e3 if tpot else inf, ttft / 1e3 if ttft else inf)
    if "decode" in mode and not into:
        out = DECODED
        into = observed("S_kv") - out / 2
    if not (into and out):
        raise StackbookError(
            "input_tokens or output_tokens is empty, and no rule of MLPerf says it"
        )
    if {into, out} in MIXES and "agg" in mode:
        into, out = DRAWN * into, DRAWN * out
    return Traffic(into, out), limits


def _seen(
    row: Mapping[str, Any], count: int, drive: int, requests: float | None, t: Traffic
) -> tuple[float, float, float]:
    """What a row measures; a closed loop's rate follows from its times, if it is not given."""
    tpot, ttft = (reading.number(row, f"{name}_ms") for name in ("tpot", "ttft"))
    rate = reading.number(row, "output_tokens_per_s_per_accelerator")
    total = reading.number(row, "output_tokens_per_s_total")
    if not rate and total:
        rate = total / count
    if not (tpot or ttft or rate):
        raise StackbookError(f"nothing is measured; give one of {', '.join(MEASURED)}")
    if not rate and tpot and ttft and requests and drive == CLOSED:
        rate = 1e3 * requests * t.output_tokens / (ttft + (t.output_tokens - 1) * tpot) / count
    if drive == MOST_LOAD:  # percentiles of runs that limits drive
        tpot = ttft = None
    values = (tpot and tpot / 1e3, ttft and ttft / 1e3, rate)
    first, second, third = (nan if value is None else value for value in values)
    return first, second, third
