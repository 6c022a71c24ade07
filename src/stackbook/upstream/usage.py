"""Weekly usage of models on OpenRouter, as johnbean393/openrouter-inference-stats keeps it."""

import json
from collections import Counter
from collections.abc import Mapping
from datetime import date
from typing import Any

import polars as pl

from stackbook import facts
from stackbook.upstream import Format, Read, day_in, json_of, number
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


def week(text: str, as_of: str | None) -> Read:
    """Rows of table `usage_shares`, one a model of the week that the file is of."""
    told = json.loads(text)
    day = str(day_in(told["date"]))
    left_out: Counter[str] = Counter()
    rows: dict[tuple[str, bool], dict[str, Any]] = {}
    for each in told["models"]:
        row = _row(each) if isinstance(each, dict) else None
        if row is None:
            left_out["no model, or no tokens"] += 1
        elif (key := (row["model"], row["free"])) in rows:
            left_out["model twice in a week"] += 1
        else:
            rows[key] = row
    tokens = sum(row["tokens"] for row in rows.values())
    usd = sum(row["usd"] or 0 for row in rows.values())
    for row in rows.values():
        row |= {"week": date.fromisoformat(day), "source": SOURCE, "as_of": as_of or day}
        row["token_share"] = _rounded(row["tokens"] / tokens)
        row["usd_share"] = _rounded(row["usd"] / usd if usd and row["usd"] is not None else None)
    schema = facts.table("usage_shares").collect_schema()
    return Read(pl.DataFrame(list(rows.values()), schema=schema), left_out)


def _row(each: Mapping[str, Any]) -> dict[str, Any] | None:
    developer, _, name = str(each.get("slug") or "").strip().lower().partition("/")
    tokens = _count(each.get("total_tokens"))
    if not name or not tokens:
        return None
    free = name.endswith(":free") or each.get("is_free") is True
    # A week not yet split by kind has zeros everywhere.
    split = bool(_count(each.get("prompt_tokens")))
    row: dict[str, Any] = {
        "model": model_name(name.removesuffix(":free")),
        "developer": DEVELOPERS.get(developer, developer),
        "free": free,
        "tokens": tokens,
        "usd": number(each.get("estimated_revenue")) if split else None,
    }
    row |= {column: _count(each.get(kind)) if split else None for column, kind in KINDS.items()}
    for column, price in PRICES.items():
        usd = None if free else number(each.get(price))
        row[column] = None if usd is None else _rounded(1e6 * usd)
    return row


def _count(value: Any) -> int | None:
    found = number(value, 1e18)
    return None if found is None else int(found)


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def _is_week(text: str) -> bool:
    told = json_of(text)
    models = told.get("models") if isinstance(told, dict) else None
    return (
        isinstance(models, list)
        and day_in(told.get("date")) is not None
        and any(isinstance(each, dict) and "total_tokens" in each for each in models)
    )


FORMATS = {"usage_shares": (Format("a week of openrouter-inference-stats (JSON)", _is_week, week),)}
