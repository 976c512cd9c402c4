"""Exact draws from the distribution of exponentiated edit distance, by rejection."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from seqjax._internal import checks
from seqjax._internal.ranks import own_ranks
from seqjax.core.lengths import within
from seqjax.core.noise import fold_in_rows
from seqjax.core.steps import where_rows
from seqjax.objectives.payoffs import BROKEN, PayoffSample, another, check_targets, edit_cost

DELETE, COPY, REPLACE, INSERT, STOP = range(5)


class _Payoff(NamedTuple):
    """What draws around one target depend on."""

    target: jax.Array  # [T]
    length: jax.Array  # [] m
    ratio: jax.Array  # [] λ = exp(-c), the weight of an edit
    scripts: jax.Array  # [T + 1, L + 1] log weight of all continuations, by tokens left and written
    by_length: jax.Array  # [L + 1] log weight of each length, in the other proposal


@own_ranks
def sample_edits(
    key,
    targets,
    lengths=None,
    *,
    vocab_size: int,
    temperature,
    max_len: int,
    unit: str = "edits",
    pad: int = 0,
) -> PayoffSample:
    """Draws targets by their edit distance from the given ones, exactly.

        q(y | y*) ∝ λ^d(y, y*) over all y of at most max_len tokens,    λ = exp(-c)

    d is the Levenshtein distance and c the cost of an edit: 1 / τ with unit "edits". Counting
    strings by distance has no closed form, and counting edit scripts, as the paper does to
    approximate it, counts a string once for each of its scripts. Here a script is drawn from left
    to right, and its string y is accepted with probability

        λ^d(y) / Σ over scripts s of y: λ^edits(s)  <=  1

    which makes the distribution exact. (An inserted token differs from the target's next one; among
    several equal places it takes the last. A best script of that form always exists.) At high
    temperatures there are fewer strings than scripts. There the proposal is a uniform string whose
    length n is drawn by Vⁿ λ^|n - T|. The proposal with the smaller total weight is used.

    The objective and its gradient are those of `sample_hamming`: -E_q log p, unbiased. A draw may
    have another length, so make inputs, targets and mask from the draw. Do not use it at
    temperatures that replace most tokens: nothing is learned there, and attempts are many.
    At V = 39, T = 5 and L = 9 an attempt is accepted with probability 0.99 at τ = 0.15 (0.5 edits
    a target), 0.76 at 0.2 (2.3 edits), 0.16 at 0.3 (5.4 edits), 0.004 at 0.7 (the minimum) and 1
    at inf. An attempt takes O(max_len T²) operations a row, the tables O(T max_len²) once a call.
    The loop ends when every row has accepted. A row's draw depends on its key and itself alone.

    Args:
      key: a typed key (row b uses fold_in(key, b)), or typed keys [B].
      targets: [B, T] integers.
      lengths: [B] tokens of each, 0..T, without a closing one; None means T.
      vocab_size: V; tokens are drawn from 0..V-1.
      temperature: τ >= 0, a number or [B], traced or not; 0 draws the target, inf uniformly.
      max_len: L >= T, the width of what comes back, a static size.
      unit: of the reward, "edits", "rate" (error rate) or "vocabulary", see `payoff_log_probs`.
      pad: what stands after the last token, such as the eos.

    Returns:
      `PayoffSample`, tokens [B, L] of lengths 0..L, distances by Levenshtein.

    Raises:
      ValueError: if an argument does not fit, or temperature is negative or NaN and its value is
        known. Inside `jit` the row's tokens are -1 then, and their loss NaN; a caller wrapped in
        `jax.experimental.checkify.checkify` gets this error.

    Example:
      >>> targets, how = jnp.array([[3, 1, 2]]), dict(vocab_size=4, max_len=5, pad=4)
      >>> sample_edits(jax.random.key(0), targets, temperature=0.0, **how).tokens.tolist()
      [[3, 1, 2, 4, 4]]
      >>> keys = jax.random.split(jax.random.key(0), 100)
      >>> many = sample_edits(keys, jnp.repeat(targets, 100, axis=0), temperature=0.4, **how)
      >>> jnp.bincount(many.distances, length=4).tolist()
      [23, 39, 35, 3]

    References:
      Norouzi et al., Reward Augmented Maximum Likelihood for Neural Structured Prediction, 2016,
      section 2. Levenshtein, Binary codes capable of correcting deletions, insertions and
      reversals, 1966.
    """
    targets, lengths, keys = check_targets(key, targets, lengths, vocab_size)
    size, width = checks.positive_int("max_len", max_len), targets.shape[1]
    checks.require(
        size >= width,
        f"max_len is {size}; expected at least {width}, the width of targets, which are draws too.",
    )
    ratio = jnp.exp(-edit_cost(temperature, unit, vocab_size, lengths))
    scripts = jax.vmap(lambda r: _scripts(width, size, vocab_size, r))(ratio)
    by_length = jax.vmap(lambda m, r: _lengths(size, m, vocab_size, r))(lengths, ratio)
    payoff = _Payoff(targets, lengths, ratio, scripts, by_length)
    attempt = jax.vmap(lambda key, payoff: _attempt(key, payoff, vocab_size, size))
    nothing = PayoffSample(
        jnp.full((targets.shape[0], size), BROKEN, targets.dtype), lengths, jnp.zeros_like(lengths)
    )

    def body(loop):
        number, sample, done = loop
        accepted, new = attempt(fold_in_rows(keys, jnp.full(keys.shape, number)), payoff)
        return number + 1, where_rows(done | ~accepted, sample, new), done | accepted

    running = lambda loop: ~jnp.all(loop[2])
    _, sample, _ = lax.while_loop(running, body, (jnp.int32(0), nothing, jnp.isnan(ratio)))
    real = within(sample.lengths, size)
    outside = jnp.where(jnp.isnan(ratio), BROKEN, pad).astype(targets.dtype)[:, None]
    return sample._replace(tokens=jnp.where(real, sample.tokens, outside))


def _scripts(width: int, size: int, vocab_size: int, ratio: jax.Array) -> jax.Array:
    """log weights [T + 1, L + 1] of what may follow, r target tokens left and n tokens written.

    W[r, n] = λ W[r-1, n] + (1 + (V-1) λ) W[r-1, n+1] + (V-1) λ W[r, n+1],    W[0, n] = Σ (V λ)ᵏ
    """
    log = jnp.log
    places = jnp.arange(size + 1)
    ahead = (places - places[:, None]).astype(ratio.dtype)  # [n, k]: k - n insertions from n on
    power = jnp.where(ahead == 0, 0.0, ahead * log((vocab_size - 1) * ratio))
    power = jnp.where(ahead < 0, -jnp.inf, power)
    last = jnp.where(ahead == 0, 0.0, ahead * log(vocab_size * ratio))
    last = jax.nn.logsumexp(jnp.where(ahead < 0, -jnp.inf, last), axis=1)

    def one_more(row, _):
        further = jnp.append(row[1:], -jnp.inf)
        entered = jnp.logaddexp(log(ratio) + row, log(1 + (vocab_size - 1) * ratio) + further)
        new = jax.nn.logsumexp(power + entered, axis=1)
        return new, new

    return jnp.concatenate([last[None], lax.scan(one_more, last, length=width)[1]])


def _lengths(size: int, length: jax.Array, vocab_size: int, ratio: jax.Array) -> jax.Array:
    """log Vⁿ λ^|n - m| of each length n <= L."""
    places = jnp.arange(size + 1).astype(ratio.dtype)
    off = jnp.abs(places - length.astype(ratio.dtype))
    penalty = jnp.where(off == 0, 0.0, off * jnp.log(ratio))
    return places * jnp.log(jnp.asarray(vocab_size, ratio.dtype)) + penalty


def _attempt(key: jax.Array, payoff: _Payoff, vocab_size: int, size: int):
    """Whether a proposal is accepted, and what it is, for one row."""
    key_s, key_n, key_u, key_a = jax.random.split(key, 4)
    edited = _follow(key_s, payoff, vocab_size, size)
    length = jax.random.categorical(key_n, payoff.by_length)
    uniform = jax.random.randint(key_u, (size,), 0, vocab_size).astype(edited[0].dtype)
    by_script = payoff.scripts[payoff.length, 0] <= jax.nn.logsumexp(payoff.by_length)
    tokens, length = jax.tree.map(
        lambda a, b: jnp.where(by_script, a, b), edited, (uniform, length.astype(jnp.int32))
    )
    distance, ways = _ways(tokens, length, payoff)
    least = jnp.abs(length - payoff.length)
    chance = jnp.where(by_script, 1 / ways, payoff.ratio ** (distance - least).astype(ways.dtype))
    accepted = jax.random.uniform(key_a, (), chance.dtype) < chance
    return accepted, PayoffSample(tokens, length, distance)


def _follow(key: jax.Array, payoff: _Payoff, vocab_size: int, size: int):
    """Tokens [L] and the length of a string made by a script, drawn edit by edit."""
    width = payoff.target.shape[0]
    log, ratio = jnp.log, payoff.ratio
    key_e, key_t = jax.random.split(key)
    steps, slots = width + size, jnp.arange(size, dtype=jnp.int32)
    noise = jax.random.gumbel(key_e, (steps, 5), ratio.dtype)
    # Two uniform draws per step: over V - 1 ids and over V.
    drawn = jax.random.randint(
        key_t, (steps, 2), 0, jnp.array([max(vocab_size - 1, 1), vocab_size])
    )
    drawn = drawn.astype(payoff.target.dtype)

    def one(state, draws):
        left, done, tokens, ended = state
        noise, (other, any_) = draws
        some, room = left > 0, done < size
        none, more = jnp.maximum(left - 1, 0), jnp.minimum(done + 1, size)
        at = payoff.target[jnp.minimum(payoff.length - left, width - 1)] if width else other
        kinds = jnp.where(some, vocab_size - 1, vocab_size).astype(ratio.dtype)
        options = jnp.stack(
            [
                jnp.where(some, log(ratio) + payoff.scripts[none, done], -jnp.inf),
                jnp.where(some & room, payoff.scripts[none, more], -jnp.inf),
                jnp.where(some & room, log(kinds * ratio) + payoff.scripts[none, more], -jnp.inf),
                jnp.where(room, log(kinds * ratio) + payoff.scripts[left, more], -jnp.inf),
                jnp.where(some, -jnp.inf, 0.0),
            ]
        )
        edit = jnp.where(ended, STOP, jnp.argmax(options + noise))
        token = jnp.where(some, another(other, at), any_)
        token = jnp.where(edit == COPY, at, token)
        writes = (edit == COPY) | (edit == REPLACE) | (edit == INSERT)
        tokens = jnp.where((slots == done) & writes, token, tokens)
        reads = (edit == DELETE) | (edit == COPY) | (edit == REPLACE)
        left, done = left - reads.astype(jnp.int32), done + writes.astype(jnp.int32)
        return (left, done, tokens, edit == STOP), None

    begin = payoff.length, jnp.int32(0), jnp.zeros(size, payoff.target.dtype), False
    (_, length, tokens, _), _ = lax.scan(one, begin, (noise, drawn))
    return tokens, length


def _ways(tokens: jax.Array, length: jax.Array, payoff: _Payoff) -> tuple[jax.Array, jax.Array]:
    """The edit distance d of a string from the target, and Σ over its scripts of λ^(edits - d).

    Kept as a pair for every prefix, the sum never underflows, however small λ is.
    """
    width = payoff.target.shape[0]
    places = jnp.arange(width + 1, dtype=jnp.int32)
    along = places[:, None] - places  # [to, from]: deletions in between
    far = jnp.int32(2 * (width + tokens.shape[0]))
    next_ones = jnp.append(payoff.target, -1)
    ends = places == payoff.length

    def total(costs, sums):
        least = jnp.min(costs, axis=-1)
        over = (costs - least[..., None]).astype(sums.dtype)
        return least, jnp.sum(sums * payoff.ratio**over, axis=-1)

    def deleted(costs, sums):
        from_all = jnp.where(along >= 0, costs + along, far)
        return total(from_all, jnp.where(along >= 0, sums, 0.0))

    def read(row, token_place):
        costs, sums = row
        token, place = token_place
        shifted = lambda a, fill: jnp.concatenate([jnp.full((1,), fill, a.dtype), a[:-1]])
        changed = jnp.append(jnp.bool_(False), payoff.target != token).astype(jnp.int32)
        barred = (next_ones == token) & ~ends  # an insertion before its like
        options = jnp.stack([shifted(costs, far) + changed, costs + 1], axis=1)
        weights = jnp.stack([shifted(sums, 0.0), jnp.where(barred, 0.0, sums)], axis=1)
        options = jnp.where(weights > 0, options, far)
        new = deleted(*total(options, weights))
        return jax.tree.map(lambda a, b: jnp.where(place < length, a, b), new, row), None

    one = jnp.where(places == 0, 1.0, 0.0).astype(payoff.ratio.dtype)
    first = deleted(jnp.where(places == 0, jnp.int32(0), far), one)
    steps = tokens, jnp.arange(tokens.shape[0], dtype=jnp.int32)
    (costs, sums), _ = lax.scan(read, first, steps)
    return costs[payoff.length], sums[payoff.length]
