"""Cases a second of a sweep: slices of chapters against the chapters as notebooks.

Run with `pytest tests/bench/test_sweep.py --benchmark-only`; cases a second are under `extra_info`.
One process each: a kernel for every case of a notebook, a batch of cases for a slice, its start
included. Most of a finding's time is its draws, 4,000 for each uncertain input.
"""

import pytest

from stackbook.press import execution, slices
from stackbook.press.chapters import Book

BOOK = Book()
CASES = 2000
FINDINGS = [  # the parameter that is swept
    ("layers/chips", "wafer_usd", "whole chapter"),
    ("layers/chips", "wafer_usd", "b200_logic_usd"),
    ("layers/datacenter-power", "usd_per_kwh", "whole chapter"),
    ("layers/datacenter-power", "usd_per_kwh", "energy_cents"),
    ("layers/datacenter-power", "usd_per_kwh", "owner_cost_hyperscaler"),
    ("layers/datacenter-power", "usd_per_kwh", "swing_electricity"),
    ("layers/datacenter-power", "usd_per_kwh", "gap"),
]


@pytest.mark.parametrize(("name", "parameter", "finding"), FINDINGS)
def test_cases_a_second(benchmark, name, parameter, finding):
    benchmark.group = name
    chapter = BOOK.chapter(name)
    one, fixed = chapter.parameters[parameter], chapter.values({})
    if finding == "whole chapter":
        cases = 1
        benchmark.pedantic(execution.execute, (chapter, fixed, {}, {}), rounds=3, warmup_rounds=1)
    else:
        cases = CASES
        piece = slices.sliced(chapter, [finding], [parameter])
        step = (one.high - one.low) / cases
        column = [one.low + step * (number + 1) for number in range(cases)]
        arguments = piece, fixed, {parameter: column}, {}, {}, 600.0
        batch = benchmark.pedantic(slices.run, arguments, rounds=3, warmup_rounds=1)
        assert len(batch.cases) == cases and not any(isinstance(c, str) for c in batch.cases)
    benchmark.extra_info["cases a second"] = cases / benchmark.stats["min"]
