"""Trackers of rents: what each form says, and what in it cannot be told."""

from typing import Any

import polars as pl
import pytest

from stackbook import facts
from stackbook.upstream import Read, rentals

HOURLY = (
    "timestamp,provider,gpu,min_price_hr,median_price_hr,max_price_hr,on_demand_hr,"
    "spot_price_hr,num_offers,availability,top_regions"
)
LABELLED = (
    "observed_at_utc,provider,market,gpu_model,price_usd_per_gpu_hour,source_url,"
    "availability_count,raw_label,notes"
)
TIERED = "date,provider,gpu_model,tier,price_usd_per_gpu_hr,n_offers,notes"


def read(*lines: str) -> Read:
    text = "\n".join(lines)
    (form,) = (each for each in rentals.FORMATS["rental_prices"] if each.recognizes(text))
    found = form.read(text, None)
    assert found.rows.schema == facts.table("rental_prices").collect_schema()
    key = facts.package().resource("rental_prices")["schema"]["primaryKey"]
    assert not found.rows.select(key).is_duplicated().any()
    assert (found.rows["low"] <= found.rows["usd_per_hour"]).all()
    assert (found.rows["usd_per_hour"] <= found.rows["high"]).all()
    return found


def prices(found: Read, *columns: str) -> dict[Any, float]:
    keys = found.rows.select(columns or ("accelerator",)).rows()
    keys = [key if columns[1:] else key[0] for key in keys]
    return dict(zip(keys, found.rows["usd_per_hour"], strict=True))


def offer(gpu: str, median: str, dearest: str, fixed: str, spot: str, who: str = "RunPod") -> str:
    return f"2031-03-11 04:17:38,{who},{gpu},0,{median},{dearest},{fixed},{spot},,Unknown,"


@pytest.mark.parametrize(
    ("label", "accelerator", "assumed"),
    [
        ("NVIDIA A100 SXM 40 GB 124 1800 GiB 5.8 TiB SSD", "A100 SXM 40GB", False),
        ("NVIDIA A100-SXM4-80GB", "A100 SXM 80GB", False),
        ("A100 PCIe 80 GB VRAM", "A100 PCIe 80GB", False),
        ("A100", "A100 SXM 80GB", True),
        ("A100 40GB", "A100 SXM 40GB", True),
        ("H100", "H100 SXM", True),
        ("H100 SXM5", "H100 SXM", False),
        ("H100 NVL 94 GB", "H100 NVL", False),
        ("H200 141 GB", "H200 SXM", True),
        ("NVIDIA GH200 96 GB", "GH200", False),
        ("V100 32GB", "V100 SXM2 32GB", True),
        ("RTX4090", "RTX 4090", False),
        ("NVIDIA A6000 48 GB", "RTX A6000", False),
        ("L40S", "L40S", False),
        ("RTX 5090", None, False),
        ("Rubin Ultra", None, False),
        ("RTX 3090 Ti", None, False),
        ("RTX 4090 D", None, False),
        ("A6000 Ada", None, False),
        ("h100_sxm", "H100 SXM", False),
        ("H200NVL", "H200 NVL", False),
        ("H100PCIe", "H100 PCIe", False),
        ("Gaudi2", "Gaudi 2", False),
        ("AMD Instinct MI325X", "MI325X", False),
        ("RTX 2080 Ti", "RTX 2080 Ti", False),
        ("NVIDIA A100 SXM 40 GB 80 GiB", "A100 SXM 40GB", False),
        ("", None, False),
    ],
)
def test_labels_are_accelerators_of_the_book(
    label: str, accelerator: str | None, assumed: bool
) -> None:
    assert rentals.accelerator_of(label) == (accelerator, rentals.ASSUMED if assumed else "")


def test_sellers_are_known_in_any_spelling() -> None:
    names = ("vast.ai", "VAST", "runpod.io", "Lambda Labs", "GCP", "Amazon", "Oracle Cloud")
    told = [rentals.provider_of(name) for name in names]
    assert told == ["Vast.ai", "Vast.ai", "RunPod", "Lambda", "Google Cloud", "AWS", "Oracle"]
    assert rentals.provider_of("Nobody's Cloud") is None


def test_runpods_forms_are_told_by_their_order() -> None:
    found = read(
        HOURLY,
        offer("H100", "2.69", "2.99", "2.69", "1.5"),
        offer("H100", "2.59", "3.07", "2.59", "2.59"),
        offer("H100", "1.99", "2.39", "1.99", "1.35"),
        offer("B200", "5.98", "4.99", "5.98", ""),
        offer("B300", "6.94", "7.39", "6.94", "6.94"),
        offer("B300", "0.5", "0.5", "0.5", ""),
        offer("L40S", "0.79", "0.86", "0.79", "0.4"),
        offer("L40S", "0.79", "0.99", "0.79", "0.4"),
    )
    assert prices(found, "accelerator", "price_kind") == {
        ("H100 SXM", "list"): 2.99,
        ("H100 SXM", "market"): 1.5,
        ("H100 NVL", "list"): 3.07,
        ("H100 PCIe", "list"): 2.39,
        ("H100 PCIe", "market"): 1.35,
        ("B200", "list"): 4.99,
        ("B300", "list"): 7.39,
    }
    assert set(found.rows.filter(price_kind="market")["commitment"]) == {"spot"}
    assert found.left_out == {
        "of RunPod, a placeholder for no price": 1,
        "of RunPod's several L40S, not told apart": 2,
    }


@pytest.mark.parametrize(("h200", "means"), [("2.29", "GH200"), ("4.99", "H200 SXM")])
def test_lambdas_card_is_the_last_and_its_gh200_is_cheap(h200: str, means: str) -> None:
    rows = [("H200", h200), ("H100", "3.99"), ("H100", "4.29"), ("H100", "3.29")]
    rows += [("A10", "1.29"), ("A10", "1.99")]
    lines = [offer(gpu, usd, usd, usd, "", "Lambda") for gpu, usd in rows]
    found = read(HOURLY, *lines)
    assert prices(found) == {means: float(h200), "H100 SXM": 4.14, "H100 PCIe": 3.29}
    assert found.left_out == {"of Lambda's A10, with prices of A100 among them": 2}


def test_a_marketplace_gives_the_median_of_its_medians() -> None:
    lines = [offer("H100", usd, "9", "", "1", "Vast.ai") for usd in ("1.5", "1.7", "2.5")]
    found = read(HOURLY, *lines, lines[0].replace("2031-03", "2031-04"))
    march, april = found.rows.sort("month").rows(named=True)
    assert (march["usd_per_hour"], march["low"], march["high"]) == (1.7, 1.5, 2.5)
    assert (march["price_kind"], march["quotes"], march["as_of"]) == ("market", 3, "2031-03-11")
    assert (april["month"], april["quotes"]) == ("2031-04", 1)


def test_unknown_sellers_chips_blanks_and_columns_are_counted() -> None:
    head = HOURLY + ",colour"
    lines = [
        offer("H100", "2", "2", "2", "", "Nobody's Cloud"),
        offer("H900", "2", "2", "2", "", "Vast.ai"),
        offer("H200", "", "", "", "", "Vast.ai"),
        offer("H200", "n/a", "", "", "", "Vast.ai"),
        offer("H200", "-3", "", "", "", "Vast.ai"),
        offer("H200", "inf", "", "", "", "Vast.ai"),
        offer("H200", "3", "", "", "", "Vast.ai").replace("2031-03-11", "yesterday"),
        offer("H200", "3", "3", "3", "", "Azure"),
    ]
    found = read(head, *[line + ",red" for line in lines], "2031-03-11,cut")
    assert prices(found, "provider", "accelerator") == {("Azure", "H200 SXM"): 3.0}
    assert found.left_out == {
        "with a wrong number of cells": 1,
        "of provider Nobody's Cloud, which the book does not know": 1,
        "of accelerator H900, which the book does not know": 1,
        "without a price": 4,
        "without a date": 1,
    }


def test_a_unit_mixed_up_is_no_price() -> None:
    lines = [offer("H100", usd, usd, usd, "", "Azure") for usd in ("698", "55.84", "0.07")]
    lines = [line.replace("-11 ", f"-{day} ") for day, line in enumerate(lines, 11)]
    found = read(HOURLY, *lines)
    assert found.rows.is_empty() and sum(found.left_out.values()) == 3


def test_price_pages_are_read_by_their_labels() -> None:
    def line(who: str, market: str, gpu: str, usd: str, label: str, notes: str = "") -> str:
        return f'2031-06-29T15:08:50Z,{who},{market},{gpu},{usd},url,,{label},"{notes}"'

    secure = "pods-community-secure-cloud"
    found = read(
        LABELLED,
        line("Lambda", "on-demand", "A100", "1.99", "NVIDIA A100 SXM 40 GB 124 1800 GiB"),
        line("Lambda", "on-demand", "A100", "2.79", "NVIDIA A100 SXM 80 GB 240 1800 GiB"),
        line("Runpod", secure, "A100", "1.39", "A100 PCIe", "80 GB VRAM, 117 GB RAM"),
        line("Runpod", secure, "RTX 6000", "0.8", "RTX 6000 Ada", "48 GB VRAM"),
        line("Runpod", "spot", "A100", "0.4", "A100 PCIe", "80 GB VRAM, 117 GB RAM"),
    )
    expected = {"A100 SXM 40GB": 1.99, "A100 SXM 80GB": 2.79, "A100 PCIe 80GB": 1.39}
    assert prices(found) == expected
    assert set(found.rows["price_kind"]) == {"list"}
    assert found.left_out == {
        "of accelerator RTX 6000 Ada 48 GB VRAM, which the book does not know": 1,
        "of market spot": 1,
    }


def test_a_list_price_that_another_source_gives_is_not_repeated() -> None:
    other = facts.table("rental_prices").filter(
        provider="Lambda", accelerator="B200", month="2026-07"
    )
    row = other.collect().row(0, named=True)
    label = "NVIDIA B200 SXM6 180 GB"
    lines = [
        f"2026-07-0{day}T00:00:00Z,Lambda,on-demand,B200,{usd},url,,{label},"
        for day, usd in ((1, row["usd_per_hour"]), (2, row["usd_per_hour"]))
    ]
    assert read(LABELLED, *lines).left_out == {"list prices that another source gives": 2}
    lines = [line.replace(f",{row['usd_per_hour']},", ",12,") for line in lines]
    assert prices(read(LABELLED, *lines)) == {"B200": 12.0}, "a conflict stands"


def test_tiers_are_of_one_form_or_a_marketplace() -> None:
    found = read(
        TIERED,
        "2031-06-13,vast.ai,A100,marketplace_on_demand,0.7,28,",
        "2031-06-14,vast.ai,A100,marketplace_on_demand,0.8,20,",
        "2031-06-13,runpod,B200,secure_cloud,5.89,1,",
        "2031-06-13,runpod,H100,secure_cloud,3.19,3,",
        "2031-06-13,runpod,B200,community_cloud,5.98,1,",
        "2031-06-13,runpod,B200,spot,2.98,1,",
    )
    assert prices(found, "accelerator", "price_kind") == {
        ("A100 SXM 80GB", "market"): 0.75,
        ("B200", "list"): 5.89,
    }
    assert sum(found.left_out.values()) == 3


def test_two_spellings_of_a_chip_are_one_row() -> None:
    lines = [offer(gpu, "2", "2", "2", "", "Vast.ai") for gpu in ("H100", "H100 SXM")]
    (row,) = read(HOURLY, *lines).rows.rows(named=True)
    assert row["quotes"] == 2
    assert rentals.ASSUMED in row["note"]


def test_a_column_a_chip() -> None:
    found = read(
        "date,H100_median,H100_min,H100_offers,RTX4090_median,H900_median",
        "2031-06-18,2.0,1.6,58,0.4,9",
        "2031-06-19,2.4,1.6,58,,9",
    )
    assert prices(found) == {"H100 SXM": 2.2, "RTX 4090": 0.4}
    assert found.left_out == {
        "of accelerator H900, which the book does not know": 2,
        "without a price": 1,
    }


def test_a_day_of_the_index_counts_up_to_where_it_slipped() -> None:
    found = read(
        "date,hyperscaler-H100,hyperscaler-A100,neocloud-H100,neocloud-B200,spaceclouds-H100",
        "2031-03-06,7.4,3.7,2.4,4.6,9",
        "2031-03-07,7.6,7.6,7.6,1.0,1.0",
        "2031-03-08,,,,,",
    )
    assert prices(found, "provider", "accelerator") == {
        ("Silicon Data hyperscaler index", "H100 SXM"): 7.5,
        ("Silicon Data hyperscaler index", "A100 SXM 80GB"): 3.7,
        ("Silicon Data neocloud index", "H100 SXM"): 2.4,
        ("Silicon Data neocloud index", "B200"): 4.6,
    }
    assert found.left_out["of a day's columns from one on that repeats the one before"] == 4
    assert found.left_out["without a price"] == 4


def test_an_instance_is_divided_by_its_accelerators() -> None:
    found = read(
        "timestamp,instance,price_usd",
        "2031-04-23T18:52:57,p5.48xlarge,98.32",
        "2031-04-24T18:52:57,p5.48xlarge,",
        "2031-04-24,p4d.24xlarge,22",
        "2031-04-24,p9.48xlarge,22",
    )
    assert prices(found) == {"H100 SXM": 12.29, "A100 SXM 40GB": 2.75}
    assert set(found.rows["price_kind"]) == {"list"}
    assert sum(found.left_out.values()) == 2


def test_kinds_of_price_keep_to_their_sellers() -> None:
    table = facts.table("rental_prices").collect()
    market = (table["provider_kind"] == "marketplace") | (table["commitment"] == "spot")
    assert (market == (table["price_kind"] == "market")).all()
    contracts = table.filter(pl.col("price_kind") == "contract")
    assert set(contracts["commitment"]) <= {"1-year", "3-year"}
    assert set(contracts["provider_kind"]) == {"index"}


def test_the_gap_of_2025_stays_a_gap() -> None:
    gap = facts.table("rental_prices").filter(
        pl.col("month").is_between(pl.lit("2025-04"), pl.lit("2026-02"))
    )
    sellers = gap.filter(pl.col("provider_kind") != "index").collect()
    assert set(sellers["provider"]) == {"AWS", "AWS as told by Digiteria Labs", "Nebius"}
    assert sellers.filter(provider="Nebius").height == 1
