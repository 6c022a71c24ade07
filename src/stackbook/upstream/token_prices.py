"""Prices of tokens: models.dev, llm-prices, genai-prices, and the logs of two price lists."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from functools import partial
from typing import Any, NamedTuple

import polars as pl

from stackbook import StackbookError, facts, home
from stackbook.upstream import Format, Read, day_in, has_columns, json_of, number, records
from stackbook.upstream.names import developer, model_name

# Who sells, by the spellings of all publishers.
PROVIDERS = {
    "alibaba": "Alibaba",
    "amazon": "Amazon Bedrock",
    "amazon-bedrock": "Amazon Bedrock",
    "anthropic": "Anthropic",
    "aws": "Amazon Bedrock",
    "azure": "Azure",
    "azure_ai": "Azure",
    "bedrock": "Amazon Bedrock",
    "bedrock_converse": "Amazon Bedrock",
    "cohere": "Cohere",
    "cohere_chat": "Cohere",
    "deepinfra": "DeepInfra",
    "deepseek": "DeepSeek",
    "gemini": "Google",
    "google": "Google",
    "google-vertex": "Google Vertex",
    "groq": "Groq",
    "meta-ai": "Meta",
    "minimax": "MiniMax",
    "mistral": "Mistral",
    "moonshot": "Moonshot AI",
    "moonshot-ai": "Moonshot AI",
    "moonshotai": "Moonshot AI",
    "openai": "OpenAI",
    "qwen": "Alibaba",
    "text-completion-openai": "OpenAI",
    "vertex_ai": "Google Vertex",
    "x": "xAI",
    "x-ai": "xAI",
    "xai": "xAI",
    "zai": "Z.ai",
}
CLOUDS = {"Amazon Bedrock": "Amazon", "Azure": "Microsoft", "Google Vertex": "Google"}
HOSTS = {"DeepInfra", "Groq"}
# What is sold by more than text tokens, or for one customer.
OTHER = re.compile(
    r"audio|embed|guard|image|imagine|live|moderation|ocr|omni|realtime|rerank|search|sonic|speech"
    r"|transcribe|tts|video|vision|voxtral|whisper|^ft:|[-:.]ft-|-asr|-mt-|-vl|^qvq|pixtral"
    r"|\dv(?:-|$)|computer-use|deep-research|character|:free|-exp-|-exp$|custom"
)
# A cloud's price in some of its regions, above the global one.
REGION = re.compile(r"^(?:apac|au|ca|eu|jp|regional)\.|^(?:azure|bedrock)/.*/")
# genai-prices took these over from a router without saying so.
OF_A_ROUTER = {
    "deepseek-v3.1-terminus", "deepseek-v3.2", "deepseek-v3.2-exp", "devstral-small", "gemini-pro",
    "gemini-1.0-pro-vision-001", "gpt-4o:extended", "kimi-k2", "ministral-8b", "mistral-tiny",
    "mixtral-8x22b-instruct",
}  # fmt: skip
LOG_BY_CHARACTER = "2024-11-08"  # until then the log has Vertex by the character as by the token
DOUBT = 10  # times: so large a step without a day is a unit mixed up more often than a price
MOST = 1e4  # USD per million tokens
RAGGED = "with a wrong number of cells"
FORMLESS = "in another form"
UNDATED = "before a change, without its first day"
MALFORMED = (AttributeError, KeyError, TypeError, ValueError)
NO_PROVIDER = "of a provider that the table does not follow"
NO_PRICE = "without a price, or free"
NOT_TEXT = "sold by more than text tokens, or not to everybody"
TEXT = ("chat", "completion", "responses")
KINDS = ("input", "output", "cache_read", "cache_write")
COLUMNS = tuple(f"{kind}_usd_per_mtok" for kind in KINDS)


class Quote(NamedTuple):
    """A price that a publisher tells."""

    provider: str
    model: str
    over: int
    """Prompts of more tokens pay it."""
    usd: tuple[float, float, float | None, float | None]
    """Input, output, read from a cache, written to it, of a million tokens."""
    since: str | None = None
    """First day, where it is told."""
    dated: str = "effective"
    """What `since` is."""


def models_dev(text: str, as_of: str | None) -> Read:
    """Rows of table `api_prices` from the directory models.dev."""

    def told(left_out: Counter[str]) -> Iterator[Quote]:
        rows, ragged = records(text)
        left_out[RAGGED] += ragged
        for row in sorted(rows, key=lambda row: _rank(row["model_id"])):
            if row.get("status") == "deprecated":
                left_out["of a deprecated model"] += 1
                continue
            usd = (row.get(column) for column in COLUMNS)
            if quote := _quote(row["provider"], row["model_id"], usd, left_out):
                yield quote

    return _read(told, "models-dev-prices-2026", day_of(as_of))


def llm_prices(text: str, as_of: str | None) -> Read:
    """Rows of table `api_prices` from a vendor's file of llm-prices."""

    def told(left_out: Counter[str]) -> Iterator[Quote]:
        vendor = json.loads(text)
        for model in vendor["models"]:
            try:
                yield from _llm_model(vendor["vendor"], model, left_out)
            except MALFORMED:
                left_out[FORMLESS] += 1

    return _read(told, "llm-prices-2026", day_of(as_of))


def _llm_model(vendor: str, model: dict[str, Any], left_out: Counter[str]) -> list[Quote]:
    over = re.search(r">\s*(\d+)k", str(model.get("name")), re.IGNORECASE)
    spelling = re.sub(r"-\d+k$", "", model["id"]) if over else model["id"]
    quotes = []
    for price in model["price_history"]:
        usd = (*(price.get(kind) for kind in ("input", "output", "input_cached")), None)
        since = price.get("from_date")
        quote = _quote(vendor, spelling, usd, left_out)
        if quote and not since and price.get("to_date"):
            left_out[UNDATED] += 1
        elif quote:
            over_tokens = 1000 * int(over[1]) if over else 0
            # No day at all stands for the day of the launch, or for nobody having looked.
            dated = "effective" if since else "undated"
            quotes.append(quote._replace(over=over_tokens, since=_date(since), dated=dated))
    return quotes


def genai_prices(text: str, as_of: str | None) -> Read:
    """Rows of table `api_prices` from data.json of genai-prices, in either version."""
    day = day_of(as_of)

    def told(left_out: Counter[str]) -> Iterator[Quote]:
        for provider in json.loads(text):
            try:
                models = sorted(provider["models"], key=_rank_of)
            except MALFORMED:
                left_out[FORMLESS] += 1
                continue
            for model in models:
                try:
                    yield from _genai_model(str(provider["id"]), model, day, left_out)
                except MALFORMED:
                    left_out[FORMLESS] += 1

    return _read(told, "genai-prices-2026", day)


def _genai_model(
    provider: str, model: dict[str, Any], day: str, left_out: Counter[str]
) -> list[Quote]:
    remark = str(model.get("price_comments") or "").lower()
    if re.search(r"open ?router", remark) or model["id"].lower() in OF_A_ROUTER:
        left_out["taken over from a router"] += 1
        return []
    steps = model["prices"]
    steps = steps if isinstance(steps, list) else [{"prices": steps}]
    limits = [step.get("constraint") or {} for step in steps]
    if any(set(limit) - {"start_date"} for limit in limits):
        left_out["by the time of day"] += 1
        return []
    last = max(limit.get("start_date", "") for limit in limits)
    quotes = []
    for step, limit in zip(steps, limits, strict=True):
        since = limit.get("start_date")
        if last and not since and last <= day:
            left_out[UNDATED] += 1
            continue
        for over, usd in _classes(step["prices"]):
            if quote := _quote(provider, model["id"], usd, left_out):
                quotes.append(quote._replace(over=over, since=_date(since)))
    return quotes


def _log(text: str, as_of: str | None, source: str) -> Read:
    """Rows of table `api_prices` from a log of changes, from where the table left off."""
    entries, ragged = records(text)
    last = as_of or max((day_in(entry["date"]) or "" for entry in entries), default="")
    # A row of a log begins before the day that the log is of; one of a list begins on its day.
    earlier = pl.col("from_date").cast(str) < pl.col("as_of")
    there = standing("api_prices").filter(earlier, source=source, dated="seen")
    read_to = str(there["from_date"].max() or "")

    def told(left_out: Counter[str]) -> Iterator[Quote]:
        left_out[RAGGED] += ragged
        for entry in sorted(entries, key=lambda entry: (entry["date"], _rank(entry["model"]))):
            provider, day = entry["provider"], day_in(entry["date"])
            why = (
                FORMLESS if not day
                else f"up to {read_to}, to which the table has read the log" if day <= read_to
                else NOT_TEXT if entry.get("mode", "chat") not in TEXT
                else "by the character"
                if provider == "vertex_ai-language-models" and day < LOG_BY_CHARACTER
                else ""
            )  # fmt: skip
            if why:
                left_out[why] += 1
                continue
            provider = "vertex_ai" if provider.startswith("vertex_ai") else provider
            usd = (*(entry[column] for column in COLUMNS[:2]), None, None)
            if quote := _quote(provider, entry["model"], usd, left_out):
                yield quote._replace(since=day, dated="seen")

    return _read(told, source, last)


def _read(told: Callable[[Counter[str]], Iterator[Quote]], source: str, as_of: str) -> Read:
    """The quotes as rows: a price that stands in the table keeps its row, another begins one."""
    left_out: Counter[str] = Counter()
    there = standing("api_prices")
    series: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for known in there.iter_rows(named=True):
        key = known["provider"], known["model"], known["prompt_over_tokens"]
        series.setdefault(key, []).append(known)
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    heard = set[tuple[Any, ...]]()
    for quote in told(left_out):
        key = (quote.provider, quote.model, quote.over)
        day = date.fromisoformat(quote.since or as_of)
        stood = sorted(series.get(key, []), key=lambda row: row["from_date"])
        before = next((row for row in reversed(stood) if row["from_date"] <= day), None)
        row = _completed(before, quote, source, as_of) if before else None
        why = "" if row else _doubt(quote, day, before, stood, source, as_of)
        if (*key, quote.since) in heard:
            why = "under another spelling of a model"
        elif quote.provider in HOSTS and (quote.provider, quote.model, 0) not in series:
            why = "of a host's model that the table does not follow"
        elif not stood and not re.search(r"\d", quote.model):
            why = "under a name that passes from model to model"
        heard.add((*key, quote.since))
        if why:
            left_out[why] += 1
            continue
        if not row:
            row = _row(quote, day, source, as_of) | {"step": _step(before, source)}
        rows[*key, row["from_date"]] = row
        others = [each for each in stood if each["from_date"] != row["from_date"]]
        if before is None and others:  # what was the first row now follows another
            second = others[0] | {"step": _step(row, others[0]["source"])}
            rows[*key, second["from_date"]] = others[0] = second
        series[key] = [*others, row]
    frame = pl.DataFrame(list(rows.values()), schema=there.schema, orient="row")
    return Read(frame, {why: count for why, count in left_out.items() if count})


def _completed(row: dict[str, Any], quote: Quote, source: str, as_of: str) -> dict[str, Any] | None:
    """The row, if it says the quote's price, with what the quote adds of caches; else None."""
    pairs = {column: (row[column], usd) for column, usd in zip(COLUMNS, quote.usd, strict=True)}
    if any(a is not None and b is not None and abs(a - b) > 1e-9 for a, b in pairs.values()):
        return None
    more = {column: b for column, (a, b) in pairs.items() if a is None and b is not None}
    return {**row, **more, "source": source, "as_of": as_of} if more else row


def _doubt(
    quote: Quote,
    day: date,
    before: dict[str, Any] | None,
    stood: list[dict[str, Any]],
    source: str,
    as_of: str,
) -> str:
    """Why a price that the table does not have is not taken; empty if it is."""
    after = next((row for row in stood if row["from_date"] > day), None)
    if after and _completed(after, quote, "", "") is not None:
        return "as the table has it from a later day"
    if before is None:
        return ""
    if quote.dated == "undated":
        return "without a day, against a price with a day in the table"
    if before["as_of"] > as_of:
        return "against a later list in the table"
    own = [row for row in stood if row["source"] == source and row["from_date"] <= day]
    again = any(_completed(row, quote, "", "") is not None for row in own)
    if again and not quote.since and before["source"] != source:
        return "as the list said before another list contradicted it"
    if quote.dated == "seen" or not quote.since:
        pairs = zip((before[column] for column in COLUMNS[:2]), quote.usd[:2], strict=True)
        if any(not 1 / DOUBT < b / a < DOUBT for a, b in pairs):
            return f"{DOUBT} times off the price before: unit or entry in doubt"
    return ""


def _step(before: dict[str, Any] | None, source: str) -> str:
    """What a new row is to the one before: between two lists a step may be no change at all."""
    if before is None:
        return "first"
    return "changed" if before["source"] == source else "differs"


def _row(quote: Quote, day: date, source: str, as_of: str) -> dict[str, Any]:
    dated = quote.dated if quote.since else "seen"
    if dated == "effective" and str(day) > as_of:
        dated = "announced"
    who = developer(quote.model)
    own = CLOUDS.get(quote.provider, quote.provider) == who
    kind = "developer" if own else "host" if quote.provider in HOSTS else "cloud"
    return {
        "provider": quote.provider,
        "model": quote.model,
        "prompt_over_tokens": quote.over,
        "from_date": day,
        "dated": dated,
        "developer": who,
        "provider_kind": kind,
        "step": "first",
        **dict(zip(COLUMNS, quote.usd, strict=True)),
        "source": source,
        "as_of": as_of,
        "note": None,
    }


def _quote(
    provider: str, spelling: str, usd: Iterable[Any], left_out: Counter[str]
) -> Quote | None:
    """The quote if the table follows its kind, else None, with the reason counted."""
    read, written, *_ = prices = [number(value, MOST) for value in usd]
    model = model_name(spelling)
    who = developer(model)
    seller = PROVIDERS.get(provider.lower() or who.lower(), "" if provider else who)
    if seller == "Google" and who not in ("Google", ""):
        seller = "Google Vertex"
    why = ""
    if not seller:
        why = NO_PROVIDER
    elif REGION.search(spelling):
        why = "of a region"
    elif OTHER.search(spelling.lower()):
        why = NOT_TEXT
    elif not who:
        why = "of a family of models that the table does not know"
    elif seller not in CLOUDS and seller not in HOSTS and who != seller:
        why = "of another developer's model"
    elif not read or not written:
        why = NO_PRICE
    elif read > written or (prices[2] or 0) > read:
        why = "with input dearer than output, or a cache than input: entry in doubt"
    if why:
        left_out[why] += 1
        return None
    return Quote(seller, model, 0, tuple(value or None for value in prices))  # type: ignore[arg-type]


def _classes(
    prices: Mapping[str, Any],
) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Prices of each class of length of the prompt, by the tokens above which it begins."""
    told = [prices.get(f"{kind}_mtok") for kind in KINDS]
    steps = {0} | {
        int(tier["start"]) for price in told if isinstance(price, dict) for tier in price["tiers"]
    }
    for over in sorted(steps):
        yield over, tuple(_at(price, over) for price in told)


def _at(price: Any, over: int) -> Any:
    if not isinstance(price, dict):
        return price
    tiers = [(tier["start"], tier["price"]) for tier in price["tiers"] if tier["start"] <= over]
    return max(tiers)[1] if tiers else price["base"]


def standing(name: str) -> pl.DataFrame:
    return facts.Package(home() / "data").table(name).collect()


def _rank(spelling: str) -> tuple[bool, int]:
    """The global price of a cloud comes first, then the plainest spelling."""
    return not spelling.startswith("global."), len(spelling)


def _rank_of(model: Any) -> tuple[bool, int]:
    return _rank(str(model.get("id") if isinstance(model, dict) else ""))


def _is_llm_prices(text: str) -> bool:
    told = json_of(text)
    return isinstance(told, dict) and "vendor" in told and isinstance(told.get("models"), list)


def _is_genai_prices(text: str) -> bool:
    told = json_of(text)
    first = told[0] if isinstance(told, list) and told else None
    return isinstance(first, dict) and "pricing_urls" in first and "models" in first


def _date(text: str | None) -> str | None:
    return None if text is None else date.fromisoformat(text[:10]).isoformat()


def day_of(as_of: str | None) -> str:
    if as_of is None:
        raise StackbookError("the file does not say of which day it is; give --as-of YYYY-MM-DD")
    return as_of


_is_genai_log = has_columns("date", "event", "provider", "model", *COLUMNS[:2], "context_window")
_is_tokencost_log = has_columns("date", "event", "provider", "mode", "model", *COLUMNS[:2])
_genai_log = partial(_log, source="genai-prices-2026")
_tokencost_log = partial(_log, source="tokencost-prices-2025")  # follows LiteLLM's list
is_models_dev = has_columns("provider", "model_id", *COLUMNS)

FORMATS = {
    "api_prices": (
        Format("a vendor's file of llm-prices (JSON)", _is_llm_prices, llm_prices),
        Format("data.json of genai-prices", _is_genai_prices, genai_prices),
        Format("the log of genai-prices (CSV)", _is_genai_log, _genai_log),
        Format("the log of tokencost (CSV)", _is_tokencost_log, _tokencost_log),
        Format("models.dev by provider and model (CSV)", is_models_dev, models_dev),
    ),
}
