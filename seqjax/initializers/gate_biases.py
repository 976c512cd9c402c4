"""Initial biases of gates, for the times over which a task has to remember."""

from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp

from seqjax._internal import checks
from seqjax.initializers.weights import default_dtype


@final
@dataclass(frozen=True)
class Chrono:
    """Biases of gates that keep a state for times spread evenly up to `longest` steps.

        b = log u,   u ~ U(1, longest - 1);   1 / (1 - σ(b)) = 1 + u is uniform in [2, longest]

    1 / (1 - σ(b)) steps is how long a gate of that bias keeps its state, of any shape [...].
    `chrono_biases` puts them where they belong in the params of a cell. Tallec and Ollivier 2018,
    section 3.

    Raises:
      ValueError: if longest is not a finite number above 2; when called, if key is not a typed
        key.

    Example:
      >>> b = Chrono(100)(jax.random.key(0), (1000,))
      >>> kept = 1 / (1 - jax.nn.sigmoid(b))
      >>> bool(kept.min() >= 2), bool(kept.max() <= 100.1), int(kept.mean().round(-1))
      (True, True, 50)
    """

    longest: float

    def __post_init__(self):
        checks.hold_numbers(self, "longest")
        checks.require(
            self.longest > 2,
            f"longest is {self.longest!r}; expected the steps of the longest dependency, above 2.",
        )

    def __call__(self, key, shape, dtype=None):
        """An array of this shape."""
        checks.key(key)
        dtype = default_dtype(dtype)
        return jnp.log(jax.random.uniform(key, shape, dtype, minval=1, maxval=self.longest - 1))


@final
@dataclass(frozen=True)
class Gates:
    """How the bias b [..., N H] in a cell's params is split among N gates, H numbers each.

    Params say it of themselves by a class attribute `GATES`, so that `chrono_biases` knows them.

    Attributes:
      names: a letter a gate, in the order of the blocks, such as "ifgo".
      keep: the gate whose σ(b) is the share of the state that stays; "" if there is none.
      write: the gate whose σ(b) is the share that is added; "" where `keep` decides that too.

    Raises:
      ValueError: if keep or write is no letter of names, or both are "".

    Example:
      >>> import seqjax as sj
      >>> sj.cells.LSTMParams.GATES
      Gates(names='ifgo', keep='f', write='i')

    References:
      The names are those of Gers et al. 2000 and Cho et al. 2014.
    """

    names: str
    keep: str = ""
    write: str = ""

    def __post_init__(self):
        for name in ("keep", "write"):
            value = getattr(self, name)
            checks.require(
                value in (*self.names, ""),
                f"{name} is {value!r}; expected a letter of names = {self.names!r}.",
            )
        checks.require(
            bool(self.keep or self.write),
            f"keep and write are both ''; expected a letter of names = {self.names!r} for one.",
        )

    def set(self, b: jax.Array, gate: str, values: jax.Array) -> jax.Array:
        """b [..., N H] with the biases of one gate replaced by values [..., H]."""
        start = self.names.index(gate) * values.shape[-1]
        return b.at[..., start : start + values.shape[-1]].set(values)


def chrono_biases(params: Any, key: jax.Array, longest: float) -> Any:
    """Params whose gates keep a state for times spread evenly up to `longest` steps.

        b_f = log u,  u ~ U(1, longest - 1),   b_i = -b_f

    Left alone, a unit forgets half of its state in ln 2 / -ln σ(b_f) steps, about ln 2 (1 + u),
    and writes no more than it forgets: σ(b_i) = 1 - σ(b_f). The keeping gate is the forget gate of
    the LSTMs, QRNN and SRU, and z of the GRUs, which keeps where it is 1. Where the only gate
    writes, z of `MinGRU` and f of `MGU`, its bias is negated; coupled gates have one bias for both.
    Nothing else changes.

    Initial values only: nothing is added to what is trained. Not for tasks of short dependencies,
    where half of the units begin slower than anything they have to follow; and not for `SLSTM`,
    whose gates have exponentials and initial times of their own, nor for `LRU` and the like, whose
    initial moduli do the same.

    Args:
      params: any tree with params of gated cells in it (of a `Stack`, `Bidirectional`, `Residual`,
        a dict of a whole model). Params of your own cell take part once they have a field `b` and
        say their `GATES`, such as `GATES = Gates("fg", keep="f")`.
      key: a typed key.
      longest: T_max > 2, the steps of the longest dependency to be learned.

    Returns:
      The same tree with the biases [..., H] of these gates drawn again, in their dtypes.

    Raises:
      ValueError: if no params in the tree say their gates, some have no biases, longest is not a
        finite number above 2, or key is not a typed key.

    Example:
      >>> import seqjax as sj
      >>> params = sj.LSTM(3).init(jax.random.key(0), input_size=2)
      >>> params = sj.initializers.chrono_biases(params, jax.random.key(1), longest=100)
      >>> b_i, b_f, b_g, b_o = params.b.reshape(4, 3)
      >>> bool((b_i == -b_f).all()), (1 / (1 - jax.nn.sigmoid(b_f))).max() < 100
      (True, Array(True, dtype=bool))

    References:
      Tallec and Ollivier, Can Recurrent Neural Networks Warp Time?, 2018, section 3.
    """
    draw = Chrono(longest)
    checks.key(key)
    nodes, structure = jax.tree.flatten(params, is_leaf=_has_gates)
    gated = [index for index, node in enumerate(nodes) if _has_gates(node)]
    checks.require(
        bool(gated),
        f"params is a {type(params).__name__} in which nothing says its gates; expected params of "
        "a gated cell, such as LSTMParams. In params of your own cell, name the blocks of b: "
        'GATES = Gates("fg", keep="f").',
    )
    for number, index in enumerate(gated):
        nodes[index] = _with_biases(nodes[index], jax.random.fold_in(key, number), draw)
    return jax.tree.unflatten(structure, nodes)


def _has_gates(node: Any) -> bool:
    return isinstance(getattr(node, "GATES", None), Gates)


def _with_biases(params: Any, key: jax.Array, draw: Chrono) -> Any:
    """One cell's params with the biases of its keeping and writing gates drawn."""
    gates, b = params.GATES, params.b
    checks.require(
        b is not None,
        f"params is a {type(params).__name__} whose b is None; expected biases. Make the cell with "
        "use_bias=True.",
    )
    shape = (*b.shape[:-1], b.shape[-1] // len(gates.names))
    values = draw(key, shape).astype(b.dtype)
    b = gates.set(b, gates.keep, values) if gates.keep else b
    return params._replace(b=gates.set(b, gates.write, -values) if gates.write else b)
