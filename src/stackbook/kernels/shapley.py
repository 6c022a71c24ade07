"""What each of several changes contributes to an effect of all, in whatever order they are made."""

from collections.abc import Callable, Sequence
from itertools import combinations
from math import factorial
from typing import Any


def shapley(players: Sequence[Any], value: Callable[[tuple[Any, ...]], Any]) -> list[Any]:
    """Divide what all players bring together among them: the mean over all orders of joining.

    players: who can join [1]; each set of them is valued, 2^n in all
    value: what the players of a tuple bring, in the order of `players` [1]
    returns: [1] by player; the sum is the value of all less that of none
    source: Shapley 1953, equation 12
    """
    values = {
        chosen: value(chosen)
        for size in range(len(players) + 1)
        for chosen in combinations(players, size)
    }
    found = []
    for player in players:
        part: Any = 0.0
        for chosen, brought in values.items():
            if player in chosen:
                without = tuple(each for each in chosen if each != player)
                orders = factorial(len(without)) * factorial(len(players) - len(chosen))
                part += orders / factorial(len(players)) * (brought - values[without])
        found.append(part)
    return found
