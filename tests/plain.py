"""Plain NumPy versions that tests compare with and benchmarks measure against."""

from collections import Counter
from functools import cache
from itertools import permutations

import numpy as np
from scipy import integrate, optimize, special, stats


def huber_objective(theta, log_params, log_tokens, log_loss, weight, delta):
    """Sum of Huber losses and its gradient by (log a, log b, log e, alpha, beta)."""
    terms = np.stack(
        [
            theta[0] - theta[3] * log_params,
            theta[1] - theta[4] * log_tokens,
            np.full_like(log_loss, theta[2]),
        ]
    )
    top = terms.max(axis=0)
    parts = np.exp(terms - top)
    total = parts.sum(axis=0)
    residual = top + np.log(total) - log_loss
    clipped = np.clip(residual, -delta, delta)
    slopes = weight * clipped * parts / total
    gradient = [*slopes.sum(axis=1), -(slopes[0] @ log_params), -(slopes[1] @ log_tokens)]
    return float((weight * clipped * (residual - clipped / 2)).sum()), np.array(gradient)


def simulated_serving(requests, pace, replica, replicas, routing, ready=False):
    """Continuous batching, token by token: (first, finish, replica, and totals by replica).

    Written from the rules, for `batching.serve`. A request is at a replica from its arrival on.
    """
    everything = [
        Request(i, *(column[i].item() for column in requests), ready)
        for i in range(len(requests.arrival))
    ]
    all_replicas = [SimulatedReplica(pace, replica, everything) for _ in range(replicas)]
    for request in everything:
        for each in all_replicas:
            each.run_until(request.arrival)
        loads = [
            [other for other in each.sent if not other.finish <= request.arrival]
            for each in all_replicas
        ]
        weigh = {"tokens": lambda load: sum(other.input for other in load)}.get(routing, len)
        target = min(range(replicas), key=lambda r: weigh(loads[r]))
        if routing == "turns":
            target = request.number % replicas
        if routing == "prefix" and request.named >= 0 and request.shared >= request.input / 2:
            target = everything[request.named].replica
        request.replica = target
        all_replicas[target].receive(request)
    for each in all_replicas:
        each.run_until(np.inf)
    return (
        *([getattr(r, name) for r in everything] for name in ("first", "finish", "replica")),
        *(
            [getattr(r, name) for r in all_replicas]
            for name in ("busy", "preemptions", "hits", "computed")
        ),
    )


class Request:
    """Holds tokens `base` to `end`; those before are with its parent."""

    first = finish = np.nan
    replica = parent = None
    state, emitted, pinned, needed = "waits", 0, 0, 0

    def __init__(self, number, arrival, given, output, named, shared, ready):
        self.number, self.arrival, self.input, self.output = number, arrival, given, output
        self.named, self.shared, self.ready = named, shared, ready
        if ready:
            self.emitted = 1


class SimulatedReplica:
    def __init__(self, pace, limits, everything):
        self.pace, self.limits, self.everything = pace, limits, everything
        self.now = self.busy = 0.0
        self.preemptions = self.hits = self.computed = 0
        self.sent, self.queue, self.running = [], [], []  # running: in order of admission
        self.kept, self.aside = [], []  # done: first to be evicted first; all of it needed
        self.blocked = False  # no room for the head of the queue since a request last moved on

    def receive(self, request):
        self.sent.append(request)
        if not (self.queue or self.running):
            self.now = max(self.now, request.arrival)
        self.queue.append(request)

    def run_until(self, time):
        while (self.queue or self.running) and self.now < time:
            self.iterate()

    def children(self, request):
        return [r for r in self.running + self.kept + self.aside if r.parent is request]

    def live(self, request):
        return request in self.running or any(map(self.live, self.children(request)))

    def depth(self, request):
        return 0 if request.parent is None else 1 + self.depth(request.parent)

    def settle(self):
        """Say again what is pinned by live children, what is needed, what can be evicted."""
        for each in sorted(self.running + self.kept + self.aside, key=self.depth, reverse=True):
            live = [child.base for child in self.children(each) if self.live(child)]
            idle = [child.base for child in self.children(each) if not self.live(child)]
            each.pinned = max([each.pinned, *live]) if live else 0
            each.needed = max([each.needed, each.pinned, *idle]) if idle else each.pinned
            if each in self.aside and each.end > max(each.base, each.needed):
                self.aside.remove(each)
                self.kept.insert(0, each)

    def active(self):
        """Tokens of cache that running requests hold."""
        own = sum(r.end - r.base + self.limits.besides for r in self.running)
        return own + sum(max(r.pinned - r.base, 0) for r in self.kept + self.aside)

    def evict(self, room):
        """Token by token, until what is held fits."""

        def used():
            own = sum(r.end - r.base for r in self.running + self.kept + self.aside)
            return own + self.limits.besides * len(self.running)

        while used() > room:
            last = self.kept[0]
            if last.end > max(last.base, last.needed):
                last.end -= 1
            if last.end == max(last.base, last.needed):
                self.kept.remove(last)
                if last.end > last.base:
                    self.aside.append(last)
                else:
                    last.state = "gone"
                self.settle()

    def preempt(self):
        self.evict(self.active())
        last = self.running.pop()
        self.preemptions += 1
        self.blocked = False
        last.state, last.parent, last.ready = "waits", None, False
        self.queue.insert(0, last)
        self.settle()

    def prefix(self, request, most):
        """The request that holds the first tokens of this one, and how many."""
        number, shared = request.named, min(request.shared, most)
        while number >= 0 and shared > 0:
            other = self.everything[number]
            if other in self.sent and other.state in ("decodes", "done"):
                hit = min(shared, other.known if other.state == "decodes" else other.end)
                while hit <= other.base:
                    other = other.parent
                return other, hit
            number, shared = other.named, min(shared, other.shared)
        return None, 0

    def admit(self, request):
        """Whether the request now runs."""
        if self.blocked or len(self.running) == self.limits.requests:
            return False
        before = [(r, r.pinned, r.needed) for r in self.kept + self.aside + self.running]
        lists = list(self.kept), list(self.aside)
        total = request.input + (0 if request.ready else request.emitted)
        request.parent, request.base = None, 0
        if not request.ready:
            request.parent, request.base = self.prefix(request, total - 1)
        request.end = request.known = total
        request.pinned = request.needed = 0
        self.running.append(request)
        self.settle()
        more = request.ready and self.limits.together
        if self.active() + more > self.limits.capacity:
            self.running.pop()
            request.parent = None
            for each, pinned, needed in before:
                each.pinned, each.needed = pinned, needed
            self.kept, self.aside = lists
            self.blocked = True
            return False
        self.queue.remove(request)
        self.hits += request.base
        request.done = total if request.ready else request.base
        request.state = "decodes" if request.ready else "prompt"
        self.evict(self.limits.capacity)
        return True

    def iterate(self):
        decoding, chunks, preempted = [], [], False

        def decode():
            nonlocal preempted, decoding
            while True:
                decoding = [r for r in self.running if r.state == "decodes"]
                if self.active() + len(decoding) <= self.limits.capacity:
                    break
                self.preempt()
                preempted = True
            for each in decoding:
                each.end += 1
                self.evict(self.limits.capacity)

        if self.limits.together:
            decode()
        left = self.limits.tokens - len(decoding)
        for each in self.running:
            if each.state == "prompt" and left > 0:
                chunks.append((each, min(left, each.end - each.done)))
                left -= chunks[-1][1]
        while self.queue and left > 0 and not preempted and self.admit(self.queue[0]):
            new = self.running[-1]
            if not new.ready:
                chunks.append((new, min(left, new.end - new.done)))
                left -= chunks[-1][1]
            elif self.limits.together:
                decoding.append(new)
                new.end += 1
                self.evict(self.limits.capacity)
                left -= 1
        if not self.limits.together and not chunks:
            decode()
        if not decoding and not chunks:
            return
        seconds = self.pace.rows[len(decoding) + sum(tokens for _, tokens in chunks)]
        for each in decoding:
            seconds += self.pace.sequence + self.pace.cached * (each.end - 1)
        for each, tokens in chunks:
            for at in range(each.done, each.done + tokens):
                seconds += self.pace.pair * at
            each.done += tokens
            self.computed += tokens
        self.now += seconds
        self.busy += seconds
        for each in sorted(decoding, key=lambda r: r.number):
            self.emit(each)
        for each, _ in chunks:
            if each.done == each.end:
                self.emit(each)

    def emit(self, request):
        request.emitted += 1
        if request.state == "prompt" or request.emitted == request.output:
            self.blocked = False
        request.state = "decodes"
        if request.emitted == 1:
            request.first = self.now
        if request.emitted == request.output:
            request.finish, request.state = self.now, "done"
            self.running.remove(request)
            self.kept.append(request)
            self.settle()


def attention_matrices(model, linear):
    """Parameters of each matrix of a layer's attention."""
    width = model.width
    if linear:
        keys = model.linear_key_heads * model.linear_key_size
        values = model.linear_heads * model.linear_value_size
        gates = 2 * [model.linear_heads]
        return [width * size for size in (keys, keys, values, values, values, *gates)]
    if model.kv_rank:
        query = model.heads * (model.nope_size + model.rope_size)
        queries = [width * model.q_rank, model.q_rank * query] if model.q_rank else [width * query]
        keys_values = model.heads * (model.nope_size + model.v_head_size)
        down, up = width * (model.kv_rank + model.rope_size), model.kv_rank * keys_values
        return [*queries, down, up, model.heads * model.v_head_size * width]
    query, key = model.heads * model.head_size, model.kv_heads * model.head_size
    gate = [width * query] if model.output_gate else []
    return [width * query, width * key, width * key, query * width, *gate]


def layer_kinds(model):
    """How many layers have this attention, and experts or none: {(attention, experts): layers}."""
    full = model.layers - model.window_layers - model.linear_layers
    kinds = ["full"] * full + ["window"] * model.window_layers + ["linear"] * model.linear_layers
    dense = model.layers - model.expert_layers
    return Counter((kind, i >= dense) for i, kind in enumerate(kinds))


def slowest(count, parts):
    """What the fullest of several parts has of a count: a token or a request is never cut."""
    return np.maximum(count / parts, np.minimum(count, 1))


def served_iteration(model, sizes, c, e, p, tokens, wanted):
    """Seconds of an iteration without its cache: matrix by matrix, message by message.

    sizes: bytes of a routed, of another parameter, and of a number in the cache. Numbers of the
    plan, and of tokens, may be columns.
    """
    routed_bytes, other_bytes, _ = sizes
    ranks = p.tp * p.dp
    passing = slowest(tokens, p.pp)  # a stage works on one of pp parts of the batch at a time
    own = slowest(tokens, p.pp * p.dp)
    in_16, in_own = c.flops_16 * e.matmul, c.flops * e.matmul
    state = own * model.width  # numbers that a group sends of its tokens

    def product(rows, parameters, number_bytes, peak):
        arithmetic = 2 * rows * parameters / peak
        reading = parameters * number_bytes / (c.memory_bytes_per_s * e.weights)
        return np.hypot(arithmetic, reading)

    def other(parameters):
        peak = in_16 if other_bytes >= 2 else in_own
        return product(own, parameters / p.tp, other_bytes, peak)

    def all_reduce():
        """Ring: every rank sends its share of a 16-bit message to all others, twice."""
        wire = np.where(p.tp > c.domain, c.out_bytes_per_s * e.out, c.up_bytes_per_s * e.up)
        seconds = e.latency + 2 * (2 * state) * (p.tp - 1) / p.tp / wire
        return np.where(p.tp > 1, seconds, 0)

    def dispatch_and_combine():
        """A byte a number on the way to the experts, two on the way back, from each rank's part."""
        near = np.minimum(ranks, c.domain)
        groups, sent = ranks / near, 3 * state / p.tp

        def chosen(parts):  # which hold an expert of a token, with equal chances
            return 1 - (1 - 1 / parts) ** model.active_experts

        inside = sent * (near - 1) * chosen(ranks) / (c.up_bytes_per_s * e.up)
        abroad = sent * (groups - 1) * chosen(groups) / (c.out_bytes_per_s * e.out)
        return 2 * e.latency + np.maximum(inside, abroad)

    def experts():
        """A rank holds experts / ep, each cut over ranks / ep; reads those with a token."""
        matrices = (3 if model.gated else 2) * model.width * model.expert_ffn
        piece = matrices / (ranks / p.ep)
        here = model.experts / p.ep
        hottest = 1 + e.skew * (1 - 1 / p.ep)
        missed = (1 - model.active_experts / model.experts) ** passing
        touched = np.minimum(here, here * (1 - missed) * hottest)
        assigned = passing * model.active_experts / p.ep * hottest
        arithmetic = 2 * assigned * piece / (in_own * e.experts)
        reading = touched * piece * routed_bytes / (c.memory_bytes_per_s * e.weights)
        seconds = np.hypot(arithmetic, reading) + e.expert_layer
        seconds += other(model.shared_experts * matrices) + other(model.width * model.experts)
        return seconds + np.where(p.dp > 1, dispatch_and_combine(), all_reduce())

    total = 0
    for (kind, has_experts), layers in layer_kinds(model).items():
        seconds = sum(map(other, attention_matrices(model, kind == "linear"))) + all_reduce()
        seconds += e.layer + (e.latent_layer if model.kv_rank else 0)
        if has_experts:
            seconds += experts()
        else:
            seconds += (3 if model.gated else 2) * other(model.width * model.ffn) + all_reduce()
        total += layers * seconds
    total += product(slowest(wanted, p.pp * p.dp), model.vocabulary * model.width / p.tp, 2, in_16)
    total = (total**4 + (model.layers * e.host) ** 4) ** 0.25
    local = ranks * p.pp <= c.domain
    wire = np.where(local, c.up_bytes_per_s * e.up, c.out_bytes_per_s * e.out)
    passed_on = p.pp * (e.latency + 2 * state / p.tp / wire)
    return total + np.where(p.pp > 1, passed_on, 0) + e.iteration


def served_decode(model, sizes, c, e, p, t, batch):
    """Seconds between tokens of a request."""
    context = t.input_tokens + t.output_tokens / 2
    verified = 1 + p.drafts
    seconds = served_iteration(model, sizes, c, e, p, batch * verified, batch * verified)
    memory = c.memory_bytes_per_s * e.cache
    groups = 1 if model.kv_rank else model.kv_heads
    if model.kv_rank:
        numbers = model.kv_rank + model.rope_size
        pair = 2 * model.heads * (numbers + model.kv_rank)  # scores and sum, in the latent space
    else:
        numbers = 2 * model.kv_heads * model.head_size
        pair = 2 * model.heads * 2 * model.head_size
    share = slowest(batch, p.dp * p.pp)  # of a rank at a time
    for (kind, _), layers in layer_kinds(model).items():
        if kind == "linear":
            state = model.linear_heads * model.linear_key_size * model.linear_value_size
            seconds += layers * share * 2 * 4 * state / p.tp / memory
        else:
            met = context if kind == "full" else min(context, model.window)
            read = met * numbers * sizes[2] / np.minimum(groups, p.tp) / memory
            computed = met * verified * pair / p.tp / (c.flops_16 * e.matmul)
            seconds += layers * share * np.maximum(read, computed)
    seconds += slowest(batch, p.dp) * e.request
    draft = served_iteration(model, sizes, c, e, p, batch, 0) - e.iteration
    output = model.vocabulary * model.width / p.tp
    arithmetic = 2 * share * output / (c.flops_16 * e.matmul)
    head = np.hypot(arithmetic, 2 * output / (c.memory_bytes_per_s * e.weights))
    seconds += p.drafts * (draft * t.draft_layers / model.layers + head)
    return seconds / kept(t, p)


def kept(t, p):
    """Tokens of a request in an iteration: each draft is right only after those before it."""
    return sum(t.acceptance**n * (p.drafts >= n) for n in range(1 + np.max(p.drafts)))


def computed(t):
    """Tokens of a prompt that the prefix cache lacks; the last gives the first of the output."""
    return max(1, t.input_tokens - t.input_tokens * t.hits)


def served_pairs(model, c, e, p, t):
    """Seconds of the scores of a prompt's attention."""
    pair = 2 * model.heads * 2 * model.head_size
    if model.kv_rank:
        pair = 2 * model.heads * (model.nope_size + model.rope_size + model.v_head_size)
    fresh = computed(t)
    held = t.input_tokens - fresh
    filled = min(max(model.window, held), t.input_tokens)  # from here on a window is full
    met = {"full": fresh * (held + t.input_tokens) / 2, "linear": 0}
    met["window"] = (filled**2 - held**2) / 2 + (t.input_tokens - filled) * model.window
    flop = sum(layers * met[kind] * pair for (kind, _), layers in layer_kinds(model).items())
    return flop / (p.tp * p.dp * p.pp) / (c.flops_16 * e.attention)


def served_point(model, sizes, c, e, p, t, batch):
    """Times per output token and to the first, output rate, decode, prompt; prompts in between.

    Each group takes in a chunk: a prompt, a part of a long one, or several short ones.
    """
    decode = served_decode(model, sizes, c, e, p, t, batch)
    fresh, later = computed(t), max(t.output_tokens - 1, 1)
    due = batch / p.dp / later  # prompts of a group for each token of the output
    room = np.maximum(t.chunk - batch / p.dp, t.chunk / 8)
    chunk = np.minimum(fresh * np.maximum(1, due), room)
    beside = batch * (1 + p.drafts)
    alone = served_iteration(model, sizes, c, e, p, beside, beside)
    both = served_iteration(model, sizes, c, e, p, beside + p.dp * chunk, beside + p.dp)
    prompts = p.dp * chunk / fresh  # that an iteration takes in
    prompt = (both - alone) / prompts + served_pairs(model, c, e, p, t)
    before = (batch - 1) * prompt
    tpot = decode + before / later
    waited = decode * kept(t, p) * np.maximum(1, fresh / chunk)  # whole iterations
    ttft = e.first + waited + p.dp * prompt * np.maximum(1, chunk / fresh) + e.burst * before
    seconds = (t.output_tokens - 1) * decode + batch * prompt
    rate = batch * t.output_tokens / seconds / (p.tp * p.dp * p.pp)
    return tpot, ttft, rate, decode, prompt


def served_static(model, sizes, c, e, p, t, batch):
    """The same where all prompts come first, at once."""
    decode = served_decode(model, sizes, c, e, p, t, batch)
    pass_through = served_iteration(model, sizes, c, e, p, batch * computed(t), p.dp)
    ttft = e.first + pass_through + batch * served_pairs(model, c, e, p, t)
    seconds = ttft + (t.output_tokens - 1) * decode
    return decode, ttft, batch * t.output_tokens / seconds / (p.tp * p.dp * p.pp)


def exchange_option(received, given, volatility, years):
    """Margrabe's formula."""
    spread = volatility * np.sqrt(years)
    d1 = np.log(received / given) / spread + spread / 2
    return received * special.ndtr(d1) - given * special.ndtr(d1 - spread)


def exchange_on_a_tree(received, given, sigmas, correlation, rate, years, steps):
    """Option to exchange, on a tree of two prices (Boyle, Evnine and Gibbs 1989)."""
    step = np.sqrt(years / steps)
    moves = step * np.arange(-steps, steps + 1, 2)
    a, b = received * np.exp(sigmas[0] * moves), given * np.exp(sigmas[1] * moves)
    drift = [step * (rate / sigma - sigma / 2) for sigma in sigmas]
    chance = {
        (i, j): (1 + i * j * correlation + i * drift[0] + j * drift[1]) / 4
        for i in (1, -1)
        for j in (1, -1)
    }
    value = np.maximum(a[:, None] - b, 0)
    for _ in range(steps):
        ups, downs = value[1:], value[:-1]
        value = chance[1, 1] * ups[:, 1:] + chance[1, -1] * ups[:, :-1]
        value += chance[-1, 1] * downs[:, 1:] + chance[-1, -1] * downs[:, :-1]
        value *= np.exp(-rate * step**2)
    return value.item()


def waiting_on_a_tree(project, capital, rate, payout, volatility, years, steps):
    """Option to invest until a far date, on a tree of the project's value."""
    step = years / steps
    moves = volatility * np.sqrt(step) * np.arange(-steps, steps + 1)
    now = project * np.exp(moves) - capital  # every second is of one date
    up, down = np.exp([moves[-1] / steps, -moves[-1] / steps])
    chance = (np.exp((rate - payout) * step) - down) / (up - down)
    value = np.maximum(now[::2], 0)
    for left in range(steps - 1, -1, -1):
        kept = np.exp(-rate * step) * (chance * value[1:] + (1 - chance) * value[:-1])
        value = np.maximum(kept, now[steps - left : steps + left + 1 : 2])
    return value.item()


def commitment_cost(demand, reserved, discount):
    """Level by level."""
    return np.array(
        [
            (1 - discount) * q + sum(max(level - q, 0.0) for level in demand) / len(demand)
            for q in reserved
        ]
    )


def sourced_plainly(business, api, rental, fleet, owner, plan, correlation, seed):
    """Bills, tokens and last twelve months of `sourcing.sourced`, of up to 500 scenarios.

    Written from the rules, whole columns of months at once, a scenario after the other.
    """
    from stackbook.kernels.cloud import commitment

    records = business, api, rental, fleet, owner
    count = max(np.size(field) for record in records for field in record)
    months, term, parts = round(12 * plan.years), round(12 * plan.term_years), len(plan.profile)
    stream = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
    normal = stream.standard_normal((count, months, 3 + plan.vendors))
    events = stream.random((count, months, plan.vendors))
    time = (np.arange(months) + 0.5) / 12
    past = np.diff(time, prepend=0.0)[:, None]
    usd, mtok, last = np.zeros((count, 5, 10)), np.zeros(count), np.zeros((count, 5))
    medians = [type(r)(*(float(np.median(field)) for field in r)) for r in records]
    reserve, own = planned(*medians, plan, commitment)
    for i in range(count):
        b, a, r, f, o = (
            type(rec)(*(float(np.broadcast_to(x, (count,))[i]) for x in rec)) for rec in records
        )
        sigma = np.array([b.sigma, r.sigma, a.sigma])
        changes = normal[i, :, :3] @ np.linalg.cholesky(correlation).T
        walk = np.cumsum(np.sqrt(past) * changes * sigma - sigma**2 * past / 2, axis=0)
        growth = np.log1p([b.growth, r.growth, a.growth])
        demand, rent, price = np.exp(walk + time[:, None] * growth).T
        tokens, rent, price = b.mtok_per_month * demand, r.usd_per_hour * rent, a[0] * price
        fade = np.exp(-1 / 12)
        apart = normal[i, :, 3:] * a.own_sigma
        for m in range(1, months):
            apart[m] = fade * apart[m - 1] + np.sqrt(1 - fade**2) * apart[m]
        factor = np.exp(apart - a.own_sigma**2 / 2)
        left = events[i] < 1 - np.exp(-a.leaving / 12)

        load = tokens / 730 / f.mtok_per_hour / (1 + f.gain) ** time
        replicas = np.maximum(plan.least, np.ceil(np.outer(load, plan.profile)))
        needed = replicas * f.accelerators
        start = np.arange(months) // term * term
        leased = f.accelerators * np.maximum(plan.least, np.ceil(load[start] * reserve))
        lease = rent[start] * (1 - r.discount)
        first = b.mtok_per_month / 730 / f.mtok_per_hour
        lead = round(12 * o.lead_years)
        works = np.arange(months) >= lead
        owned = f.accelerators * max(plan.least, np.ceil(first * own)) * works.any()

        bill = np.zeros((months, 5, 10))
        bill[:, 0, 0] = tokens * price * factor[:, 0]
        bill[:, 4, 0] = tokens * price * factor.min(axis=1)
        held = {1: 0 * leased, 2: leased, 3: owned * o.availability * works}
        for way, units in held.items():
            over = np.maximum(needed - units[:, None], 0).sum(axis=1) * 730 / parts
            bill[:, way, 1] = over * rent
        bill[:, 2, 2] = leased * 730 * lease
        yearly = o.site_usd_per_year, o.electricity_usd_per_year, o.operation_usd_per_year
        bill[:, 3, 4:7] = np.outer(works, yearly) * owned / 12
        bill[:, :, 7] = np.array([a.usd_per_year, *[f.usd_per_year] * 3, 0]) / 12
        bill[:, 4, 7] = plan.vendors * a.usd_per_year / 12
        bill[:, 0, 8] = left[:, 0] * a.move_usd
        bill[:, 4, 8] = left.sum(axis=1) * a.setup_usd
        shares = [a.outage, r.outage, r.outage, o.outage, a.joint_outage]
        bill[:, :, 9] = np.outer(730 * b.outage_usd_per_hour * demand, shares)

        today = (1 + b.rate) ** -time
        usd[i] = (bill * today[:, None, None]).sum(axis=0)
        usd[i, :, 7] += [a.setup_usd, *[f.setup_usd] * 3, plan.vendors * a.setup_usd]
        unexpected = np.exp(walk[-1, 1])
        sold = o.resale * unexpected * (1 + b.rate) ** -(months / 12)
        usd[i, 3, 3] = owned * o.capital_usd * ((1 + b.rate) ** -(lead / 12) - sold)
        beyond = (np.arange(months, -(-months // term) * term) + 0.5) / 12
        usd[i, 2, 2] += leased[-1] * 730 * lease[-1] * ((1 + b.rate) ** -beyond).sum()
        mtok[i] = (tokens * today).sum()
        last[i] = bill[-12:].sum(axis=(0, 2))
    return usd, mtok, last


def planned(b, a, r, f, o, plan, commitment):
    """What to reserve and to own over the load of the mean hour, by quantiles of hours."""
    months, term = round(12 * plan.years), round(12 * plan.term_years)

    def levels(first, last):
        return np.outer(
            ((1 + b.growth) / (1 + f.gain)) ** (np.arange(first, last) / 12), plan.profile
        )

    def flow(rate, years):
        return -np.expm1(-np.log(rate) * years) / np.log(rate)

    lead = min(round(12 * o.lead_years), months - 1)
    used = (months - lead) / 12
    rents = r.usd_per_hour * (1 + r.growth) ** (lead / 12) * 8760
    rents *= flow((1 + b.rate) / (1 + r.growth), used)
    yearly = o.site_usd_per_year + o.electricity_usd_per_year + o.operation_usd_per_year
    owned = o.capital_usd * (1 - o.resale * (1 + b.rate) ** -used)
    owned += yearly * flow(1 + b.rate, used)
    saving = max(1 - owned / rents / o.availability, 0.5)
    return commitment(levels(0, term), r.discount), commitment(levels(lead, months), saving)


def dollars_plainly(chain, billed_usd=None, seller=None, draws=1):
    """Dollars by layer, kind and draw, paid from hand to hand along the chain.

    Without numbers of units made: each purchase is followed back to those who share it.
    """
    layers, links, owners = chain
    last = len(layers) - 1
    found = np.zeros((len(layers), 4, draws))

    def factor(layer):
        rate, years = np.broadcast_arrays(layer.rate, layer.years)
        with np.errstate(all="ignore"):
            repays = -rate / np.expm1(-years * np.log1p(rate))  # has no digits at the least rates
            return np.where(abs(rate) < 1e-290, 1 / years, repays)

    @cache
    def cost(number):
        layer = layers[number]
        usd = layer.usd + layer.programme_usd + layer.capital_usd * factor(layer)
        for link in links:
            if link.target == number:
                times = factor(layer) if link.durable else 1.0
                usd += link.units * paid(link) * times
        return usd / layer.utilization

    def paid(link):
        outside = owners[link.source] != owners[link.target]
        return cost(link.source) / (1 - layers[link.source].margin * outside)

    def share(number, units, income):
        """Of `income` for so many units of the layer, its inputs get theirs; the rest is rent."""
        layer = layers[number]
        units = units / layer.utilization
        held = layer.capital_usd * (factor(layer) - 1 / layer.years)
        kinds = [units * (layer.usd + layer.programme_usd)]
        kinds += [units * layer.capital_usd / layer.years, units * held]
        left = income - sum(kinds)
        for link in links:
            if link.target == number:
                bought = units * link.units
                if link.durable:
                    kinds[2] += bought * paid(link) * (factor(layer) - 1 / layer.years)
                    left -= bought * paid(link) * factor(layer)
                    bought /= layer.years
                    share(link.source, bought, bought * paid(link))
                elif billed_usd is not None and number > seller:
                    outside = number == last or owners[number] != owners[number + 1]
                    rest = left - layer.margin * outside * income
                    share(link.source, bought, rest)
                    left -= rest
                else:
                    share(link.source, bought, bought * paid(link))
                    left -= bought * paid(link)
        for kind, usd in enumerate((*kinds, left)):
            found[number, kind] += usd

    price = cost(last) / (1 - layers[last].margin) if billed_usd is None else billed_usd
    share(last, 1.0, price)
    return found


def outages_plainly(suppliers, correlation, scenarios, seed, freedom=np.inf):
    """Scenario, supplier, start and end of `shocks.simulate_outages`, of up to 2,000 scenarios."""
    stream = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
    root, rows = np.linalg.cholesky(correlation), []
    for scenario in range(scenarios):
        clock, going = np.zeros(len(root)), np.ones(len(root), bool)
        while going.any():
            score = root @ stream.standard_normal(len(root))
            if freedom < np.inf:
                chi_square = -2 * np.log(1 - stream.random(int(freedom) // 2)).sum()
                below = stats.t.cdf(score * np.sqrt(freedom / chi_square), freedom)
            else:
                below = special.ndtr(score)
            clock -= np.log1p(-below) / suppliers.failures_per_year
            going &= clock < 1
            if going.any():
                lengths = np.exp(suppliers.sigma * (root @ stream.standard_normal(len(root))))
                ends = clock + suppliers.outage_years * lengths
                rows += [(scenario, k, clock[k], ends[k]) for k in np.flatnonzero(going)]
    return tuple(map(np.array, zip(*rows, strict=True)))


def losses_plainly(rows, scenarios, suppliers, buyers):
    """Output lost by scenario and firm, from the rows of `outages_plainly`."""
    scenario, *columns = rows
    lost = np.zeros((scenarios, len(buyers.dependency)))
    for i in range(scenarios):
        events = [column[scenario == i] for column in columns]
        if events[0].size:
            for firm in range(lost.shape[1]):
                lengths, short, _ = shortages(events, suppliers, buyers, firm)
                lost[i, firm] = lengths @ short.max(axis=1)
    return lost


def shortages(events, suppliers, buyers, firm):
    """Of each stretch of time its length, what a firm lacks by layer, and who is down."""
    supplier, start, end = events
    in_layer = np.equal.outer(suppliers.layer, np.arange(suppliers.layer.max() + 1))

    def between(moments):
        middle = (moments[1:] + moments[:-1]) / 2
        up = (start <= middle[:, None]) & (middle[:, None] < end)
        down = (up @ np.equal.outer(supplier, np.arange(len(in_layer)))).astype(bool)
        works = 1 - (down * suppliers.share * suppliers.cut) @ in_layer
        missed = (down * buyers.dependency[firm] * suppliers.cut) @ in_layer
        return middle, missed * (1 - buyers.substitution[firm] * works), down

    moments = np.unique([*start, *end])
    *_, short = between(moments)[:2]
    used = np.vstack([np.zeros(short.shape[1]), np.cumsum(short.T * np.diff(moments), axis=1).T])
    empty = np.full(short.shape[1], np.inf)  # when each layer's inventory is used up
    for layer, held in enumerate(buyers.inventory_years[firm]):
        after = np.flatnonzero(used[1:, layer] > held)
        if after.size:
            at = after[0]
            empty[layer] = moments[at] + (held - used[at, layer]) / short[at, layer]
    moments = np.unique([*moments, *empty[empty < np.inf]])
    middle, short, down = between(moments)
    return np.diff(moments), short * (middle[:, None] > empty), down


def blamed_plainly(events, suppliers, buyers, firm):
    """Each supplier's part of what one scenario costs a firm: layers in all orders."""
    parts = np.zeros(len(suppliers.layer))
    for length, short, down in zip(*shortages(events, suppliers, buyers, firm), strict=True):
        orders = list(permutations(range(len(short))))
        for order in orders:
            for n, layer in enumerate(order):
                added = max(short[list(order[: n + 1])]) - max(short[list(order[:n])], default=0.0)
                if added > 0:
                    missed = down * buyers.dependency[firm] * suppliers.cut
                    missed = missed * (suppliers.layer == layer)
                    parts += length * added / len(orders) * missed / missed.sum()
    return parts


def fleet_path_plainly(demand, supply, ages, ordered, periods, per_year):
    """One path without surprise, vintage by vintage: rents and additions."""
    d, s, dt = demand, supply, 1 / per_year
    growth, expected = (np.broadcast_to(g, periods) for g in (d.growth, d.expected_growth))
    life, lead = round(s.life_years / dt), round(s.lead_years / dt)
    made = {-age: number for age, number in enumerate(ages)}
    for t, number in enumerate(ordered):
        made[t] = made.get(t, 0) + number
    wanted, rents, additions = d.wanted, [], dict(enumerate(ordered))

    def cost(date):
        return s.cost_usd_per_hour * (1 + s.cost_growth) ** (date * dt)

    def entry(date):
        """Rent whose value over life, by numerical integration, is the multiple of capital."""

        def today(rate):
            flow = integrate.quad(lambda t: (1 + rate) ** t * (1 + s.rate) ** -t, 0, s.life_years)
            return 8760 * s.availability * flow[0]

        capital = s.capital_usd * (1 + s.capital_growth) ** (date * dt)
        return (s.multiple * capital + cost(date) * today(0)) / today(s.rent_growth)

    for t in range(periods):
        if t:
            wanted *= (1 + growth[t - 1]) ** dt
        at = t + lead
        if at < periods:
            hoped = wanted * np.prod((1 + expected[t:at]) ** dt)
            needed = hoped * (entry(at) / d.rent_usd_per_hour) ** -d.elasticity
            alive = (n for v, n in made.items() if at - life < v <= at and cost(v) <= entry(at))
            most = np.broadcast_to(s.most_per_year, periods)[at] * dt
            order = min(max(needed - sum(alive), 0), most)
            made[at] = made.get(at, 0) + order
            additions[at] = additions.get(at, 0) + order
        alive = [(cost(v), n) for v, n in made.items() if t - life < v <= t]

        def excess(log_rent, alive=alive, wanted=wanted):
            rent = np.exp(log_rent)
            supplied = sum(n for c, n in alive if c < rent)
            return wanted * (rent / d.rent_usd_per_hour) ** -d.elasticity - supplied

        rents.append(np.exp(optimize.bisect(excess, -40, 40, xtol=1e-13)))
    return rents, [additions.get(t, 0) for t in range(periods)]
