"""Section I: the joined stack, from silicon to a billed token."""

from collections.abc import Callable
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

from stackbook import facts, profiles
from stackbook.kernels import chips, datacenter, ownership
from stackbook.kernels.chain import Anatomy, Chain, Layer, Link, anatomy

from .datacenter import NEOCLOUD, USE

Floats = NDArray[np.float64]
KINDS_OF_INCOME = slice(2, 4)  # return and rent, which go to who holds a firm


@cache
def divided(profile: str, loaded: bool) -> Anatomy:
    """What customers pay for a unit; `loaded` with the lab's research, staff and all else."""
    billed = profiles.billed()
    chain = profiles.chain(
        profile,
        research=profiles.company("OpenAI", "research_over_inference") * loaded,
        other_usd=profiles.company("OpenAI", "other_cost_over_revenue") * billed * loaded,
    )
    return anatomy(chain, billed, profiles.SELLER)


def owners(profile: str) -> tuple[str, ...]:
    return tuple(profiles.profile(profile).owners[layer] for layer in profiles.LAYERS)


def by_layer(profile: str, loaded: bool) -> Floats:
    """Dollars that layers get, by draw."""
    return np.asarray(divided(profile, loaded).usd.sum(axis=(0, 1)))


def by_owner(profile: str, loaded: bool) -> Floats:
    found = divided(profile, loaded).by_owner(owners(profile))
    return np.asarray(sum(part.sum(axis=0) for part in found.values()))


def by_holder(profile: str, loaded: bool) -> Floats:
    """Costs and wear, with the return and rent of each owner as its holders in the end get it."""
    found = divided(profile, loaded).by_owner(owners(profile))
    firms, held = holdings(tuple(found))
    nothing = np.zeros_like(next(iter(found.values())))
    income = np.array([found.get(firm, nothing)[KINDS_OF_INCOME].sum(axis=0) for firm in firms])
    spent = sum(part[: KINDS_OF_INCOME.start].sum(axis=0) for part in found.values())
    return np.asarray(spent + ownership.outside_income(held, income).sum(axis=0))


def holdings(firms: tuple[str, ...]) -> tuple[list[str], Floats]:
    """The firms with all that hold some of them, and who holds (row) what share of whom."""
    rows = facts.table("holdings").filter("current").collect()
    pairs = {(row["holder"], row["held"]): row["share"] for row in rows.to_dicts()}
    names = list(firms)
    for name in names:  # grows: those who hold the holders are looked up as well
        names += [who for who, held in pairs if held == name and who not in names]
    return names, np.array([[pairs.get((one, other), 0.0) for other in names] for one in names])


def error(part: Callable[[str, bool], Floats]) -> float:
    """The largest in all draws of all profiles, over the price."""
    return max(
        float(abs(part(name, loaded) / divided(name, loaded).price_usd - 1).max())
        for name in profiles.names()
        for loaded in (False, True)
    )


@cache
def hour(profile: str) -> float:
    """What an accelerator-hour costs its owner."""
    return float(profiles.cost(profiles.chain(profile), "cloud")[0])


def margin(profile: str = profiles.REFERENCE, loaded: bool = False) -> float:
    """What a lab keeps of a dollar, after the share of who bills; research counted if loaded."""
    found = divided(profile, loaded)
    return float(found.usd[profiles.SELLER, 3, 0] / found.price_usd[0])


# Bills of material before HBM rose by 20%, and HBM's share of them: Silicon Analysts 2026.
BILLS = {
    "B200": (6400.0, 0.453),
    "GB200": (13_500.0, 0.43),
    "H200": (4250.0, 0.353),
    "MI325X": (3800.0, 0.579),
    "MI355X": (8000.0, 0.544),
}


def dearer(other_usd: float, memory_usd: float, margin: float = 0.0) -> float:
    """Price of a chip whose maker buys its memory."""
    layers = Layer(memory_usd), Layer(other_usd, margin=margin)
    made = Chain(layers, (Link(0, 1, 1.0),), ("memory makers", "designer"))
    return float(anatomy(made).price_usd[0])


def bill(chip: str) -> float:
    usd, share = BILLS[chip]
    return dearer(usd * (1 - share), usd * share * 1.2)


def amplified() -> float:
    """Dollars of price for a dollar of memory, at a gross margin of 75% that stays."""
    return dearer(3500.0, 2901.0, 0.75) - dearer(3500.0, 2900.0, 0.75)


def h100_hour() -> float:
    """A neocloud's cost at the price of a server in 2024."""
    kw = facts.central("kW_H100")
    return float(
        datacenter.owner_cost(
            it_usd=facts.central("p_node_H100") / 8,
            site_usd=facts.central("k_MW") / 1e3 * kw,
            om_share=facts.central("om_IT"),
            availability=1,
            kw=kw,
            **USE,
            **NEOCLOUD,
        )
    )


CASES: dict[tuple[str, str], Callable[[], float]] = {
    ("I01", "dollars_by_holder"): lambda: error(by_holder),
    ("I01", "dollars_by_layer"): lambda: error(by_layer),
    ("I01", "dollars_by_owner"): lambda: error(by_owner),
    ("I02", "tco_hyperscaler"): partial(hour, "OpenAI on Azure"),
    ("I02", "tco_neocloud"): partial(hour, "OpenAI on Oracle"),
    ("I03", "saving"): lambda: chips.margin(hour("OpenAI on Azure"), hour("Google on TPU")),
    ("I04", "gross_margin"): margin,
    ("I04", "gross_margin_leaked"): margin,
    **{("I05", f"cost_{chip.lower()}"): partial(bill, chip) for chip in BILLS},
    ("I06", "amplification"): amplified,
    ("I07", "tco_h100"): h100_hour,
    ("I08", "operating_loss"): lambda: -margin(loaded=True),
    ("I09", "gross_margin_tpu"): partial(margin, "Anthropic on TPU"),
    ("I09", "gross_margin_trainium"): partial(margin, "Anthropic on Trainium"),
}
