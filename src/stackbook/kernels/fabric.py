"""What connects accelerators: parts of a network, their cost, and how long collectives take."""

from math import ceil, floor, nan

import numpy as np

from stackbook.kernels.elementary import FRACTION, expm1, log1p
from stackbook.kernels.jit import formula

# Clos networks (fat trees): leaf switches split their ports between accelerators and the tiers
# above. Every count is of whole switches; every leaf has all its uplinks.


@formula
def clos_tiers(ports: float, radix: float, planes: float, oversubscription: float) -> float:
    """Tiers of switches that a Clos network (fat tree) needs.

    ports: end ports in all planes [1], at least one
    radix: ports of a switch [1], even
    planes: independent networks [1], up to ports; 1 if a fat tree or rail-optimised, else rails
    oversubscription: ports over uplinks of a leaf switch [1], 1 (non-blocking) to radix - 1
    returns: [1], 1 to 3; NaN where three tiers are not enough, at radix^3 / 4 ports a plane
    source: Al-Fares et al. 2008, three-tier fat tree; Wang et al. 2023, rail-only
    """
    if not (radix >= 2 and radix % 2 == 0 and planes % 1 == 0 and 1 <= planes <= ports < 1e9):
        return nan
    if not 1 <= oversubscription <= radix - 1:
        return nan
    plane = ceil(ports / planes)
    down = _leaf_ports(radix, oversubscription)
    if plane <= radix:
        return 1.0
    if plane <= radix * down:
        return 2.0
    return 3.0 if plane <= radix * radix / 2 * down else nan


@formula
def clos_switches(ports: float, radix: float, planes: float, oversubscription: float) -> float:
    """Switches of the smallest Clos network (fat tree).

    ports: end ports in all planes [1], at least one
    radix: ports of a switch [1], even
    planes: independent networks [1], up to ports; 1 if a fat tree or rail-optimised, else rails
    oversubscription: ports over uplinks of a leaf switch [1], 1 (non-blocking) to radix - 1
    returns: [1]; non-blocking, 3 or 5 x ports / radix in two or three tiers where counts divide
    source: Al-Fares et al. 2008, three-tier fat tree; Wang et al. 2023, rail-only
    """
    tiers = clos_tiers(ports, radix, planes, oversubscription)
    if not tiers > 1:
        return tiers * planes
    leaves = ceil(ceil(ports / planes) / _leaf_ports(radix, oversubscription))
    uplinks = leaves * (radix - _leaf_ports(radix, oversubscription))
    if tiers == 2:
        return planes * (leaves + ceil(uplinks / radix))
    middle = ceil(uplinks / (radix / 2))
    return planes * (leaves + middle + ceil(middle / 2))


@formula
def clos_links(ports: float, radix: float, planes: float, oversubscription: float) -> float:
    """Links between switches of the smallest Clos network (fat tree).

    ports: end ports in all planes [1], at least one
    radix: ports of a switch [1], even
    planes: independent networks [1], up to ports; 1 if a fat tree or rail-optimised, else rails
    oversubscription: ports over uplinks of a leaf switch [1], 1 (non-blocking) to radix - 1
    returns: [1], beside those of end ports; non-blocking, (tiers - 1) x ports if counts divide
    source: Al-Fares et al. 2008, three-tier fat tree; Wang et al. 2023, rail-only
    """
    tiers = clos_tiers(ports, radix, planes, oversubscription)
    if not tiers > 1:
        return (tiers - 1) * planes
    leaves = ceil(ceil(ports / planes) / _leaf_ports(radix, oversubscription))
    uplinks = leaves * (radix - _leaf_ports(radix, oversubscription))
    if tiers == 2:
        return planes * uplinks
    return planes * (uplinks + ceil(uplinks / (radix / 2)) * radix / 2)


@formula
def _leaf_ports(radix: float, oversubscription: float) -> float:
    """Ports of a leaf that face accelerators, the whole number nearest to the ratio asked for."""
    return floor(radix * oversubscription / (1 + oversubscription) + 0.5)


@formula
def transceivers(links: float, ports: float) -> float:
    """Optical transceivers: one at each end of each optical link.

    links: optical links between switches [1], 0 or more
    ports: end ports that are optical [1], 0 where accelerators are wired in copper
    returns: [1]; 2 x tiers for each port of a non-blocking Clos network where counts divide
    source: identity
    """
    return 2 * (links + ports) if links >= 0 and ports >= 0 else nan


# Direct networks: a torus has no packet switches, a dragonfly joins groups of switches all to all.


@formula
def torus_links(chips: float, dimensions: float) -> float:
    """Links of a torus, each of which carries traffic both ways.

    chips: chips in it [1], a whole number, three or more in each dimension
    dimensions: 2 for a square, 3 for a cube [1], a whole number
    returns: [1]
    source: Dally and Towles 2004, k-ary n-cube
    """
    if not (dimensions >= 1 and dimensions % 1 == 0 and chips % 1 == 0 and chips >= 3**dimensions):
        return nan
    return dimensions * chips


@formula
def torus_bisection(chips: float, side: float) -> float:
    """Links that are cut where a torus is halved: each ring along its longest side, twice.

    chips: chips in it [1], a multiple of the side
    side: chips along the longest dimension [1], a whole number of 2 or more, even for halves
    returns: [1]; times the bandwidth of a link one way, the traffic that can cross each way
    source: Dally and Towles 2004, bisection of a k-ary n-cube, 2 N / k
    """
    return 2 * chips / side if chips >= side >= 2 and side % 1 == chips % side == 0 else nan


@formula
def cube_fibers(cubes: float, cube_side: float) -> float:
    """Optical fibers of a torus of cubes: inside a cube links are copper, its six faces optical.

    cubes: cubes of chips [1], 0 or more
    cube_side: chips along an edge [1], a whole number below 1e9; 4 in a TPU pod
    returns: [1], each with one transceiver, at the cube
    source: Jouppi et al. 2023 (TPU v4), 6 x 16 links for each cube of 4 x 4 x 4
    """
    if not (cubes >= 0 and 1 <= cube_side < 1e9 and cube_side % 1 == 0):
        return nan
    return 6 * cube_side**2 * cubes


@formula
def optical_circuit_switches(cubes: float, cube_side: float, usable_ports: float) -> float:
    """Optical circuit switches that let any cubes, in any order, form a torus.

    cubes: cubes of chips [1], at least one
    cube_side: chips along an edge [1], a whole number below 1e9; 4 in a TPU pod
    usable_ports: ports of a switch without spares [1], two or more for each cube
    returns: [1]; one serves opposite face positions of all cubes, of 3 cube_side^2 if it can more
    source: Jouppi et al. 2023 (TPU v4), 48 switches for 64 cubes
    """
    if not (1 <= cube_side < 1e9 and cube_side % 1 == 0):
        return nan
    if not (cubes >= 1 and 2 * cubes <= usable_ports < 1e9):
        return nan
    return ceil(3 * cube_side**2 / floor(usable_ports / (2 * ceil(cubes))))


@formula
def dragonfly_ports(radix: float) -> float:
    """End ports of the largest balanced dragonfly, where one link joins each pair of groups.

    radix: ports of a switch [1], 3 or more
    returns: [1]
    source: Kim et al. 2008, N = a p (a h + 1) with a = 2 p = 2 h and radix p + h + a - 1
    """
    if not 3 <= radix < 1e9:
        return nan
    p = _dragonfly_p(radix)
    return 2 * p * p * (2.0 * p * p + 1)


@formula
def _dragonfly_p(radix: float) -> float:
    """End ports of a switch, half the switches of a group."""
    return floor((radix + 1) / 4)


@formula
def _dragonfly_groups(ports: float, radix: float) -> float:
    """Groups of 2 p switches with p end ports each, NaN where there are too many."""
    if not 1 <= ports <= dragonfly_ports(radix):
        return nan
    return ceil(ports / (2 * _dragonfly_p(radix) ** 2))


@formula
def dragonfly_switches(ports: float, radix: float) -> float:
    """Switches of a balanced dragonfly of whole groups.

    ports: end ports [1], at least one
    radix: ports of a switch [1], 3 or more
    returns: [1], NaN where more ports are asked for than dragonfly_ports
    source: Kim et al. 2008, a = 2 p switches in a group
    """
    return _dragonfly_groups(ports, radix) * 2 * _dragonfly_p(radix)


@formula
def dragonfly_local_links(ports: float, radix: float) -> float:
    """Links within the groups of a balanced dragonfly, short enough for copper.

    ports: end ports [1], at least one
    radix: ports of a switch [1], 3 or more
    returns: [1], NaN where more ports are asked for than dragonfly_ports
    source: Kim et al. 2008, a (a - 1) / 2 in a group
    """
    p = _dragonfly_p(radix)
    return _dragonfly_groups(ports, radix) * p * (2 * p - 1)


@formula
def dragonfly_global_links(ports: float, radix: float) -> float:
    """Optical links between the groups of a balanced dragonfly.

    ports: end ports [1], at least one
    radix: ports of a switch [1], 3 or more
    returns: [1], NaN where more ports are asked for than dragonfly_ports
    source: Kim et al. 2008, a h ends in a group, all in use where there are two groups or more
    """
    groups = _dragonfly_groups(ports, radix)
    return 0.0 if groups == 1 else groups * _dragonfly_p(radix) ** 2


# Collectives: latency is of one step, bandwidth of one rank one way, reduction of adding.


@formula
def all_gather(message: float, ranks: float, latency: float, bandwidth: float) -> float:
    """Time in which each rank gets the parts of all others, around a ring.

    message: all parts together [B], 0 or more
    ranks: accelerators that take part [1], 1 or more
    latency: of one step [s], 0 or more
    bandwidth: of one rank one way [B/s], above 0
    returns: [s]
    source: Thakur et al. 2005, ring algorithm
    """
    if not (message >= 0 and ranks >= 1 and latency >= 0 and bandwidth > 0):
        return nan
    return (ranks - 1) * (latency + message / ranks / bandwidth)


@formula
def all_to_all(message: float, ranks: float, latency: float, bandwidth: float) -> float:
    """Time in which each rank sends another part to each other rank, pair by pair.

    message: all parts that one rank has at first [B], 0 or more
    ranks: accelerators that take part [1], 1 or more
    latency: of one step [s], 0 or more
    bandwidth: of one rank one way [B/s], above 0
    returns: [s]; as long as an all-gather, whose message is that of all ranks
    source: Thakur et al. 2005, pairwise exchange
    """
    return all_gather(message, ranks, latency, bandwidth)


@formula
def reduce_scatter(
    message: float, ranks: float, latency: float, bandwidth: float, reduction: float
) -> float:
    """Time in which each rank gets its part of a sum over all ranks, around a ring.

    message: what each rank adds [B], 0 or more
    ranks: accelerators that take part [1], 1 or more
    latency: of one step [s], 0 or more
    bandwidth: of one rank one way [B/s], above 0
    reduction: time to add a byte [s/B], 0 or more; 0 where it hides behind the transfer
    returns: [s]
    source: Thakur et al. 2005, cost of pairwise exchange, the same on a ring
    """
    if not reduction >= 0:
        return nan
    adding = (ranks - 1) / ranks * message * reduction
    return all_gather(message, ranks, latency, bandwidth) + adding


@formula
def ring_all_reduce(
    message: float, ranks: float, latency: float, bandwidth: float, reduction: float
) -> float:
    """Time in which all ranks get a sum, around a ring: least traffic, most steps.

    message: what each rank adds [B], 0 or more
    ranks: accelerators that take part [1], 1 or more
    latency: of one step [s], 0 or more
    bandwidth: of one rank one way [B/s], above 0
    reduction: time to add a byte [s/B], 0 or more; 0 where it hides behind the transfer
    returns: [s]
    source: Patarasuk and Yuan 2009, reduce-scatter and all-gather
    """
    scattered = reduce_scatter(message, ranks, latency, bandwidth, reduction)
    return scattered + all_gather(message, ranks, latency, bandwidth)


@formula
def tree_all_reduce(
    message: float, ranks: float, latency: float, bandwidth: float, reduction: float
) -> float:
    """Time in which all ranks get a sum, up and down two binary trees in a pipeline.

    message: what each rank adds [B], 0 or more
    ranks: accelerators that take part [1], 1 or more
    latency: of one step [s], 0 or more
    bandwidth: of one rank one way [B/s], above 0
    reduction: time to add a byte [s/B], 0 or more; 0 where it hides behind the transfer
    returns: [s], without the time to fill the pipeline
    source: Sanders et al. 2009, two trees, each with half of the message
    """
    if not (message >= 0 and ranks >= 1 and latency >= 0 and bandwidth > 0 and reduction >= 0):
        return nan
    time = 2 * _doublings(ranks) * latency + message * (2 / bandwidth + reduction)
    return time if ranks > 1 else 0.0


@formula
def in_network_all_reduce(message: float, ranks: float, latency: float, bandwidth: float) -> float:
    """Time in which all ranks get a sum that their switch makes (NVLink SHARP).

    message: what each rank adds [B], 0 or more
    ranks: accelerators at the switch [1], 1 or more
    latency: of one step [s], 0 or more
    bandwidth: of one rank one way [B/s], above 0
    returns: [s], a lower bound: switches add more slowly than they forward
    source: Klenk et al. 2020: a rank sends all once to be added, and its sums once to all
    """
    if not (message >= 0 and ranks >= 1 and latency >= 0 and bandwidth > 0):
        return nan
    return 2 * latency + message / bandwidth * (1 + 1 / ranks) if ranks > 1 else 0.0


@formula
def all_reduce(
    message: float, ranks: float, latency: float, bandwidth: float, reduction: float
) -> float:
    """Time in which all ranks get a sum, by ring or tree, whichever is faster.

    message: what each rank adds [B], 0 or more
    ranks: accelerators that take part [1], 1 or more
    latency: of one step [s], 0 or more
    bandwidth: of one rank one way [B/s], above 0
    reduction: time to add a byte [s/B], 0 or more; 0 where it hides behind the transfer
    returns: [s]
    source: minimum over algorithms, as NCCL takes it
    """
    ring = ring_all_reduce(message, ranks, latency, bandwidth, reduction)
    tree = tree_all_reduce(message, ranks, latency, bandwidth, reduction)
    return ring if ring < tree else tree


@formula
def hierarchical_all_reduce(
    message: float,
    ranks: float,
    domain: float,
    latency: float,
    bandwidth: float,
    outer_latency: float,
    outer_bandwidth: float,
    reduction: float,
) -> float:
    """Time of an all-reduce in three steps: scatter in the domain, reduce outside, gather.

    message: what each rank adds [B], 0 or more
    ranks, domain: accelerators, those of a fast (scale-up) domain [1]; whole domains
    latency, outer_latency: of one step within, between domains [s], 0 or more
    bandwidth, outer_bandwidth: of one rank one way within, between domains [B/s], above 0
    reduction: time to add a byte [s/B], 0 or more
    returns: [s]
    source: Cho et al. 2019 (BlueConnect), with all_reduce between domains
    """
    domains = ranks / domain
    if not (domain >= 1 and domains >= 1 and domains % 1 == 0):
        return nan
    within = ring_all_reduce(message, domain, latency, bandwidth, reduction)
    return within + all_reduce(message / domain, domains, outer_latency, outer_bandwidth, reduction)


@formula
def nccl_latency(
    ranks: float, servers: float, base: float, per_rank: float, per_doubling: float, passes: float
) -> float:
    """Time that NCCL expects of a collective over a tree of servers, however short the message.

    ranks, servers: accelerators that take part, servers that hold them [1], 1 or more
    base: of any collective [s], 0 or more; with protocol LL 6.8 us
    per_rank: of one more accelerator in a server [s], 0 or more; with protocol LL 0.6 us
    per_doubling: of twice as many servers [s], 0 or more; with protocol LL 5 us
    passes: 2 for an all-reduce, up and down [1], else 1; 0 or more
    returns: [s]
    source: Erdil 2025, latency of protocol LL, from the tuning model of NCCL
    """
    if not (servers >= 1 and ranks >= servers and passes >= 0):
        return nan
    if not (base >= 0 and per_rank >= 0 and per_doubling >= 0):
        return nan
    steps = (ranks / servers - 1) * per_rank + _doublings(servers) * per_doubling
    return passes * steps + base


@formula
def _doublings(ranks: float) -> float:
    """Depth of a binary tree: the logarithm to base 2, rounded up, read from the exponent."""
    return ((np.float64(ranks).view(np.int64) + FRACTION) >> 52) - 1023.0


@formula
def bus_bandwidth(message: float, ranks: float, seconds: float) -> float:
    """Bandwidth of a rank one way that explains the time of a ring all-reduce.

    message: what each rank adds [B], 0 or more
    ranks: accelerators that take part [1], 1 or more
    seconds: measured time [s], above 0
    returns: [B/s]; more than the wire carries where switches add
    source: nccl-tests, doc/PERFORMANCE.md, all-reduce
    """
    if not (message >= 0 and ranks >= 1 and seconds > 0):
        return nan
    return 2 * (ranks - 1) / ranks * message / seconds


@formula
def domains_reached(domains: float, choices: float) -> float:
    """Domains that a token is sent to: those that hold one of its experts, each counted once.

    domains: equally likely domains [1], a whole number of 1 or more
    choices: experts that the token takes, independently [1], 0 or more
    returns: [1], expected, its own domain with them
    source: classical occupancy, expected number of occupied cells
    """
    if not (domains >= 1 and domains % 1 == 0 and choices >= 0):
        return nan
    if domains == 1:
        return min(choices, 1.0)
    return -domains * expm1(choices * log1p(-1 / domains))


@formula
def step_time(arithmetic: float, transfer: float, overlap: float) -> float:
    """Time of a step that computes and communicates.

    arithmetic: time to compute [s], 0 or more
    transfer: time to communicate [s], 0 or more
    overlap: share of the shorter of the two that hides behind the longer [1], 0 to 1
    returns: [s], from the sum of the two down to the longer
    source: identity
    """
    if not (arithmetic >= 0 and transfer >= 0 and 0 <= overlap <= 1):
        return nan
    return arithmetic + transfer - overlap * min(arithmetic, transfer)


@formula
def domain_worth(usd_per_hour: float, small_seconds: float, large_seconds: float) -> float:
    """What a larger scale-up domain saves on the work that an hour does in a small one.

    usd_per_hour: cost of an accelerator-hour, the same in both [USD/h], 0 or more
    small_seconds, large_seconds: time of a step in a small, in a large domain [s], above 0
    returns: [USD/h], below 0 where the step takes longer in the large one
    source: identity, difference in cost per step x steps in an hour of the small domain
    """
    if not (usd_per_hour >= 0 and small_seconds > 0 and large_seconds > 0):
        return nan
    return usd_per_hour * (1 - large_seconds / small_seconds)


@formula
def effective_bandwidth(bandwidth: float, efficiency: float, oversubscription: float) -> float:
    """Bandwidth that is left of the wire speed where all ports send through the upper tiers.

    bandwidth: wire speed of a port one way [B/s], above 0
    efficiency: measured over wire speed [1], above 0 up to 1
    oversubscription: ports over uplinks of a leaf switch [1], 1 or more
    returns: [B/s]
    source: identity
    """
    if not (bandwidth > 0 and 0 < efficiency <= 1 and oversubscription >= 1):
        return nan
    return bandwidth * efficiency / oversubscription


@formula
def server_cost(accelerators: float, accelerator_usd: float, other_usd: float) -> float:
    """Cost of a server from its parts.

    accelerators: in a server [1], 0 or more
    accelerator_usd: cost of an accelerator on its board [USD]
    other_usd: all other parts and assembly [USD]
    returns: [USD]
    source: identity
    """
    return accelerators * accelerator_usd + other_usd if accelerators >= 0 else nan


@formula
def cluster_cost(
    accelerator_usd: float, server_overhead: float, interconnect_share: float
) -> float:
    """Hardware of a cluster for an accelerator, by published mark-ups on its price.

    accelerator_usd: price of an accelerator [USD]
    server_overhead: price of a server over that of its accelerators [1], 1 or more
    interconnect_share: share of the network between servers in the whole [1], 0 up to below 1
    returns: [USD]
    source: Cottier et al. 2024, hardware acquisition cost
    """
    if not (server_overhead >= 1 and 0 <= interconnect_share < 1):
        return nan
    return accelerator_usd * server_overhead / (1 - interconnect_share)


@formula
def network_cost(
    accelerators: float,
    switches: float,
    switch_usd: float,
    optics: float,
    optic_usd: float,
    ports: float,
    port_usd: float,
) -> float:
    """Capital for the network of one accelerator.

    accelerators: that it connects [1], above 0
    switches, optics, ports: in the network: switches, transceivers, network cards [1]
    switch_usd, optic_usd, port_usd: switch, transceiver with half a fiber, network card [USD]
    returns: [USD]
    source: identity
    """
    if not accelerators > 0:
        return nan
    return (switches * switch_usd + optics * optic_usd + ports * port_usd) / accelerators


@formula
def network_power(
    accelerators: float,
    switches: float,
    switch_w: float,
    optics: float,
    optic_w: float,
    ports: float,
    port_w: float,
) -> float:
    """Power that the network of one accelerator draws.

    accelerators: that it connects [1], above 0
    switches, optics, ports: in the network: switches, transceivers, network cards [1]
    switch_w, optic_w, port_w: switch without transceivers, transceiver, network card [W]
    returns: [W]
    source: identity
    """
    if not accelerators > 0:
        return nan
    return (switches * switch_w + optics * optic_w + ports * port_w) / accelerators


@formula
def network_share(network_usd: float, accelerator_usd: float, other_usd: float) -> float:
    """Share of the network in the hardware of a cluster.

    network_usd: network for each accelerator [USD], 0 or more
    accelerator_usd: the accelerator [USD], 0 or more
    other_usd: all other parts of its server [USD], 0 or more
    returns: [1]
    source: Cottier et al. 2024, share of the cluster-level interconnect
    """
    total = network_usd + accelerator_usd + other_usd
    if not (network_usd >= 0 and accelerator_usd >= 0 and other_usd >= 0 and total > 0):
        return nan
    return network_usd / total
