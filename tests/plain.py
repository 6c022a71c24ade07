"""Plain NumPy versions that tests compare with and benchmarks measure against."""

import numpy as np


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
