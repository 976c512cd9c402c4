"""A processor's state beside the carry: repeated, gathered by parents, held where a row ended."""

from dataclasses import dataclass
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import decoding_models as models

from seqjax.decoding import (
    AfterPrompt,
    beam_search,
    sample,
    sequential_monte_carlo,
    speculative_sample,
    stochastic_beam_search,
)

EOS, VOCAB, LENGTH, PLACES = 1, 5, 6, 7
KEY = jax.random.key(3)
TABLE = 2.0 * jax.random.normal(jax.random.key(11), (PLACES, VOCAB))


def walk(place, token):
    return (3 * place + token + 1) % PLACES


@dataclass(frozen=True)
class Walk:
    """Weighs tokens by a place that the tokens so far lead to; row b starts at place b."""

    def initial_state(self, batch_size):
        place = jnp.arange(batch_size, dtype=jnp.int32) % PLACES
        keys = jax.random.split(KEY, batch_size)
        return {"place": place, "nested": (keys, jax.nn.one_hot(place, PLACES))}

    def __call__(self, state, logits):
        held = jnp.argmax(state["nested"][1], axis=1)  # the same place, by another way
        return logits + TABLE[state["place"]] + TABLE[held]

    def update(self, state, tokens):
        keys, held = state["nested"]
        after = walk(jnp.argmax(held, axis=1).astype(jnp.int32), tokens)
        return {
            "place": walk(state["place"], tokens),
            "nested": (keys, jax.nn.one_hot(after, PLACES)),
        }


def walked(logits, tokens, length):
    """What `Walk` does, computed from the hypotheses themselves."""
    copies = logits.shape[0] // 6  # six rows, side by side
    place = jnp.repeat(jnp.arange(6, dtype=jnp.int32), copies)
    for n in range(tokens.shape[1]):
        place = jnp.where(n < length, walk(place, tokens[:, n]), place)
    return logits + 2 * TABLE[place]


@pytest.mark.parametrize("size", [1, 4])
def test_beams_keep_their_own_states(size):
    carry = models.random_rows(0, 6, VOCAB)
    how: dict[str, Any] = dict(bos=0, eos=EOS, beam_size=size, max_len=LENGTH)
    run = lambda p: jax.jit(lambda c: beam_search(models.step, c, processors=[p], **how))(carry)
    beams = run(Walk())
    chex.assert_trees_all_close(beams, run(walked), rtol=1e-5)
    assert not np.array_equal(beams.tokens, run(lambda logits, *_: logits).tokens)


def test_samples_keep_their_own_states_and_hold_them():
    carry, seen = models.random_rows(1, 6, VOCAB), []

    class Watched(Walk):
        def __call__(self, state, logits):
            jax.debug.callback(lambda place: seen.append(np.array(place)), state["place"])
            return super().__call__(state, logits)

    how: dict[str, Any] = dict(bos=0, eos=EOS, max_len=LENGTH, key=KEY)
    run = lambda p: jax.jit(lambda c: sample(models.step, c, processors=[p], **how))(carry)
    samples = run(Watched())
    jax.effects_barrier()
    chex.assert_trees_all_close(samples, run(walked), rtol=1e-5)
    places, lengths = np.stack(seen), np.asarray(samples.lengths)
    assert len(set(lengths)) > 1
    for b, length in enumerate(lengths):
        expected = [b]
        for token in samples.tokens[b, :length].tolist():
            expected.append(walk(expected[-1], token))
        expected += [expected[-1]] * (len(places) - len(expected))
        np.testing.assert_array_equal(places[:, b], expected[: len(places)])


def several(processor, carry, **how):
    return sample(models.step, carry, num_samples=3, processors=[processor], **how)


def without_replacement(processor, carry, **how):
    return stochastic_beam_search(models.step, carry, beam_size=4, processors=[processor], **how)


def particles(processor, carry, **how):
    each = dict.fromkeys(("processors", "potentials", "twists", "proposal"), [processor])
    return sequential_monte_carlo(models.step, carry, num_particles=8, threshold=1.0, **each, **how)


@pytest.mark.parametrize("decoder", [several, without_replacement, particles])
def test_what_is_repeated_or_gathered_keeps_its_own_states(decoder):
    carry = models.random_rows(4, 6, VOCAB)
    how: dict[str, Any] = dict(bos=0, eos=EOS, max_len=LENGTH, key=KEY)
    run = lambda processor: jax.jit(lambda c: decoder(processor, c, **how))(carry)
    chex.assert_trees_all_close(run(Walk()), run(walked), rtol=1e-4, atol=1e-4)


def walking(carry, tokens):
    """`models.step` with `Walk` in it; row b starts at place b."""
    carry, place, begun = carry
    place = jnp.where(begun, walk(place, tokens), place)
    carry, logits = models.step(carry, tokens)
    return (carry, place, jnp.ones_like(begun)), logits + 2 * TABLE[place]


def test_states_are_set_back_to_the_last_guess_kept():
    carry, draft = models.random_rows(5, 6, VOCAB), models.random_rows(6, 6, VOCAB)
    how: dict[str, Any] = dict(bos=0, eos=EOS, num_draft=3, max_len=9, key=KEY)
    run = lambda step, c, d, **more: jax.jit(
        lambda c, d: speculative_sample(step, c, step, d, **how, **more)
    )(c, d)
    samples = run(models.step, carry, draft, processors=[Walk()])
    rows = jnp.arange(6, dtype=jnp.int32), jnp.zeros(6, bool)
    expected = run(walking, (carry, *rows), (draft, *rows))
    drop = lambda samples: samples._replace(log_probs=())  # of the model, and of the walking one
    chex.assert_trees_all_equal(drop(samples), drop(expected))
    assert 0 < samples.accepted.sum() < 3 * samples.rounds.sum() and samples.rounds.max() > 2


PROMPT = np.array([[2, 0, 3]] * 6, np.int32)
READ = np.array([3, 0, 1, 2, 3, 1], np.int32)


@pytest.mark.parametrize("decoder", ["beam", several, without_replacement, particles])
def test_a_state_may_read_the_prompt(decoder):
    """By `AfterPrompt`, whatever the kind: both know the place that prompt and tokens lead to."""
    carry = models.random_rows(7, 6, VOCAB)
    how: dict[str, Any] = dict(bos=0, eos=EOS, max_len=LENGTH, prompt=PROMPT, prompt_lengths=READ)

    def after(logits, tokens, length):
        place = jnp.arange(6, dtype=jnp.int32)
        for n in range(3):
            place = jnp.where(n < READ, walk(place, PROMPT[:, n]), place)
        place = jnp.repeat(place, logits.shape[0] // 6)
        for n in range(tokens.shape[1]):
            place = jnp.where(n < length, walk(place, tokens[:, n]), place)
        return logits + 2 * TABLE[place]

    def run(processor):
        if decoder == "beam":
            more: dict[str, Any] = how | dict(beam_size=3, processors=[processor])
            return jax.jit(lambda c: beam_search(models.step, c, **more))(carry)
        return jax.jit(lambda c: decoder(processor, c, key=KEY, **how))(carry)

    found = run(AfterPrompt(Walk(), PROMPT, READ))
    chex.assert_trees_all_close(found, run(after), rtol=1e-4, atol=1e-4)
    assert not np.array_equal(found.tokens, run(Walk()).tokens)


def test_a_function_after_a_prompt_is_set_back_with_the_guesses():
    """In a round of speculative sampling rows differ in length: the prompt's and their own."""
    carry, draft = models.random_rows(5, 6, VOCAB), models.random_rows(6, 6, VOCAB)
    how: dict[str, Any] = dict(bos=0, eos=EOS, num_draft=3, max_len=9, key=KEY)
    how |= dict(prompt=PROMPT, prompt_lengths=READ)
    run = lambda p: jax.jit(
        lambda c, d: speculative_sample(models.step, c, models.step, d, processors=[p], **how)
    )(carry, draft)
    by_state = AfterPrompt(models.NoRepeat(), PROMPT, READ)
    by_tokens = AfterPrompt(models.no_repeat, PROMPT, READ)
    samples = run(by_state)
    chex.assert_trees_all_equal(samples, run(by_tokens))
    last = np.array([0, *PROMPT[0]])[READ]
    assert np.all(np.asarray(samples.tokens)[READ > 0, 0] != last[READ > 0])


def test_states_and_functions_apply_in_order():
    carry = models.random_rows(2, 6, VOCAB)
    double = lambda logits, tokens, length: 2 * logits
    both = lambda logits, tokens, length: walked(2 * logits, tokens, length)
    how: dict[str, Any] = dict(bos=0, eos=EOS, beam_size=3, max_len=LENGTH)
    run = lambda *p: jax.jit(lambda c: beam_search(models.step, c, processors=p, **how))(carry)
    first = run(double, Walk())
    chex.assert_trees_all_close(first, run(both), rtol=1e-5)
    assert not np.allclose(first.log_probs, run(Walk(), double).log_probs)


def test_processors_of_a_step_that_allows_nothing_are_given_eos_alone():
    nothing = lambda carry, tokens: (carry, jnp.full((tokens.size, VOCAB), -jnp.inf))
    how: dict[str, Any] = dict(bos=jnp.array([0]), eos=EOS, max_len=2)
    how["processors"] = [lambda logits, *_: jax.nn.log_softmax(logits)]  # of -inf alone: NaN
    samples = sample(nothing, (), key=KEY, **how)
    assert samples.tokens.tolist() == [[EOS] * 2] and samples.law_log_probs.tolist() == [0.0]
    beams = beam_search(nothing, (), beam_size=2, **how)
    assert beams.tokens.tolist() == [[[EOS] * 2] * 2]
    assert beams.log_probs.tolist() == [[0.0, -np.inf]]


class Broken(Walk):
    """A walk with one method replaced."""

    def __init__(self, **methods):
        self.__dict__.update(methods)

    def __repr__(self):
        return "Broken()"


BROKEN = [
    (
        dict(initial_state=lambda n: {"at": jnp.zeros(n + 1)}),
        r"processors: Broken\(\) has initial_state\['at'\] of shape \(7,\); expected every leaf to "
        r"lead with the batch axis \[N, ...\], N = 6.",
    ),
    (dict(initial_state=lambda n: 0), r"initial_state of shape \(\); expected every leaf to lead"),
    (
        dict(update=lambda state, tokens: state["place"]),
        r"processors: Broken\(\): updated state has structure .*; expected .*, as it was before",
    ),
    (
        dict(update=lambda state, tokens: {**state, "place": state["place"].astype(jnp.float32)}),
        r"updated state\['place'\] is float32\[6\]; expected int32\[6\], as it was before.",
    ),
]


@pytest.mark.parametrize(("methods", "message"), BROKEN)
def test_a_state_that_does_not_fit_is_refused(methods, message):
    carry = models.random_rows(3, 6, VOCAB)
    how: dict[str, Any] = dict(bos=0, eos=EOS, max_len=2, processors=[Broken(**methods)])
    with pytest.raises(ValueError, match=message):
        sample(models.step, carry, key=KEY, **how)
    with pytest.raises(ValueError, match="processors: "):
        beam_search(models.step, carry, beam_size=1, **how)
