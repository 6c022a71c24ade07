"""Readers of price lists, their logs and weekly usage: tiny files in the publishers' own forms."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from stackbook import StackbookError, facts, home, upstream
from stackbook.upstream import names, token_prices
from stackbook.validation import token_offers

# provider, model, class, first day, dated, developer, kind, step, four prices, source, date, note
ROWS = [
    "Anthropic,claude-9,0,2026-01-01,launch,Anthropic,developer,first,4,20,,,genai-prices-2026,2026-05-01,",
    "DeepInfra,llama-3-8b,0,2026-01-01,seen,Meta,host,first,0.1,0.1,,,genai-prices-2026,2026-05-01,",
    "OpenAI,gpt-9,0,2026-01-01,launch,OpenAI,developer,first,2,8,0.5,,genai-prices-2026,2026-05-01,",
]
LOG = "date,event,provider,model,input_usd_per_mtok,output_usd_per_mtok,context_window"
DIRECTORY = (
    "provider,model_id,name,status,input_usd_per_mtok,output_usd_per_mtok,"
    "cache_read_usd_per_mtok,cache_write_usd_per_mtok,context_tokens"
)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of the book's own tables, but for three rows of prices."""
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "pyproject.toml").touch()
    for name in ("datapackage.json", "sources.csv", "transformers.csv", "token_offers.csv"):
        shutil.copy(home() / "data" / name, data / name)
    fields = facts.package().resource("api_prices")["schema"]["fields"]
    head = ",".join(field["name"] for field in fields)
    (data / "api_prices.csv").write_text("\n".join([head, *ROWS, ""]))
    for module in (upstream, token_prices):
        monkeypatch.setattr(module, "home", lambda: tmp_path)
    return tmp_path


def refreshed(folder: Path, name: str, text: str, as_of: str | None = None) -> upstream.Changes:
    file = folder / "file"
    file.write_text(text)
    changes = upstream.refresh(name, str(file), as_of)
    changes.write()
    again = upstream.refresh(name, str(file), as_of)
    assert not again.added and not again.changed
    return changes


def rows(changes: upstream.Changes) -> list[str]:
    return [each.row for each in changes.added]


def prices(folder: Path) -> dict[tuple[str, ...], dict[str, str]]:
    with (folder / "data" / "api_prices.csv").open(encoding="utf-8") as file:
        told = list(csv.DictReader(file))
    keys = ("provider", "model", "prompt_over_tokens", "from_date")
    return {tuple(row[key] for key in keys): row for row in told}


def genai(provider: str, *models: dict[str, Any]) -> str:
    return json.dumps([{"id": provider, "pricing_urls": [], "models": list(models)}])


def test_a_price_that_stands_keeps_its_row_and_another_begins_one(checkout: Path) -> None:
    same = {"id": "claude-9", "prices": {"input_mtok": 4, "output_mtok": 20, "cache_read_mtok": 1}}
    new = {"id": "claude-10", "prices": {"input_mtok": 3, "output_mtok": 15}}
    changes = refreshed(checkout, "api_prices", genai("anthropic", same, new), "2026-06-01")
    assert rows(changes) == ["Anthropic, claude-10, 0, 2026-06-01"]
    row = prices(checkout)["Anthropic", "claude-9", "0", "2026-01-01"]
    assert (row["cache_read_usd_per_mtok"], row["dated"]) == ("1", "launch")


def test_a_cut_is_a_change_within_one_list_and_a_difference_between_two(checkout: Path) -> None:
    cut = {"id": "gpt-9", "prices": {"input_mtok": 1, "output_mtok": 4}}
    refreshed(checkout, "api_prices", genai("openai", cut), "2026-06-01")
    line = "anthropic,claude-9,Claude 9,,3,15,,,"
    refreshed(checkout, "api_prices", f"{DIRECTORY}\n{line}\n", "2026-06-02")
    told = prices(checkout)
    assert told["OpenAI", "gpt-9", "0", "2026-06-01"]["step"] == "changed"
    assert told["Anthropic", "claude-9", "0", "2026-06-02"]["step"] == "differs"


def test_two_lists_that_disagree_do_not_take_turns(checkout: Path) -> None:
    line = "anthropic,claude-9,Claude 9,,3,15,,,"
    refreshed(checkout, "api_prices", f"{DIRECTORY}\n{line}\n", "2026-06-02")
    same = {"id": "claude-9", "prices": {"input_mtok": 4, "output_mtok": 20}}
    changes = refreshed(checkout, "api_prices", genai("anthropic", same), "2026-07-01")
    assert changes.left_out == {"as the list said before another list contradicted it": 1}
    cut = {"id": "claude-9", "prices": {"input_mtok": 2, "output_mtok": 10}}
    changes = refreshed(checkout, "api_prices", genai("anthropic", cut), "2026-07-02")
    assert rows(changes) == ["Anthropic, claude-9, 0, 2026-07-02"]


def test_classes_of_length_and_days_that_a_list_tells(checkout: Path) -> None:
    tiers = {"base": 2, "tiers": [{"start": 200000, "price": 4}]}
    steps = [
        {"prices": {"input_mtok": 2, "output_mtok": 8}},
        {
            "constraint": {"start_date": "2026-09-01"},
            "prices": {"input_mtok": tiers, "output_mtok": 9},
        },
    ]
    refreshed(
        checkout, "api_prices", genai("openai", {"id": "gpt-9", "prices": steps}), "2026-06-01"
    )
    told = prices(checkout)
    assert ("OpenAI", "gpt-9", "0", "2026-06-01") not in told
    assert told["OpenAI", "gpt-9", "0", "2026-09-01"]["dated"] == "announced"
    assert told["OpenAI", "gpt-9", "200000", "2026-09-01"]["input_usd_per_mtok"] == "4"
    new = genai("openai", {"id": "gpt-10", "prices": steps})
    changes = refreshed(checkout, "api_prices", new, "2026-10-01")
    assert rows(changes) == ["OpenAI, gpt-10, 0, 2026-09-01", "OpenAI, gpt-10, 200000, 2026-09-01"]
    assert changes.left_out == {"before a change, without its first day": 1}


def test_what_is_left_out_is_counted_by_reason(checkout: Path) -> None:
    one = {"input_mtok": 1, "output_mtok": 2}
    models: list[dict[str, Any]] = [
        {"id": "gpt-9-audio", "prices": one},
        {"id": "claude-9", "prices": one},
        {"id": "gpt-10", "prices": {}},
        {"id": "gpt-11", "prices": {"input_mtok": 3, "output_mtok": 2}},
        {"id": "gpt-12", "prices": one, "price_comments": "Imported from OpenRouter pricing"},
        {"id": "gpt-13", "prices": 7},
        {"id": "gpt-14", "prices": [{"constraint": {"start_time": "0"}, "prices": one}]},
    ]
    changes = refreshed(checkout, "api_prices", genai("openai", *models), "2026-06-01")
    assert not changes.added
    assert sorted(changes.left_out.values()) == [1] * len(models)
    changes = refreshed(checkout, "api_prices", genai("nobody", models[1]), "2026-06-01")
    assert changes.left_out == {token_prices.NO_PROVIDER: 1}


def test_an_older_list_does_not_overrule_a_later_one(checkout: Path) -> None:
    other = {"id": "gpt-9", "prices": {"input_mtok": 1, "output_mtok": 4}}
    changes = refreshed(checkout, "api_prices", genai("openai", other), "2026-04-01")
    assert not changes.added and changes.left_out == {"against a later list in the table": 1}


def test_a_price_that_the_table_has_already_adds_nothing(checkout: Path) -> None:
    same = {"id": "claude-9", "prices": {"input_mtok": 4, "output_mtok": 20}}
    changes = refreshed(checkout, "api_prices", genai("anthropic", same), "2026-06-01")
    assert (changes.added, changes.changed, changes.unchanged) == ([], [], 1)
    changes = refreshed(checkout, "api_prices", genai("anthropic", same), "2025-12-01")
    assert changes.left_out == {"as the table has it from a later day": 1}


def test_a_log_is_read_from_where_the_table_left_off(checkout: Path) -> None:
    lines = [
        LOG,
        "2025-12-31,changed,openai,gpt-9,1,4,",
        "2026-06-01,changed,openai,gpt-9-2026-05-30,1,4,",
        "2026-06-02,changed,openai,gpt-9,0.05,0.2,",
        "2026-06-02,added,groq,llama-3-8b,1,1,",
        "2026-06-03,changed,deepinfra,meta-llama/Meta-Llama-3-8B-Instruct,0.05,0.06,",
        "2026-06-03,changed,openai",
    ]
    changes = upstream.refresh("api_prices", str(written(checkout, "\n".join(lines))))
    assert rows(changes) == [
        "OpenAI, gpt-9, 0, 2026-06-01",
        "DeepInfra, llama-3-8b, 0, 2026-06-03",
    ]
    assert sorted(changes.left_out.values()) == [1, 1, 1, 1]
    changes.write()
    assert not upstream.refresh("api_prices", str(checkout / "file")).added


def test_a_price_before_the_first_of_the_table_begins_the_series(checkout: Path) -> None:
    history = [{"input": 3, "output": 12, "from_date": "2025-06-01T00:00:00Z", "to_date": None}]
    vendor = {"vendor": "OpenAI", "models": [{"id": "gpt-9", "price_history": history}]}
    changes = refreshed(checkout, "api_prices", json.dumps(vendor), "2026-06-01")
    assert rows(changes) == ["OpenAI, gpt-9, 0, 2025-06-01"]
    assert [each.cells for each in changes.changed] == [{"step": ("first", "differs")}]


def test_a_list_does_not_close_the_log_before_its_day(checkout: Path) -> None:
    cut = {"id": "gpt-9", "prices": {"input_mtok": 1, "output_mtok": 4}}
    refreshed(checkout, "api_prices", genai("openai", cut), "2026-06-10")
    lines = [
        LOG,
        "2026-06-01,changed,openai,gpt-9,1,4,",
        "2026-06-03,added,anthropic,claude-11,1,4,",
        "2026-06-33,added,anthropic,claude-12,1,4,",
    ]
    changes = refreshed(checkout, "api_prices", "\n".join(lines))
    assert rows(changes) == ["Anthropic, claude-11, 0, 2026-06-03"]
    assert changes.left_out == {"as the table has it from a later day": 1, token_prices.FORMLESS: 1}


def test_a_step_without_a_day_that_is_too_large_is_a_unit(checkout: Path) -> None:
    per_token = {"id": "gpt-9", "prices": {"input_mtok": 2e-6, "output_mtok": 8e-6}}
    no_price = {"id": "gpt-10", "prices": {"input_mtok": -1, "output_mtok": float("nan")}}
    changes = refreshed(
        checkout, "api_prices", genai("openai", per_token, no_price, {"id": 7}), "2026-06-01"
    )
    assert not changes.added and sorted(changes.left_out.values()) == [1, 1, 1]


def test_a_vendors_file_with_days_and_without(checkout: Path) -> None:
    def model(name: str, *history: dict[str, Any]) -> dict[str, Any]:
        return {"id": name.split(" ")[0], "name": name, "price_history": history}

    def price(usd: float, begun: str | None, ended: str | None = None) -> dict[str, Any]:
        return {"input": usd, "output": 4 * usd, "from_date": begun, "to_date": ended}

    models = [
        model("gpt-9", price(2, None, "2026-07-01"), price(1, "2026-07-01")),
        model("gpt-10-200k >200k", price(3, None)),
        {"id": "gpt-11"},
    ]
    vendor = json.dumps({"vendor": "openai", "models": models})
    changes = refreshed(checkout, "api_prices", vendor, "2026-08-01")
    assert rows(changes) == [
        "OpenAI, gpt-9, 0, 2026-07-01",
        "OpenAI, gpt-10, 200000, 2026-08-01",
    ]
    assert sorted(changes.left_out.values()) == [1, 1]


def test_a_list_without_a_day_asks_for_one(checkout: Path) -> None:
    file = written(checkout, genai("openai", {"id": "gpt-9", "prices": {}}))
    with pytest.raises(StackbookError, match="--as-of"):
        upstream.refresh("api_prices", str(file))


def test_offers_of_weights_that_the_table_follows(checkout: Path) -> None:
    lines = [
        DIRECTORY,
        "groq,openai/gpt-oss-120b,GPT OSS 120B,,0.07,0.3,,,131072",
        "deepinfra,openai/gpt-oss-120b-Turbo,GPT OSS 120B,,0.2,0.6,,,131072",
        "amazon-bedrock,anthropic.claude-opus-4-5-20251101-v1:0,Claude,,5,25,,,",
        "groq,openai/gpt-oss-120b:free,GPT OSS 120B,,0,0,,,131072",
        "nobody,openai/gpt-oss-120b,GPT OSS 120B,,1,1,,,131072",
        "groq,qwen/qwen99,Qwen 99,,1,1,,,131072",
    ]
    changes = refreshed(checkout, "token_offers", "\n".join(lines), "2026-09-01")
    assert rows(changes) == ["gpt-oss-120b, DeepInfra, turbo"]
    assert [change.row for change in changes.changed] == ["gpt-oss-120b, Groq, standard"]
    assert sum(changes.left_out.values()) == 4


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("us.anthropic.claude-3-5-haiku-20241022-v1:0", "claude-3-5-haiku"),
        ("global.anthropic.claude-opus-4-6-v1:0", "claude-opus-4-6"),
        ("anthropic/claude-4.7-opus-20260416", "claude-opus-4-7"),
        ("claude-opus-4-6@default", "claude-opus-4-6"),
        ("meta.llama3-1-70b-instruct-v1:0", "llama-3.1-70b"),
        ("deepinfra/meta-llama/Meta-Llama-3-8B-Instruct", "llama-3-8b"),
        ("azure/gpt-35-turbo", "gpt-3.5-turbo"),
        ("openai/o3-2025-04-16", "o3"),
        ("gemini-pro-1.5", "gemini-1.5-pro"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "mixtral-8x7b"),
        ("deepseek.r1-v1:0", "deepseek-r1"),
        ("xai.grok-4.3", "grok-4.3"),
        ("cohere-command-r-08-2024", "command-r-08-2024"),
        ("moonshotai/kimi-k2.5-0127", "kimi-k2.5"),
    ],
)
def test_one_name_for_the_spellings_of_a_model(spelling: str, name: str) -> None:
    assert names.model_name(spelling) == name
    assert names.model_name(name) == name
    assert names.developer(name)


def week(*models: dict[str, Any]) -> str:
    return json.dumps({"date": "2026-12-07", "models": models})


def used(slug: str, tokens: int, usd: float, **more: Any) -> dict[str, Any]:
    return {"slug": slug, "total_tokens": tokens, "prompt_tokens": tokens // 2, **more} | {
        "estimated_revenue": usd,
        "prompt_price": 3e-6,
    }


def test_a_week_of_usage_has_shares_and_blanks() -> None:
    paid = used("anthropic/claude-9-20261201", 300, 9.0)
    free = used("stepfun/step-9:free", 100, 0.0)
    unsplit = used("newcomer/x-1", 100, 0.0, prompt_tokens=0)
    text = week(paid, free, unsplit, {"slug": "a/b"}, paid)
    read = upstream.formats()["usage_shares"][0].read(text, None)
    rows = {row["model"]: row for row in read.rows.to_dicts()}
    assert read.left_out == {"no model, or no tokens": 1, "model twice in a week": 1}
    assert rows["claude-9"]["token_share"] == pytest.approx(0.6)
    assert rows["claude-9"]["input_usd_per_mtok"] == 3
    assert (rows["step-9"]["free"], rows["step-9"]["usd"]) == (True, 0)
    assert (rows["x-1"]["developer"], rows["x-1"]["usd"]) == ("newcomer", None)
    assert rows["claude-9"]["usd_share"] == 1 and rows["x-1"]["usd_share"] is None


@pytest.mark.parametrize("nonsense", [None, "abc", "", -1, [], {}, float("nan"), 1e308])
def test_a_week_with_nonsense_in_it_has_blanks(nonsense: Any) -> None:
    fields = ["estimated_revenue", "cached_tokens", "completion_price"]
    text = week(used("openai/gpt-9", 10, 1.0) | dict.fromkeys(fields, nonsense))
    (row,) = upstream.formats()["usage_shares"][0].read(text, "2026-12-08").rows.to_dicts()
    assert (row["tokens"], row["cached_tokens"], row["as_of"]) == (10, None, "2026-12-08")


def test_concentration_of_usage_by_developer() -> None:
    """1,623 by tokens, 5,983 by revenue, as the design has it for the week of 4 May 2026."""
    usage = facts.table("usage_shares").filter(pl.col("week") == pl.date(2026, 5, 4))
    by = usage.group_by("developer").agg(pl.col("token_share", "usd_share").sum()).collect()
    shares = by.select("token_share", "usd_share").to_numpy()
    tokens, revenue = 1e4 * (shares**2).sum(axis=0)
    assert (round(tokens), round(revenue)) == (1623, 5983)


def test_shares_of_every_week_are_whole() -> None:
    weeks = facts.table("usage_shares").group_by("week").agg(pl.col("^.*_share$").sum()).collect()
    assert weeks.height == 26
    assert weeks["token_share"].to_list() == pytest.approx([1] * 26, abs=1e-4)
    assert sorted(weeks["usd_share"].to_list()) == pytest.approx([0] + [1] * 25, abs=1e-4)


def test_a_series_of_prices_begins_once_and_its_steps_are_steps() -> None:
    keys = ["provider", "model", "prompt_over_tokens"]
    table = facts.table("api_prices").collect().sort(*keys, "from_date")
    first = table.select(pl.struct(keys).is_first_distinct()).to_series()
    assert (table["step"] == "first").to_list() == first.to_list()
    four = pl.concat_list(token_prices.COLUMNS)
    moved = table.select((four != four.shift().over(keys)).fill_null(True)).to_series()
    assert moved.all()
    longer = table.filter(pl.col("prompt_over_tokens") > 0)
    shortest = table.filter(prompt_over_tokens=0)
    assert longer.join(shortest, on=["provider", "model"], how="anti").is_empty()


def test_changes_of_prices_are_those_that_came_into_force() -> None:
    factors = token_offers.changes()
    assert (factors != 1).all()
    steps = facts.table("api_prices").filter(step="changed").collect()
    told = steps.filter(pl.col("dated") != "announced").unique(["provider", "model", "from_date"])
    cache_only = told.filter(model="claude-sonnet-5-5").height
    assert len(factors) == told.height - cache_only


def written(folder: Path, text: str) -> Path:
    file = folder / "file"
    file.write_text(text)
    return file
