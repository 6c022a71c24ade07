"""Measured training throughput, anybody's, beside what `kernels.training` expects of the plan.

Rows have the columns of table `training_throughput`. What a row leaves empty is chosen as the
fastest plan that agrees with what it says.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

from stackbook import StackbookError, facts, inputs
from stackbook.kernels import training
from stackbook.kernels.training import Cluster, Efficiency, Layout, Plan
from stackbook.kernels.transformer import Transformer
from stackbook.validation import reading
from stackbook.validation.reading import Unread

HEADS = ("model", "accelerator", "number", "precision", "plan")
NOTE = "tokens/s of an accelerator; * outside its interval; ! by our count it does not fit"
SUMS = ("source", "rows")
REQUIRED = ("model", "accelerator", "accelerators", "seq_len")
MEASURED = ("tokens_per_s_per_accelerator", "step_s", "tflops_per_accelerator", "mfu")
RECOMPUTED = {"none": 0, "no": 0, "false": 0, "selective": 1, "full": 2, "yes": 2, "true": 2}
BATCH_TOKENS = 4e6  # of a step whose batch is not told
ROOM = 1.35  # memory that a run may take by our count: it ran, whatever it left out or offloaded
FUSED_SINCE = 2023  # FlashAttention (May 2022) is in use; before, scores crossed memory
MFU_SINCE = 2022  # PaLM (April 2022) counts model FLOP; before, recomputation counted too


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
    batch: int
    accelerators: int
    given: dict[str, int]  # fields of the plan
    tokens_per_s: float  # of an accelerator

    @property
    def seconds(self) -> float:
        """Of a step."""
        tokens = self.batch * self.layout.context
        return tokens / self.accelerators / self.tokens_per_s

    @property
    def kind(self) -> str:
        """What decides how well it can be foreseen."""
        return inputs.run_kind(self.layout.experts > 0, self.family, self.precision)


def read(path: str) -> tuple[list[Measurement], list[Unread], list[str]]:
    """The measurements of a CSV file in the layout of table `training_throughput`.

    With the rows that cannot be computed, and a hint at each column that is likely misspelt.
    """
    rows, hints = reading.read(path, "training_throughput", REQUIRED, MEASURED)
    return *measurements(rows), hints


def published() -> list[Measurement]:
    """The rows of table `training_throughput`."""
    rows = facts.table("training_throughput").collect().iter_rows(named=True)
    found, unread = measurements(rows)
    if unread:
        first = unread[0]
        raise StackbookError(f"training_throughput, row {first.line}: {first.reason}")
    return found


def measurements(
    rows: Iterable[Mapping[str, Any]],
) -> tuple[list[Measurement], list[Unread]]:
    """Rows that can be computed, and those that cannot, numbered as lines of a file."""
    return reading.measurements(rows, measurement)


def measurement(line: int, row: Mapping[str, Any]) -> Measurement:
    """A row as the kernels take it; StackbookError says what they cannot make of it."""
    context = reading.number(row, "seq_len", least=1)
    count = reading.whole(row, "accelerators")
    if not context or not count:
        raise StackbookError(f"{'seq_len' if count else 'accelerators'} is empty")
    name, precision = reading.accelerator(str(row["accelerator"])), _precision(row.get("precision"))
    cluster = inputs.cluster(name, precision)
    model = reading.architecture(row)
    layout = training.layout(model, context)
    given = _given(row, count)
    year = reading.year(row)
    if year and year < FUSED_SINCE:
        given = {"cp": 1, "ep": 1} | given | {"fused": 0}
        given["sequence"] = int(given.get("recompute") != 2)
    given |= {"zero_bubble": 0, "offload": 0}
    micro_batch, copies = reading.whole(row, "micro_batch") or 1, given.get("dp") or count
    batch = reading.whole(row, "global_batch")
    if not batch:
        if reading.number(row, "step_s"):
            raise StackbookError(
                "step_s needs global_batch; give it, or tokens_per_s_per_accelerator"
            )
        each = copies * micro_batch
        batch = max(1, round(BATCH_TOKENS / context / each)) * each
    family = str(facts.rows("accelerators", "name", name, "accelerator")["family"][0])
    counted = partial(_counted_flop, row, model, layout, given.get("recompute"), year)
    tokens = _tokens_per_s(row, batch * context / count, cluster.flops_16, counted)
    share = tokens * layout.flop / cluster.flops
    if share > 1:
        raise StackbookError(
            f"{tokens:,.0f} tokens/s of one {name} are {share:.1f} times its peak in {precision}; "
            "give those of an accelerator, not of a server or the run"
        )
    group = str(row.get("source") or "no source"), str(row["model"]), name
    return Measurement(
        *(line, row, group, model, layout, cluster, family, precision, batch, count, given, tokens)
    )


def completed(one: Measurement, efficiency: Efficiency) -> Plan:
    """The fastest plan that agrees with a row; one that fits, if the row leaves a choice."""
    roomy = one.cluster._replace(memory_bytes=ROOM * one.cluster.memory_bytes)
    for must_fit in (True, False):
        found = training.plans(
            one.layout,
            roomy,
            efficiency,
            one.batch,
            one.accelerators,
            1,
            must_fit,
            **one.given,
        )
        if found.plans:
            return found.plans[0]
    said = ", ".join(f"{name} {value}" for name, value in one.given.items())
    raise StackbookError(
        f"no plan for a batch of {one.batch} on {one.accelerators} accelerators has {said}"
    )


class Prediction(NamedTuple):
    """A measurement, what the model expects, and between what bounds nine of ten should lie."""

    measured: Measurement
    plan: Plan
    step: training.Step
    tokens_per_s: float
    low: float
    high: float

    @property
    def error(self) -> float:
        """Expected over measured, less 1."""
        return self.tokens_per_s / self.measured.tokens_per_s - 1

    @property
    def covered(self) -> bool:
        return self.low <= self.measured.tokens_per_s <= self.high

    @property
    def lines(self) -> list[list[str]]:
        """Cells for `stackbook validate training`, below HEADS and what follows them."""
        one, (_, model, accelerator) = self.measured, self.measured.group
        split = " ".join(f"{k}{value}" for k, value in self.plan._asdict().items() if value > 1)
        marks = ("" if self.covered else " *") + ("" if self.fits else " !")
        numbers = f"{self.tokens_per_s:,.0f}", f"{one.tokens_per_s:,.0f}", f"{self.error:+.1%}"
        told = [model, accelerator, f"{one.accelerators:,}", one.precision, split]
        return [[*told, *numbers, f"{self.low:,.0f} to {self.high:,.0f}{marks}"]]

    @property
    def read_as(self) -> str:
        """How the model was understood: its name in table `transformers`, or its shape."""
        return reading.read_as(self.measured.row, self.measured.model)

    @property
    def fits(self) -> bool:
        """Whether the plan fits by our count, with the room that measured runs take."""
        return self.step.bytes <= ROOM * self.measured.cluster.memory_bytes

    def told(self) -> dict[str, Any]:
        """The row as given, with what the model makes of it beside."""
        return dict(self.measured.row) | {
            "read_as": self.read_as,
            "plan": self.plan._asdict(),
            "fits": self.fits,
            "predicted_tokens_per_s_per_accelerator": self.tokens_per_s,
            "measured_tokens_per_s_per_accelerator": self.measured.tokens_per_s,
            "predicted_step_s": self.step.seconds,
            "measured_step_s": self.measured.seconds,
            "error": self.error,
            "low": self.low,
            "high": self.high,
            "covered": self.covered,
        }


def predict(one: Measurement) -> Prediction:
    """What the model expects of a row."""
    efficiency = inputs.efficiency(one.family, one.precision)
    plan = completed(one, efficiency)
    step = training.step(one.layout, one.cluster, efficiency, float(one.batch), plan)
    expected = one.batch * one.layout.context / one.accelerators / step.seconds
    experts, seen = one.layout.experts > 0, one.model in _seen()
    errors = inputs.throughput_errors(experts, one.family, one.precision, seen)
    low, high = (errors[end] * expected for end in ("low", "high"))
    return Prediction(one, plan, step, expected, low, high)


@cache
def _seen() -> frozenset[Transformer]:
    """The models of table `training_throughput`."""
    columns = ["model", "params_b", "active_params_b", "layers", "hidden", "heads"]
    rows = facts.table("training_throughput").select(columns).unique().collect()
    return frozenset(reading.architecture(row) for row in rows.iter_rows(named=True))


def predictions(
    measured: list[Measurement], unread: list[Unread]
) -> tuple[list[Prediction], list[Unread]]:
    """What the model expects of rows, and those for which it finds no plan beside the unread."""
    found, without = [], []
    for one in measured:
        try:
            found.append(predict(one))
        except facts.FactsError:
            raise
        except StackbookError as error:
            without.append(Unread(one.line, one.group[1], str(error)))
    return found, sorted([*unread, *without])


class Summary(NamedTuple):
    """Errors of several predictions."""

    group: str
    rows: int
    median_error: float  # absolute
    mean_error: float  # absolute
    p90_error: float  # absolute
    bias: float  # median, signed
    coverage: float

    @property
    def labels(self) -> tuple[object, ...]:
        return self.group, self.rows


def summaries(predictions: list[Prediction]) -> list[Summary]:
    """By source, and of all."""
    sources = sorted({one.measured.group[0] for one in predictions})
    groups = {name: [p for p in predictions if p.measured.group[0] == name] for name in sources}
    everything = {"all": predictions} if predictions else {}
    return [_summary(*group) for group in (groups | everything).items()]


def _summary(group: str, predictions: list[Prediction]) -> Summary:
    covered = float(np.mean([one.covered for one in predictions]))
    errors = reading.sizes(np.array([one.error for one in predictions]))
    return Summary(group, len(predictions), **errors, coverage=covered)


# How a row's plan and what it measured are read.


def _given(row: Mapping[str, Any], count: int) -> dict[str, int]:
    """What a row says of its plan; where all but one split is told, the last follows."""
    given = {}
    for field in ("tp", "pp", "vp", "cp", "ep", "dp", "micro_batch", "zero"):
        value = reading.whole(row, field, least=0)
        if value or (field == "zero" and value is not None):
            given[field] = value
    if "tp" in given or "pp" in given:  # a plan is told: what it does not name, it does not have
        for field in ("tp", "pp", "cp", "ep"):
            given.setdefault(field, 1)
    if given.get("zero", 0) > 3:
        raise StackbookError(f"zero is {given['zero']}; give 0 to 3")
    split = [given.get(field) for field in ("tp", "pp", "cp")]
    if all(split):
        ranks = int(np.prod([value for value in split if value]))
        if count % ranks or given.setdefault("dp", count // ranks) * ranks != count:
            raise StackbookError(
                f"tp x pp x cp x dp is {ranks * given.get('dp', 1)}, not {count} accelerators"
            )
    if given.get("pp") == 1:
        given["vp"] = 1
    again = str(row.get("recompute") if row.get("recompute") is not None else "").strip().lower()
    if again and again not in reading.EMPTY - {"none"}:
        if again not in RECOMPUTED:
            raise StackbookError(f"recompute is {again!r}; give none, selective or full")
        given["recompute"] = RECOMPUTED[again]
    return given


def _precision(said: Any) -> str:
    name = reading.plain(str(said or "bf16"))
    if "int" in name:
        raise StackbookError(f"precision is {said!r}; give BF16, FP8, MXFP8 or NVFP4")
    rules = (
        ("NVFP4", r"fp4"),
        ("MXFP8", r"mx.*8|8.*mx"),
        ("FP8", r"8"),
        ("BF16", r"^(amp)?(bf|fp|float|bfloat)?16(mixed)?$|mixed|half"),
    )
    for precision, pattern in rules:
        if re.search(pattern, name):
            return precision
    raise StackbookError(f"precision is {said!r}; give BF16, FP8, MXFP8 or NVFP4")


def _tokens_per_s(
    row: Mapping[str, Any], step_tokens: float, peak: float, counted_flop: Callable[[], float]
) -> float:
    """Measured tokens per second of an accelerator, from the most direct number of the row."""
    tokens = reading.number(row, "tokens_per_s_per_accelerator")
    if tokens:
        return tokens
    seconds = reading.number(row, "step_s")
    if seconds:
        return step_tokens / seconds
    teraflops, share = reading.number(row, "tflops_per_accelerator"), reading.number(row, "mfu")
    if teraflops:
        flops = 1e12 * teraflops
    elif share:
        flops = peak * (share / 100 if share > 1.5 else share)
    else:
        raise StackbookError(f"nothing is measured; give one of {', '.join(MEASURED)}")
    return flops / counted_flop()


def _counted_flop(
    row: Mapping[str, Any], model: Transformer, layout: Layout, again: int | None, year: int | None
) -> float:
    """FLOP of a token as the source counts them: with whole sequences, if it does not say."""
    told = row.get("flop_counted")
    if not told and again == 2 and year and year < MFU_SINCE:
        told = "hardware"
    unseen = layout.context - layout.attended
    whole = layout.flop + 6 * layout.layers * layout.scored * unseen
    head = 6 * layout.width * layout.vocabulary
    counts = {
        "model_full_attention": whole,
        "model_causal": layout.flop,
        "6N": 6 * model.active_parameters,
        "hardware": (whole - head) * 4 / 3 + head,
    }
    if told and told not in counts:
        raise StackbookError(f"flop_counted is {told!r}; give {', '.join(counts)}")
    return counts[str(told)] if told else whole
