"""What a million tokens cost, as a function of inputs: the chain's own prices and ranges."""

import pickle

import numpy as np
import pytest

from stackbook import facts, profiles
from stackbook.kernels.chain import anatomy
from stackbook.token_cost import TokenCost

COST = TokenCost()
DRAWS = 4000


@pytest.fixture(scope="module")
def scores() -> np.ndarray:
    return np.random.default_rng(5).standard_normal((len(COST.inputs), DRAWS))


def test_central_inputs_give_the_chains_own_price() -> None:
    """Both profiles at one number of hours, so that their ratio is that of their units' prices."""
    centre = np.zeros((len(COST.inputs), 1))
    cost, other, saving = COST(centre)[:, 0]
    one, two = (
        anatomy(profiles.chain(name, draws=1)).price_usd[0]
        for name in (COST.profile, COST.integrated)
    )
    assert other / cost == pytest.approx(two / one, rel=1e-12)
    assert saving == cost - other
    values = COST.values(centre)
    at = list(COST.inputs).index("U_day")
    values[at] /= 2
    assert COST.at(values)[0, 0] == pytest.approx(2 * cost, rel=1e-12)


def test_every_range_is_that_of_its_row(scores: np.ndarray) -> None:
    found = np.percentile(COST.values(scores), [5, 50, 95], axis=1).T
    for (low, central, high), (row, *_) in zip(found, COST.inputs.values(), strict=True):
        for ours, published in ((low, row.low), (central, row.central), (high, row.high)):
            room = 0.05 * (row.high - row.low) + 1e-12
            assert ours == pytest.approx(published, abs=room), row.symbol


def test_what_both_chains_share_stands_once_and_common_prices_move_together(
    scores: np.ndarray,
) -> None:
    inputs = list(COST.inputs.values())
    assert sum(each.row.symbol == "r_chain" for each in inputs) == 1
    values = COST.values(scores)
    published = facts.parameter("rho_p")
    for symbol, rho in {"chip_usd": published.central, "memory_usd": published.high}.items():
        pair = [at for at, each in enumerate(inputs) if each.factor == symbol]
        assert np.corrcoef(np.log(values[pair]))[0, 1] == pytest.approx(rho, abs=0.04)
    factors = [each.factor for each in inputs]
    assert len(set(factors)) == len(factors) - 2


def test_costs_converge_to_the_central_run_as_ranges_shrink(scores: np.ndarray) -> None:
    centre = COST(0 * scores[:, :1])
    wide = [
        np.abs(np.median(COST(scale * scores), axis=1) / centre[:, 0] - 1).max()
        for scale in (1.0, 0.1, 0.001)
    ]
    assert wide[0] > wide[1] > wide[2] and wide[2] < 1e-3


def test_it_can_be_sent_to_other_processes(scores: np.ndarray) -> None:
    sent = pickle.loads(pickle.dumps(COST))
    some = scores[:, :50]
    assert np.array_equal(sent(some), COST(some))


def test_a_discount_that_is_central_at_none_is_given_in_half_of_the_draws() -> None:
    row = profiles.profile(profiles.REFERENCE).terms["discount"]
    assert (row.low, row.central) == (0, 0) and row.high == facts.central("d_out")
    drawn = profiles.at_scores(row, np.linspace(-3, 3, 6001))
    assert (drawn >= 0).all() and drawn[:3001].max() == 0
    assert np.interp(1.6448536, np.linspace(-3, 3, 6001), drawn) == pytest.approx(row.high)
