"""Who gets the income in the end, which money goes in circles, and who pays when a firm cannot.

Matrices go from the row to the column: row i holds a share of column j, pays it or owes it.
"""

from itertools import product
from math import nan
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stackbook.kernels.jit import formula

Floats = NDArray[np.float64]
_ROUNDING = 1e-12  # shares and debts that differ by less are equal

# --- Holdings looked through ---


def outside_shares(holdings: ArrayLike) -> Floats:
    """Share of each firm's income that ends with the outside holders of each firm.

    holdings: of each firm (row) in each firm (column), without holders outside [1], 0 or more
    returns: [1], by whose outside holders and whose income; columns add up to 1
    source: Brioschi, Buzzacchi and Colombo 1989; Ellerman 1991: (I - diag(1' H)) (I - H)^-1
    """
    held = _holdings(holdings)
    shares: Floats = (1 - held.sum(axis=0))[:, None] * _totals(held)
    return shares


def integrated_holdings(holdings: ArrayLike) -> Floats:
    """Share of each firm's income that reaches each firm, directly or through others.

    holdings: of each firm (row) in each firm (column), without holders outside [1], 0 or more
    returns: [1], by whom it reaches and whose it is, each dollar once; diagonal, if it comes back
    source: Kemeny and Snell 1960, chance of ever reaching a state: N_dg^-1 (N - I), N = (I - H)^-1
    """
    totals = _totals(_holdings(holdings))
    often = np.diag(totals)
    shares: Floats = (totals - np.eye(often.size)) / often[:, None]
    return shares


def outside_income(holdings: ArrayLike, income_usd: ArrayLike) -> Floats:
    """What of the firms' own incomes ends with the outside holders of each firm.

    holdings: of each firm (row) in each firm (column), without holders outside [1], 0 or more
    income_usd: of each firm, without that from holdings [USD], of any further axes
    returns: [USD], of the shape of income_usd, with the same sum over firms
    source: Brioschi, Buzzacchi and Colombo 1989; Ellerman 1991: outside_shares of each income
    """
    shares, income = outside_shares(holdings), np.asarray(income_usd, float)
    if not income.shape[:1] == shares.shape[:1]:
        raise ValueError(f"income_usd of shape {income.shape}: give one for each of {len(shares)}")
    return np.asarray(np.tensordot(shares, income, axes=1), float)


def _holdings(holdings: ArrayLike) -> Floats:
    held = _square("holdings", holdings)
    totals = held.sum(axis=0)
    for firm in np.flatnonzero(totals > 1 + _ROUNDING)[:1]:
        raise ValueError(f"holdings[:, {firm}] add up to {totals[firm]:g}: give at most 1")
    # Whose income finds a way out, step by step from the firms with outside holders.
    out = totals < 1 - _ROUNDING
    for _ in totals:
        out |= (held[out] > 0).any(axis=0)
    for firm in np.flatnonzero(~out)[:1]:
        raise ValueError(
            f"holdings[:, {firm}] end in a circle that holds all of itself: "
            "leave a share to holders outside"
        )
    return held


def _totals(held: Floats) -> Floats:
    """What passes through a firm (row) of a dollar of another's (column), each time counted."""
    return np.asarray(np.linalg.inv(np.eye(len(held)) - held), float)


def _square(name: str, matrix: ArrayLike) -> Floats:
    found = np.asarray(matrix, float)
    if found.ndim != 2 or found.shape[0] != found.shape[1]:
        raise ValueError(f"{name} of shape {found.shape}: give a square matrix")
    return _positive(name, found)


def _positive(name: str, numbers: ArrayLike) -> Floats:
    found = np.asarray(numbers, float)
    bad = found[~((found >= 0) & (found < np.inf))]
    if bad.size:
        raise ValueError(f"{name} = {bad[0]:g}: give finite numbers of 0 or more")
    return found


# --- Circular finance ---


@formula
def roundtrip_ratio(equity_usd: float, purchases_usd: float) -> float:
    """Share of what a firm buys from another that the other's equity in it can have paid.

    equity_usd: what the seller puts into the buyer [USD], 0 or more
    purchases_usd: what the buyer pays the seller [USD], above 0
    returns: [1], 0 to 1; for matrices of who pays whom, give the equity and purchases.T
    source: identity, min(F_ij, R_ji) / R_ji
    """
    if not (equity_usd >= 0 and purchases_usd > 0):
        return nan
    return min(equity_usd / purchases_usd, 1.0)


@formula
def refinanced_share(gross_profit_usd: float, outlays_usd: float) -> float:
    """Share of a firm's outlays that others have to pay, as its gross profit does not.

    gross_profit_usd: revenue less its cost [USD], also below 0
    outlays_usd: all it pays beyond the cost of revenue, investment with it [USD], above 0
    returns: [1], 0 to 1
    source: identity, 1 - gross profit / outlays within 0 and 1
    """
    if not (outlays_usd > 0 and gross_profit_usd == gross_profit_usd):
        return nan
    return min(max(1 - gross_profit_usd / outlays_usd, 0.0), 1.0)


def revenue_at_risk(
    purchases_usd: ArrayLike, gross_profit_usd: ArrayLike, outlays_usd: ArrayLike
) -> Floats:
    """Revenue of each seller that lasts as long as its buyers find new money.

    purchases_usd: of each buyer (row) from each seller (column), part of its outlays [USD]
    gross_profit_usd: of each buyer [USD], also below 0
    outlays_usd: of each buyer beyond its cost of revenue, investment with it [USD], above 0
    returns: [USD] by seller
    source: identity, sum over buyers of purchases times their refinanced_share
    """
    shares = refinanced_share(np.asarray(gross_profit_usd, float), np.asarray(outlays_usd, float))
    bought = _positive("purchases_usd", purchases_usd)
    if not (bought.ndim == 2 and np.shape(shares) == bought.shape[:1]):
        raise ValueError(f"purchases_usd of shape {bought.shape}: give a row for each buyer")
    for buyer in np.flatnonzero(~np.isfinite(shares))[:1]:
        raise ValueError(f"outlays_usd of buyer {buyer}: give numbers, and outlays above 0")
    at_risk: Floats = shares @ bought
    return at_risk


class Circle(NamedTuple):
    """Money that can come back to where it was."""

    firms: tuple[int, ...]
    """In the order in which it passes them; the last pays the first."""
    equity: tuple[bool, ...]
    """Whether each payment, from each of the firms to the next, is equity, not a price."""
    usd: float
    """The least payment."""


def circles(equity_usd: ArrayLike, purchases_usd: ArrayLike, longest: int = 4) -> list[Circle]:
    """Circles of payments in which equity and purchases meet, the largest first.

    equity_usd: put by each firm (row) into each firm (column) [USD], 0 or more
    purchases_usd: paid by each firm (row) to each firm (column) as a price [USD], 0 or more
    longest: most firms in a circle [1]
    returns: Circles [1]; what some have in common is in each of them, so that they do not add up
    source: definition, elementary circuits by depth-first search
    """
    kinds = [_square("purchases_usd", purchases_usd), _square("equity_usd", equity_usd)]
    if kinds[0].shape != kinds[1].shape:
        raise ValueError(f"equity_usd of shape {kinds[1].shape}: give that of purchases_usd")
    paid = kinds[0] + kinds[1] > 0
    found: list[Circle] = []
    paths: list[tuple[int, ...]] = [(firm,) for firm in range(len(paid))]
    while paths:
        path = paths.pop()
        if len(path) > 1 and paid[path[-1], path[0]]:
            steps = list(zip(path, (*path[1:], path[0]), strict=True))
            for chosen in product((False, True), repeat=len(path)):
                usd = min(kinds[kind][step] for kind, step in zip(chosen, steps, strict=True))
                if usd > 0 and any(chosen) and not all(chosen):
                    found.append(Circle(path, chosen, float(usd)))
        if len(path) < longest:  # each circle once, from the first of its firms
            after = np.flatnonzero(paid[path[-1]]).tolist()
            paths += [(*path, firm) for firm in after if firm > path[0] and firm not in path]
    return sorted(found, key=lambda circle: (-circle.usd, circle))


# --- Clearing ---


class Cleared(NamedTuple):
    """What is paid when everyone has paid what it can."""

    payments: Floats
    """Of each firm to all its creditors [USD]."""
    rounds: NDArray[np.int64]
    """In which each firm defaults: 1 on its own, more through others, 0 where it pays all."""
    losses: Floats
    """By debtor (row) and creditor (column) [USD]."""
    equity: Floats
    """Left to the holders of each firm [USD], 0 in default."""


def cleared(
    liabilities_usd: ArrayLike,
    assets_usd: ArrayLike,
    asset_recovery: float = 1.0,
    claim_recovery: float = 1.0,
) -> Cleared:
    """Payments among firms that owe each other, each in proportion to its debts: the greatest.

    liabilities_usd: of each firm (row) to each (column) [USD]; outsiders are a firm that owes none
    assets_usd: of each firm without its claims on the others [USD], 0 or more
    asset_recovery, claim_recovery: share of each that is paid on in default [1], 0 to 1
    returns: Cleared [1]
    source: Eisenberg and Noe 2001, fictitious defaults; Rogers and Veraart 2013, alpha and beta
    """
    owed = _square("liabilities_usd", liabilities_usd)
    assets = _positive("assets_usd", assets_usd)
    if assets.shape != owed.shape[:1]:
        raise ValueError(f"assets_usd of shape {assets.shape}: give one for each of {len(owed)}")
    for firm in np.flatnonzero(np.diag(owed))[:1]:
        raise ValueError(f"liabilities_usd[{firm}, {firm}] = {owed[firm, firm]:g}: give 0")
    for name, rate in (("asset_recovery", asset_recovery), ("claim_recovery", claim_recovery)):
        if not 0 <= rate <= 1:
            raise ValueError(f"{name} = {rate:g}: give 0 to 1")
    debts = owed.sum(axis=1)
    to = owed / np.where(debts > 0, debts, 1.0)[:, None]
    payments, rounds = debts.copy(), np.zeros(debts.size, dtype=np.int64)
    for count in range(1, debts.size + 1):
        short = assets + payments @ to < debts * (1 - _ROUNDING)
        if not (short & (rounds == 0)).any():
            break
        rounds[short & (rounds == 0)] = count
        fails = rounds > 0
        among = to[np.ix_(fails, fails)].T
        claims = debts[~fails] @ to[np.ix_(~fails, fails)]
        given = asset_recovery * assets[fails] + claim_recovery * claims
        payments[fails] = np.linalg.solve(np.eye(len(among)) - claim_recovery * among, given)
    left = assets + payments @ to - payments
    return Cleared(
        payments=payments,
        rounds=rounds,
        losses=owed - payments[:, None] * to,
        equity=np.where(rounds > 0, 0.0, np.maximum(left, 0.0)),
    )
