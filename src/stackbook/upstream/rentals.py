"""Trackers of rental prices: six forms, read into monthly rows of table `rental_prices`.

They name chips loosely, mix forms of a chip, and slip; what cannot be told is left out and counted.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import cache
from statistics import median
from typing import NamedTuple

import polars as pl

from stackbook import facts
from stackbook.upstream import Format, Read, day_in, has_columns, heads_of, number, records

ASSUMED = "form or memory not stated"
DEFAULT_FORM = {"A100": "SXM 80GB", "H100": "SXM", "H200": "SXM", "V100": "SXM2 16GB"}
OTHER_CHIP = {"ADA", "D", "LAPTOP", "MIG", "SUPER", "TI", "ULTRA"}  # with such it is another
SPELLINGS = {
    "amazon": "aws",
    "amazonwebservices": "aws",
    "gcp": "google",
    "microsoft": "azure",
    "microsoftazure": "azure",
    "oci": "oracle",
}  # plain
INSTANCES = {  # of AWS: accelerator, and how many an instance has
    "g5.48xlarge": ("A10G", 8),
    "g6.48xlarge": ("L4", 8),
    "g6e.48xlarge": ("L40S", 8),
    "p3.16xlarge": ("V100 SXM2 16GB", 8),
    "p3dn.24xlarge": ("V100 SXM2 32GB", 8),
    "p4d.24xlarge": ("A100 SXM 40GB", 8),
    "p4de.24xlarge": ("A100 SXM 80GB", 8),
    "p5.4xlarge": ("H100 SXM", 1),
    "p5.48xlarge": ("H100 SXM", 8),
    "p5e.48xlarge": ("H200 SXM", 8),
    "p5en.48xlarge": ("H200 SXM", 8),
    "p6-b200.48xlarge": ("B200", 8),
    "p6-b300.48xlarge": ("B300", 8),
    "p6e-gb200.36xlarge": ("GB200", 36),
}
AS_LISTED = "listed as H200 by the tracker, which the list price shows to be GH200"
DOUBT = 5  # times: a cent for a dollar, or a node for a chip, more often than a price
PLACEHOLDER = 0.5  # what RunPod's interface says where it has no price


class Kind(NamedTuple):
    """What a month's quotes have in common: the row they become, less its numbers."""

    month: str
    provider: str
    accelerator: str
    commitment: str
    price_kind: str


class Seen:
    """Quotes gathered from a file, and why others were left out."""

    def __init__(self, ragged: int) -> None:
        self.left_out = Counter({"with a wrong number of cells": ragged} if ragged else {})
        self._quotes: dict[Kind, list[tuple[str, float]]] = defaultdict(list)
        self._notes: dict[Kind, dict[str, None]] = defaultdict(dict)

    def who(self, seller: str, label: str, count: int = 1) -> tuple[str, str, str] | None:
        """Provider, accelerator and a note, as the table writes them; None is counted."""
        provider, (accelerator, note) = provider_of(seller), accelerator_of(label)
        if provider and accelerator:
            return provider, accelerator, note
        what = f"accelerator {label.strip()}" if provider else f"provider {seller}"
        self.left_out[f"of {what}, which the book does not know"] += count
        return None

    def add(
        self,
        when: str,
        price: str | float,
        provider: str,
        accelerator: str,
        *notes: str,
        commitment: str = "on-demand",
        price_kind: str = "list",
    ) -> None:
        """A quote [USD per hour and accelerator] of a day, if both can be read."""
        day, usd = day_in(when), number(price)
        usual = _medians().get(accelerator, usd)
        if not day:
            self.left_out["without a date"] += 1
            return
        if not usd or not usual:
            self.left_out["without a price"] += 1
            return
        if not 1 / DOUBT < usd / usual < DOUBT:
            why = f"of {accelerator}, {DOUBT} times off the table's median: unit or entry in doubt"
            self.left_out[why] += 1
            return
        kind = Kind(day[:7], provider, accelerator, commitment, price_kind)
        self._quotes[kind].append((day, usd))
        self._notes[kind].update(dict.fromkeys(filter(None, notes)))

    def read(self, source: str) -> Read:
        """A row a month, of the median; a list price that another source has already is none."""
        rows = []
        for kind, quotes in self._quotes.items():
            prices = [usd for _, usd in quotes]
            middle = median(prices)
            if kind.price_kind == "list" and _given(kind, middle, source):
                self.left_out["list prices that another source gives"] += len(quotes)
                continue
            row = kind._asdict() | {"usd_per_hour": middle, "low": min(prices), "high": max(prices)}
            row = {name: _rounded(value) for name, value in row.items()}
            row |= {"provider_kind": providers()[kind.provider], "quotes": len(quotes)}
            row |= {"source": source, "as_of": max(day for day, _ in quotes)}
            rows.append(row | {"note": "; ".join(self._notes[kind]) or None})
        schema = facts.table("rental_prices").collect_schema()
        return Read(pl.DataFrame(rows, schema=schema), dict(self.left_out))


@cache
def _medians() -> dict[str, float]:
    """Median price of each accelerator in the table [USD/h]."""
    prices = (
        facts.table("rental_prices")
        .group_by("accelerator", maintain_order=True)
        .agg(pl.median("usd_per_hour"))
    )
    return dict(prices.collect().iter_rows())


@cache
def providers() -> dict[str, str]:
    """Kind of each provider that the table knows."""
    known = facts.table("rental_prices").select("provider", "provider_kind").collect()
    return dict(known.unique().iter_rows())


@cache
def provider_of(name: str) -> str | None:
    """The provider as the table writes it."""
    plain = _plain(name)
    return {_plain(each): each for each in providers()}.get(SPELLINGS.get(plain, plain))


def _plain(name: str) -> str:
    """A company's name in small letters, without what some publishers add to it."""
    return re.sub(
        r"(.)(?:cloud(?:platform)?|compute|labs|ai|io)$",
        r"\1",
        re.sub(r"[^a-z0-9]", "", name.lower()),
    )


@cache
def accelerator_of(label: str) -> tuple[str | None, str]:
    """The accelerator that a tracker's label means, and a note where that is assumed."""
    words = _words(label)
    found = _matching(words)
    if found is None:
        for family, form in DEFAULT_FORM.items():
            if family in words:
                # What the label does say of form or memory comes before what is usual.
                for more in (*form.split(), form):
                    found = found or _matching(words | _words(more))
                return found, ASSUMED
    return found, ""


def _matching(words: frozenset[str]) -> str | None:
    fits = [
        name
        for name in _accelerators()
        if _words(name) <= words and words & OTHER_CHIP <= _words(name)
    ]
    return max(fits, key=lambda name: len(_words(name)), default=None)


@cache
def _accelerators() -> list[str]:
    return facts.table("accelerators").collect()["name"].to_list()


@cache
def _words(label: str) -> frozenset[str]:
    text = re.sub(r"(\d+) GB\b", r"\1GB", label.upper())
    text = re.sub(r"\b(RTX|GAUDI)(A?\d)", r"\1 \2", text.replace("_", " "))
    text = re.sub(r"(?<=\d)(NVL|PCIE|SXM\d?)\b", r" \1", text)
    text = re.sub(r"\bSXM\d\b", "SXM", text)
    words = set(re.findall(r"[A-Z0-9]+", text))
    return frozenset(words | ({"RTX"} if "A6000" in words else set()))


def _given(kind: Kind, usd: float, source: str) -> bool:
    same = facts.table("rental_prices").filter(
        pl.col("source") != source,
        month=kind.month,
        provider=kind.provider,
        accelerator=kind.accelerator,
        commitment=kind.commitment,
    )
    return bool(same.filter(pl.lit(usd).is_between("low", "high")).collect().height)


def _rounded(value: str | float) -> str | float:
    return value if isinstance(value, str) else float(f"{value:.4g}")


def _begun(text: str) -> tuple[Seen, list[dict[str, str]]]:
    rows, ragged = records(text)
    return Seen(ragged), rows


def _hourly(text: str, _: str | None) -> Read:
    """Every seller's offers each hour: RunPod's and Lambda's forms of a chip in a fixed order."""
    seen, rows = _begun(text)
    together: dict[tuple[str, str], dict[str, list[dict[str, str]]]] = {}
    for row in rows:
        offers = together.setdefault((row["timestamp"], row["provider"]), defaultdict(list))
        offers[row["gpu"].upper().replace("_", " ").removeprefix("NVIDIA ")].append(row)
    for (when, seller), offers in together.items():
        for gpu, several in offers.items():
            if not (found := seen.who(seller, gpu, len(several))):
                continue
            provider, accelerator, note = found
            if provider == "RunPod":
                _runpod(seen, when, gpu, accelerator, several)
            elif provider == "Lambda":
                least = min(_prices(offers["H100"]), default=0.0) if "H100" in offers else 0.0
                _lambda(seen, when, gpu, accelerator, several, least)
            elif providers()[provider] == "marketplace":
                for row in several:
                    price, notes = row["median_price_hr"], ("median of offers", note)
                    seen.add(when, price, provider, accelerator, *notes, price_kind="market")
            elif len(several) > 1:
                seen.left_out[f"of {provider}'s several {gpu}, not told apart"] += len(several)
            else:
                seen.add(when, several[0]["on_demand_hr"], provider, accelerator, note)
    return seen.read("gpu-market-intel-2026")


def _prices(offers: list[dict[str, str]]) -> list[float]:
    return [usd for row in offers if (usd := number(row["on_demand_hr"]))]


def _runpod(
    seen: Seen, when: str, gpu: str, accelerator: str, several: list[dict[str, str]]
) -> None:
    """The dearest price is the secure cloud's; the spot price is bid for in the other."""
    real = [row for row in several if number(row["max_price_hr"]) != PLACEHOLDER]
    if lost := len(several) - len(real):
        seen.left_out["of RunPod, a placeholder for no price"] += lost
    forms = {"H100": ["H100 SXM", "H100 NVL", "H100 PCIe"], "H200": ["H200 SXM", "H200 NVL"]}
    names = forms.get(gpu, [accelerator])
    if len(real) != len(names) or "A100" in gpu:  # its A100 are labelled by a wrong memory
        seen.left_out[f"of RunPod's several {gpu}, not told apart"] += len(real)
        return
    for name, row in zip(names, real, strict=True):
        seen.add(when, row["max_price_hr"], "RunPod", name, "secure cloud")
        bid, fixed = number(row["spot_price_hr"]), number(row["on_demand_hr"])
        if bid and fixed and bid < fixed:
            kind = {"commitment": "spot", "price_kind": "market"}
            seen.add(when, bid, "RunPod", name, "community cloud", **kind)


def _lambda(
    seen: Seen, when: str, gpu: str, accelerator: str, several: list[dict[str, str]], least: float
) -> None:
    """A row a size of instance; a last H100 below all is the PCIe card, an H200 below, a GH200."""
    prices = _prices(several)
    if gpu == "A10" and len(set(prices)) > 1:
        seen.left_out["of Lambda's A10, with prices of A100 among them"] += len(several)
        return
    note = "all instance sizes" if accelerator in ("B200", "H100 SXM") else ""
    if gpu == "H200" and prices and max(prices) < least:
        accelerator, note = "GH200", AS_LISTED
    for row in several:
        price = row["on_demand_hr"]
        if gpu == "H100" and len(several) > 1 and row is several[-1] and number(price) == least:
            seen.add(when, price, "Lambda", "H100 PCIe", "")
        else:
            seen.add(when, price, "Lambda", accelerator, note)


def _labelled(text: str, _: str | None) -> Read:
    """Price pages of sellers, each line with its label."""
    seen, rows = _begun(text)
    for row in rows:
        memory = re.search(r"\d+ GB VRAM", row["notes"])
        label = f"{row['raw_label'] or row['gpu_model']} {memory[0] if memory else ''}"
        if row["market"] not in ("on-demand", "pods-community-secure-cloud"):
            seen.left_out[f"of market {row['market']}"] += 1
        elif found := seen.who(row["provider"], label):
            provider, accelerator, note = found
            note = "secure cloud" if provider == "RunPod" else note
            when, usd = row["observed_at_utc"], row["price_usd_per_gpu_hour"]
            seen.add(when, usd, provider, accelerator, note)
    return seen.read("gpu-price-track-2026")


def _tiered(text: str, _: str | None) -> Read:
    """A price a tier: on a marketplace the median of offers, else over the forms of a chip."""
    seen, rows = _begun(text)
    for row in rows:
        when, usd, tier = row["date"], row["price_usd_per_gpu_hr"], row["tier"]
        if tier == "community_cloud":
            seen.left_out["of a community cloud, which are listed where nobody offers too"] += 1
        elif tier not in ("marketplace_on_demand", "on_demand", "secure_cloud"):
            seen.left_out[f"of tier {tier}"] += 1
        elif tier != "marketplace_on_demand" and row["n_offers"] != "1":
            seen.left_out["over several forms of a chip"] += 1
        elif found := seen.who(row["provider"], row["gpu_model"]):
            provider, accelerator, note = found
            if tier == "marketplace_on_demand":
                notes = ("median of verified offers", note)
                seen.add(when, usd, provider, accelerator, *notes, price_kind="market")
            else:
                seen.add(when, usd, provider, accelerator, tier.replace("_", " "))
    return seen.read("gpu-price-tracker-2026")


def _wide(text: str, _: str | None) -> Read:
    """A column a chip: median of Vast.ai's offers on a day."""
    seen, rows = _begun(text)
    for row in rows:
        for column, price in row.items():
            gpu = column.removesuffix("_median")
            if gpu != column and (found := seen.who("Vast.ai", gpu)):
                provider, accelerator, note = found
                notes = ("median of offers", note)
                seen.add(row["date"], price, provider, accelerator, *notes, price_kind="market")
    return seen.read("gpu-monitor-2026")


def _index(text: str, _: str | None) -> Read:
    """A column a kind of cloud and chip. Where the page was read badly a value repeats the one
    before, and those after it are in wrong columns."""
    seen, rows = _begun(text)
    for row in rows:
        before, slipped = "", False
        for column, price in row.items():
            whose, _, gpu = column.partition("-")
            if not gpu:
                continue
            slipped = slipped or (bool(price) and price == before)
            before = price
            if slipped:
                seen.left_out["of a day's columns from one on that repeats the one before"] += 1
            elif found := seen.who(f"Silicon Data {whose} index", gpu):
                provider, accelerator, note = found
                notes = ("daily index", note)
                seen.add(
                    row["date"], price, provider, accelerator, *notes, commitment="unspecified"
                )
    return seen.read("silicon-data-index-2026")


def _instances(text: str, _: str | None) -> Read:
    """A price an instance of AWS."""
    seen, rows = _begun(text)
    for row in rows:
        instance = row["instance"].lower()
        if instance not in INSTANCES:
            seen.left_out[f"of instance {instance}, which is not known"] += 1
            continue
        accelerator, count = INSTANCES[instance]
        usd = number(row["price_usd"])
        note = f"{instance} over {count} GPUs" if count > 1 else instance
        seen.add(row["timestamp"], usd / count if usd else "", "AWS", accelerator, note)
    return seen.read("aws-gpu-price-tracker-2026")


def _dated(wanted: Callable[[str], bool]) -> Callable[[str], bool]:
    """Recognizes a file of a date a row, with such a column."""
    return lambda text: "date" in heads_of(text) and any(map(wanted, heads_of(text)))


_HOURLY = ("timestamp", "provider", "gpu", "median_price_hr", "max_price_hr", "on_demand_hr")
_LABELLED = ("observed_at_utc", "provider", "market", "gpu_model", "price_usd_per_gpu_hour")
_TIERED = ("date", "provider", "gpu_model", "tier", "price_usd_per_gpu_hr", "n_offers")

FORMATS = {
    "rental_prices": (
        Format(
            "offers by the hour (gpu-market-intel)",
            has_columns(*_HOURLY, "spot_price_hr"),
            _hourly,
        ),
        Format(
            "lines of price pages (gpu_price_track)",
            has_columns(*_LABELLED, "raw_label", "notes"),
            _labelled,
        ),
        Format("prices by tier (gpu-price-tracker)", has_columns(*_TIERED), _tiered),
        Format(
            "medians by chip (gpu_monitor)",
            _dated(lambda name: name.endswith("_median")),
            _wide,
        ),
        Format(
            "indices by day (gpu-rental-prices)",
            _dated(lambda name: name.startswith("neocloud-")),
            _index,
        ),
        Format(
            "instances of AWS (aws-gpu-price-tracker)",
            has_columns("timestamp", "instance", "price_usd"),
            _instances,
        ),
    )
}
