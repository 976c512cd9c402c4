"""Schedules are optimal, and a gradient under one is the plain gradient."""

import functools
import heapq
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.core.schedules import ADVANCE, REVERSE, TAPE

COUNTS = [
    ((20, 3), 45),
    ((35, 4), 84),
    ((60, 5), 156),
    ((100, 5), 316),
    ((1000, 1), 499_500),
    ((1000, 2), 28_820),
    ((1000, 3), 12_155),
    ((1000, 5), 6_284),
    ((1000, 8), 4_285),
    ((1000, 10), 3_636),
    ((1000, 16), 2_860),
    ((1000, 20), 2_747),
    ((1000, 32), 2_405),
    ((1000, 50), 1_948),
    ((1000, 100), 1_898),
]


@functools.cache
def dynamic_program(length, slots):
    """C(t, m) = min_y y + C(t - y, m - 1) + C(y, m) for t <= length, m <= slots; [t, m]."""
    t = np.arange(length + 1)
    costs = np.full((length + 1, slots + 1), np.inf)
    costs[:2], costs[:, 1] = 0, t * (t - 1) / 2
    for t in range(2, length + 1):
        y = np.arange(1, t)
        costs[t, 2:] = np.min(y[:, None] + costs[t - y, 1:-1] + costs[y, 2:], axis=0)
    return costs


@pytest.mark.parametrize("arguments, advances", COUNTS)
def test_binomial_counts(arguments, advances):
    length, slots = arguments
    schedule = sj.core.binomial_schedule(length, slots)
    assert schedule.advances == advances
    assert dynamic_program(length, max(slots, 2))[length, slots] == advances
    kinds = np.bincount(schedule.actions.kind, minlength=3)
    assert kinds[[ADVANCE, TAPE, REVERSE]].tolist() == [advances, 0, length]


@pytest.mark.parametrize(
    "schedule",
    [
        sj.core.Schedule(1, 1),
        sj.core.Schedule(23, 3),
        sj.core.Schedule(23, 2, tapes=3),
        sj.core.Schedule(23, 0, tapes=30),
        sj.core.Schedule(50, 3, tapes=2, block=4),
    ],
)
def test_every_action_finds_what_it_needs(schedule):
    """The slots and tapes of a machine, by what is in them: the number of a unit."""
    slots, tapes = schedule.stored
    carries, stored, reversed_units = {0: 0}, {}, []
    for kind, unit, source, target, tape in zip(*schedule.actions, strict=True):
        assert kind == REVERSE and tape >= 0 or carries[source] == unit
        if kind == REVERSE:
            assert tape < 0 or stored.pop(tape) == unit
            reversed_units.append(unit)
            continue
        assert 0 <= target <= slots and tape < tapes
        assert (kind == TAPE) == (tape >= 0)
        if kind == TAPE:
            stored[tape] = unit
        carries[target] = unit + 1
    assert reversed_units == list(range(schedule.units))[::-1]
    assert slots <= schedule.slots and tapes <= schedule.tapes
    advances = np.count_nonzero(schedule.actions.kind == ADVANCE)
    assert schedule.advances == advances * schedule.block


def least_advances(units, slots, tapes):
    """The least number of advances by any policy: Dijkstra over what can be in memory.

    A state is the unit before which the working carry stands, the stored carries, the stored
    tapes, and how many units are still to be reversed.
    """
    queue: list[Any] = [(0, (0, (), (), units))]
    best = {}
    while queue:
        cost, state = heapq.heappop(queue)
        if state in best:
            continue
        best[state] = cost
        at, carries, stored, left = state
        if left == 0:
            return cost
        moves = [(0, (c, carries, stored, left)) for c in carries]
        for kept in (carries, (*carries, at)):
            for gone in (None, *kept):
                some = tuple(sorted({c for c in kept if c != gone and c < left}))
                if len(some) <= slots:
                    moves.append((0, (at, some, stored, left)))
        if at == left - 1 or left - 1 in stored:
            moves.append((0, (at, carries, tuple(u for u in stored if u < left - 1), left - 1)))
        if at < left - 1:
            moves.append((1, (at + 1, carries, stored, left)))
            if len(stored) < tapes and at not in stored:
                moves.append((0, (at + 1, carries, tuple(sorted((*stored, at))), left)))
        for more, state in moves:
            heapq.heappush(queue, (cost + more, state))
    return np.inf


@pytest.mark.parametrize("slots", [0, 1, 2, 3])
@pytest.mark.parametrize("tapes", [0, 1, 2])
def test_no_policy_advances_less(slots, tapes):
    for units in range(1, 8):
        least = least_advances(units, slots, tapes)
        if np.isinf(least):
            with pytest.raises(ValueError):
                sj.core.Schedule(units, slots, tapes)
        else:
            assert sj.core.Schedule(units, slots, tapes).advances == least


@pytest.mark.parametrize("budget", [1, 2, 3, 4, 6, 9])
@pytest.mark.parametrize("tape_cost", [1, 2, 3])
def test_mixed_schedule_is_the_best_within_its_budget(budget, tape_cost):
    for units in range(1, 7):
        pairs = [(budget - tape_cost * p, p) for p in range(budget // tape_cost + 1)]
        schedule = sj.core.mixed_schedule(units, budget, tape_cost)
        assert schedule.advances == min(least_advances(units, *pair) for pair in pairs)
        assert schedule.slots + tape_cost * schedule.tapes <= budget


def shared_memory(units, budget, tape_cost):
    """The least advances if memory could hold now carries, now tapes. Gruslys et al. 2016."""

    @functools.cache
    def cost(t, m):
        if t == 1:
            return 0
        choices = [y + cost(t - y, m - 1) + cost(y, m) for y in range(1, t)] if m else []
        return min([*choices, cost(t - 1, m - tape_cost) if m >= tape_cost else np.inf])

    return cost(units, budget)


def test_mixed_schedule_in_the_limits():
    assert sj.core.mixed_schedule(20, 3, 100) == sj.core.binomial_schedule(20, 3)
    assert sj.core.mixed_schedule(20, 19 * 5, 5).advances == 0
    assert sj.core.mixed_schedule(20, 19 * 5 - 1, 5).advances > 0
    pairs = [
        (sj.core.mixed_schedule(60, budget, 4).advances, shared_memory(60, budget, 4))
        for budget in range(1, 100, 7)
    ]
    assert all(fixed >= shared for fixed, shared in pairs)
    assert max(fixed / shared for fixed, shared in pairs) < 1.4


class Counter:
    """A cell with an integer in its carry, fed tokens and floats."""

    def init(self, key, input_size):
        return jax.random.normal(key, (5, 3))

    def initial_carry(self, params, batch_size, key=None):
        return {"h": jnp.zeros((batch_size, 3)) + params[0], "n": jnp.zeros(batch_size, jnp.int32)}

    def step(self, params, carry, x):
        h = jnp.tanh(carry["h"] + params[x["token"]] * x["weight"][:, None])
        return {"h": h, "n": carry["n"] + 1}, (h * carry["n"][:, None].astype(h.dtype), carry["n"])


TWO = [sj.core.Schedule(7, 2, tapes=2), sj.core.Schedule(7, 1, tapes=1, block=2)]
FOUR = [*TWO, sj.core.Schedule(7, 1), sj.core.Schedule(7, 3, block=20)]


def compare(schedules, run, *args):
    """Runs remat=None and each schedule: equal to rounding, integers and streams exactly."""

    def loss(remat, args):
        out = run(remat, *args)
        floats = [a for a in jax.tree.leaves(out) if jnp.issubdtype(a.dtype, jnp.floating)]
        return sum(jnp.sum(jnp.cos(a)) for a in floats), out

    grad = jax.jit(jax.value_and_grad(loss, 1, has_aux=True), static_argnums=0)
    (_, out), grads = grad(None, args)
    data = lambda a: jax.random.key_data(a) if jnp.issubdtype(a.dtype, jax.dtypes.prng_key) else a
    for schedule in schedules:
        (_, got), got_grads = grad(schedule, args)
        chex.assert_trees_all_close(*jax.tree.map(data, (got, out)), rtol=1e-13, atol=1e-14)
        chex.assert_trees_all_close(got_grads, grads, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("cell", [sj.LSTM(8), sj.GRU(8), sj.Elman(8)])
def test_outputs_are_equal_to_the_last_bit_where_inputs_multiply_exactly(cell, users_compiler):
    """XLA rounds a row of x w differently in a product of more rows; of eighths it rounds none.

    All else, the products of the state and the gates, is the same computation in every window.
    """
    eighths = lambda a: jnp.round(8 * a) / 8
    params = cell.init(jax.random.key(0), 4)
    params = params._replace(w_x=eighths(params.w_x), b=eighths(params.b))
    xs = eighths(jax.random.normal(jax.random.key(1), (3, 20, 4)))
    how: Any = {
        "lengths": jnp.array([20, 0, 13]),
        "reset": jnp.arange(20) % 9 == jnp.ones((3, 1), int),
    }

    @functools.partial(jax.jit, static_argnums=1, compiler_options=users_compiler)
    def run(params, remat):
        def loss(params):
            carry, ys = sj.unroll(cell, params, xs, remat=remat, **how)
            return jnp.sum(jnp.sin(ys)), (carry, ys)

        _, beside_gradients = jax.grad(loss, has_aux=True)(params)
        return sj.unroll(cell, params, xs, remat=remat, **how), beside_gradients

    expected = run(params, None)
    for remat in (
        7,
        "sqrt",
        sj.core.binomial_schedule(20, 3),
        sj.core.mixed_schedule(20, 12, 4, block=2),
    ):
        chex.assert_trees_all_equal(run(params, remat), expected)


LENGTHS = jnp.array([7, 0, 4])
RESET = jnp.zeros((3, 7), bool).at[0, 2].set(True).at[2, 3].set(True)


def test_integers_in_carry_inputs_and_outputs(x64):
    cell = Counter()
    params = cell.init(jax.random.key(0), 0)
    tokens = jax.random.randint(jax.random.key(1), (3, 7), 0, 5)
    weight = jax.random.normal(jax.random.key(2), (3, 7)).at[2, 5].set(jnp.nan)

    def run(remat, params, weight):
        xs = {"token": tokens, "weight": weight}
        return sj.unroll(cell, params, xs, lengths=LENGTHS, reset=RESET, remat=remat, truncate=3)

    compare(FOUR, run, params, weight)


def test_noise_replays(x64):
    cell = sj.LearnedCarry(sj.Stack((sj.Zoneout(sj.Elman(3), 0.3), sj.Dropout(0.4))))
    params = cell.init(jax.random.key(0), 2)
    xs = jax.random.normal(jax.random.key(1), (3, 7, 2))

    def run(remat, params, xs):
        how = {"lengths": LENGTHS, "reset": RESET, "reverse": True, "remat": remat}
        return sj.unroll(cell, params, xs, key=jax.random.key(2), **how)

    compare(TWO, run, params, xs)


def test_under_vmap_an_encoder_and_given_carries(x64):
    cell = sj.Bidirectional(sj.GRU(3), backward=sj.Elman(2))
    params = cell.init(jax.random.key(0), 2)
    xs = jax.random.normal(jax.random.key(1), (4, 3, 7, 2))
    carry = jax.tree.map(lambda a: a + 0.1, cell.initial_carry(params, 3))

    def run(remat, params, xs, carry):
        one = lambda xs: sj.unroll(cell, params, xs, carry=carry, remat=remat, truncate=4)
        return jax.vmap(one)(xs)

    compare(TWO, run, params, xs, carry)


def gradient(remat, length, on):
    """The gradient function of an LSTM's loss, and its arguments."""
    cell = sj.LSTM(32)

    def loss(params, xs):
        carry, ys = sj.unroll(cell, params, xs, remat=remat)
        return jnp.sum(carry.h) if on == "carry" else jnp.sum(ys**2)

    return jax.value_and_grad(loss), (cell.init(jax.random.key(0), 8), jnp.ones((4, length, 8)))


@pytest.mark.parametrize("tapes", [0, 2])
def test_program_does_not_grow_with_time(tapes):
    def size(length):
        function, args = gradient(sj.core.Schedule(length, 5, tapes, block=10), length, "ys")
        return str(jax.make_jaxpr(function)(*args)).count(" = ")

    assert size(100) == size(10_000)


def test_memory_is_that_of_slots_and_tapes():
    def temporaries(remat):
        function, args = gradient(remat, 1000, "carry")
        memory = jax.jit(function).lower(*args).compile().memory_analysis()
        assert memory is not None
        return memory.temp_size_in_bytes

    carry = 2 * 4 * 32 * 4  # bytes of h and c
    few, many = (temporaries(sj.core.Schedule(1000, slots, block=5)) for slots in (5, 105))
    plain = temporaries(None)
    assert few < plain / 50 and temporaries("sqrt") < plain / 12
    assert 100 * carry <= many - few < 220 * carry
    taped = temporaries(sj.core.Schedule(1000, 5, tapes=10, block=5))
    cell, xs = sj.LSTM(32), jnp.ones((4, 1000, 8))
    cost = sj.core.tape_cost(cell, cell.init(jax.random.key(0), 8), xs, block=5)
    assert 0.9 < (taped - few) / (10 * cost * carry) < 1.5


@pytest.mark.parametrize("remat", ["sqrt", sj.core.Schedule(5, 2, tapes=1, block=2)])
def test_a_cell_may_close_over_what_is_differentiated(remat):
    xs = jax.random.normal(jax.random.key(0), (2, 5, 2))

    def loss(factor, remat):
        class Leaky:
            def init(self, key, input_size):
                return ()

            def initial_carry(self, params, batch_size, key=None):
                return jnp.zeros((batch_size, 2))

            def step(self, params, carry, x):
                carry = factor * carry + x
                return carry, carry

        return jnp.sum(sj.unroll(Leaky(), (), xs, remat=remat)[1] ** 2)

    grad = jax.grad(loss)
    np.testing.assert_allclose(grad(0.5, remat), grad(0.5, None), rtol=1e-5)


def test_second_derivatives_are_forward_over_reverse(x64):
    cell = Counter()
    params = cell.init(jax.random.key(0), 0)
    xs = {"token": jnp.array([[0, 3, 1, 4, 2, 2]]), "weight": jnp.ones((1, 6))}

    def loss(params, remat):
        return jnp.sum(jnp.cos(sj.unroll(cell, params, xs, remat=remat)[1][0]))

    def product(remat):
        return jax.jvp(lambda params: jax.grad(loss)(params, remat), (params,), (params,))

    schedule = sj.core.Schedule(6, 1, tapes=1, block=2)
    chex.assert_trees_all_close(product(schedule), product(None), rtol=1e-10)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda params: loss(params, schedule), (params,), (params,))
    twice = jax.grad(lambda params: jnp.sum(jax.grad(loss)(params, schedule)))
    with pytest.raises(ValueError, match="Reverse-mode"):
        twice(params)


class Sine:
    """A cell whose step stores one array of the size of its state: hₜ = sin(hₜ₋₁ + xₜ)."""

    def init(self, key, input_size):
        return ()

    def initial_carry(self, params, batch_size, key=None):
        return jnp.zeros((batch_size, 7))

    def step(self, params, carry, x):
        carry = jnp.sin(carry + x)
        return carry, ()


def stored_states(length, remat):
    """The states [1, 7] that the backward pass of an unroll holds on to."""
    final = lambda xs: sj.unroll(Sine(), (), xs, remat=remat)[0]
    _, pull = jax.vjp(final, jnp.ones((1, length, 1)))
    return sum(a.size for a in jax.tree.leaves(pull) if a.shape[-1:] == (7,)) // 7


@pytest.mark.parametrize("window, states", [(10, 110), (20, 70), (32, 64), (100, 110)])
def test_windows_store_a_sum_of_carries_and_steps(window, states):
    """⌈T / K⌉ + K, not max(K, T / K): the carries are still there while a window is reversed."""
    carries, steps = stored_states(1000, window), stored_states(window, None)
    assert (carries, steps) == (-(-1000 // window), window)
    assert carries + steps == states != max(window, -(-1000 // window))
    assert carries + steps >= min(-(-1000 // k) + k for k in range(1, 1001)) == 64
