"""What holds for every public kernel: units are documented and true, and all inputs agree."""

import inspect
import pkgutil
import re
from collections import Counter
from importlib import import_module

import numpy as np
import polars as pl
import pytest

from stackbook import kernels
from stackbook.kernels.jit import Formula

# Dimensions of each unit. A year has none: rates compound by it, so that it only counts periods.
DIMENSIONS = {
    "1": {},
    "USD": {"money": 1},
    "s": {"time": 1},
    "h": {"time": 1},
    "yr": {},
    "yr^0.5": {},
    "mm": {"length": 1},
    "mm2": {"length": 2},
    "cm2": {"length": 2},
    "W": {"power": 1},
    "kW": {"power": 1},
    "GW": {"power": 1},
    "kWh": {"power": 1, "time": 1},
    "J": {"power": 1, "time": 1},
    "B": {"data": 1},
    "GB": {"data": 1},
    "gCO2": {"carbon": 1},
}

# A point inside every formula's domain; 0.5 for the names that are not here.
POINT = {
    "accelerators": 8,
    "active_experts": 2,
    "batch": 4,
    "better_usd": 1,
    "blocks": 144,
    "book_over_depreciation": 5,
    "chips": 64,
    "clustering": 3,
    "context": 4096,
    "cube_side": 4,
    "cubes": 64,
    "defects_per_cm2": 0.1,
    "die_mm2": 814,
    "dimensions": 2,
    "domain": 8,
    "domains": 9,
    "e_max": 300,
    "edge_mm": 3,
    "elasticity": 2,
    "epochs": 4,
    "expansion": 64,
    "experts": 64,
    "firms": 3,
    "gross_dies": 60,
    "heads": 32,
    "high": 2,
    "it_rate": 0.09,
    "it_usd": 47222,
    "it_years": 5,
    "kv_heads": 8,
    "layers": 32,
    "lead_years": 1,
    "loss": 2,
    "merchant_usd": 30000,
    "mtbf": 100,
    "needed": 60,
    "oversubscription": 3,
    "parts": 64,
    "planes": 8,
    "points": 2500,
    "ports": 16384,
    "pue": 1.2,
    "radix": 64,
    "ranks": 64,
    "rate": 0.1,
    "server_overhead": 1.64,
    "servers": 8,
    "side": 4,
    "site_rate": 0.08,
    "site_usd": 34722,
    "site_years": 20,
    "slice_cubes": 16,
    "slope_n": -0.08,
    "spares": 12,
    "usable_ports": 128,
    "value_usd": 4,
    "vendors": 3,
    "wafer_mm": 300,
    "window": 128,
    "years": 5,
}


def public_kernels():
    for module in pkgutil.iter_modules(kernels.__path__, "stackbook.kernels."):
        if module.name != "stackbook.kernels.jit":
            for name, value in vars(import_module(module.name)).items():
                ours = getattr(value, "__module__", None) == module.name
                if ours and callable(value) and not inspect.isclass(value) and name[0] != "_":
                    yield pytest.param(value, id=f"{module.name.split('.')[-1]}.{name}")


KERNELS = list(public_kernels())
FORMULAS = [kernel for kernel in KERNELS if isinstance(kernel.values[0], Formula)]
every_kernel = pytest.mark.parametrize("kernel", KERNELS)
every_formula = pytest.mark.parametrize("kernel", FORMULAS)


def documented_units(kernel):
    """The units of a docstring by name, as in `kw, load: rated power [kW], mean draw [1]`."""
    units = {}
    for line in inspect.getdoc(kernel).splitlines()[2:-1]:
        names, _, text = line.partition(": ")
        names, found = names.split(", "), re.findall(r"\[(.+?)\]", text)
        if len(found) == 1:
            found *= len(names)
        assert len(found) == len(names), f"one unit, or one for each name: {line!r}"
        assert not units.keys() & set(names), f"documented twice: {line!r}"
        units.update(zip(names, found, strict=True))
    return units


def powers(unit):
    """`USD/(GW yr)` → {money: 1, power: -1}."""
    total = Counter()
    above, *below = unit.split("/")
    assert len(below) <= 1, unit
    for part, sign in [(above, 1), *((b, -1) for b in below)]:
        for atom in part.removeprefix("(").removesuffix(")").split(" "):
            assert atom in DIMENSIONS, f"unknown unit {atom!r} in [{unit}]"
            for dimension, power in DIMENSIONS[atom].items():
                total[dimension] += sign * power
    return total


def scales(kernel, dimension):
    """All formulas but those that know how many hours a year or a month has, and their time."""
    return dimension != "time" or not re.search(r"\byr\b|\byear|\bmonth", inspect.getdoc(kernel))


def arguments(kernel):
    return list(inspect.signature(kernel).parameters)


def point(kernel):
    return [float(POINT.get(name, 0.5)) for name in arguments(kernel)]


SCALED = [
    pytest.param(*formula.values, dimension, id=f"{formula.id} {dimension}")
    for formula in FORMULAS
    for dimension in sorted({name for unit in DIMENSIONS.values() for name in unit})
    if scales(*formula.values, dimension)
]


@every_kernel
def test_invariant_20_docstring_says_what_with_units_and_source(kernel):
    lines = inspect.getdoc(kernel).splitlines()
    assert len(lines) <= 12
    assert lines[0].endswith(".")
    assert lines[1] == ""
    assert lines[-1].startswith("source: ")
    units = documented_units(kernel)
    assert set(units) == {*arguments(kernel), "returns"}
    for unit in units.values():
        powers(unit)


def test_a_name_has_one_unit_in_all_kernels():
    units = {}
    for kernel in KERNELS:
        for name, unit in documented_units(kernel.values[0]).items():
            if name != "returns":
                units.setdefault(name, set()).add(unit)
    assert {name: found for name, found in units.items() if len(found) > 1} == {}


@pytest.mark.parametrize(("kernel", "dimension"), SCALED)
def test_invariant_20_result_scales_as_its_unit_says(kernel, dimension):
    """Counting in cents, inches or minutes changes the result by the factor of its unit only."""
    factor, units, args = 1.7, documented_units(kernel), point(kernel)
    scaled = [
        value * factor ** powers(units[name])[dimension]
        for name, value in zip(arguments(kernel), args, strict=True)
    ]
    expected = kernel(*args) * factor ** powers(units["returns"])[dimension]
    assert kernel(*scaled) == pytest.approx(expected, rel=1e-9)


@every_formula
@pytest.mark.filterwarnings("error")
def test_float_array_series_and_expression_agree(kernel):
    names, args = arguments(kernel), point(kernel)
    frame = pl.DataFrame({n: [v, v * 0.75, None] for n, v in zip(names, args, strict=True)})
    rows = list(zip(*([v, v * 0.75] for v in args), strict=True))
    floats = [kernel(*row) for row in rows]
    assert np.isfinite(floats[0])
    assert isinstance(floats[0], float)
    arrays = kernel(*(np.array(column) for column in zip(*rows, strict=True)))
    np.testing.assert_array_equal(arrays, floats)
    assert kernel(*frame).to_list() == pytest.approx([*floats, None], nan_ok=True)
    lazy = frame.lazy().select(x=kernel(**{name: pl.col(name) for name in names}))
    assert lazy.collect_schema() == {"x": pl.Float64}
    assert lazy.collect()["x"].to_list() == pytest.approx([*floats, None], nan_ok=True)


@every_formula
@pytest.mark.filterwarnings("error")
def test_one_expression_and_scalars_in_a_lazy_query(kernel):
    names, args = arguments(kernel), point(kernel)
    last = pl.LazyFrame({names[-1]: [args[-1], args[-1] * 0.75]})
    query = last.select(x=kernel(*args[:-1], pl.col(names[-1]))).with_columns(y=pl.col("x") * 2)
    expected = [kernel(*args), kernel(*args[:-1], args[-1] * 0.75)]
    assert query.collect()["y"].to_list() == pytest.approx([2 * x for x in expected], nan_ok=True)


@every_formula
@pytest.mark.filterwarnings("error")
def test_missing_number_gives_nan(kernel):
    """A NaN in any argument that matters reaches the result; it is never turned into a number."""
    args = point(kernel)
    for i in range(len(args)):
        assert np.isnan(kernel(*args[:i], np.nan, *args[i + 1 :])), arguments(kernel)[i]
