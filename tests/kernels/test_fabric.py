"""Networks: graphs counted and rings run step by step as oracles, identities and limits."""

import heapq
from collections import Counter
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackbook.kernels import fabric

messages = st.just(0.0) | st.floats(1, 1e12)
latencies = st.floats(0, 1e-3)
bandwidths = st.floats(1e6, 1e13)
reductions = st.floats(0, 1e-9)
rank_counts = st.integers(1, 5000)


@pytest.mark.parametrize(("ports", "tiers"), [(64, 1), (2048, 2), (65_536, 3)])
def test_a_full_clos_has_two_transceivers_a_tier_for_each_port(ports, tiers):
    network = (8 * ports, 64, 8, 1)
    assert fabric.clos_tiers(*network) == tiers
    assert fabric.transceivers(fabric.clos_links(*network), 8 * ports) == 2 * tiers * 8 * ports
    assert fabric.clos_switches(*network) == (2 * tiers - 1) * 8 * ports / 64


def test_rail_only_pays_where_it_takes_a_tier_less():
    """Wang et al. 2023: 32,768 GPUs as one network (rail-optimised) or as 8 networks (rail-only);
    rails of 4096 ports still need three tiers of 64 ports, but only two of 128."""
    assert [fabric.clos_tiers(32_768, 64, planes, 1) for planes in (1, 8)] == [3, 3]
    assert [fabric.clos_switches(32_768, 64, planes, 1) for planes in (1, 8)] == [2560, 2560]
    assert [fabric.clos_tiers(32_768, 128, planes, 1) for planes in (1, 8)] == [3, 2]
    assert [fabric.clos_switches(32_768, 128, planes, 1) for planes in (1, 8)] == [1280, 768]


def clos(ports, radix, over):
    """Links of one plane by construction: switch, switch above; and the ports of each leaf."""
    down = int(radix * over / (1 + over) + 0.5)
    up = radix - down
    leaves = [("leaf", i) for i in range(-(-ports // down))]
    ends = {leaf: min(down, ports - i * down) for i, leaf in enumerate(leaves)}
    links = []

    def join(below, uplinks, room, name):
        """The fewest switches above, linked in turn."""
        above = [(name, i) for i in range(-(-len(below) * uplinks // room))]
        links.extend(
            (switch, above[(i * uplinks + j) % len(above)])
            for i, switch in enumerate(below)
            for j in range(uplinks)
        )
        return above

    if len(leaves) * up <= up * radix:
        join(leaves, up, radix, "spine")
    else:
        middle, pod = [], radix // 2
        for start in range(0, len(leaves), pod):
            middle += join(leaves[start : start + pod], up, pod, f"middle {start}")
        join(middle, pod, radix, "core")
    return ends, links


@given(st.sampled_from([2, 4, 6, 8, 16]), st.sampled_from([1, 1.5, 2, 3]), st.data())
def test_clos_is_counted_on_a_graph(radix, over, data):
    """Switches and links of a graph in which no switch has too many links and all are joined."""
    if over > radix - 1:
        over = 1
    down = int(radix * over / (1 + over) + 0.5)
    ports = data.draw(st.integers(radix + 1, max(radix + 1, radix * radix * down // 2)))
    network = (ports, radix, 1, over)
    if np.isnan(fabric.clos_tiers(*network)):
        assert ports > radix * radix * down // 2
        return
    ends, links = clos(ports, radix, over)
    degree = Counter(ends) + Counter(switch for link in links for switch in link)
    assert max(degree.values()) <= radix
    assert len(degree) == fabric.clos_switches(*network)
    assert len(links) == fabric.clos_links(*network)
    assert sum(ends.values()) == ports
    reached, todo = set(), [next(iter(ends))]
    neighbours = {switch: set() for switch in degree}
    for a, b in links:
        neighbours[a].add(b)
        neighbours[b].add(a)
    while todo:
        switch = todo.pop()
        if switch not in reached:
            reached.add(switch)
            todo += neighbours[switch]
    assert set(ends) <= reached


@given(st.integers(16, 65_536), st.integers(1, 16))
def test_planes_are_networks_of_their_own(ports, planes):
    for count in (fabric.clos_switches, fabric.clos_links):
        one = count(-(-ports // planes), 64, 1, 1)
        assert count(ports, 64, planes, 1) == planes * one


@given(st.integers(2, 65_536), st.sampled_from([3, 7]))
def test_oversubscription_saves_uplinks(ports, over):
    fewer = fabric.clos_links(ports, 64, 1, over)
    assert fewer <= fabric.clos_links(ports, 64, 1, 1)
    if fabric.clos_tiers(ports, 64, 1, over) == 2:
        assert ports / over <= fewer < (ports + 64) / over


def test_largest_clos():
    assert fabric.clos_tiers(64**3 / 4, 64, 1, 1) == 3
    assert np.isnan(fabric.clos_tiers(64**3 / 4 + 1, 64, 1, 1))
    assert np.isnan(fabric.clos_switches(64**3 / 4 + 1, 64, 1, 1))


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (4, 4, 4), (4, 6, 8), (8, 4, 2 * 4)])
def test_torus_is_counted_on_a_graph(shape):
    """Links of a wrapped grid, and those between the halves along its longest side."""
    chips = list(product(*map(range, shape)))
    links = {
        frozenset([chip, (*chip[:d], (chip[d] + 1) % shape[d], *chip[d + 1 :])])
        for chip in chips
        for d in range(len(shape))
    }
    assert fabric.torus_links(len(chips), len(shape)) == len(links)
    longest = int(np.argmax(shape))
    cut = sum(len({chip[longest] < shape[longest] // 2 for chip in link}) == 2 for link in links)
    assert fabric.torus_bisection(len(chips), shape[longest]) == cut


@given(st.integers(1, 300), st.integers(1, 5), st.integers(2, 600))
def test_a_circuit_switch_holds_whole_face_positions(cubes, side, ports):
    """Any cube reaches any other only if both ends of a position meet in one switch."""
    count = fabric.optical_circuit_switches(cubes, side, ports)
    free = []
    for _ in range(3 * side**2):
        if not free or free[-1] < 2 * cubes:
            free.append(ports)
        free[-1] -= 2 * cubes
    if min(free) < 0:
        assert np.isnan(count)
    else:
        assert count == len(free)
        assert count * ports >= fabric.cube_fibers(cubes, side)


def test_dragonfly_joins_more_than_three_tiers():
    """With switches of the same radix, if they have ports enough."""
    for radix in (32, 64, 128):
        clos = radix**3 / 4
        assert fabric.clos_tiers(clos, radix, 1, 1) == 3
        assert fabric.dragonfly_ports(radix) > clos


@pytest.mark.parametrize("radix", [3, 7, 8, 11, 16])
def test_dragonfly_is_counted_on_a_graph(radix):
    """The largest one: complete groups, one link between each pair of groups, no port left."""
    p = (radix + 1) // 4
    groups = range(2 * p * p + 1)
    switches = [(g, s) for g in groups for s in range(2 * p)]
    local = [pair for pair in combinations(switches, 2) if pair[0][0] == pair[1][0]]
    free = {switch: p for switch in switches}
    for a, b in combinations(groups, 2):
        for group in (a, b):
            free[max((s for s in switches if s[0] == group), key=free.get)] -= 1
    assert set(free.values()) == {0}
    ports = fabric.dragonfly_ports(radix)
    assert ports == p * len(switches)
    assert fabric.dragonfly_switches(ports, radix) == len(switches)
    assert fabric.dragonfly_local_links(ports, radix) == len(local)
    assert fabric.dragonfly_global_links(ports, radix) == len(list(combinations(groups, 2)))


@given(st.integers(1, 262_656))
def test_dragonfly_has_room(ports):
    switches = fabric.dragonfly_switches(ports, 64)
    ends = ports + 2 * (
        fabric.dragonfly_local_links(ports, 64) + fabric.dragonfly_global_links(ports, 64)
    )
    assert 16 * switches >= ports > 16 * (switches - 32)
    assert ends <= 63 * switches
    assert (fabric.dragonfly_global_links(ports, 64) > 0) == (ports > 512)


def ring(ranks, message, latency, bandwidth, reduction):
    """A ring all-reduce step by step: the sums of every rank and the time that it took."""
    rng = np.random.default_rng(1)
    data = rng.normal(size=(ranks, ranks))  # a row for each rank, a column for each part
    total, part, time = data.sum(axis=0), message / ranks, 0.0
    for step in range(2 * (ranks - 1)):
        adds = step < ranks - 1
        column = [(rank - step) % ranks for rank in range(ranks)]
        sent = [data[rank, column[rank]] for rank in range(ranks)]
        for rank in range(ranks):
            to = (rank + 1) % ranks
            data[to, column[rank]] = sent[rank] + adds * data[to, column[rank]]
        time += latency + part / bandwidth + adds * part * reduction
    np.testing.assert_allclose(data, np.tile(total, (ranks, 1)))
    return time


@pytest.mark.parametrize("ranks", [1, 2, 3, 8, 13])
def test_ring_step_by_step(ranks):
    network = (5e-6, 4e11, 1e-12)
    time = fabric.ring_all_reduce(1e9, ranks, *network)
    assert time == pytest.approx(ring(ranks, 1e9, *network), rel=1e-12)


def pipeline(ranks, message, latency, bandwidth, parts):
    """Two trees up and down in a pipeline, by events: when the last rank has the last part.

    Each tree carries half of the message at half of the bandwidth, both trees at once.
    """
    depth = (ranks - 1).bit_length()
    step = message / 2 / parts / (bandwidth / 2)
    done, queue = 0.0, [(part * step, 0, part) for part in range(parts)]
    free = Counter()
    while queue:
        ready, hop, part = heapq.heappop(queue)
        start = max(ready, free[hop])
        free[hop] = start + step
        done = start + step + latency
        if hop + 1 < depth:
            heapq.heappush(queue, (done, hop + 1, part))
    return 2 * done


def test_tree_is_a_full_pipeline():
    """With many parts, filling the pipeline costs latency alone."""
    piped = pipeline(64, 1e9, 5e-6, 4e11, 20_000)
    assert fabric.tree_all_reduce(1e9, 64, 5e-6, 4e11, 0) == pytest.approx(piped, rel=1e-3)


@pytest.mark.parametrize("ranks", range(1, 70))
def test_depth_of_a_tree(ranks):
    depth = fabric.tree_all_reduce(0, ranks, 0.5, 1, 0)
    assert depth == (ranks - 1).bit_length()


@given(messages, rank_counts, latencies, bandwidths, reductions)
def test_all_reduce_takes_the_faster(message, ranks, latency, bandwidth, reduction):
    args = (message, ranks, latency, bandwidth, reduction)
    times = fabric.ring_all_reduce(*args), fabric.tree_all_reduce(*args)
    assert fabric.all_reduce(*args) == min(times)
    lower = 2 * (ranks - 1) / ranks * message / bandwidth
    assert min(times) >= lower * (1 - 1e-12)
    assert fabric.ring_all_reduce(*args) == pytest.approx(
        fabric.reduce_scatter(*args) + fabric.all_gather(*args[:4])
    )


def test_trees_for_short_messages_rings_for_long_ones():
    network = (64, 5e-6, 5e10, 0)
    assert fabric.all_reduce(1e6, *network) == fabric.tree_all_reduce(1e6, *network)
    assert fabric.all_reduce(1e10, *network) == fabric.ring_all_reduce(1e10, *network)


@given(messages, latencies, bandwidths, reductions)
def test_one_rank_needs_no_time(message, latency, bandwidth, reduction):
    args = (message, 1, latency, bandwidth)
    for kernel in (fabric.all_gather, fabric.all_to_all, fabric.in_network_all_reduce):
        assert kernel(*args) == 0
    for kernel in (fabric.reduce_scatter, fabric.tree_all_reduce, fabric.all_reduce):
        assert kernel(*args, reduction) == 0


@given(messages, st.integers(1, 72), st.integers(1, 64), latencies, bandwidths, reductions)
def test_hierarchy_of_equal_networks_moves_as_much(
    message, domain, domains, latency, bandwidth, reduction
):
    """Without latency, three steps on one network take the time of one ring over all."""
    ranks = domain * domains
    equal = (0, bandwidth, 0, bandwidth, reduction)
    flat = fabric.ring_all_reduce(message, ranks, 0, bandwidth, reduction)
    three_steps = fabric.hierarchical_all_reduce(message, ranks, domain, *equal)
    assert three_steps == pytest.approx(flat)
    network = (latency, bandwidth, latency, bandwidth, reduction)
    for edge, expected in [(1, fabric.all_reduce), (ranks, fabric.ring_all_reduce)]:
        one_level = expected(message, ranks, latency, bandwidth, reduction)
        value = fabric.hierarchical_all_reduce(message, ranks, edge, *network)
        assert value == pytest.approx(one_level)


@given(st.integers(1, 72), st.integers(1, 256), latencies, latencies, latencies)
def test_nccl_latency_grows_with_ranks_and_doublings(domain, servers, base, rank, doubling):
    def latency(domain, servers):
        return fabric.nccl_latency(domain * servers, servers, base, rank, doubling, 2)

    here = latency(domain, servers)
    assert latency(domain + 1, servers) - here == pytest.approx(2 * rank, abs=1e-12)
    assert latency(domain, 2 * servers) - here == pytest.approx(2 * doubling, abs=1e-12)
    assert latency(1, 1) == pytest.approx(base)


@given(st.integers(2, 5000), bandwidths)
def test_a_switch_that_adds_saves_up_to_half_of_the_ring(ranks, bandwidth):
    """Each rank sends its part once, and not on behalf of others as well."""
    ring = fabric.ring_all_reduce(1, ranks, 0, bandwidth, 0)
    gain = ring / fabric.in_network_all_reduce(1, ranks, 0, bandwidth)
    assert gain == pytest.approx(2 * (ranks - 1) / (ranks + 1))


@given(messages, st.integers(2, 5000), bandwidths)
def test_bus_bandwidth_is_that_of_the_ring(message, ranks, bandwidth):
    seconds = fabric.ring_all_reduce(1 + message, ranks, 0, bandwidth, 0)
    assert fabric.bus_bandwidth(1 + message, ranks, seconds) == pytest.approx(bandwidth)


@given(st.integers(1, 6), st.integers(0, 4))
def test_domains_reached_is_an_expected_value(domains, choices):
    """Over every way to choose."""
    ways = product(range(domains), repeat=choices)
    expected = np.mean([len(set(way)) for way in ways])
    assert fabric.domains_reached(domains, choices) == pytest.approx(expected)


def test_a_token_reaches_one_domain_or_one_for_each_expert():
    assert fabric.domains_reached(1, 8) == 1
    assert fabric.domains_reached(1e9, 8) == pytest.approx(8)


@given(st.floats(0, 1e3), st.floats(0, 1e3), st.floats(0, 1))
def test_a_step_lies_between_its_longer_part_and_the_sum(arithmetic, transfer, overlap):
    step = fabric.step_time(arithmetic, transfer, overlap)
    assert step == pytest.approx(fabric.step_time(transfer, arithmetic, overlap))
    both = arithmetic + transfer
    assert max(arithmetic, transfer) <= step * (1 + 1e-12) and step <= both
    assert fabric.step_time(arithmetic, transfer, 0) == both
    assert fabric.step_time(arithmetic, transfer, 1) == pytest.approx(max(arithmetic, transfer))


@given(st.floats(0.1, 10), st.floats(1e-6, 1), st.floats(1e-6, 1))
def test_domain_is_worth_the_difference_in_cost_of_equal_work(usd_per_hour, small, large):
    steps = 3600 / small  # in an hour of the small domain
    usd = [usd_per_hour / 3600 * seconds * steps for seconds in (small, large)]
    worth = fabric.domain_worth(usd_per_hour, small, large)
    assert worth == pytest.approx(usd[0] - usd[1], abs=1e-12 * max(usd))


@given(st.floats(1e3, 1e5), st.floats(1, 2), st.floats(0, 0.5))
def test_cluster_by_mark_ups_gives_back_the_share_of_its_network(price, overhead, share):
    cluster = fabric.cluster_cost(price, overhead, share)
    servers = price * overhead
    found = fabric.network_share(cluster - servers, price, servers - price)
    assert found == pytest.approx(share, abs=1e-9)


@given(st.floats(0, 1e5), st.floats(0, 1e5), st.floats(0, 1e6))
def test_network_cost_and_power_are_sums(switches, optics, price):
    args = (16, switches, price, optics, 700, 16, 1500)
    expected = (switches * price + optics * 700) / 16 + 1500
    assert fabric.network_cost(*args) == pytest.approx(expected)
    assert fabric.network_power(*args) == pytest.approx(expected)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("kernel", "args"),
    [
        (fabric.clos_tiers, (0, 64, 1, 1)),
        (fabric.clos_tiers, (1024, 63, 1, 1)),
        (fabric.clos_tiers, (1024, 64, 1.5, 1)),
        (fabric.clos_tiers, (1024, 64, 1, 0.5)),
        (fabric.clos_tiers, (1024, 64, 1, 64)),
        (fabric.clos_tiers, (np.inf, 64, 1, 1)),
        (fabric.clos_tiers, (8, 64, 9, 1)),
        (fabric.clos_switches, (8, 64, 1e300, 1)),
        (fabric.clos_switches, (65_537, 64, 1, 1)),
        (fabric.clos_links, (65_537, 64, 1, 1)),
        (fabric.transceivers, (-1, 0)),
        (fabric.torus_links, (64, 1.5)),
        (fabric.torus_links, (8, 2)),
        (fabric.torus_bisection, (64, 1)),
        (fabric.torus_links, (64.5, 2)),
        (fabric.torus_bisection, (2, 3)),
        (fabric.torus_bisection, (0, 2)),
        (fabric.torus_bisection, (64, 5)),
        (fabric.torus_bisection, (7, 2.5)),
        (fabric.torus_bisection, (np.inf, 4)),
        (fabric.cube_fibers, (-1, 4)),
        (fabric.cube_fibers, (64, 4.5)),
        (fabric.cube_fibers, (64, 1e9)),
        (fabric.optical_circuit_switches, (65, 4, 128)),
        (fabric.optical_circuit_switches, (64, 4.5, 128)),
        (fabric.optical_circuit_switches, (64, 4, np.inf)),
        (fabric.optical_circuit_switches, (64, 1e200, 128)),
        (fabric.dragonfly_ports, (2,)),
        (fabric.dragonfly_ports, (np.inf,)),
        (fabric.dragonfly_switches, (0, 64)),
        (fabric.dragonfly_switches, (262_657, 64)),
        (fabric.dragonfly_local_links, (262_657, 64)),
        (fabric.dragonfly_global_links, (262_657, 64)),
        (fabric.all_gather, (-1, 8, 0, 1)),
        (fabric.all_to_all, (1, 0.5, 0, 1)),
        (fabric.reduce_scatter, (1, 8, 0, 1, -1)),
        (fabric.ring_all_reduce, (1, 8, -1, 1, 0)),
        (fabric.tree_all_reduce, (1, 8, 0, 0, 0)),
        (fabric.in_network_all_reduce, (1, 0, 0, 1)),
        (fabric.all_reduce, (1, 8, 0, 0, 0)),
        (fabric.hierarchical_all_reduce, (1, 60, 8, 0, 1, 0, 1, 0)),
        (fabric.hierarchical_all_reduce, (1, 8, 16, 0, 1, 0, 1, 0)),
        (fabric.nccl_latency, (8, 0, 1, 1, 1, 2)),
        (fabric.nccl_latency, (8, 16, 1, 1, 1, 2)),
        (fabric.nccl_latency, (8, 1, -1, 1, 1, 2)),
        (fabric.nccl_latency, (8, 1, 1, -1, 1, 2)),
        (fabric.nccl_latency, (8, 1, 1, 1, -1, 2)),
        (fabric.nccl_latency, (8, 1, 1, 1, 1, -1)),
        (fabric.bus_bandwidth, (1, 8, 0)),
        (fabric.domains_reached, (0.5, 8)),
        (fabric.domains_reached, (4.5, 8)),
        (fabric.domains_reached, (4, -1)),
        (fabric.step_time, (-1, 1, 1)),
        (fabric.step_time, (1, -1, 1)),
        (fabric.step_time, (1, 1, 1.1)),
        (fabric.effective_bandwidth, (1, 1.1, 1)),
        (fabric.effective_bandwidth, (1, 1, 0.5)),
        (fabric.server_cost, (-1, 1, 1)),
        (fabric.cluster_cost, (1, 0.9, 0.1)),
        (fabric.cluster_cost, (1, 1.6, 1)),
        (fabric.domain_worth, (-1, 1, 1)),
        (fabric.domain_worth, (1, 0, 1)),
        (fabric.domain_worth, (1, 1, 0)),
        (fabric.network_cost, (0, 1, 1, 1, 1, 1, 1)),
        (fabric.network_power, (0, 1, 1, 1, 1, 1, 1)),
        (fabric.network_share, (0, 0, 0)),
    ],
)
def test_nan_outside_the_domain(kernel, args, assert_nan):
    assert_nan(kernel, args)
