"""Transformers: parameters, bytes and FLOP that follow from an architecture.

Weight matrices are counted; norms, biases and learned positions, under 1% together, are not. A
multiplication and its addition are 2 FLOP.
"""

from math import nan
from typing import Any, NamedTuple

import numpy as np

from stackbook.kernels.elementary import expm1, log1p
from stackbook.kernels.jit import formula


@formula
def grouped_query_parameters(
    width: float, heads: float, kv_heads: float, head_size: float
) -> float:
    """Parameters of a layer's attention, where groups of heads share keys and values.

    width: numbers of a token's state [1], above 0
    heads, kv_heads: that ask [1], that are asked [1]; kv_heads = heads is multi-head, 1 multi-query
    head_size: numbers of a head's query, key or value [1], above 0
    returns: [1]
    source: Ainslie et al. 2023 (GQA); Vaswani et al. 2017 for kv_heads = heads
    """
    if not (width > 0 and heads >= kv_heads > 0 and head_size > 0):
        return nan
    return 2 * width * head_size * (heads + kv_heads)


@formula
def latent_parameters(
    width: float,
    heads: float,
    kv_rank: float,
    q_rank: float,
    nope_size: float,
    rope_size: float,
    v_head_size: float,
) -> float:
    """Parameters of a layer's attention, where heads expand one latent of keys and values (MLA).

    width, heads: numbers of a token's state [1], heads [1]
    kv_rank, q_rank: size of the latent [1], and of that of queries [1], 0 where they have none
    nope_size, rope_size: of a query, without [1] and with rotary position [1]
    v_head_size: numbers of a head's value [1]
    returns: [1]
    source: DeepSeek-AI 2024 (DeepSeek-V2), appendix C
    """
    sizes = min(width, heads, kv_rank, v_head_size) > 0 and min(q_rank, nope_size, rope_size) >= 0
    if not sizes:
        return nan
    query = heads * (nope_size + rope_size)
    queries = q_rank * (width + query) if q_rank > 0 else width * query
    keys_values = width * (kv_rank + rope_size) + kv_rank * heads * (nope_size + v_head_size)
    return queries + keys_values + heads * v_head_size * width


@formula
def linear_parameters(
    width: float, heads: float, key_heads: float, key_size: float, value_size: float
) -> float:
    """Parameters of a layer's linear attention with gates (Gated DeltaNet).

    width: numbers of a token's state [1], above 0
    heads, key_heads: of values [1], of queries and of keys [1]
    key_size, value_size: numbers of a head's key [1], of its value [1]
    returns: [1]
    source: Yang et al. 2024 (Gated Delta Networks); Qwen3-Next
    """
    if not (width > 0 and heads >= key_heads > 0 and key_size > 0 and value_size > 0):
        return nan
    # Queries and keys; two gates of the state a head; values, gate of the output, output matrix.
    # A Mamba 2 layer is this with groups for heads of keys, but for one gate less.
    return width * (2 * key_heads * key_size + 2 * heads + 3 * heads * value_size)


@formula
def ffn_parameters(width: float, ffn: float, gated: float) -> float:
    """Parameters of a feed-forward network, or of one expert.

    width, ffn: numbers of a token's state [1], of the hidden layer [1], 0 or more
    gated: 1 with a gate [1], 0 without
    returns: [1]
    source: Shazeer 2020 (GLU variants); Vaswani et al. 2017 without a gate
    """
    if not (width > 0 and ffn >= 0 and 0 <= gated <= 1):
        return nan
    return (2 + gated) * width * ffn


@formula
def kv_bytes_per_token(
    layers: float, kv_heads: float, head_size: float, number_bytes: float
) -> float:
    """Keys and values that a token leaves in the cache.

    layers, kv_heads: layers [1], heads of keys and values [1]
    head_size: numbers of a key or value [1]
    number_bytes: of a stored number [B]
    returns: [B]
    source: Pope et al. 2022, 2 n_layers n_kv d_head
    """
    if not min(layers, kv_heads, head_size, number_bytes) > 0:
        return nan
    return 2 * layers * kv_heads * head_size * number_bytes


@formula
def latent_kv_bytes_per_token(
    layers: float, kv_rank: float, rope_size: float, number_bytes: float
) -> float:
    """Latent and rotary key that a token leaves in the cache (MLA).

    layers, kv_rank, rope_size: layers [1], size of the latent [1], of the rotary key [1]
    number_bytes: of a stored number [B]
    returns: [B]
    source: DeepSeek-AI 2024 (DeepSeek-V2), table 1
    """
    if not (min(layers, kv_rank, number_bytes) > 0 and rope_size >= 0):
        return nan
    return layers * (kv_rank + rope_size) * number_bytes


@formula
def mean_attended(context: float, window: float) -> float:
    """Tokens that a token of a sequence attends to, itself included, on average.

    context: tokens of the sequence [1], 1 or more
    window: most tokens that one attends to [1], 1 or more; context or more for all before it
    returns: [1]
    source: mean of min(i, window) over i = 1 to context; (context + 1) / 2 without a window
    """
    if not (context >= 1 and window >= 1):
        return nan
    window = min(context, window)
    return window - window * (window - 1) / (2 * context)


@formula
def expert_coverage(experts: float, active_experts: float, batch: float) -> float:
    """Share of a layer's experts that a batch of tokens needs, where each picks evenly.

    experts, active_experts: of a layer [1], of them for a token [1]
    batch: tokens that are computed together [1], 0 or more
    returns: [1]
    source: expected value, 1 - (1 - k / E)^b
    """
    if not (0 < active_experts <= experts and batch >= 0):
        return nan
    if active_experts == experts:
        return min(batch, 1.0)
    return -expm1(batch * log1p(-active_experts / experts))


class Transformer(NamedTuple):
    """Architecture of a decoder; build it with `transformer`, which checks it.

    Arguments named context, batch and number_bytes may be arrays.
    """

    layers: int
    width: int
    heads: int
    ffn: int  # hidden layer of a dense feed-forward network; 0 where all layers have experts
    gated: bool
    vocabulary: int
    tied: bool  # the embedding serves as output matrix too
    kv_heads: int = 0  # of grouped-query attention
    head_size: int = 0
    kv_rank: int = 0  # of latent attention, in place of the two above
    q_rank: int = 0
    nope_size: int = 0
    rope_size: int = 0
    v_head_size: int = 0
    expert_layers: int = 0  # layers with experts in place of the dense network
    experts: int = 0  # routed ones of such a layer
    active_experts: int = 0  # of them, for a token
    shared_experts: int = 0  # for every token
    expert_ffn: int = 0
    window_layers: int = 0  # layers in which a token attends to the last `window` tokens only
    window: int = 0
    linear_layers: int = 0  # layers with linear attention: a state, no keys and values of tokens
    linear_heads: int = 0  # of values; the state of each has a row for each number of a key
    linear_key_heads: int = 0  # of queries and of keys
    linear_key_size: int = 0
    linear_value_size: int = 0
    output_gate: bool = False  # queries of the other layers gate what leaves attention, at twice

    @property
    def embedding_parameters(self) -> float:
        """Of the embedding, and of the output matrix unless that is the same."""
        return float(self.vocabulary * self.width * (1 if self.tied else 2))

    @property
    def attention_parameters(self) -> float:
        """Of all layers."""
        linear = 0.0
        if self.linear_layers:
            linear = linear_parameters(
                self.width,
                self.linear_heads,
                self.linear_key_heads,
                self.linear_key_size,
                self.linear_value_size,
            )
        if self.kv_rank:
            full = latent_parameters(
                self.width,
                self.heads,
                self.kv_rank,
                self.q_rank,
                self.nope_size,
                self.rope_size,
                self.v_head_size,
            )
        else:
            full = grouped_query_parameters(self.width, self.heads, self.kv_heads, self.head_size)
            full += self.output_gate * self.width * self.heads * self.head_size
        return self.linear_layers * linear + self._kv_layers * full

    @property
    def routed_parameters(self) -> float:
        """Of all experts that tokens choose from."""
        expert = ffn_parameters(self.width, self.expert_ffn, self.gated)
        return self.expert_layers * self.experts * expert

    @property
    def parameters(self) -> float:
        """All parameters."""
        dense = ffn_parameters(self.width, self.ffn, self.gated)
        shared = self.shared_experts * ffn_parameters(self.width, self.expert_ffn, self.gated)
        router = self.width * self.experts
        return (
            self.embedding_parameters
            + self.attention_parameters
            + (self.layers - self.expert_layers) * dense
            + self.expert_layers * (shared + router)
            + self.routed_parameters
        )

    @property
    def active_parameters(self) -> float:
        """All but the experts that a token does not choose; both embeddings are counted."""
        share = self.active_experts / self.experts if self.experts else 0.0
        return float(self._with_experts(share))

    @property
    def matmul_parameters(self) -> float:
        """Those that multiply a token's state: active, less an embedding that is only looked up."""
        return self.active_parameters - self._looked_up

    def parameters_read(self, batch: Any) -> Any:
        """Parameters that a step over `batch` tokens reads, as every expert is read once."""
        coverage: Any = 0.0
        if self.experts:
            coverage = expert_coverage(self.experts, self.active_experts, batch)
        return self._with_experts(coverage) - self._looked_up

    def kv_bytes_per_token(self, number_bytes: Any) -> Any:
        """Bytes of cache that a token adds, while no window is full."""
        if self.kv_rank:
            return latent_kv_bytes_per_token(
                self._kv_layers, self.kv_rank, self.rope_size, number_bytes
            )
        return kv_bytes_per_token(self._kv_layers, self.kv_heads, self.head_size, number_bytes)

    def kv_bytes(self, context: Any, number_bytes: Any) -> Any:
        """Bytes of cache of a sequence of `context` tokens."""
        in_layers = self._over_layers(context, np.minimum(context, self.window))
        return self.kv_bytes_per_token(number_bytes) / self._kv_layers * in_layers

    def state_bytes(self, number_bytes: Any) -> Any:
        """Bytes of a sequence's state in linear attention, however long the sequence is.

        A short convolution before it keeps a few tokens more, about 4%, which are not counted.
        """
        return self._state_numbers * number_bytes

    def decode_flop(self, context: Any) -> Any:
        """FLOP of one more token, which attends to `context` tokens, itself included.

        Latent attention is counted as it is decoded, with queries and values in the latent space:
        it spares the expansion of all keys and values, at 2 `kv_rank` + `rope_size` products for
        each token and head. Linear attention reads a value at the key from its state, corrects the
        state by it, and reads at the query: 3 products for each number of the state.
        """
        in_layers = self._over_layers(context, np.minimum(context, self.window))
        size = 2 * self.kv_rank + self.rope_size if self.kv_rank else 2 * self.head_size
        attention = 2 * self.heads * size * in_layers + 6 * self._state_numbers
        return 2 * self.matmul_parameters + attention

    def forward_flop_per_token(self, context: Any) -> Any:
        """Mean FLOP of a token of a sequence of `context`, as in training and in prefill.

        A token attends to those before it and itself, half the sequence on average; Megatron's and
        PaLM's papers count the whole sequence for each. Linear attention is counted as in decode;
        kernels that take 64 tokens at a time do about twice that, to do it in larger products.
        """
        windowed: Any = mean_attended(context, self.window) if self.window_layers else 0.0
        in_layers = self._over_layers(mean_attended(context, context), windowed)
        size = 2 * self.head_size
        if self.kv_rank:
            size = self.nope_size + self.rope_size + self.v_head_size
        attention = 2 * self.heads * size * in_layers + 6 * self._state_numbers
        return 2 * self.matmul_parameters + attention

    def training_flop_per_token(self, context: Any) -> Any:
        """Mean FLOP of a training token: forward, and twice that backward."""
        return 3 * self.forward_flop_per_token(context)

    @property
    def _looked_up(self) -> float:
        return 0.0 if self.tied else float(self.vocabulary * self.width)

    @property
    def _kv_layers(self) -> int:
        return self.layers - self.linear_layers

    @property
    def _state_numbers(self) -> int:
        size = self.linear_key_size * self.linear_value_size
        return self.linear_layers * self.linear_heads * size

    def _with_experts(self, share: Any) -> Any:
        return self.parameters - (1 - share) * self.routed_parameters

    def _over_layers(self, full: Any, windowed: Any) -> Any:
        return (self._kv_layers - self.window_layers) * full + self.window_layers * windowed


AT_LEAST_1 = ("layers", "width", "heads", "vocabulary")
WITH = {  # what has to be there with a field that is above 0
    "kv_heads": ("head_size",),
    "kv_rank": ("nope_size", "v_head_size"),
    "expert_layers": ("experts", "active_experts", "expert_ffn"),
    "window_layers": ("window",),
    "linear_layers": ("linear_heads", "linear_key_heads", "linear_key_size", "linear_value_size"),
}
AT_MOST = {
    "kv_heads": "heads",
    "expert_layers": "layers",
    "active_experts": "experts",
    "window_layers": "layers",
    "linear_layers": "layers",
    "linear_key_heads": "linear_heads",
}


def transformer(**row: Any) -> Transformer:
    """A Transformer whose fields fit together; ValueError names one that does not.

    row: fields by name [1], None where the model has no such part
    returns: [1]
    source: definition of Transformer
    """
    given = {name: value for name, value in row.items() if value is not None}
    try:
        model = Transformer(**given)
    except TypeError as error:
        raise ValueError(f"{error}; the fields are {', '.join(Transformer._fields)}") from None
    least = dict.fromkeys(Transformer._fields, 0) | dict.fromkeys(AT_LEAST_1, 1)
    least |= {name: 1 for switch, names in WITH.items() if given.get(switch) for name in names}
    for name, value in model._asdict().items():
        if not (value >= least[name] and value % 1 == 0):
            raise ValueError(
                f"{name}: {value} is out of range; give a whole number, {least[name]} or more"
            )
        most = getattr(model, AT_MOST.get(name, name))
        if value > most:
            raise ValueError(f"{name}: {value} is above {AT_MOST[name]}, {most}; give that or less")
    for name in ("gated", "tied", "output_gate"):
        if getattr(model, name) not in (False, True):
            raise ValueError(f"{name}: {getattr(model, name)} is out of range; give true or false")
    if model.ffn == 0 and model.expert_layers < model.layers:
        raise ValueError(
            f"ffn: 0 is out of range; give 1 or more, as {model.layers - model.expert_layers} "
            "layers have no experts"
        )
    if bool(model.kv_heads) == bool(model.kv_rank):
        raise ValueError(
            f"kv_heads: {model.kv_heads} with kv_rank {model.kv_rank}; "
            "give the one that the attention has, and 0 for the other"
        )
    for part, whole in (("kv_heads", "heads"), ("linear_key_heads", "linear_heads")):
        some, every = getattr(model, part), getattr(model, whole)
        if some and every % some:
            raise ValueError(f"{part}: {some} does not divide {whole}, {every}; give a divisor")
    most = model.layers - max(1, model.window_layers)
    if model.linear_layers > most:
        raise ValueError(
            f"linear_layers: {model.linear_layers} leave too few of {model.layers} layers for keys "
            f"and values; give at most {most}"
        )
    if model.output_gate and model.kv_rank:
        raise ValueError("output_gate: true is not counted with kv_rank; give false")
    return model
