"""Params of another spec are refused, by every cell, at every door, in words."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import pytest
from support.zoo import CELLS

import seqjax as sj
from seqjax._internal import specs
from seqjax.core.cell import is_encoder
from seqjax.testing import check_cell

KEY, SIZE = jax.random.key(0), 3
XS = jnp.ones((2, 5, SIZE))
FORMS = {n: jax.eval_shape(lambda c=c: c.init(KEY, SIZE)) for n, c in CELLS.items()}


def form(params):
    """Structure and shapes, by hand."""
    return jax.tree.structure(params), [leaf.shape for leaf in jax.tree.leaves(params)]


@functools.cache
def forms_of(name: str) -> list:
    """The forms that a cell draws for all small sizes of input."""
    found = []
    for size in range(1, 20):
        try:
            found.append(form(jax.eval_shape(lambda s=size: CELLS[name].init(KEY, s))))
        except ValueError:  # a Residual takes one size only
            continue
    return found


@pytest.mark.parametrize("name", CELLS)
def test_params_of_other_cells_are_refused(name):
    cell = CELLS[name]
    for params in FORMS.values():
        doors = [lambda p: cell.initial_carry(p, 2)]
        if not is_encoder(cell):
            doors.append(lambda p: cell.step(p, None, XS[:, 0]))
        if hasattr(cell, "unroll"):
            doors.append(lambda p: cell.unroll(p, None, XS))
        if form(params) == form(FORMS[name]) or form(params) in forms_of(name):
            continue
        for door in doors:
            with pytest.raises(ValueError, match=r"^params.*; expected .*init draws it\. Pass"):
                door(params)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_own_params_are_taken(name, dtype):
    cell, params = CELLS[name], FORMS[name]
    cast = lambda a: jax.ShapeDtypeStruct(a.shape, dtype if a.dtype == jnp.float32 else a.dtype)
    jax.eval_shape(lambda p: cell.initial_carry(p, 2), jax.tree.map(cast, params))
    stacked = jax.tree.map(lambda a: jax.ShapeDtypeStruct((4, *a.shape), a.dtype), params)
    if jax.tree.leaves(params):
        jax.eval_shape(jax.vmap(lambda p: cell.initial_carry(p, 2)), stacked)
    specs.check_params(cell, params)


@pytest.mark.parametrize(
    ("cell", "other", "message"),
    [
        (sj.LSTM(8), sj.cells.PeepholeLSTM(8), "params is PeepholeLSTMParams; expected LSTMParams"),
        (sj.LSTM(8), sj.cells.LayerNormLSTM(8), "params is LayerNormLSTMParams; expected LSTMPar"),
        (sj.GRU(8, reset="before"), sj.GRU(8), r"params.b_n is an array \[8\]; expected None"),
        (sj.LSTM(8), sj.LSTM(16), r"params.w_x has shape \[3, 64\]; expected \[any, 32\]"),
        (
            sj.Stack((sj.LSTM(8),) * 2),
            sj.Stack((sj.LSTM(8),) * 3),
            "params is a tuple of 3; expected a tuple of 2",
        ),
        (
            sj.Stack((sj.LSTM(8), sj.GRU(4))),
            sj.Stack((sj.LSTM(8), sj.GRU(5))),
            r"params\[1\].w_x has shape \[8, 15\]; expected \[8, 12\]",
        ),
    ],
    ids=["peephole", "layer_norm", "reset", "width", "members", "member"],
)
def test_a_wrong_number_of_users_is_an_error(cell, other, message):
    """Each ran, or failed in words that name nothing."""
    params = other.init(KEY, SIZE)
    with pytest.raises(ValueError, match=message):
        sj.unroll(cell, params, XS)
    with pytest.raises(ValueError, match=message):
        sj.newton.unroll(cell, params, XS)


def test_integers_are_no_params():
    params = jax.tree.map(lambda a: a.astype(int), sj.LSTM(2).init(KEY, SIZE))
    with pytest.raises(ValueError, match="params.w_x has dtype int32; expected floating point"):
        sj.unroll(sj.LSTM(2), params, XS)


def test_params_read_from_a_file_keep_their_types():
    params = sj.LSTM(2).init(KEY, SIZE)
    with pytest.raises(ValueError, match="params is a dict of 3; expected LSTMParams"):
        sj.unroll(sj.LSTM(2), params._asdict(), XS)


def test_attention_losses_and_decoders_look_at_their_params():
    additive = sj.attention.AdditiveAttention(4)
    normed = sj.attention.AdditiveAttention(4, normalised=True).init(KEY, 3, 5)
    with pytest.raises(ValueError, match=r"params.b is an array \[4\]; expected None"):
        additive.prepare(normed, jnp.ones((2, 6, 5)))
    with pytest.raises(ValueError, match="expected a tuple of 0, as DotAttention"):
        sj.attention.DotAttention().prepare((jnp.ones(2),), jnp.ones((2, 6, 5)))
    softmax = sj.losses.AdaptiveSoftmax((4, 10))
    wide = sj.losses.AdaptiveSoftmax((5, 10)).init(KEY, 8)
    with pytest.raises(ValueError, match=r"params.w has shape \[8, 6\]; expected \[any, 5\]"):
        softmax.log_probs(wide, jnp.ones((2, 8)))
    decoder = sj.AttentionDecoder(sj.GRU(3), additive)
    params = decoder.init(KEY, input_size=2, memory_size=5)
    with pytest.raises(ValueError, match=r"params.attention.b is an array \[4\]; expected None"):
        decoder.bind(params._replace(attention=normed), jnp.ones((2, 6, 5)))
    bound = decoder.bind(params, jnp.ones((2, 6, 5)))
    with pytest.raises(ValueError, match=r"params.cell.w_x has shape \[7, 9\]; expected \[any, 12"):
        sj.unroll(sj.AttentionDecoder(sj.GRU(4), additive), bound, jnp.ones((2, 5, 2)))


def test_what_another_decoder_bound_is_refused():
    """An attentional vector was made, or left out, by what the params held: off by 0.5."""
    plain = sj.AttentionDecoder(sj.GRU(3), sj.attention.AdditiveAttention(4))
    other = dataclasses.replace(plain, attentional_size=3)
    for decoder, owner in ((plain, other), (other, plain)):
        bound = owner.bind(owner.init(KEY, 2, 5), jnp.ones((2, 6, 5)))
        with pytest.raises(ValueError, match=r"params.w_c is .*; expected "):
            sj.unroll(decoder, bound, jnp.ones((2, 5, 2)))
        with pytest.raises(ValueError, match=r"params.w_c is .*; expected "):
            decoder.step(bound, owner.initial_carry(bound, 2), jnp.ones((2, 2)))


def test_another_argument_in_the_place_of_params():
    with pytest.raises(ValueError, match="expected LSTMParams, .* Is it another argument?"):
        sj.unroll(sj.LSTM(2), XS, sj.LSTM(2).init(KEY, SIZE))
    with pytest.raises(ValueError, match="expected LSTMParams, .* params come first of a method"):
        sj.LSTM(2).initial_carry(2, sj.LSTM(2).init(KEY, SIZE))  # pyright: ignore[reportArgumentType]


def test_a_cell_of_ones_own_is_looked_at_by_unroll():
    class Total:
        def init(self, key, input_size):
            return jnp.zeros((input_size, 2))

        def initial_carry(self, params, batch_size, key=None):
            return jnp.zeros((batch_size, params.shape[1]))

        def step(self, params, carry, x):
            return carry + x @ params, carry

    sj.unroll(Total(), jnp.zeros((SIZE, 2)), XS)
    with pytest.raises(ValueError, match=r"params has shape \[3, 4\]; expected \[any, 2\]"):
        sj.unroll(Total(), jnp.zeros((SIZE, 4)), XS)


def test_an_init_that_does_not_tell_lets_everything_pass():
    class Loaded(sj.RecurrentCell):
        def init(self, key, input_size):
            raise NotImplementedError("read them from a file")

        def initial_carry(self, params, batch_size, key=None):
            return jnp.zeros((batch_size, 2))

        def project(self, params, xs):
            return xs @ params

        def recur(self, params, carry, z, affine):
            return z

        def output(self, params, carry):
            return carry

    assert sj.unroll(Loaded(), jnp.zeros((SIZE, 2)), XS)[1].shape == (2, 5, 2)


def test_looking_happens_once():
    cell, params = sj.LSTM(7), sj.LSTM(7).init(KEY, SIZE)
    carry = cell.initial_carry(params, 2)
    looks = specs._misfit.cache_info().misses
    for _ in range(3):
        carry, _ = cell.step(params, carry, XS[:, 0])
    sj.unroll(sj.LSTM(7), sj.LSTM(7).init(KEY, SIZE), XS)
    assert specs._misfit.cache_info().misses == looks


@dataclasses.dataclass(frozen=True)
class Fixed:
    """A cell whose `init` takes one size of input."""

    def init(self, key, input_size):
        if input_size != SIZE:
            raise ValueError(f"input_size is {input_size}")
        return jnp.zeros(())

    def initial_carry(self, params, batch_size, key=None):
        return jnp.zeros((batch_size, SIZE))

    def step(self, params, carry, x):
        return carry + x, carry + x


def test_check_cell_wants_an_init_that_tells():
    with pytest.raises(AssertionError, match=r"foreign params are refused \(let init take any"):
        check_cell(Fixed(), input_size=SIZE)
