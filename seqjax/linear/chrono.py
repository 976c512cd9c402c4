"""Initial biases of gates, for the times over which a task has to remember."""

from typing import Any, NamedTuple

import jax

from seqjax._internal import checks
from seqjax.cells.conv_lstm import ConvLSTMParams
from seqjax.cells.coupled import CoupledLSTMParams
from seqjax.cells.diagonal import DiagonalGRUParams, DiagonalLSTMParams
from seqjax.cells.gru import GRUParams
from seqjax.cells.layer_norm import LayerNormLSTMParams
from seqjax.cells.lstm import LSTMParams
from seqjax.cells.peephole import PeepholeLSTMParams
from seqjax.cells.phased_lstm import PhasedLSTMParams
from seqjax.cells.projected import ProjectedLSTMParams
from seqjax.core.noise import check_key
from seqjax.initializers import Chrono
from seqjax.linear.min_gru import MinGRUParams
from seqjax.linear.min_lstm import MinLSTMParams
from seqjax.linear.qrnn import QRNNParams
from seqjax.linear.sru import SRUParams


class _Gates(NamedTuple):
    """Which block of b [N H] is the bias of which gate, counted from 0.

    Fields:
      blocks: N.
      keep: the gate that decides how much of the state stays.
      write: the gate of its own, if there is one, that decides how much is added.
      sign: 1 where σ(b) of the first one is the share that stays, -1 where it is the one that goes.
    """

    blocks: int
    keep: int
    write: int | None = None
    sign: int = 1


_LSTM = _Gates(blocks=4, keep=1, write=0)
_GATES = {
    LSTMParams: _LSTM,
    PeepholeLSTMParams: _LSTM,
    ProjectedLSTMParams: _LSTM,
    LayerNormLSTMParams: _LSTM,
    ConvLSTMParams: _LSTM,
    PhasedLSTMParams: _LSTM,
    CoupledLSTMParams: _Gates(blocks=3, keep=0),
    DiagonalLSTMParams: _Gates(blocks=3, keep=0),
    GRUParams: _Gates(blocks=3, keep=1),
    DiagonalGRUParams: _Gates(blocks=3, keep=1),
    MinLSTMParams: _Gates(blocks=3, keep=1, write=0),
    MinGRUParams: _Gates(blocks=2, keep=0, sign=-1),
    QRNNParams: _Gates(blocks=3, keep=1),
    SRUParams: _Gates(blocks=2, keep=0),
}


def chrono_biases(params: Any, key: jax.Array, longest: float) -> Any:
    """Params whose gates keep a state for times spread evenly up to `longest` steps.

        b_f = log u,  u ~ U(1, longest - 1),   b_i = -b_f

    Left alone, a unit forgets half of its state in ln 2 / -ln σ(b_f) steps, about ln 2 (1 + u),
    and writes no more than it forgets: σ(b_i) = 1 - σ(b_f). The keeping gate is the forget gate of
    the LSTMs, QRNN and SRU, and z of the GRUs, which keeps where it is 1 (in `MinGRU` it writes,
    and its bias is negated); coupled gates have one bias for both. Nothing else changes.

    Initial values only: nothing is added to what is trained. Not for tasks of short dependencies,
    where half of the units begin slower than anything they have to follow; and not for `SLSTM`,
    whose gates have exponentials and initial times of their own, nor for `LRU` and the like, whose
    initial moduli are the same idea.

    Args:
      params: of one of these cells, or any tree that holds such (of a `Stack`, `Bidirectional`,
        `Residual`, a dict of a whole model).
      key: a typed key.
      longest: T_max > 2, the steps of the longest dependency to be learned.

    Returns:
      The same tree with the biases [..., H] of these gates drawn anew, in their dtypes.

    Raises:
      ValueError: if params holds none of such a cell, or one without biases, longest is not a
        finite number above 2, or key is not a typed key.

    Example:
      >>> import seqjax as sj
      >>> params = sj.LSTM(3).init(jax.random.key(0), input_size=2)
      >>> params = sj.chrono_biases(params, jax.random.key(1), longest=100)
      >>> b_i, b_f, b_g, b_o = params.b.reshape(4, 3)
      >>> bool((b_i == -b_f).all()), (1 / (1 - jax.nn.sigmoid(b_f))).max() < 100
      (True, Array(True, dtype=bool))

    References:
      Tallec and Ollivier, Can Recurrent Neural Networks Warp Time?, 2018, section 3.
    """
    draw = Chrono(longest)
    check_key(key)
    known = lambda node: type(node) in _GATES
    nodes, structure = jax.tree.flatten(params, is_leaf=known)
    found = [index for index, node in enumerate(nodes) if known(node)]
    checks.require(
        bool(found),
        f"params is a {type(params).__name__} with no params of a gated cell; expected those of "
        f"one of {', '.join(sorted(kind.__name__ for kind in _GATES))}. For a cell of your own "
        "draw the gate's bias by Chrono(longest).",
    )
    for number, index in enumerate(found):
        nodes[index] = _with_biases(nodes[index], jax.random.fold_in(key, number), draw)
    return jax.tree.unflatten(structure, nodes)


def _with_biases(params: Any, key: jax.Array, draw: Chrono) -> Any:
    """One cell's params with the biases of its keeping and writing gates drawn."""
    gates, b = _GATES[type(params)], params.b
    checks.require(
        b is not None,
        f"params is a {type(params).__name__} whose b is None; expected biases. Make the cell with "
        "use_bias=True.",
    )
    size = b.shape[-1] // gates.blocks
    values = gates.sign * draw(key, (*b.shape[:-1], size)).astype(b.dtype)
    block = lambda gate: (..., slice(gate * size, (gate + 1) * size))
    b = b.at[block(gates.keep)].set(values)
    return params._replace(b=b if gates.write is None else b.at[block(gates.write)].set(-values))
