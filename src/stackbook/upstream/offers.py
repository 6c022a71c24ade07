"""Offers of the same weights side by side, from the directory models.dev."""

from collections import Counter
from collections.abc import Container
from typing import Any

import polars as pl

from stackbook.upstream import Format, Read, number, records
from stackbook.upstream.names import developer, model_name
from stackbook.upstream.token_prices import (
    COLUMNS,
    MOST,
    NO_PRICE,
    NO_PROVIDER,
    RAGGED,
    day_of,
    is_models_dev,
    standing,
)

OFFER = ("weights", "provider", "variant")
SELLERS = {
    "alibaba": "Alibaba", "alibaba-cn": "Alibaba (China)", "amazon-bedrock": "Amazon Bedrock",
    "anthropic": "Anthropic", "azure": "Azure", "baseten": "Baseten", "berget": "Berget",
    "cerebras": "Cerebras", "chutes": "Chutes", "clarifai": "Clarifai",
    "cloudferro-sherlock": "CloudFerro", "cloudflare-workers-ai": "Cloudflare Workers AI",
    "databricks": "Databricks", "deepinfra": "DeepInfra", "deepseek": "DeepSeek",
    "digitalocean": "DigitalOcean", "dinference": "DInference", "evroc": "Evroc",
    "fireworks-ai": "Fireworks", "friendli": "FriendliAI", "gmicloud": "GMI Cloud",
    "google": "Google", "google-vertex": "Google Vertex", "groq": "Groq", "hpc-ai": "HPC-AI",
    "inceptron": "Inceptron", "inference": "Inference.net", "io-net": "io.net",
    "minimax": "MiniMax", "mistral": "Mistral", "mixlayer": "Mixlayer",
    "moonshotai": "Moonshot AI", "nearai": "NEAR AI", "nebius": "Nebius",
    "neuralwatt": "Neuralwatt", "novita-ai": "Novita", "openai": "OpenAI",
    "ovhcloud": "OVHcloud", "regolo-ai": "Regolo", "scaleway": "Scaleway",
    "siliconflow": "SiliconFlow", "siliconflow-cn": "SiliconFlow (China)",
    "stackit": "STACKIT", "submodel": "Submodel", "tinfoil": "Tinfoil",
    "togetherai": "Together", "vultr": "Vultr", "wafer.ai": "Wafer",
    "wandb": "Weights & Biases", "xai": "xAI", "zai": "Z.ai",
}  # fmt: skip
CLOUDS = {
    "Alibaba", "Alibaba (China)", "Amazon Bedrock", "Azure", "Berget", "CloudFerro",
    "Cloudflare Workers AI", "Databricks", "DigitalOcean", "Evroc", "Google Vertex", "OVHcloud",
    "Regolo", "STACKIT", "Scaleway", "Vultr",
}  # fmt: skip

WEIGHTS = {
    "alibaba-qwen3-32b": "qwen3-32b",
    "databricks-gpt-oss-120b": "gpt-oss-120b",
    "databricks-gpt-oss-20b": "gpt-oss-20b",
    "deepseek-v3-1": "deepseek-v3.1",
    "gemini-3-flash-preview": "gemini-3-flash",
    "gemini-3.1-flash-lite-preview": "gemini-3.1-flash-lite",
    "gemini-3.1-pro-preview": "gemini-3.1-pro",
    "grok-4.20-0309-reasoning": "grok-4.20",
    "kimi-k2": "kimi-k2-0711",
    "kimi-k2-instruct-0905": "kimi-k2-0905",
    "mistral-nemo-2407": "mistral-nemo",
    "mistral-nemo-instruct-2407": "mistral-nemo",
    "moonshot-kimi-k2": "kimi-k2-0711",
    "openai-gpt-oss-120b": "gpt-oss-120b",
    "openai-gpt-oss-20b": "gpt-oss-20b",
    "qwen3-235b-a22b-2507": "qwen3-235b-a22b-instruct-2507",
}  # of open weights and of models that token_offers names shorter
VARIANTS = {"tee": "confidential", "turbo": "turbo", "fast": "fast", "tput": "throughput",
            "lite": "lite", "throughput": "throughput"}  # fmt: skip
NO_VARIANT = ("bf16", "cs", "ep", "high", "instant", "versatile")
PRECISIONS = {"fp8": "FP8", "fp4": "FP4", "nvfp4": "FP4", "int4": "INT4", "awq": "INT4"}


def offers(text: str, as_of: str | None) -> Read:
    """Rows of table `token_offers` from the directory models.dev: weights that it follows."""
    day = day_of(as_of)
    there = standing("token_offers")
    models = {
        row["weights"]: {name: row[name] for name in ("transformer", "released")}
        for row in there.iter_rows(named=True)
    }
    closed = {weights for weights, model in models.items() if model["transformer"] is None}
    known = {tuple(row[name] for name in OFFER): row for row in there.to_dicts()}
    left_out: Counter[str] = Counter()
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    told, ragged = records(text)
    left_out[RAGGED] += ragged
    for each in sorted(told, key=lambda row: len(row["model_id"])):
        provider = SELLERS.get(each["provider"], "")
        weights, variant, precision = _weights(each["model_id"], closed)
        if each.get("name", "").endswith("FP8"):
            precision = "FP8"
        read, written, *cache = (number(each.get(column), MOST) for column in COLUMNS)
        key = (weights, provider, variant)
        own = developer(weights) == provider.removesuffix(" (China)")
        if why := (
            NO_PROVIDER if not provider
            else "of weights that the table does not follow" if weights not in models
            else "of closed weights, by another seller"
            if weights in closed and developer(weights) != provider
            else "of a deprecated model" if each.get("status") == "deprecated"
            else NO_PRICE if not read or not written
            else "under another spelling of an offer"
            if key in rows or each["model_id"].startswith("Pro/")
            else ""
        ):  # fmt: skip
            left_out[why] += 1
            continue
        rows[key] = {
            **dict(zip(OFFER, key, strict=True)),
            "provider_kind": "developer" if own else "cloud" if provider in CLOUDS else "host",
            **models[weights],
            **dict(zip(COLUMNS, (read, written, *(price or None for price in cache)), strict=True)),
            "precision": precision,
            "context_tokens": int(number(each["context_tokens"], 1e9) or 0) or None
            if "context_tokens" in each
            else known.get(key, {}).get("context_tokens"),
            "source": "models-dev-prices-2026",
            "as_of": day,
            "note": known[key]["note"]
            if key in known
            else "for the Chinese mainland"
            if provider.endswith("(China)")
            else None,
        }
    frame = pl.DataFrame(list(rows.values()), schema=there.schema, orient="row")
    return Read(frame, {why: count for why, count in left_out.items() if count})


def _weights(spelling: str, closed: Container[str]) -> tuple[str, str, str | None]:
    """Weights, variant of the service and precision, by the address of an offer."""

    def weights(name: str) -> str:
        name = model_name(name)
        return WEIGHTS.get(name, name)

    if weights(spelling) in closed:  # their names have words that are variants elsewhere
        return weights(spelling), "standard", None
    name = spelling.lower().rsplit("/", 1)[-1].replace("_", "-")
    tags = [tag for tag in name.split("-") if tag in VARIANTS or tag in PRECISIONS]
    rest = [part for part in name.split("-") if part not in tags and part not in NO_VARIANT]
    variant = next((VARIANTS[tag] for tag in tags if tag in VARIANTS), "standard")
    precision = next((PRECISIONS[tag] for tag in tags if tag in PRECISIONS), None)
    return weights("-".join(rest)), variant, precision


FORMATS = {
    "token_offers": (Format("models.dev by provider and model (CSV)", is_models_dev, offers),)
}
