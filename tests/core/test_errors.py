"""Bad calls and the exact text of their errors: what came, what was expected, the remedy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import seqjax as sj
from seqjax.testing import check_cell

cell = sj.LSTM(3)
params = cell.init(jax.random.key(0), 4)
xs = jnp.ones((2, 5, 4))
key = jax.random.key(0)


def unroll(**how):
    return sj.unroll(cell, params, xs, **how)


def total(c, x):
    return (c + x, c)


def step(c, t):
    return (c, jnp.zeros((t.shape[0], 3)))


one = jnp.zeros((2, 1))


def sample(s=step, c=one, **how):
    return sj.sample(s, c, **({"bos": 0, "eos": 2, "max_len": 4, "key": key} | how))


def beam(s=step, c=one, **how):
    return sj.beam_search(s, c, **({"bos": 0, "eos": 2, "max_len": 4, "beam_size": 2} | how))


def docs(d, **how):
    return sj.Corpus.from_documents(d, **({"bos": 0, "eos": 0, "batch_size": 2, "window": 3} | how))


logits, targets = jnp.zeros((2, 3, 4)), jnp.zeros((2, 3), int)


def mean(p, c, b, k):
    return (p.sum(), c)


def train(loss, carry=()):
    state = sj.init_train_state(jnp.ones(2), optax.sgd(0.1), key=key, carry=carry)
    return sj.make_train_step(loss, optax.sgd(0.1))(state, 0)


class Encoder(sj.core.Encoder):
    """An encoder that neither resets nor runs members."""

    def init(self, key, input_size):
        return ()

    def initial_carry(self, params, batch_size, key=None):
        return jnp.zeros((batch_size, 1))

    def unroll(self, params, carry, xs, steps):
        return carry, xs


def zone_out(rate):
    zoned = sj.Zoneout(cell, rate)
    return zoned.initial_carry(params, 2)


stamped = sj.cells.PhasedLSTM(3)
clock = stamped.init(key, 4)
film = sj.cells.ConvLSTM(2, kernel_size=3, shape=(5, 4))


BAD = {
    "phased_period_zero": (
        lambda: sj.cells.PhasedLSTM(3, period_range=(0.0, 5.0)),
        "period_range is (0.0, 5.0); expected a pair of positive numbers, low <= high, in the unit of times.",
    ),
    "phased_period_negative": (
        lambda: sj.cells.PhasedLSTM(3, period_range=(-2.0, -1.0)),
        "period_range is (-2.0, -1.0); expected a pair of positive numbers, low <= high, in the unit of times.",
    ),
    "phased_period_order": (
        lambda: sj.cells.PhasedLSTM(3, period_range=(5.0, 1.0)),
        "period_range is (5.0, 1.0); expected a pair of positive numbers, low <= high, in the unit of times.",
    ),
    "phased_period_nan": (
        lambda: sj.cells.PhasedLSTM(3, period_range=(1.0, float("nan"))),
        "period_range is (1.0, nan); expected a pair of positive numbers, low <= high, in the unit of times.",
    ),
    "phased_period_single": (
        lambda: sj.cells.PhasedLSTM(3, period_range=5.0),
        "period_range is 5.0; expected a pair of positive numbers, low <= high, in the unit of times.",
    ),
    "phased_ratio_zero": (
        lambda: sj.cells.PhasedLSTM(3, open_ratio=0.0),
        "open_ratio is 0.0; expected a share with 0 < open_ratio <= 1.",
    ),
    "phased_ratio_above": (
        lambda: sj.cells.PhasedLSTM(3, open_ratio=1.5),
        "open_ratio is 1.5; expected a share with 0 < open_ratio <= 1.",
    ),
    "phased_ratio_nan": (
        lambda: sj.cells.PhasedLSTM(3, open_ratio=float("nan")),
        "open_ratio is nan; expected a finite number.",
    ),
    "phased_leak": (
        lambda: sj.cells.PhasedLSTM(3, leak=-0.1),
        "leak is -0.1; expected a slope with 0 <= leak <= 1, such as 0.001.",
    ),
    "phased_plain_inputs": (
        lambda: sj.unroll(stamped, clock, xs),
        "xs is an array; expected Timed(values [B, T, D], times [B, T]), the time of each step.",
    ),
    "phased_times_shape": (
        lambda: sj.unroll(stamped, clock, sj.cells.Timed(xs, xs)),
        "xs.times has 3 axes and xs.values 3; expected one time a step: times [B, T] for values [B, T, D].",
    ),
    "phased_times_rows": (
        lambda: stamped.step(
            clock, stamped.initial_carry(clock, 2), sj.cells.Timed(xs[:, 0], xs[0, :3, 0])
        ),
        "xs.times has shape (3,) and xs.values (2, 4); expected one time a row: times [B] for values [B, D].",
    ),
    "phased_times_integer": (
        lambda: sj.unroll(stamped, clock, sj.cells.Timed(xs, jnp.ones((2, 5), int))),
        "xs.times has dtype int32; expected floating point. Take relative_times(times), which subtracts before it rounds.",
    ),
    "phased_values_width": (
        lambda: sj.unroll(stamped, clock, sj.cells.Timed(xs[..., :3], xs[..., 0])),
        "xs.values has width 3 but meets weights [4, 12]; expected width 4, the size that these params were initialised for.",
    ),
    "conv_shape_empty": (
        lambda: sj.cells.ConvLSTM(2, kernel_size=3, shape=()),
        "shape is (); expected one to three spatial sizes, batch, time and channels left out.",
    ),
    "conv_shape_long": (
        lambda: sj.cells.ConvLSTM(2, kernel_size=3, shape=(2, 2, 2, 2)),
        "shape is (2, 2, 2, 2); expected one to three spatial sizes, batch, time and channels left out.",
    ),
    "conv_shape_number": (
        lambda: sj.cells.ConvLSTM(2, kernel_size=3, shape=8),
        "shape is 8; expected a tuple of integers, one for each spatial axis.",
    ),
    "conv_shape_zero": (
        lambda: sj.cells.ConvLSTM(2, kernel_size=3, shape=(4, 0)),
        "shape[1] is 0; expected an integer of at least 1.",
    ),
    "conv_kernel_axes": (
        lambda: sj.cells.ConvLSTM(2, kernel_size=(3, 3), shape=(4,)),
        "kernel_size is (3, 3) but shape is (4,); expected one number for all spatial axes, or one for each.",
    ),
    "conv_kernel_zero": (
        lambda: sj.cells.ConvLSTM(2, kernel_size=0, shape=(4, 4)),
        "kernel_size[0] is 0; expected an integer of at least 1.",
    ),
    "conv_image_shape": (
        lambda: sj.unroll(film, film.init(key, 1), jnp.ones((2, 3, 4, 5, 1))),
        "xs has images of shape (4, 5, 1); expected (5, 4, 1): the cell's shape and the input_size that these params were initialised for. For images of another shape take dataclasses.replace(cell, shape=...).",
    ),
    "conv_image_channels": (
        lambda: sj.unroll(film, film.init(key, 1), jnp.ones((2, 3, 5, 4, 2))),
        "xs has images of shape (5, 4, 2); expected (5, 4, 1): the cell's shape and the input_size that these params were initialised for. For images of another shape take dataclasses.replace(cell, shape=...).",
    ),
    "conv_image_integer": (
        lambda: sj.unroll(film, film.init(key, 1), jnp.ones((2, 3, 5, 4, 1), int)),
        "xs has dtype int32; expected floating point. Cast it first.",
    ),
    "clockwork_periods_empty": (
        lambda: sj.cells.ClockworkRNN(4, periods=()),
        "periods is (); expected a tuple of at least one number of steps.",
    ),
    "clockwork_period_zero": (
        lambda: sj.cells.ClockworkRNN(4, periods=(0, 2)),
        "periods[0] is 0; expected an integer of at least 1.",
    ),
    "clockwork_period_fraction": (
        lambda: sj.cells.ClockworkRNN(4, periods=(1, 2.5)),
        "periods[1] is 2.5; expected an integer of at least 1.",
    ),
    "clockwork_order": (
        lambda: sj.cells.ClockworkRNN(4, periods=(2, 1)),
        "periods is (2, 1); expected them to increase, the fastest module first.",
    ),
    "clockwork_period_beyond": (
        lambda: sj.cells.ClockworkRNN(4, periods=(1, 2**31)),
        "periods is (1, 2147483648); expected numbers of steps that fit an int32.",
    ),
    "clockwork_sizes": (
        lambda: sj.cells.ClockworkRNN(5, periods=(1, 2)),
        "hidden_size is 5 for 2 periods; expected a multiple of 2, as all modules are equally large.",
    ),
    "elman_size": (
        lambda: sj.Elman(0),
        "hidden_size is 0; expected an integer of at least 1.",
    ),
    "lstm_size_type": (
        lambda: sj.LSTM(3.5),
        "hidden_size is 3.5; expected an integer of at least 1.",
    ),
    "lstm_size_bool": (
        lambda: sj.LSTM(True),
        "hidden_size is True; expected an integer of at least 1.",
    ),
    "lstm_forget_bias": (
        lambda: sj.LSTM(3, forget_bias=float("nan")),
        "forget_bias is nan; expected a finite number.",
    ),
    "lstm_forget_without_bias": (
        lambda: sj.LSTM(3, use_bias=False),
        "forget_bias is 1.0 but use_bias is False, and the forget bias lives in b; pass forget_bias=0.0 or use_bias=True.",
    ),
    "gru_reset": (
        lambda: sj.GRU(3, reset="middle"),
        "reset is 'middle'; expected one of 'after', 'before'.",
    ),
    "activation_name": (
        lambda: sj.Elman(3, activation="tan"),
        "activation is 'tan'; expected a name in jax.nn such as 'tanh', 'relu' or 'sigmoid', or an elementwise function.",
    ),
    "activation_type": (
        lambda: sj.Elman(3, activation=7),
        "activation is 7; expected a name in jax.nn or an elementwise function.",
    ),
    "ntm_slots": (
        lambda: sj.cells.NTM(cell, slots=0, width=4),
        "slots is 0; expected an integer of at least 1.",
    ),
    "ntm_width": (
        lambda: sj.cells.NTM(cell, slots=4, width=-1),
        "width is -1; expected an integer of at least 1.",
    ),
    "ntm_heads": (
        lambda: sj.cells.NTM(cell, slots=4, width=2, write_heads=0),
        "write_heads is 0; expected an integer of at least 1.",
    ),
    "ntm_shift_wide": (
        lambda: sj.cells.NTM(cell, slots=4, width=2, shift_range=2),
        "shift_range is 2 but slots is 4; expected 2 * shift_range + 1 <= slots, so that no two shifts are one on the ring of slots.",
    ),
    "ntm_shift_negative": (
        lambda: sj.cells.NTM(cell, slots=4, width=2, shift_range=-1),
        "shift_range is -1; expected an integer of at least 0.",
    ),
    "ntm_initial": (
        lambda: sj.cells.NTM(cell, slots=4, width=2, initial=float("inf")),
        "initial is inf; expected a finite number.",
    ),
    "ntm_controller": (
        lambda: sj.cells.NTM(sj.LSTM, slots=4, width=2),
        "controller is <class 'seqjax.cells.lstm.LSTM'>; expected a cell: an object with init, initial_carry and step, or one of a class that derives from core.Encoder.",
    ),
    "ntm_encoder": (
        lambda: sj.cells.NTM(sj.Bidirectional(cell), slots=4, width=2),
        "controller is Bidirectional, an encoder; expected a cell with a step: what is read at a step depends on the controller's output at that step.",
    ),
    "ntm_integers": (
        lambda: sj.unroll(
            n := sj.cells.NTM(cell, slots=4, width=2), n.init(key, 4), jnp.ones((2, 5, 4), int)
        ),
        "xs has dtype int32; expected floating point. Embed or one-hot tokens first.",
    ),
    "ntm_xs_width": (
        lambda: sj.unroll(n := sj.cells.NTM(cell, slots=4, width=2), n.init(key, 3), xs),
        "xs has width 6 but meets weights [5, 12]; expected width 5, the size that these params were initialised for.",
    ),
    "dnc_slots": (
        lambda: sj.cells.DNC(cell, slots=0, width=4),
        "slots is 0; expected an integer of at least 1.",
    ),
    "feedforward_size": (
        lambda: sj.cells.Feedforward(0),
        "hidden_size is 0; expected an integer of at least 1.",
    ),
    "projection_size": (
        lambda: sj.cells.ProjectedLSTM(4, projection_size=-1),
        "projection_size is -1; expected an integer of at least 1.",
    ),
    "layer_norm_epsilon": (
        lambda: sj.cells.LayerNormLSTM(4, epsilon=0.0),
        "epsilon is 0.0; expected a small positive number.",
    ),
    "dropout_rate": (
        lambda: sj.Dropout(1.0),
        "rate is 1.0; expected a probability with 0 <= rate < 1.",
    ),
    "zoneout_rate": (
        lambda: sj.Zoneout(cell, -0.1),
        "rate is -0.1; expected a probability with 0 <= rate < 1.",
    ),
    "zoneout_stack": (
        lambda: sj.Zoneout(sj.Stack((cell,)), 0.1),
        "cell is Stack(cells=(LSTM(hidden_size=3, forget_bias=1.0, use_bias=True, w_x_init=GlorotUniform(), w_h_init=Orthogonal(scale=1.0)),)); expected a RecurrentCell, whose output is read off its carry. Zone the members of a Stack out one by one, and subclass RecurrentCell for a cell of your own.",
    ),
    "zoneout_list": (
        lambda: zone_out([0.1, 0.5]),
        "rate is [0.1, 0.5]; expected a number or a carry of numbers, not a list.",
    ),
    "zoneout_fit": (
        lambda: zone_out((0.1, 0.5)),
        "rate is (0.1, 0.5); expected one number, or a carry of them as LSTM makes it.",
    ),
    "stack_empty": (
        lambda: sj.Stack(()),
        "cells is empty; expected at least one cell.",
    ),
    "stack_of_one": (
        lambda: sj.Stack(cell),
        "cells is LSTM(hidden_size=3, forget_bias=1.0, use_bias=True, w_x_init=GlorotUniform(), w_h_init=Orthogonal(scale=1.0)); expected a tuple of cells, as in Stack((cell,)).",
    ),
    "stack_class": (
        lambda: sj.Stack((sj.LSTM,)),
        "cells[0] is <class 'seqjax.cells.lstm.LSTM'>; expected a cell: an object with init, initial_carry and step, or one of a class that derives from core.Encoder.",
    ),
    "residual_width": (
        lambda: sj.Residual(cell).init(key, 4),
        "LSTM puts out width 3 for inputs of width 4; a Residual needs them equal. Put a cell of another width in a Stack outside it.",
    ),
    "bidirectional_merge": (
        lambda: sj.Bidirectional(cell, merge="add"),
        "merge is 'add'; expected one of 'concat', 'sum', 'mean', 'product'.",
    ),
    "bidirectional_step": (
        lambda: sj.Bidirectional(cell).step(None, None, None),
        "Bidirectional cannot be stepped: its output at a step depends on the steps after it. Run it with unroll, or use its cell alone where inputs come one at a time.",
    ),
    "bidirectional_widths": (
        lambda: sj.unroll(
            c := sj.Bidirectional(sj.GRU(2), backward=sj.GRU(3), merge="sum"), c.init(key, 4), xs
        ),
        "merge is 'sum' but the directions put out widths 2 and 3; expected equal ones, or merge='concat'.",
    ),
    "stack_step": (
        lambda: (c := sj.Stack((sj.Bidirectional(sj.GRU(2)),))).step(c.init(key, 4), None, one),
        "cell is Stack, in which Bidirectional is an encoder, which reads whole sequences and cannot be stepped. Run it with unroll.",
    ),
    "identity_shape": (
        lambda: sj.initializers.Identity()(key, (2, 3)),
        "Identity got shape (2, 3); expected a square matrix [H, H].",
    ),
    "input_size": (
        lambda: cell.init(key, 0),
        "input_size is 0; expected an integer of at least 1.",
    ),
    "xs_rank": (
        lambda: sj.unroll(cell, params, jnp.ones((5,))),
        "xs has shape (5,); expected [B, T, ...] with a batch and a time axis. For one sequence pass xs[None].",
    ),
    "xs_width": (
        lambda: sj.unroll(cell, params, jnp.ones((2, 5, 7))),
        "xs has width 7 but meets weights [4, 12]; expected width 4, the size that these params were initialised for.",
    ),
    "xs_integer": (
        lambda: sj.unroll(cell, params, jnp.ones((2, 5, 4), int)),
        "xs has dtype int32; expected floating point. Embed or one-hot tokens first.",
    ),
    "xs_empty": (
        lambda: sj.unroll(cell, params, ()),
        "xs holds no arrays; expected [B, T, ...].",
    ),
    "xs_leaves": (
        lambda: sj.scan(total, one, (jnp.ones((2, 3)), jnp.ones((3, 2)))),
        "xs has leaves of shapes (2, 3), (3, 2); expected all to share [B, T].",
    ),
    "lengths_shape": (
        lambda: unroll(lengths=jnp.array([1, 2, 3])),
        "lengths has shape (3,) but xs has batch size 2 (xs is [B, T, ...] = (2, 5, 4)); is xs time-major? seqjax is batch-major.",
    ),
    "lengths_float": (
        lambda: unroll(lengths=jnp.array([1.0, 2.0])),
        "lengths has dtype float32; expected integers [B]. For a bool mask use mask=.",
    ),
    "lengths_beyond": (
        lambda: unroll(lengths=jnp.array([1, 6])),
        "lengths has values from 1 to 6; expected 0 <= lengths <= T = 5, the size of axis 1 of xs.",
    ),
    "lengths_negative": (
        lambda: unroll(lengths=jnp.array([-1, 5])),
        "lengths has values from -1 to 5; expected 0 <= lengths <= T = 5, the size of axis 1 of xs.",
    ),
    "mask_dtype": (
        lambda: unroll(mask=jnp.ones((2, 5), int)),
        "mask has dtype int32; expected bool [B, T]. Write mask > 0 or mask != 0, whichever you mean.",
    ),
    "mask_shape": (
        lambda: unroll(mask=jnp.ones((5, 2), bool)),
        "mask has shape (5, 2); expected [B, T] = (2, 5). Is it time-major? seqjax is batch-major.",
    ),
    "reset_dtype": (
        lambda: unroll(reset=jnp.zeros((2, 5))),
        "reset has dtype float32; expected bool [B, T]. Write reset > 0 or reset != 0, whichever you mean.",
    ),
    "carry_and_key": (
        lambda: unroll(carry=cell.initial_carry(params, 2), key=key),
        "both carry and key were given; expected one. A carry holds its own stream of noise: start one with cell.initial_carry(params, batch_size, key=key).",
    ),
    "carry_batch": (
        lambda: unroll(carry=cell.initial_carry(params, 3)),
        "carry.h has shape (3, 3); expected the batch axis first, [B, ...] with B = 2 as in xs.",
    ),
    "carry_structure": (
        lambda: unroll(carry=jnp.zeros((2, 3))),
        "carry has structure PyTreeDef(*); expected PyTreeDef(CustomNode(namedtuple[LSTMCarry], [*, *])), as LSTM.initial_carry(params, B) makes it.",
    ),
    "carry_dtype": (
        lambda: unroll(carry=sj.LSTMCarry(jnp.zeros((2, 3), jnp.bfloat16), jnp.zeros((2, 3)))),
        "carry.h is bfloat16[2, 3]; expected float32[2, 3], as LSTM.initial_carry(params, B) makes it.",
    ),
    "carry_width": (
        lambda: unroll(carry=sj.LSTMCarry(jnp.zeros((2, 3)), jnp.zeros((2, 4)))),
        "carry.c is float32[2, 4]; expected float32[2, 3], as LSTM.initial_carry(params, B) makes it.",
    ),
    "key_old": (
        lambda: unroll(key=jax.random.PRNGKey(0)),
        "key is an array of uint32 with shape (2,); expected a typed key. Make one with jax.random.key(seed), or wrap an old one with jax.random.wrap_key_data(key).",
    ),
    "key_seed": (
        lambda: unroll(key=0),
        "key is 0; expected a typed key. Make one with jax.random.key(seed), or wrap an old one with jax.random.wrap_key_data(key).",
    ),
    "key_count": (
        lambda: unroll(key=jax.random.split(key, 3)),
        "key has shape (3,); expected one key (shape ()) or 2 keys, one a row.",
    ),
    "remat_zero": (
        lambda: unroll(remat=0),
        "remat is 0; expected None, 'sqrt', a Schedule or a number of steps of at least 1.",
    ),
    "remat_word": (
        lambda: unroll(remat="cube"),
        "remat is 'cube'; expected None, 'sqrt', a Schedule or a number of steps of at least 1.",
    ),
    "remat_length": (
        lambda: unroll(remat=sj.core.binomial_schedule(20, 3)),
        "remat is a schedule for 20 steps but xs has T = 5; expected one for T steps. Make it with binomial_schedule(5, slots).",
    ),
    "schedule_length": (
        lambda: sj.core.Schedule(0, 1),
        "length is 0; expected an integer of at least 1.",
    ),
    "schedule_block": (
        lambda: sj.core.Schedule(5, 1, block=True),
        "block is True; expected an integer of at least 1.",
    ),
    "schedule_tapes": (
        lambda: sj.core.Schedule(5, 1, tapes=-1),
        "tapes is -1; expected an integer of at least 0.",
    ),
    "schedule_slots_type": (
        lambda: sj.core.Schedule(5, False),
        "slots is False; expected an integer of at least 0.",
    ),
    "schedule_nothing_stored": (
        lambda: sj.core.Schedule(5, 0, tapes=3),
        "slots is 0 and tapes is 3; expected at least 1 slot, or 4 tapes, one for each unit but the last.",
    ),
    "binomial_slots": (
        lambda: sj.core.binomial_schedule(5, 0),
        "slots is 0; expected an integer of at least 1.",
    ),
    "mixed_budget": (
        lambda: sj.core.mixed_schedule(5, -2, 4),
        "budget is -2; expected an integer of at least 1.",
    ),
    "mixed_tape_cost": (
        lambda: sj.core.mixed_schedule(5, 10, 1.5),
        "tape_cost is 1.5; expected an integer of at least 1.",
    ),
    "tape_cost_block": (
        lambda: sj.core.tape_cost(cell, params, xs, block=6),
        "block is 6; expected an integer of 1..T = 5, the size of axis 1 of xs.",
    ),
    "tape_cost_stateless": (
        lambda: sj.core.tape_cost(sj.Dropout(0.5), (), xs),
        "cell is Dropout(rate=0.5, variational=False), whose carry is empty; expected one with a state. Without a state there is nothing to store between units: pass remat an int.",
    ),
    "truncate_negative": (
        lambda: unroll(truncate=-1),
        "truncate is -1; expected None or a number of steps of at least 1.",
    ),
    "scan_carry": (
        lambda: sj.scan(total, jnp.zeros(3), jnp.ones((2, 3))),
        "carry has shape (3,); expected the batch axis first, [B, ...] with B = 2 as in xs.",
    ),
    "scan_initial": (
        lambda: sj.scan(total, one, jnp.ones((2, 3, 1)), initial=(one,)),
        "initial has structure PyTreeDef((*,)); expected PyTreeDef(*), as carry is.",
    ),
    "scan_initial_dtype": (
        lambda: sj.scan(total, one, jnp.ones((2, 3, 1)), initial=one.astype(int)),
        "initial is int32[2, 1]; expected float32[2, 1], as carry is.",
    ),
    "encoder_remat": (
        lambda: sj.unroll(Encoder(), (), xs, remat=2),
        "remat or truncate was given but Encoder, an encoder, has no members to run in windows. Give it `members`, and run them by core.run(..., steps.member(...)).",
    ),
    "check_cell_batch": (
        lambda: check_cell(cell, batch_size=1),
        "batch_size is 1; expected at least 2.",
    ),
    "check_cell_length": (
        lambda: check_cell(cell, length=5),
        "length is 5; expected an even number of steps.",
    ),
    "targets_shape": (
        lambda: sj.cross_entropy(logits, targets[:1]),
        "targets has shape (1, 3) but logits has shape (2, 3, 4); expected (2, 3), the shape of logits without its last axis (the vocabulary).",
    ),
    "targets_range": (
        lambda: sj.cross_entropy(logits, targets + 4),
        "targets holds 4; expected ids in 0..3, the last axis of logits. Mask padding.",
    ),
    "targets_float": (
        lambda: sj.cross_entropy(logits, logits[..., 0]),
        "targets is float32; expected integer ids, not one-hot rows or probabilities.",
    ),
    "loss_mask": (
        lambda: sj.cross_entropy(logits, targets, mask=jnp.ones((2, 3))),
        "mask is float32; expected bool, True = real. Write mask.astype(bool), or targets != pad_id.",
    ),
    "label_smoothing": (
        lambda: sj.cross_entropy(logits, targets, label_smoothing=2.0),
        "label_smoothing is 2.0; expected a probability with 0 <= label_smoothing < 1.",
    ),
    "max_norm": (
        lambda: sj.training.clip_by_global_norm(-1.0),
        "max_norm is -1.0; expected a norm of at least 0.",
    ),
    "optimizer": (
        lambda: sj.make_train_step(mean, 0.1),
        "optimizer is 0.1; expected an optax.GradientTransformation such as optax.adam(1e-3).",
    ),
    "train_key": (
        lambda: sj.init_train_state(jnp.ones(2), optax.sgd(0.1), key=0),
        "key is 0; expected a typed key. Make one with jax.random.key(seed), or wrap an old one with jax.random.wrap_key_data(key).",
    ),
    "loss_vector": (
        lambda: train(lambda p, c, b, k: (p, c)),
        "loss_fn returned a loss of shape (2,) and dtype float32; expected one float. Sum or average it.",
    ),
    "loss_carry": (
        lambda: train(lambda p, c, b, k: (p.sum(), c[:1]), jnp.zeros((2, 3))),
        "loss_fn was given a carry of ((2, 3), dtype('float32')) and returned one of ((1, 3), dtype('float32')); expected the same structure, shapes and dtypes.",
    ),
    "corpus_none": (
        lambda: docs([]),
        "documents is empty; expected at least one.",
    ),
    "corpus_float": (
        lambda: docs([np.ones(3)]),
        "documents[0] is float64[3]; expected a 1-D array of integer ids. Encode text into ids first.",
    ),
    "corpus_negative": (
        lambda: docs([np.array([1, -1])]),
        "documents[0] holds the id -1; expected ids in 0..2147483647.",
    ),
    "corpus_vocabulary": (
        lambda: docs([np.array([1, 9])], vocab_size=5),
        "documents[0] holds the id 9; expected ids in 0..4.",
    ),
    "corpus_short": (
        lambda: docs([np.array([1])], window=9),
        "the corpus has 2 tokens to predict, fewer than one window of 9 steps. Take a smaller window or a longer text.",
    ),
    "corpus_rows": (
        lambda: docs([np.array([1])], batch_size=9),
        "the corpus has 2 tokens to predict, fewer than batch_size 9; each row needs at least one. Take a smaller batch_size.",
    ),
    "restore_nothing": (
        lambda: sj.restore_checkpoint("/nonexistent/run", {}, spec=cell),
        "directory '/nonexistent/run' holds no complete checkpoint. Check the path, or start without resuming.",
    ),
    "save_keep": (
        lambda: sj.save_checkpoint("/nonexistent/run", {}, spec=cell, keep=0),
        "keep is 0; expected an integer of at least 1. None keeps all.",
    ),
    "save_position": (
        lambda: sj.save_checkpoint("/nonexistent/run", {}, spec=cell, position={1, 2}),
        "position is {1, 2}, which JSON does not keep as it is; expected numbers, strings, lists and dicts with string keys (int(...) for a NumPy number, a list for a tuple).",
    ),
    "max_len": (
        lambda: sample(max_len=0),
        "max_len is 0; expected an integer of at least 1.",
    ),
    "temperature": (
        lambda: sample(temperature=-1.0),
        "temperature is -1.0; expected temperature >= 0.",
    ),
    "top_k": (
        lambda: sample(top_k=4),
        "top_k is 4; expected top_k in 1..3, the vocabulary size.",
    ),
    "top_p": (
        lambda: sample(top_p=0.0),
        "top_p is 0.0; expected top_p in (0, 1].",
    ),
    "min_p": (
        lambda: sample(min_p=1.5),
        "min_p is 1.5; expected min_p in [0, 1].",
    ),
    "sample_key": (
        lambda: sample(key=7),
        "key is 7; expected a typed key. Make one with jax.random.key(seed), or wrap an old one with jax.random.wrap_key_data(key).",
    ),
    "eos": (
        lambda: sample(eos=3),
        "eos is 3; expected an integer with 0 <= eos < 3, the vocabulary size (the last axis of the step's logits), or a tuple of different ones.",
    ),
    "bos": (
        lambda: sample(bos=jnp.zeros(3, int)),
        "carry has batch size 2 but bos has 3; expected every carry leaf (and bos, if it is an array) to lead with the same B. Close over what rows share.",
    ),
    "prompt_rank": (
        lambda: sample(prompt=jnp.zeros(3, int)),
        "prompt has shape (3,); expected [B, P] with batch size B = 2. Pad shorter ones on the right and pass prompt_lengths.",
    ),
    "prompt_lengths": (
        lambda: sample(prompt=jnp.zeros((2, 3), int), prompt_lengths=jnp.array([1, 4])),
        "prompt_lengths has values from 1 to 4; expected 0 <= prompt_lengths <= T = 3, the size of axis 1 of prompt.",
    ),
    "beam_size": (
        lambda: beam(beam_size=0),
        "beam_size is 0; expected an integer of at least 1.",
    ),
    "step_logits": (
        lambda: beam(lambda c, t: (c, jnp.zeros(3))),
        "step returned logits of shape (3,) for 2 tokens; expected [B, V] = (2, V), one row of V logits a token.",
    ),
    "step_carry": (
        lambda: beam(lambda c, t: (c.astype(jnp.float16), jnp.zeros((t.shape[0], 3)))),
        "step changed carry from float32[2, 1] to float16[2, 1]; expected it unchanged. Cast the initial carry or the step's result.",
    ),
    "step_pair": (
        lambda: beam(lambda c, t: jnp.zeros((t.shape[0], 3))),
        "step returned a ShapeDtypeStruct; expected (carry, logits) or (carry, logits, outputs).",
    ),
    "carry_leaves": (
        lambda: beam(c=(jnp.zeros(2), jnp.zeros(3))),
        "carry[1] has batch size 3 but carry[0] has 2; expected every carry leaf (and bos, if it is an array) to lead with the same B. Close over what rows share.",
    ),
    "empty_carry": (
        lambda: beam(c=()),
        "carry has no array leaf and bos is a single integer, so the batch size is unknown; expected one of them to give it. Pass bos as an array [B].",
    ),
    "penalty": (
        lambda: sj.decoding.GNMTLengthPenalty("a"),
        "alpha is 'a'; expected a finite number.",
    ),
}


def test_the_table_is_long():
    assert len(BAD) >= 80


@pytest.mark.parametrize("name", BAD)
def test_a_bad_call_says_what_is_wrong(name):
    call, text = BAD[name]
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value) == text
