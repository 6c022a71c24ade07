"""Serving: plain Python operation by operation, limits of the roofline, and conservation."""

from itertools import pairwise
from math import floor, inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import served_decode, served_point, served_static

from stackbook import inputs, kernels
from stackbook.kernels import serving
from stackbook.kernels.serving import Efficiency, Plan, Traffic
from stackbook.kernels.transformer import expert_coverage

NAMES = [  # dense, experts, latent, windows, all windows, states beside, a gate
    *("Llama 3.1 70B", "Mixtral 8x7B", "DeepSeek V3", "DeepSeek V2 Lite", "Gemma 3 27B"),
    *("gpt-oss 120B", "Mistral 7B", "Qwen3 Next 80B A3B", "Falcon 7B"),
]
MODELS = {name: inputs.architecture(name) for name in NAMES}
CHIPS = {
    name: inputs.cluster(name, precision)
    for name, precision in [
        *(("A100 SXM 80GB", "BF16"), ("H100 SXM", "FP8"), ("L40S", "FP8")),
        *(("B200", "NVFP4"), ("GB200", "NVFP4")),
    ]
}
H100, B200 = CHIPS["H100 SXM"], CHIPS["B200"]
HOPPER = inputs.serving_efficiency("Hopper", "FP8", "")
TIMES = ("layer", "latent_layer", "expert_layer", "host", "iteration", "request", "latency")
# All of the peak and of the bandwidth, no time between, no rank busier than another.
IDEAL = Efficiency(*[1.0] * len(Efficiency._fields))._replace(
    **dict.fromkeys((*TIMES, "skew", "first", "burst"), 0.0)
)
ARITHMETIC = H100._replace(memory_bytes_per_s=inf)  # takes all the time
READING = H100._replace(flops=inf, flops_16=inf)
CHAT = Traffic(1024.0, 512.0)


def layout(name, routed=1.0, other=1.0, cache=1.0):
    return serving.layout(MODELS[name], routed, other, cache)


shares, times = st.floats(0.3, 1), st.floats(0, 1e-3)
efficiencies = st.builds(
    Efficiency,
    **dict.fromkeys(("matmul", "experts", "weights", "cache", "attention", "up", "out"), shares),
    **dict.fromkeys((*TIMES, "first"), times),
    **dict.fromkeys(("skew", "burst"), st.floats(0, 1)),
)
traffics = st.builds(
    Traffic,
    input_tokens=st.floats(1, 40_000),
    output_tokens=st.floats(1, 4000),
    hits=st.floats(0, 1),
    chunk=st.floats(256, 16384),
    acceptance=st.floats(0, 1),
    draft_layers=st.floats(0, 2),
)
powers = st.sampled_from([1, 2, 4, 8])


@st.composite
def plans(draw, model):
    tp = draw(powers)
    dp = draw(powers) if model.expert_layers else 1
    experts = min(tp * dp, model.experts) if model.expert_layers else 1
    ep = experts if dp > 1 else draw(st.sampled_from([1, experts]))
    return Plan(tp, dp, ep, draw(powers) if dp == 1 else 1, draw(st.integers(0, 3)))


@st.composite
def cases(draw):
    """What the kernels take, with fewer requests than groups and stages, too."""
    name = draw(st.sampled_from(NAMES))
    sizes = tuple(draw(st.sampled_from([0.5625, 1.0, 2.0])) for _ in range(3))
    chip, p = draw(st.sampled_from(list(CHIPS.values()))), draw(plans(MODELS[name]))
    batch = float(draw(st.integers(1, 512)))
    return name, sizes, (chip, draw(efficiencies), p, draw(traffics)), batch


@settings(max_examples=200)
@given(cases())
def test_as_operation_by_operation(case):
    """From the architecture's own record, so that Layout is tested too."""
    name, sizes, (c, e, p, t), batch = case
    rest = c, e, p, t
    m, plain = layout(name, *sizes), (MODELS[name], sizes, *rest, batch)
    assert serving.decode_seconds(m, *rest, batch) == pytest.approx(served_decode(*plain), rel=1e-9)
    at = serving.point(m, *rest, batch)
    found = at.tpot, at.ttft, at.output_per_s, at.decode, at.prompt
    assert found == pytest.approx(served_point(*plain), rel=1e-9, abs=1e-14)
    assert serving.static(m, *rest, batch)[:2] == pytest.approx(served_static(*plain)[:2], rel=1e-9)
    rate = serving.static(m, *rest, batch).output_per_s
    assert rate == pytest.approx(served_static(*plain)[2], rel=1e-9)


# Limits of the roofline, each from the architecture's own counts.


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tokens", [1.0, 16.0, 1e6])
def test_reading_alone_takes_the_bytes_of_what_the_tokens_need(name, tokens):
    """All weights but the embedding, and of the experts those that a token chose."""
    model = MODELS[name]
    embedding = 0 if model.tied else model.vocabulary * model.width
    read = model.parameters - embedding
    if model.expert_layers:
        chosen = expert_coverage(model.experts, model.active_experts, tokens)
        read -= (1 - chosen) * model.routed_parameters
    seconds = serving.rows_seconds(layout(name, 2, 2), READING, IDEAL, Plan(), tokens, tokens)
    assert seconds == pytest.approx(2 * read / H100.memory_bytes_per_s, rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_arithmetic_alone_takes_the_flop_of_active_parameters(name):
    model = MODELS[name]
    embedding = 0 if model.tied else model.vocabulary * model.width
    head = model.vocabulary * model.width
    active = model.active_parameters - embedding - head
    found = serving.rows_seconds(layout(name), ARITHMETIC, IDEAL, Plan(), 100.0, 0.0)
    assert found == pytest.approx(200 * active / H100.flops, rel=1e-9)
    more = serving.rows_seconds(layout(name), ARITHMETIC, IDEAL, Plan(), 100.0, 100.0) - found
    assert more == pytest.approx(200 * head / H100.flops_16, rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_one_accelerator_holds_all_parameters_and_needs_no_network(name):
    m = layout(name, 1, 1, 2)
    assert serving.weight_bytes(m, Plan()) == pytest.approx(MODELS[name].parameters)
    alone = serving.point(m, H100, HOPPER, Plan(), CHAT, 8.0)
    far = H100._replace(up_bytes_per_s=1.0, out_bytes_per_s=1.0, domain=1.0)
    assert serving.point(m, far, HOPPER._replace(latency=1.0), Plan(), CHAT, 8.0) == alone


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("context", [64, 4096, 100_000])
def test_a_request_holds_keys_and_values_as_its_architecture_says(name, context):
    model = MODELS[name]
    expected = model.kv_bytes(context, 2.0) + model.state_bytes(serving.STATE_BYTES)
    m = layout(name, cache=2.0)
    assert serving.request_bytes(m, Plan(), float(context)) == pytest.approx(expected)
    copies = {tp: serving.request_bytes(m, Plan(tp), float(context)) / expected for tp in (8, 16)}
    if model.kv_rank:  # whole in each rank
        assert copies == pytest.approx({8: 8, 16: 16})
    elif not model.linear_layers:
        assert copies == pytest.approx({n: max(1, n / model.kv_heads) for n in copies})


@pytest.mark.parametrize("name", NAMES)
def test_what_a_replica_holds_in_tokens_and_in_requests(name):
    """The simulation counts cache in whole tokens, the roofline in requests."""
    m, p = layout(name, 0.5625, 0.5625), Plan(8)
    context = 100_000 if m.full_layers else int(m.window)  # no cap of the simulation's own
    limits = serving.replica(m, B200, p, 64, 512)
    most = serving.most_requests(m, B200, p, float(context))
    assert limits.capacity / (context + limits.besides) == pytest.approx(most, rel=1e-4)
    with pytest.raises(ValueError, match="split them"):
        serving.replica(layout("DeepSeek V3"), H100, Plan(), 64, 512)


@given(cases(), st.lists(st.integers(1, 10_000), min_size=8, max_size=64))
def test_pace_adds_up_a_mix_of_contexts(case, contexts):
    """Each request pays for its own, all together what their mean would, once windows are full."""
    name, sizes, (c, e, p, t), _ = case
    p = p._replace(drafts=0)
    m, batch = layout(name, *sizes), len(contexts)
    contexts = [int(m.window) + each for each in contexts]
    pace = serving.pace(m, c, e, p, 64)
    seconds = pace.rows[batch] + sum(pace.sequence + pace.cached * each for each in contexts)
    t = t._replace(input_tokens=np.mean(contexts) - 1, output_tokens=2.0)
    assert seconds == pytest.approx(serving.decode_seconds(m, c, e, p, t, float(batch)), rel=1e-9)


@pytest.mark.parametrize("ranks", [2, 8, 64])
def test_a_token_goes_once_to_each_rank_that_holds_an_expert_of_it(ranks):
    """As counted over drawn experts; all ranks in a domain, and nothing but wires takes time."""
    m, tokens = layout("DeepSeek V3"), 1024.0 * ranks
    c = READING._replace(memory_bytes_per_s=inf, domain=64.0)
    sent = serving.rows_seconds(m, c, IDEAL, Plan(1, ranks, ranks), tokens, 0.0) / m.expert_layers
    copies = sent * c.up_bytes_per_s / (3 * 1024 * m.width)
    draws = np.random.default_rng(1).random((4000, int(m.experts))).argsort(axis=1)
    holders = draws[:, : int(m.active_experts)] * ranks // int(m.experts)
    drawn = np.mean([len(set(row) - {0}) for row in holders])
    assert copies == pytest.approx(drawn, rel=0.03)
    assert copies <= min(ranks - 1, m.active_experts)


@pytest.mark.parametrize("name", ["Llama 3.1 70B", "gpt-oss 120B", "DeepSeek V3"])
def test_one_request_is_not_cut_over_stages_or_groups(name):
    """Without wires, what holds more of it than another takes no less time."""
    m, c = layout(name), H100._replace(up_bytes_per_s=inf, out_bytes_per_s=inf)
    t = Traffic(131072.0, 512.0)
    alone = serving.decode_seconds(m, c, IDEAL, Plan(8), t, 1.0)
    staged = serving.decode_seconds(m, c, IDEAL, Plan(8, pp=4), t, 1.0)
    assert staged == pytest.approx(alone)
    if m.expert_layers:
        one, many = (
            serving.cached_seconds(m, c, IDEAL, Plan(1, dp, dp)) * dp * t.input_tokens
            for dp in (1, 64)
        )
        assert one == pytest.approx(many)
        assert serving.decode_seconds(m, c, IDEAL, Plan(1, 64, 64), t, 1.0) > many


# What cannot be otherwise.


@given(cases())
def test_a_whole_hit_leaves_one_token_to_compute(case):
    name, sizes, (c, e, p, t), batch = case
    m = layout(name, *sizes)
    runs = serving.point, serving.static
    for run in runs:
        whole, last = (
            run(m, c, e, p, t._replace(hits=hits), batch) for hits in (1.0, 1 - 1 / t.input_tokens)
        )
        assert whole == pytest.approx(last, rel=1e-6, abs=1e-12)
        assert whole.prompt > 0


@given(cases(), st.sampled_from(["flops", "memory_bytes_per_s", "up_bytes_per_s"]))
def test_more_of_anything_is_never_slower(case, field):
    name, sizes, (c, e, p, t), batch = case
    both = ("flops", "flops_16") if field == "flops" else ("out_bytes_per_s", field)
    both = both if field != "memory_bytes_per_s" else (field,)
    better = c._replace(**{each: 1.5 * getattr(c, each) for each in both})
    m, least = layout(name, *sizes), 1 + 1e-12
    for run in (serving.decode_seconds, lambda *args: serving.static(*args).ttft):
        assert run(m, better, e, p, t, batch) <= run(m, c, e, p, t, batch) * least


@given(cases(), st.sampled_from(["routed_bytes", "other_bytes", "cache_bytes"]))
def test_fewer_bytes_are_never_slower_and_leave_more_room(case, field):
    name, _, (c, e, p, t), batch = case
    m = layout(name)
    small = m._replace(**{field: 0.5})
    seconds, fewer = (serving.decode_seconds(each, c, e, p, t, batch) for each in (m, small))
    assert fewer <= seconds * (1 + 1e-12)
    room, more = (serving.most_requests(each, c, p, 4096.0) for each in (m, small))
    assert more >= room


@given(cases(), st.floats(1.01, 2))
def test_invariant_10_a_larger_batch_is_slower_for_each_and_faster_for_all(case, factor):
    name, sizes, rest, batch = case
    more = batch * factor
    slow, slower = (serving.decode_seconds(layout(name, *sizes), *rest, b) for b in (batch, more))
    assert slow * (1 - 1e-12) <= slower <= slow * factor * (1 + 1e-12)


@given(cases(), st.integers(1, 5))
def test_invariant_10_drafts_help_at_most_by_the_tokens_that_are_accepted(case, drafts):
    """Leviathan et al. 2023: at most (1 - a^(d + 1)) / (1 - a), and that less what drafts cost."""
    name, sizes, (c, e, p, t), batch = case
    m = layout(name, *sizes)
    plain, drafted = (
        serving.decode_seconds(m, c, e, p._replace(drafts=n), t, batch) for n in (0, drafts)
    )
    a = t.acceptance
    most = (1 - a ** (drafts + 1)) / (1 - a) if a < 1 else drafts + 1
    assert serving.accepted(a, drafts) == pytest.approx(most)
    assert plain / drafted <= most * (1 + 1e-9)


@pytest.mark.parametrize("acceptance", [0.0, 0.3, 0.85])
def test_invariant_10_a_frontier_that_may_draft_is_never_below_one_that_may_not(acceptance):
    m, c, t = layout("DeepSeek V3", 0.5625), B200, CHAT._replace(acceptance=acceptance)
    without, free = (
        serving.frontier(m, c, HOPPER, t, SPEEDS, serving.plans(m, c, 16, drafts), inf, FEW)
        for drafts in ((0,), (0, 1, 2))
    )
    assert (free.output_per_s >= without.output_per_s).all()
    assert (free.output_per_s > without.output_per_s).any() == (acceptance > 0)


@pytest.mark.parametrize("drafts", [1, 2, 3])
def test_drafts_gain_what_is_accepted_while_reading_and_nothing_while_computing(drafts):
    """Drafts of no cost of their own: verification is free only where arithmetic is."""
    m, t = layout("Llama 3.1 70B", 2, 2)._replace(head=0.0), CHAT._replace(draft_layers=0.0)
    gains = {}
    for c in (READING, ARITHMETIC):
        plain, drafted = (
            serving.decode_seconds(m, c, IDEAL, Plan(drafts=n), t, 16.0) for n in (0, drafts)
        )
        gains[c] = plain / drafted
    tokens = serving.accepted(t.acceptance, drafts)
    assert tokens == pytest.approx(sum(t.acceptance**i for i in range(drafts + 1)))
    assert serving.accepted(1.0, drafts) == 1 + drafts
    assert gains[READING] == pytest.approx(tokens)
    assert gains[ARITHMETIC] == pytest.approx(tokens / (1 + drafts))
    assert gains[ARITHMETIC] < 1 < gains[READING]


# Operating points of a replica under load.


@given(cases(), st.integers(1, 2000))
def test_little_in_a_closed_loop(case, concurrency):
    """Requests under way = their rate x their time, and those that decode their share of it."""
    name, sizes, (c, e, p, t), _ = case
    m = layout(name, *sizes)
    at = serving.loaded(m, c, e, p, t, float(concurrency))
    decoding = max(t.output_tokens - 1, 1) * at.tpot
    seconds = at.ttft + decoding
    requests = at.output_per_s * p.tp * p.dp * p.pp / t.output_tokens
    assert requests * seconds == pytest.approx(concurrency)
    assert at.batch <= max(at.most, 1)
    if at.batch == at.most:  # whoever finds no room waits
        assert requests * decoding <= at.batch * (1 + 1e-9)


@given(cases())
def test_each_answer_takes_its_share_of_iterations_and_its_own_prompt(case):
    """However few decode at once: a batch of one pays for its prompt, too."""
    name, sizes, rest, batch = case
    p, t = rest[2:]
    at = serving.point(layout(name, *sizes), *rest, batch)
    answers = at.output_per_s * p.tp * p.dp * p.pp / t.output_tokens  # a second
    assert 1 / answers == pytest.approx((t.output_tokens - 1) * at.decode / batch + at.prompt)


def test_an_answer_of_one_token_is_its_prompt():
    m, t = layout("DeepSeek V3"), Traffic(1024.0, 1.0)
    p = Plan(8)
    at, together = (run(m, H100, HOPPER, p, t, 8.0) for run in (serving.point, serving.static))
    assert at.output_per_s == pytest.approx(1 / at.prompt / 8)
    assert together.output_per_s == pytest.approx(8 / together.ttft / 8)
    assert at.tpot == pytest.approx(at.decode + 7 * at.prompt)


def test_a_prompt_is_not_cut_over_groups():
    """More groups take in more prompts at once, and none of them sooner."""
    m, t = layout("DeepSeek V3"), Traffic(8192.0, 1024.0)
    late = [
        serving.point(m, CHIPS["GB200"], HOPPER, Plan(1, dp, dp), t, float(dp)).ttft
        for dp in (4, 8, 16, 32)
    ]
    assert late == sorted(late)


@pytest.mark.parametrize("busy", [0.005, 0.1, 0.3, 0.5, 0.7, 0.9])
def test_the_wait_that_99_of_100_keep_is_that_of_a_queue_of_equal_prompts(busy):
    """Lindley's recursion of M/D/1 with service 1; the tail's exponent is that of heavy traffic."""
    random = np.random.default_rng(1)
    steps = np.cumsum(1 - random.exponential(1 / busy, 400_000))
    drawn = np.quantile(steps - np.minimum.accumulate(np.minimum(steps, 0)), 0.99)
    t = Traffic(1.0, 2.0)
    at = serving.Point(0.0, 0.0, 1.0, 1.0, 1.0, 1 / busy - 1, 1.0)
    low, high = 0.0, 100.0
    for _ in range(40):
        limit = (low + high) / 2
        low, high = (low, limit) if serving._keeps(IDEAL, t, at, inf, limit) else (limit, high)
    assert high == pytest.approx(drawn, rel=0.1, abs=0.6)


limits = st.floats(0.005, 0.5), st.floats(0.05, 20)


@given(cases(), *limits)
def test_saturated_keeps_its_limits_and_leaves_nothing(case, tpot, ttft):
    name, sizes, (c, e, p, t), _ = case
    args = layout(name, *sizes), c, e, p, t
    at = serving.saturated(*args, tpot, ttft)
    if at.output_per_s > 0:
        assert at.tpot * serving.SPREAD <= tpot
        assert at.batch <= at.most
        assert at.batch >= 1
        assert at == serving.point(*args, at.batch)
    # Wider limits allow whatever narrow ones do; bisection ends within a part in a million.
    for wider in ((2 * tpot, ttft), (tpot, 2 * ttft), (inf, inf)):
        assert serving.saturated(*args, *wider).batch >= at.batch * (at.output_per_s > 0) - 1e-2
    free = serving.saturated(*args, inf, inf)
    assert free.batch == max(1, min(at.most, serving.MOST * p.dp))
    assert (free.output_per_s > 0) == (at.most >= 1)


def test_saturated_is_where_one_more_request_would_break_a_limit():
    m, p = layout("Llama 3.1 70B"), Plan(8)
    at = serving.saturated(m, H100, HOPPER, p, CHAT, 0.03, inf)
    assert at.batch < at.most
    assert at.tpot * serving.SPREAD <= 0.03
    more = serving.point(m, H100, HOPPER, p, CHAT, at.batch + 1)
    assert more.tpot * serving.SPREAD > 0.03


def test_saturated_serves_whole_requests_or_none():
    long, inputs = Traffic(131072.0, 1024.0), (layout("Llama 3.1 70B"), H100, HOPPER, Plan())
    found = serving.saturated(*inputs, long, inf, inf)
    assert found.most < 1 and found.output_per_s == 0
    args = layout("gpt-oss 120B", 0.5625), B200, HOPPER, Plan(), CHAT
    limit = serving.point(*args, 1.0).tpot * serving.SPREAD
    assert serving.saturated(*args, 0.99 * limit, inf).output_per_s == 0  # experts read less, too
    assert serving.saturated(*args, 1.01 * limit, inf).output_per_s > 0


@pytest.mark.parametrize("name", ["Llama 3.1 70B", "DeepSeek V3", "Qwen3 Next 80B A3B"])
def test_measured_are_rows_of_the_same(name):
    m, c, e, p, t = layout(name), B200, HOPPER, Plan(8), CHAT._replace(hits=0.5)
    drives = [serving.CLOSED, serving.STATIC, serving.MOST_LOAD, serving.DECODE]
    found = serving.measured(
        *(np.array([each] * 4, float) for each in (m, c, e)),
        *(np.array([p] * 4), np.array([t] * 4)),
        np.array([(drive, 32, 0.05, 2.0) for drive in drives], float),
    )
    expected = [
        serving.loaded(m, c, e, p, t, 32.0),
        serving.static(m, c, e, p, t, 32.0),
        serving.saturated(m, c, e, p, t, 0.05, 2.0),
        serving.saturated(m, c, e, p, t._replace(hits=1.0), 0.05, 2.0),
    ]
    np.testing.assert_array_equal(found, [(at.tpot, at.ttft, at.output_per_s) for at in expected])


# The frontier.

SPEEDS = np.geomspace(5, 400, 30)
FEW = 2.0 ** np.arange(0, 12)


def every_point(m, c, e, t, options, ttft, apart):
    """(speed, output of an accelerator) of each plan and batch, one at a time."""
    found, pool = [], inf
    context = t.input_tokens + t.output_tokens / 2
    several = max(1, t.chunk / 4 / t.input_tokens)  # prompts that a group takes in at once
    for p in options:
        at = serving.static(m, c, e, p._replace(drafts=0), t, p.dp * several)  # of prompts alone
        moved = serving.request_bytes(m, p, t.input_tokens) / (c.out_bytes_per_s * e.out * p.tp)
        left = ttft - at.ttft - moved  # for the wait, which grows as busy / (1 - busy)
        if left > 0:
            busy = min(serving.BUSY, 1 / (1 + (at.ttft - e.first) / (2 * left)))
            pool = min(pool, at.prompt * p.tp * p.dp * p.pp / busy)
    for p in options:
        ranks = p.tp * p.dp * p.pp
        most = min(serving.most_requests(m, c, p, context), serving.MOST * p.dp)
        for batch in {*FEW[most >= FEW], min(FEW[-1], floor(most))}:
            at = serving.point(m, c, e, p, t, batch)
            if at.ttft <= ttft:
                found.append((1 / at.tpot, at.output_per_s))
            if apart and pool < inf:
                seconds = (t.output_tokens - 1) * ranks * at.decode / batch + pool
                found.append((1 / at.decode, t.output_tokens / seconds))
    return np.array(found)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("ttft", [0.1, inf])
@pytest.mark.parametrize("name", ["Llama 3.1 70B", "DeepSeek V3", "gpt-oss 120B"])
def test_frontier_is_the_best_of_all_points(name, ttft, apart):
    m, c, e, t = layout(name, 0.5625, 1.0), B200, HOPPER, CHAT
    options = serving.plans(m, c, 16)
    points = every_point(m, c, e, t, options, ttft, apart)
    best = [points[points[:, 0] >= speed, 1].max(initial=0) for speed in SPEEDS]
    args = m, c, e, t, SPEEDS, options, ttft, FEW, apart
    found = serving.frontier(*args)
    np.testing.assert_allclose(found.output_per_s, best, rtol=1e-12)
    with kernels.threads(2):
        again = serving.frontier(*args)
    for ours, other in zip(found, again, strict=True):
        np.testing.assert_array_equal(ours, other)


def test_invariant_10_frontier_falls_with_speed_and_what_it_names_does_it():
    m, c, e, t = layout("DeepSeek V3", 0.5625), B200, HOPPER, CHAT
    options = serving.plans(m, c, 16)
    found = serving.frontier(m, c, e, t, SPEEDS, options)
    reached = found.output_per_s > 0
    assert reached[0] and not reached[-1]
    assert all(fast <= slow for slow, fast in pairwise(found.output_per_s))
    for speed, rate, tpot, batch, apart, p in zip(
        *(column[reached] for column in found[:3]),
        found.batch[reached],
        found.apart[reached],
        np.array(found.plans, dtype=object)[reached],
        strict=True,
    ):
        p = Plan(*p)
        at = serving.point(m, c, e, p, t, batch)
        assert tpot == (at.decode if apart else at.tpot)
        assert 1 / tpot >= speed and batch <= at.most
        longer = t.output_tokens / (t.output_tokens - 1)  # the prompt gives the first token
        assert rate <= longer * batch / tpot / (p.tp * p.dp * p.pp) * (1 + 1e-12)
    alone = serving.frontier(m, c, e, t, SPEEDS, options, apart=False)
    assert (alone.output_per_s <= found.output_per_s).all() and not alone.apart.any()


@pytest.mark.parametrize("speed", [[], [50.0, 10.0], [10.0, 10.0], [0.0, 10.0]])
def test_frontier_wants_rising_speeds(speed):
    args = layout("Llama 3.1 70B"), H100, HOPPER, CHAT
    with pytest.raises(ValueError, match="rising"):
        serving.frontier(*args, np.array(speed), [Plan(8)])


def test_frontier_of_what_fits_nowhere_is_0():
    m, c = layout("DeepSeek V3"), CHIPS["L40S"]
    options = serving.plans(m, c, 8)
    found = serving.frontier(m, c, HOPPER, CHAT, SPEEDS, options)
    assert options == [] and found.tried == 0 and not found.output_per_s.any()


def test_frontier_fills_the_memory_where_speed_is_no_matter():
    m, p = layout("Llama 3.1 70B"), Plan(2)
    most = serving.most_requests(m, H100, p, CHAT.input_tokens + CHAT.output_tokens / 2)
    found = serving.frontier(m, H100, HOPPER, CHAT, SPEEDS, [p], apart=False)
    assert found.batch[0] == floor(most) not in serving.BATCHES


def test_prompts_apart_cost_the_same_work_but_for_slack():
    """Of requests that come one by one, a pool spares nothing, and its slack comes on top."""
    m, t, p = layout("Llama 3.1 70B"), Traffic(32768.0, 128.0), Plan(8)
    slow, one = np.array([1e-3]), np.ones(1)
    together, both = (
        serving.frontier(m, H100, IDEAL, t, slow, [p], inf, one, apart=way) for way in (False, True)
    )
    assert together.output_per_s == both.output_per_s and not both.apart[0]


def test_prompts_are_apart_only_where_their_cache_fits():
    m, t = layout("Llama 3.1 70B"), Traffic(131072.0, 512.0)
    assert serving.most_requests(m, H100, Plan(), t.input_tokens) < 1
    wide, both = (
        serving.frontier(m, H100, HOPPER, t, SPEEDS, options)
        for options in ([Plan(8)], [Plan(), Plan(8)])
    )
    np.testing.assert_array_equal(wide.output_per_s, both.output_per_s)


def test_drafts_that_are_always_right_and_alone_have_a_frontier_with_pools():
    """Prompts draft nothing: their pool is the same."""
    m, t = layout("DeepSeek V3", 0.5625), CHAT._replace(acceptance=1.0)
    args = m, B200, HOPPER, t, SPEEDS
    drafted = serving.frontier(*args, [Plan(8, drafts=2)])
    assert drafted.output_per_s[0] > 0 and drafted.apart.any()
    pool = [serving.frontier(*args, [Plan(8, drafts=n)]).ttft[drafted.apart] for n in (1, 2)]
    assert pool[0][0] == pool[1][0]


def test_frontier_of_twice_the_chip_is_twice_as_high():
    """Twice the arithmetic, bandwidth and wires, half the waiting: each point in half the time."""
    m, t, options = layout("Llama 3.1 70B"), CHAT, [Plan(tp) for tp in (1, 2, 4, 8)]
    rates = ("flops", "flops_16", "memory_bytes_per_s", "up_bytes_per_s", "out_bytes_per_s")
    waits = (*TIMES, "first")
    twice = H100._replace(**{each: 2 * getattr(H100, each) for each in rates})
    half = HOPPER._replace(**{each: getattr(HOPPER, each) / 2 for each in waits})
    one = serving.frontier(m, H100, HOPPER, t, SPEEDS, options)
    two = serving.frontier(m, twice, half, t, 2 * SPEEDS, options)
    np.testing.assert_allclose(two.output_per_s, 2 * one.output_per_s)
    np.testing.assert_allclose(two.tpot, one.tpot / 2)


@pytest.mark.parametrize("name", NAMES)
def test_plans_fit_and_use_no_more_than_there_is(name):
    m, c = layout(name, 0.5625), B200
    found = serving.plans(m, c, 16, (0, 2))
    assert found and len(set(found)) == len(found)
    for p in found:
        assert p.tp * p.dp <= 16 and p.pp == 1 and p.ep in (1, p.tp * p.dp)
        assert p.tp <= max(c.domain, serving.SERVER)
        assert serving.weight_bytes(m, p) < serving.USABLE * c.memory_bytes
        assert m.expert_layers or p.dp == p.ep == 1


def test_plans_share_a_server_without_a_fabric_of_its_own():
    found = serving.plans(layout("Llama 3.1 70B"), CHIPS["L40S"], 16, (0,))
    assert CHIPS["L40S"].domain == 1 and found == [Plan(2), Plan(4), Plan(8)]
