"""The command `validate`: published figures, and measurements, beside what the kernels give."""

import json
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from stackbook import StackbookError
from stackbook.cli.options import Json
from stackbook.cli.printing import jsonable, table

MEASURED = {"training": "throughput", "serving": "serving"}  # modules that read measurements

app = typer.Typer()


def _trends(json_: bool) -> None:
    """How often intervals of the watch items' trends held what came later."""
    from stackbook.validation import trend_backtests

    found = trend_backtests.results()
    if json_:
        print(json.dumps([jsonable(one._asdict()) for one in found], indent=1, allow_nan=False))
        return
    lines: dict[str, list[list[str] | str]] = {}
    for one in found:
        shares = [f"{share:.0%}" for share in (one.inside_50, one.inside_90)]
        errors = [f"{one.median_error:.0%}", f"{one.bias:+.0%}"]
        counts = [str(one.cuts), str(one.observations)]
        lines.setdefault(one.item, []).append([one.horizon, *counts, *shares, *errors])
    heads = ["ahead", "cuts", "seen", "in 50%", "in 90%", "median |error|", "bias"]
    table(heads, lines)
    print(f"\n{trend_backtests.NOTE}")


def _measurements(section: str, path: str, json_: bool) -> None:
    """Measurements beside what the model expects, row by row, with sums."""
    from importlib import import_module

    from stackbook import facts

    kind = import_module(f"stackbook.validation.{MEASURED[section]}")
    measured, unread, hints = kind.read(path) if path else (kind.published(), [], [])
    for hint in hints:
        print(f"{path}: {hint}", file=sys.stderr)
    predictions, unread = kind.predictions(measured, unread)
    sums = kind.summaries(predictions)
    if json_:
        found: dict[str, Any] = {
            "rows": [jsonable(one.told()) for one in predictions],
            "unread": [one._asdict() for one in unread],
            "summary": [one._asdict() for one in sums],
        }
        if not path:
            found["left_out"] = facts.table(f"{section}_accuracy").collect().to_dicts()
        print(json.dumps(found, indent=1, allow_nan=False, default=str))
        return
    lines: dict[str, list[list[str] | str]] = {}
    for one in predictions:
        lines.setdefault(one.measured.group[0], []).extend(one.lines)
    table([*kind.HEADS, "predicted", "measured", "error", "90% interval"], lines)
    print(f"\n{kind.NOTE}\n")
    for model, read_as in {one.measured.group[1]: one.read_as for one in predictions}.items():
        if read_as.startswith("dense, "):
            print(f"{model} is not in table transformers, taken as {read_as}")
    sizes = ["median |error|", "mean", "90th percentile", "bias", "in interval"]

    def row(*labels: object, errors: Mapping[str, Any], inside: float) -> list[str]:
        size = [f"{errors[name]:.1%}" for name in ("median_error", "mean_error", "p90_error")]
        return [*map(str, labels), *size, f"{errors['bias']:+.1%}", f"{inside:.0%}"]

    told = [row(*one.labels, errors=one._asdict(), inside=one.coverage) for one in sums]
    table([*kind.SUMS, *sizes], {"": told})
    if not path:
        print("\nThe same with constants fitted without the rows that are foreseen\n")
        accuracy = facts.table(f"{section}_accuracy").collect()
        labels = accuracy.columns[1 : accuracy.columns.index("median_error")]
        left: dict[str, list[list[str] | str]] = {}
        for off in accuracy.iter_rows(named=True):
            shown = row(*(off[name] for name in labels), errors=off, inside=off["covered"])
            left.setdefault(off["method"], []).append(shown)
        left.pop("in sample")
        table([*labels, *sizes], left)
        print()
    for bad in unread:
        print(f"row {bad.line}, {bad.model}: {bad.reason}")
    print(f"{len(predictions)} rows computed, {len(unread)} could not be read")
    if not predictions:
        raise StackbookError(f"{path}: no row could be computed; mend those named above")


@app.command()
def validate(
    section: Annotated[
        str,
        typer.Argument(
            metavar="[SECTION]",
            help="A: chips, B: systems and network, C: data centers and power, D: scaling laws and "
            "training, E: serving and prices of tokens, F: cloud platforms, G: structure of the "
            "market, H: uncertainty and outlook, I: the joined stack; or a case such as D20; or "
            "training, or serving: what was measured, row by row; or trends: of what to watch, "
            "against what came later.",
        ),
    ] = "",
    rows: Annotated[
        str,
        typer.Option(
            metavar="FILE.csv",
            help="With training or serving: rows of your own, in the columns of data/published/"
            "training_throughput.csv or serving_points.csv.",
        ),
    ] = "",
    json_: Json = False,
) -> None:
    """Compute every published result that the kernels must reproduce; fail if one is missed.

    Meeting it proves more or less: repeat is the publisher's own arithmetic, fitted has an input
    that was chosen to meet it, test has inputs of other origin.
    """
    from stackbook import facts, validation

    if section in MEASURED:
        return _measurements(section, rows, json_)
    if section == "trends" and not rows:
        return _trends(json_)
    if rows:
        several = " or ".join(f"`stackbook validate {each}`" for each in MEASURED)
        raise StackbookError(f"--rows {rows}: give it with {several}")
    results = validation.results(section)
    if json_:
        print(json.dumps([jsonable(one._asdict()) for one in results], indent=1, allow_nan=False))
    else:
        cases: dict[str, list[list[str] | str]] = {}
        for one in results:
            headline = f"{one.case}  {one.claim} ({one.kind}): {facts.cite(one.source)}"
            outcome = "FAILED" if one.failed else "met" if one.met else "missed"
            numbers = (f"{one.published:.6g}", f"{one.computed:.6g}", one.difference, one.allowed)
            case = cases.setdefault(headline, [])
            case.append([one.quantity, one.unit, *numbers, outcome])
            if one.miss:
                case.append(f"  miss: {one.miss}")
        table(["quantity", "unit", "published", "computed", "error", "tolerance", ""], cases)
        stated = sum(bool(one.miss) for one in results)
        print(f"\n{sum(one.met for one in results)} of {len(results)} met, {stated} stated misses")
    failed = [f"{one.case} {one.quantity}" for one in results if one.failed]
    if failed:
        raise StackbookError(
            f"{len(failed)} of {len(results)} published results are not as table published_cases "
            f"says: {', '.join(failed)}; correct the kernel, or the table's columns miss and ours"
        )
