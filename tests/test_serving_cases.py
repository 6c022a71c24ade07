"""Cases of serving against plain arithmetic that shares nothing with the kernels."""

import pytest

from stackbook.kernels import serving
from stackbook.validation import serving_cases


def test_a_token_at_peak_takes_the_reading_of_all_bytes() -> None:
    """Weights but for the embedding, at 8 bits and the output matrix at 16, and 32 caches."""
    layer = 2 * 8192 * 128 * (64 + 8) + 3 * 8192 * 28672
    read = 80 * layer + 2 * 128_256 * 8192 + 32 * 8192 * 80 * 2 * 8 * 128
    seconds = read / (8 * 819e9)
    assert serving_cases.v5e_decode() == pytest.approx(seconds, rel=1e-9)


def test_mistral_large_takes_what_the_notebooks_formula_gives() -> None:
    """Weights and caches at full bandwidth, kernel starts, and two reductions a layer."""
    layer = 2 * 12288 * 128 * (96 + 8) + 3 * 12288 * 28672
    read = 2 * (88 * layer + 32_768 * 12288) + 20 * 1e5 * 88 * 2 * 8 * 128 * 2
    state = 20 * 12288 * 2
    reduction = 6.8e-6 + 2 * 7 * 0.6e-6 + 7 / 8 * state / (450e9 / 4)
    seconds = read / (8 * 4.8e12) + 88 * (4 * 4e-6 + 2 * reduction)
    assert serving_cases.mistral_decode() == pytest.approx(seconds, rel=0.005)


def test_the_ideal_system_is_faster_than_any_that_was_fitted() -> None:
    layout, cluster, fitted = serving_cases.h800()
    plan, traffic = serving_cases.DECODES, serving.Traffic(4989, 0)
    for batch in (144.0, 14_400.0):
        ideal = serving.decode_seconds(layout, cluster, serving_cases.IDEAL, plan, traffic, batch)
        real = serving.decode_seconds(layout, cluster, fitted, plan, traffic, batch)
        assert 0 < ideal < real
