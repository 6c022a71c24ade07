"""Joint draws: normal, as correlated as wanted, and the same bits however they are cut and run."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest, qmc, spearmanr

from stackbook.kernels import sampling
from stackbook.kernels.sampling import correlated, outputs, propagate, scores
from stackbook.kernels.uncertainty import lognormal, normal_cdf, normal_quantile

METHODS = pytest.mark.parametrize("method", ["sobol", "halton"])


@METHODS
@pytest.mark.filterwarnings("error")
@given(skip=st.integers(0, 300), count=st.integers(1, 300), seed=st.integers(0, 2**32))
def test_blocks_are_the_bits_of_the_whole(method, skip, count, seed):
    whole = scores(skip + count, 3, seed, method)
    np.testing.assert_array_equal(scores(count, 3, seed, method, skip), whole[:, skip:])


@METHODS
def test_scores_are_normal_and_more_even_than_random_ones(method):
    z = scores(4096, 6, 1, method)
    assert z.shape == (6, 4096)
    assert max(kstest(row, "norm").statistic for row in z) < 1e-3
    assert np.abs(np.corrcoef(z) - np.eye(6)).max() < 0.01
    random = np.random.default_rng(1).random((4096, 6))
    assert qmc.discrepancy(normal_cdf(z).T) < qmc.discrepancy(random) / 5


def test_sobol_points_lie_at_the_centres_of_their_cells():
    """One in each of as many equal cells, and never at an end, whatever the seed."""
    z = scores(2**12, 2, 3)
    cells = np.floor(normal_cdf(z) * 2**12).astype(int)
    assert all(np.unique(row).size == 2**12 for row in cells)
    points = qmc.Sobol(2, seed=3).random(2**12).T
    np.testing.assert_array_equal(z, normal_quantile(points + 2.0**-31))
    assert np.abs(z).max() <= abs(normal_quantile(2.0**-31))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ((8, 2, 1, "random"), "method = 'random': give sobol or halton"),
        ((0, 2, 1), "0 x 2 scores after 0: give 1 or more"),
        ((8, 0, 1), "8 x 0 scores"),
        ((8, 2, 1, "sobol", -1), "after -1"),
        ((8, 2, 1, "sobol", 2**30), "8 scores after 1073741824: give 1073741824 in all at most"),
    ],
)
def test_bad_scores(wanted, message):
    with pytest.raises(ValueError, match=message):
        scores(*wanted)


def test_prices_correlate_as_said_and_keep_their_distribution():
    """0.95 within a generation, 0.5 across; of ranks 6 / pi asin(rho / 2), by Kruskal 1958."""
    matrix = np.full((4, 4), 0.5)
    matrix[:2, :2] = matrix[2:, 2:] = 0.95
    np.fill_diagonal(matrix, 1)
    z = correlated(scores(2**15, 4, 1), matrix)
    assert np.corrcoef(z) == pytest.approx(matrix, abs=0.005)
    prices = lognormal(1.0, 9.0, z)
    assert spearmanr(prices.T).statistic == pytest.approx(
        6 / np.pi * np.arcsin(matrix / 2), abs=0.01
    )
    assert max(kstest(row, "norm").statistic for row in z) < 0.005


@given(st.integers(1, 8), st.integers(0, 2**32))
def test_correlated_is_the_cholesky_factor_of_numpy(size, seed):
    random = np.random.default_rng(seed)
    mixed = random.normal(size=(size, size + 2))
    mixed /= np.linalg.norm(mixed, axis=1)[:, None]
    matrix, z = mixed @ mixed.T, random.normal(size=(size, 50))
    np.fill_diagonal(matrix, 1)
    found = correlated(z, matrix)
    assert found == pytest.approx(np.linalg.cholesky(matrix) @ z, rel=1e-7, abs=1e-7)
    np.testing.assert_array_equal(found[:, 7:9], correlated(z[:, 7:9], matrix))


def test_scores_without_correlation_stay():
    z = scores(64, 3, 1)
    np.testing.assert_array_equal(correlated(z, np.eye(3)), z)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.eye(2), r"correlation of shape \(2, 2\) for scores of \(3, 8\)"),
        (np.ones((3, 2)), r"of shape \(3, 2\)"),
        (np.eye(3) * 1.5, r"correlation\[0, 0\] = 1.5: give -1 to 1"),
        (np.eye(3) * 0.5, r"correlation\[0, 0\] = 0.5: give 1 of a quantity with itself"),
        ([[1, 0.5, 0], [0.4, 1, 0], [0, 0, 1]], r"\[0, 1\] = 0.5: give the same above"),
        ([[1, np.nan, 0], [np.nan, 1, 0], [0, 0, 1]], r"\[0, 1\] = nan: give -1 to 1"),
        ([[1, 0.9, -0.9], [0.9, 1, 0.9], [-0.9, 0.9, 1]], "row 2 contradicts or repeats"),
        (np.ones((3, 3)), "row 1 contradicts or repeats"),
    ],
)
def test_what_is_no_correlation(matrix, message):
    with pytest.raises(ValueError, match=message):
        correlated(scores(8, 3, 1), matrix)


def cost(z):
    return np.array([lognormal(1.0, 3.0, z[0]) + lognormal(2.0, 3.0, z[1]), z[1]])


def backwards(function, items):
    """The last first, each by a copy such as another process gets."""
    copies = [(pickle.dumps(function), item) for item in items]
    return [pickle.loads(task)(item) for task, item in copies[::-1]][::-1]


def test_a_model_in_blocks_is_the_model_at_once_by_any_map(monkeypatch):
    whole = cost(scores(5000, 2, 1))
    monkeypatch.setattr(sampling, "BLOCK", 512)
    np.testing.assert_array_equal(propagate(cost, 2, 5000, 1), whole)
    np.testing.assert_array_equal(propagate(cost, 2, 5000, 1, map=backwards), whole)
    with ThreadPoolExecutor(2) as pool:
        np.testing.assert_array_equal(propagate(cost, 2, 5000, 1, map=pool.map), whole)


def test_an_expected_value_is_nearer_than_random_draws_bring_it():
    """E exp(s z) = exp(s^2 / 2), within a tenth of the standard error of as many random draws."""
    s = 0.5
    error = np.sqrt(np.expm1(s * s) / 2**14)
    found = propagate(lambda z: np.exp(s * z[1]), 2, 2**14, 1).mean()
    assert found / np.exp(s * s / 2) == pytest.approx(1, abs=error / 10)


def test_a_model_of_another_shape_or_with_no_number():
    z = scores(8, 2, 1)
    for model in (lambda z: 1.0, lambda z: z[:, :3], lambda z: z[None]):
        with pytest.raises(ValueError, match=r"the model gives shape .* for 8 draws: give"):
            outputs(model, z)
    with pytest.raises(ValueError, match="0 x 2 scores"):
        propagate(cost, 2, 0, 1)
    with pytest.raises(ValueError, match="no finite number at scores"):
        outputs(lambda z: np.where(z[0] == z[0, 3], np.nan, 1.0), z)
