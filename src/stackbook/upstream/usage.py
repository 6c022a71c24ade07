"""Weekly usage of models on OpenRouter, as johnbean393/openrouter-inference-stats keeps it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from stackbook import facts
from stackbook.upstream import Format, Read, json_of
from stackbook.upstream.names import DEVELOPERS, model_name

SOURCE = "openrouter-inference-stats-2026"
KINDS = {
    "prompt_tokens": "prompt_tokens",
    "completion_tokens": "completion_tokens",
    "reasoning_tokens": "reasoning_tokens",
    "cached_tokens": "cached_tokens",
    "requests": "request_count",
}
PRICES = {
    "input_usd_per_mtok": "prompt_price",
    "output_usd_per_mtok": "completion_price",
    "cache_read_usd_per_mtok": "cache_read_price",
}


def week(path: Path, as_of: str | None) -> Read:
    """Rows of table `usage_shares`, one a model of the week that the file is of."""
    told = json_of(path.read_text(encoding="utf-8-sig"))
    left_out: dict[str, int] = {}
    rows: dict[tuple[str, bool], dict[str, Any]] = {}
    for each in told["models"]:
        row = _row(each) if isinstance(each, dict) else None
        why = "no model, or no tokens" if row is None else ""
        if row and (row["model"], row["free"]) in rows:
            why = "model twice in a week"
        if row is None or why:
            left_out[why] = left_out.get(why, 0) + 1
            continue
        rows[row["model"], row["free"]] = row
    tokens = sum(row["tokens"] for row in rows.values())
    usd = sum(row["usd"] or 0 for row in rows.values())
    for row in rows.values():
        row |= {
            "week": told["date"],
            "source": SOURCE,
            "as_of": as_of or told["date"],
            "note": None,
        }
        row["token_share"] = float(f"{row['tokens'] / tokens:.6g}")
        known = usd and row["usd"] is not None
        row["usd_share"] = float(f"{row['usd'] / usd:.6g}") if known else None
    fields = facts.package().resource("usage_shares")["schema"]["fields"]
    columns = [field["name"] for field in fields]
    frame = pl.from_dicts(
        [{name: row[name] for name in columns} for row in rows.values()],
        schema={field["name"]: _POLARS[field["type"]] for field in fields},
    )
    return Read(frame.with_columns(pl.col("week").str.to_date()), left_out)


_POLARS = {
    "string": pl.String,
    "date": pl.String,
    "number": pl.Float64,
    "integer": pl.Int64,
    "boolean": pl.Boolean,
}


def _row(each: Mapping[str, Any]) -> dict[str, Any] | None:
    developer, _, name = str(each.get("slug") or "").partition("/")
    tokens = each.get("total_tokens")
    if not name or not isinstance(tokens, int | float) or tokens <= 0:
        return None
    free = name.endswith(":free") or each.get("is_free") is True
    # A week not yet split by kind has zeros everywhere.
    split = bool(each.get("prompt_tokens"))
    row: dict[str, Any] = {
        "model": model_name(re.sub(r":free$", "", name)),
        "developer": DEVELOPERS.get(developer, developer),
        "free": free,
        "tokens": int(tokens),
        "usd": each.get("estimated_revenue") if split else None,
    }
    row |= {column: each.get(kind) if split else None for column, kind in KINDS.items()}
    for column, price in PRICES.items():
        usd = each.get(price)
        row[column] = None if usd is None or free else float(f"{1e6 * usd:.6g}")
    return row


def _is_week(text: str) -> bool:
    told = json_of(text)
    models = told.get("models") if isinstance(told, dict) else None
    return (
        isinstance(models, list)
        and bool(re.fullmatch(r"\d{4}-\d\d-\d\d", str(told.get("date"))))
        and any(isinstance(each, dict) and "total_tokens" in each for each in models)
    )


FORMATS = {"usage_shares": (Format("a week of openrouter-inference-stats (JSON)", _is_week, week),)}
