# pyright: reportMissingImports=false
"""The same recurrent layers in other libraries, as functions of (weights, xs).

Each builder draws the library's own weights; `to_params` says what they are in seqjax's terms, so
that the results can be compared before anything is timed.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import seqjax as sj
from benchmarks import harness
from benchmarks import weights as convert
from benchmarks.weights import under

os.environ.setdefault("KERAS_BACKEND", "jax")


class Layers(NamedTuple):
    """What is to be built.

    Attributes:
      kind: "lstm", "gru" (reset after the product) or "gru_before".
      input_size: D.
      hidden_size: H.
      bidirectional: two bidirectional layers instead of one layer.
    """

    kind: str
    input_size: int
    hidden_size: int
    bidirectional: bool = False


class Contender(NamedTuple):
    """One library's layers.

    Attributes:
      weights: a pytree of arrays.
      run: (weights, xs [B, T, D], lengths [B] or None) -> ys [B, T, H].
      to_params: weights -> seqjax's params.
      cell: the seqjax cell that is the same function.
      ragged: whether lengths can be given.
      first_step: weights -> a function (carry, x [B, D]) -> (carry, y) and its carry at batch
        size 1; None where the library has none.
    """

    weights: Any
    run: Callable
    to_params: Callable
    cell: Any
    ragged: bool = True
    first_step: Callable | None = None


def seqjax_cell(layers: Layers) -> Any:
    """The cell, or stack of cells."""
    size = layers.hidden_size
    cell = {
        "lstm": sj.LSTM(size),
        "gru": sj.GRU(size),
        "gru_before": sj.GRU(size, reset="before"),
    }[layers.kind]
    return sj.Stack((sj.Bidirectional(cell),) * 2) if layers.bidirectional else cell


def build_seqjax(layers: Layers) -> Contender:
    """seqjax itself."""
    cell = seqjax_cell(layers)
    params = cell.init(jax.random.key(0), layers.input_size)

    def run(params, xs, lengths):
        return sj.unroll(cell, params, xs, lengths=lengths)[1]

    def first_step(params):
        return (lambda c, x: cell.step(params, c, x)), cell.initial_carry(params, 1)

    return Contender(params, run, lambda params: params, cell, first_step=first_step)


def build_stepped(layers: Layers) -> Contender | None:
    """seqjax's cell under `scan`, differentiated by JAX: what the fused path is measured by."""
    if layers.bidirectional:
        return None
    whole = build_seqjax(layers)
    cell = whole.cell

    def run(params, xs, lengths):
        mask = None if lengths is None else jnp.arange(xs.shape[1]) < lengths[:, None]
        carry = cell.initial_carry(params, xs.shape[0])
        return sj.scan(lambda c, x: cell.step(params, c, x), carry, xs, mask=mask)[1]

    return whole._replace(run=run, first_step=None)


def build_linen(layers: Layers) -> Contender | None:
    """flax.linen's RNN."""
    from flax import linen

    if layers.kind == "gru_before":
        return None
    cell = linen.OptimizedLSTMCell if layers.kind == "lstm" else linen.GRUCell
    rnn = lambda: linen.RNN(cell(layers.hidden_size))
    one = convert.flax_lstm if layers.kind == "lstm" else convert.linen_gru
    xs = jnp.zeros((1, 1, layers.input_size))
    if layers.bidirectional:
        models = [linen.Bidirectional(rnn(), rnn()) for _ in range(2)]
    else:
        models = [rnn()]
    weights = []
    for model in models:
        weights.append(model.init(jax.random.key(len(weights)), xs))
        xs = model.apply(weights[-1], xs)

    def run(weights, xs, lengths):
        for model, params in zip(models, weights, strict=True):
            xs = model.apply(params, xs, seq_lengths=lengths)
        return xs

    def to_params(weights):
        flat = [_join(params["params"]) for params in weights]
        if not layers.bidirectional:
            return one(under("cell.", flat[0]))
        return tuple(_both(one, f, "forward_rnn.cell.", "backward_rnn.cell.") for f in flat)

    def first_step(weights):
        bare = cell(layers.hidden_size)
        params = {"params": weights[0]["params"]["cell"]}
        carry = bare.initialize_carry(jax.random.key(0), (1, layers.input_size))
        return (lambda c, x: bare.apply(params, c, x)), carry

    return Contender(
        weights, run, to_params, seqjax_cell(layers), first_step=_single(first_step, layers)
    )


def build_nnx(layers: Layers) -> Contender | None:
    """flax.nnx's RNN. Its GRU has no second bias in the candidate."""
    from flax import nnx

    if layers.kind == "gru_before":
        return None
    lstm = layers.kind == "lstm"
    cell = nnx.OptimizedLSTMCell if lstm else nnx.GRUCell
    one = convert.nnx_fused_lstm if lstm else convert.nnx_gru
    size, rngs = layers.hidden_size, nnx.Rngs(0)
    rnn = lambda width: nnx.RNN(cell(width, size, rngs=rngs))
    if layers.bidirectional:
        widths = (layers.input_size, 2 * size)
        models = [nnx.Bidirectional(rnn(width), rnn(width)) for width in widths]
    else:
        models = [rnn(layers.input_size)]
    parts = [nnx.split(model, nnx.Param, ...) for model in models]
    weights = [nnx.to_pure_dict(params) for _, params, _ in parts]

    def merge(n, params):
        graph, _, rest = parts[n]
        return nnx.merge(graph, nnx.State(jax.tree.map(nnx.Param, params)), rest)

    def start(batch_size):  # given, as nnx would draw it from a stream that jit may not advance
        zeros = jnp.zeros((batch_size, size))
        return (zeros, zeros) if lstm else zeros

    def run(weights, xs, lengths):
        first = start(xs.shape[0])
        first = (first, first) if layers.bidirectional else first
        for n, params in enumerate(weights):
            xs = merge(n, params)(xs, initial_carry=first, seq_lengths=lengths)
        return xs

    def to_params(weights):
        flat = [_join(params) for params in weights]
        if not layers.bidirectional:
            return one(under("cell.", flat[0]))
        return tuple(_both(one, f, "forward_rnn.cell.", "backward_rnn.cell.") for f in flat)

    def first_step(weights):
        return (lambda c, x: merge(0, weights[0]).cell(c, x)), start(1)

    return Contender(
        weights, run, to_params, seqjax_cell(layers), first_step=_single(first_step, layers)
    )


def build_haiku(layers: Layers) -> Contender | None:
    """Haiku's dynamic_unroll, which knows no lengths. Its GRU resets before the product."""
    import haiku

    if layers.kind == "gru" or layers.bidirectional:
        return None
    lstm = layers.kind == "lstm"
    core = haiku.LSTM if lstm else haiku.GRU

    def forward(xs):
        cell = core(layers.hidden_size, name="core")
        return haiku.dynamic_unroll(cell, xs, cell.initial_state(xs.shape[0]), time_major=False)[0]

    def forward_step(state, x):
        y, state = core(layers.hidden_size, name="core")(x, state)
        return state, y

    whole = haiku.without_apply_rng(haiku.transform(forward))
    single = haiku.without_apply_rng(haiku.transform(forward_step))
    weights = whole.init(jax.random.key(0), jnp.zeros((1, 1, layers.input_size)))

    def to_params(weights):
        flat = {f"{module}.{name}": a for module, ps in weights.items() for name, a in ps.items()}
        return convert.haiku_lstm(flat) if lstm else convert.haiku_gru(flat)

    def first_step(weights):
        zeros = jnp.zeros((1, layers.hidden_size))
        carry = haiku.LSTMState(zeros, zeros) if lstm else zeros
        return (lambda c, x: single.apply(weights, c, x)), carry

    return Contender(
        weights,
        lambda weights, xs, _: whole.apply(weights, xs),
        to_params,
        seqjax_cell(layers),
        ragged=False,
        first_step=first_step,
    )


def build_equinox(layers: Layers) -> Contender | None:
    """Equinox's cells under `lax.scan` and `vmap`, as its documentation shows; no lengths."""
    import equinox

    if layers.kind == "gru_before" or layers.bidirectional:
        return None
    lstm = layers.kind == "lstm"
    new = equinox.nn.LSTMCell if lstm else equinox.nn.GRUCell
    cell = new(layers.input_size, layers.hidden_size, key=jax.random.key(0))
    weights, rest = equinox.partition(cell, equinox.is_array)

    def start():
        zeros = jnp.zeros(layers.hidden_size)
        return (zeros, zeros) if lstm else zeros

    def step(cell, carry, x):
        carry = cell(x, carry)
        return carry, carry[0] if lstm else carry

    def run(weights, xs, _):
        cell = equinox.combine(weights, rest)
        one = lambda xs: jax.lax.scan(lambda c, x: step(cell, c, x), start(), xs)[1]
        return jax.vmap(one)(xs)

    def to_params(weights):
        flat = vars(weights)
        return convert.equinox_lstm(flat) if lstm else convert.equinox_gru(flat)

    def first_step(weights):
        cell = equinox.combine(weights, rest)
        rows = jax.vmap(lambda c, x: step(cell, c, x))
        return rows, jax.tree.map(lambda a: a[None], start())

    return Contender(
        weights, run, to_params, seqjax_cell(layers), ragged=False, first_step=first_step
    )


def build_keras(layers: Layers) -> Contender:
    """Keras on its JAX backend."""
    import keras

    new = {
        "lstm": lambda: keras.layers.LSTM(layers.hidden_size, return_sequences=True),
        "gru": lambda: keras.layers.GRU(layers.hidden_size, return_sequences=True),
        "gru_before": lambda: keras.layers.GRU(
            layers.hidden_size, return_sequences=True, reset_after=False
        ),
    }[layers.kind]
    one = convert.keras_lstm if layers.kind == "lstm" else convert.keras_gru
    size = layers.hidden_size
    if layers.bidirectional:
        models = [keras.layers.Bidirectional(new()) for _ in range(2)]
        widths = (layers.input_size, 2 * size)
    else:
        models, widths = [new()], (layers.input_size,)
    for model, width in zip(models, widths, strict=True):
        model.build((None, None, width))
    weights = [[v.value for v in model.trainable_variables] for model in models]

    def run(weights, xs, lengths):
        mask = None if lengths is None else jnp.arange(xs.shape[1]) < lengths[:, None]
        for model, trainable in zip(models, weights, strict=True):
            others = [v.value for v in model.non_trainable_variables]
            xs, _ = model.stateless_call(trainable, others, xs, mask=mask)
        return xs if mask is None else jnp.where(mask[..., None], xs, 0)

    def to_params(weights):
        names = ("kernel", "recurrent_kernel", "bias")
        if not layers.bidirectional:
            return one(dict(zip(names, weights[0], strict=True)))
        side = lambda arrays: one(dict(zip(names, arrays, strict=True)))
        return tuple(sj.cells.BidirectionalParams(side(w[:3]), side(w[3:])) for w in weights)

    return Contender(weights, run, to_params, seqjax_cell(layers))


BUILDERS: dict[str, tuple[str, Callable]] = {  # name: (module that must be installed, builder)
    "seqjax": ("seqjax", build_seqjax),
    "scan": ("seqjax", build_stepped),
    "flax.linen": ("flax", build_linen),
    "flax.nnx": ("flax", build_nnx),
    "haiku": ("haiku", build_haiku),
    "equinox": ("equinox", build_equinox),
    "keras": ("keras", build_keras),
}


def installed(name: str) -> bool:
    """Whether a peer's library can be imported, asked without importing it."""
    return find_spec("torch" if name == "torch" else BUILDERS[name][0]) is not None


def missing(names: Sequence[str]) -> list[str]:
    """`harness.check_peers` of layers. PyTorch, which runs in a process of its own, is one."""
    return harness.check_peers(names, [*BUILDERS, "torch"], installed)


def build(name: str, layers: Layers) -> Contender | None:
    """A contender, or None where the library has no such layer."""
    return BUILDERS[name][1](layers)


def _single(first_step: Callable, layers: Layers) -> Callable | None:
    return None if layers.bidirectional else first_step


def _both(one: Callable, flat: dict, forward: str, backward: str) -> sj.cells.BidirectionalParams:
    return sj.cells.BidirectionalParams(one(under(forward, flat)), one(under(backward, flat)))


def _join(tree: Any, prefix: str = "") -> dict:
    """A nested dict as a flat one, with names joined by a dot."""
    flat = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _join(value, f"{prefix}{name}.")
        else:
            flat[prefix + str(name)] = value
    return flat
