"""How kernels are compiled: arguments by name, a cache that is used and never stale."""

import pickle
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
from numba import njit

from stackbook import kernels
from stackbook.kernels import capital
from stackbook.kernels.jit import LANES, on_threads, sum_products


def run(folder, code):
    done = subprocess.run(
        [sys.executable, "-B", "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_arguments_by_name_in_any_order():
    expected = capital.annuity(0.1, 5.0)
    assert capital.annuity(years=5.0, rate=0.1) == expected
    assert capital.annuity(0.1, years=5.0) == expected


@pytest.mark.parametrize("named", [{}, {"rate": 0.1}, {"term": 5.0}, {"years": 5.0, "term": 1.0}])
def test_wrong_names_are_refused(named):
    with pytest.raises(TypeError):
        capital.annuity(0.1, **named)


def test_integers_are_taken_as_floats():
    assert capital.annuity(0, 4) == 0.25
    assert capital.annuity.types == ["dd->d"]


def test_other_compiled_functions_call_a_formula():
    @njit
    def payments(capital_usd, rate, years):
        return capital_usd * capital.annuity(rate, years)

    assert payments(2.0, 0.1, 5) == 2 * capital.annuity(0.1, 5)


def test_pickled_by_name():
    assert pickle.loads(pickle.dumps(capital.annuity)) is capital.annuity


def test_import_compiles_nothing(tmp_path):
    """Compiled, or read from the cache, when first used: a chapter pays for what it calls."""
    code = "from stackbook.kernels import datacenter as d; print(d.owner_cost.types)"
    assert run(tmp_path, code) == "[]"


@pytest.mark.parametrize("number", [1, 2, 3, 8])
def test_any_number_of_threads_gives_the_same_bits(number):
    rates, years = np.linspace(0, 0.5, 1_000_003), np.linspace(1, 40, 1_000_003)
    alone = capital.annuity(rates, years), capital.annuity(rates, 5.0)
    out, square = np.empty_like(rates), rates[:1_000_000].reshape(1000, 1000)
    with kernels.threads(number):
        np.testing.assert_array_equal(capital.annuity(rates, years), alone[0])
        np.testing.assert_array_equal(capital.annuity(rates, 5.0), alone[1])
        assert capital.annuity(rates, years, out=out) is out
        assert capital.annuity(rates, years, out) is out
        assert capital.annuity(square, 5.0).shape == square.shape
        with pytest.raises(ValueError, match="shape"):
            capital.annuity(rates, years[1:])
    np.testing.assert_array_equal(out, alone[0])


def test_threads_end_with_their_block():
    with pytest.raises(ZeroDivisionError), kernels.threads(2):
        with kernels.threads(np.int64(3)):
            assert kernels.jit._threads.get() == 3
        assert kernels.jit._threads.get() == 2
        1 / 0  # noqa: B018
    assert kernels.jit._threads.get() == 1


def test_threads_are_those_of_the_thread_that_asked():
    with kernels.threads(2), ThreadPoolExecutor(1) as pool:
        assert pool.submit(kernels.jit._threads.get).result() == 1


@pytest.mark.parametrize(
    ("number", "error"), [(0, ValueError), (-2, ValueError), (2.0, TypeError), ("2", TypeError)]
)
def test_a_number_of_threads_is_whole_and_at_least_one(number, error):
    message = re.escape(f"threads({number!r}): give a whole number, 1 or more")
    with pytest.raises(error, match=message), kernels.threads(number):
        pass


@pytest.mark.parametrize("number", [1, 2])
def test_masked_arrays_keep_their_mask(number):
    rates = np.ma.masked_less(np.linspace(0, 0.5, 300_000), 0.1)
    with kernels.threads(number):
        factors = capital.annuity(rates, 5.0)
    np.testing.assert_array_equal(factors.mask, rates.mask)
    np.testing.assert_array_equal(factors.compressed(), capital.annuity(rates.compressed(), 5.0))


LOWER = "RATE = {rate}\n"
UPPER = """
from stackbook.kernels.jit import {kind}
from lower import RATE


@{kind}
def interest(usd: float) -> float:
    return usd * RATE
"""
FORMULA, SEARCH = (UPPER.format(kind=kind) for kind in ("formula", "search"))


@pytest.mark.parametrize(("upper", "files"), [(FORMULA, 4), (SEARCH, 2)])
def test_cache_is_used_until_an_imported_module_changes(tmp_path, upper, files):
    (tmp_path / "upper.py").write_text(upper)
    (tmp_path / "lower.py").write_text(LOWER.format(rate=0.1))
    call = "import upper; print(upper.interest(100.0))"
    assert run(tmp_path, call) == "10.0"
    compiled = {f: f.stat().st_mtime_ns for f in (tmp_path / "__pycache__").glob("*.nb?")}
    assert len(compiled) == files, "index and code, of the function and of a formula's loop over it"
    assert run(tmp_path, call) == "10.0"
    assert {f: f.stat().st_mtime_ns for f in compiled} == compiled
    (tmp_path / "lower.py").write_text(LOWER.format(rate=0.2))
    assert run(tmp_path, call) == "20.0"


@pytest.mark.parametrize("saved", [0, 1])
def test_a_process_killed_while_it_caches_leaves_no_stale_code(tmp_path, saved):
    """Between the index and the code that it lists, of the function or of the loop over it."""
    (tmp_path / "upper.py").write_text(FORMULA)
    (tmp_path / "lower.py").write_text(LOWER.format(rate=0.1))
    call = "import upper; print(upper.interest(100.0))"
    assert run(tmp_path, call) == "10.0"
    (tmp_path / "lower.py").write_text(LOWER.format(rate=0.2))
    killed = f"""
import itertools, os
from numba.core.caching import IndexDataCacheFile as Files
save, count = Files._save_data, itertools.count()
Files._save_data = lambda *args: os._exit(0) if next(count) == {saved} else save(*args)
"""
    assert run(tmp_path, killed + call) == ""
    assert run(tmp_path, call) == "20.0"
    in_a_kernel = "; from numba import njit; print(njit(lambda: upper.interest(100.0))())"
    assert run(tmp_path, call + in_a_kernel).split() == ["20.0", "20.0"]


def test_a_cached_loop_over_another_compilation_is_made_anew(tmp_path):
    """Two processes that compile at once can leave the function of one and the loop of the other:
    numba numbers functions in the order in which a process compiles them."""
    (tmp_path / "upper.py").write_text(FORMULA)
    (tmp_path / "lower.py").write_text(LOWER.format(rate=0.1))
    call = "import upper; print(upper.interest(100.0))"
    assert run(tmp_path, call) == "10.0"
    for file in (tmp_path / "__pycache__").glob("upper.*.nb?"):
        file.unlink()
    earlier = "from numba import njit; njit(lambda: 0)(); "
    assert run(tmp_path, earlier + call) == "10.0"
    assert run(tmp_path, call) == "10.0"


def test_a_cache_that_names_a_record_which_is_no_more_is_made_anew(tmp_path):
    source = """
from typing import NamedTuple
from stackbook.kernels.jit import search


class {name}(NamedTuple):
    rate: float


@search
def interest(terms, usd):
    return usd * terms.rate
"""
    call = "import upper; print(upper.interest(upper.{name}(0.1), 100.0))"
    for name in ("Terms", "Loan"):
        (tmp_path / "upper.py").write_text(source.format(name=name))
        assert run(tmp_path, call.format(name=name)) == "10.0"


def test_sums_of_products_have_the_order_of_the_lanes():
    """To the bit: each lane from the first column on, then halves of the lanes by pairs."""
    products = ((0,), (2, 1), (0, 1, 2))
    summed = sum_products(products)
    rows, sums = np.random.default_rng(1).normal(size=(3, 5 * LANES)), np.empty(3)
    njit(lambda rows, sums: summed(rows, sums))(rows, sums)
    for product, found in zip(products, sums, strict=True):
        factors = rows[list(product)]
        terms = factors[0]
        for factor in factors[1:]:
            terms = terms * factor
        lanes = np.zeros(LANES)
        for column in terms.reshape(5, LANES):
            lanes = lanes + column
        while len(lanes) > 1:
            lanes = lanes[::2] + lanes[1::2]
        assert found == lanes[0]


def test_as_many_threads_as_the_block_says():
    """Two that wait for each other end only if both run at once."""
    meeting = Barrier(2, timeout=20)
    with kernels.threads(2):
        assert on_threads(lambda i: meeting.wait() * 0 + i, range(2)) == [0, 1]
