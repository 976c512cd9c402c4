"""Bad input to the decoders that draw many sequences: argument, what came, what was expected."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.decoding import (
    Infill,
    Sampling,
    lookahead_infill,
    sequential_monte_carlo,
    speculative_sample,
    stochastic_beam_search,
)

KEY = jax.random.key(0)


def good(carry, tokens):
    return carry, jnp.zeros((tokens.shape[0], 3))


# Shared by all of them: how they start and draw.
COMMON_ERRORS = [
    (dict(max_len=0), "max_len is 0; expected an integer of at least 1."),
    (dict(eos=3), "eos is 3; expected an integer with 0 <= eos < 3, the vocabulary size"),
    (dict(bos=0.5), "bos has dtype float32; expected integers."),
    (dict(key=3), "key is 3; expected a typed key"),
    (dict(key=jax.random.split(KEY, 3)), r"key has shape \(3,\); expected one key .* or 2 keys"),
    (dict(how=0.7), "how is 0.7; expected a Sampling."),
    (dict(how=Sampling(top_k=4)), "top_k is 4; expected top_k in 1..3, the vocabulary size."),
    (
        dict(how=Sampling(top_p=np.ones(3))),
        r"top_p has shape \(3,\); expected a single number or one a row",
    ),
    (dict(carry={}), "carry has no array leaf and bos is a single integer"),
    (dict(step=lambda c, t: (c, jnp.zeros(3))), r"logits of shape \(3,\) for 2 tokens; expected"),
    (dict(processors=[lambda x, t, n: x[:, 0]]), "processors: .* returned logits of shape"),
    (dict(prompt_lengths=np.zeros(2, np.int32)), "prompt_lengths was given without a prompt"),
]


def refuses(decoder, change, message, **how):
    settings: dict[str, Any] = dict(
        step=good, carry={"h": jnp.zeros(2)}, bos=0, eos=1, max_len=3, key=KEY
    )
    settings |= how | change
    with pytest.raises(ValueError, match=message):
        decoder(settings.pop("step"), settings.pop("carry"), **settings)


BATCH_ALONE = (  # a step that answers for the batch when it is asked for every hypothesis
    dict(step=lambda c, t: (c, jnp.zeros((2, 3)))),
    r"step returned logits of shape \(2, 3\) for .* tokens; expected \[N, V\], N = ",
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *COMMON_ERRORS,
        BATCH_ALONE,
        (dict(beam_size=0), "beam_size is 0; expected an integer of at least 1."),
    ],
)
def test_stochastic_beam_search_says_what_is_wrong(change, message):
    refuses(stochastic_beam_search, change, message, beam_size=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *COMMON_ERRORS,
        BATCH_ALONE,
        (dict(num_particles=0), "num_particles is 0; expected an integer of at least 1."),
        (dict(threshold=1.5), r"threshold is 1.5; expected a share of the particles in \[0, 1\]."),
        (dict(threshold=None), "threshold is None; expected a share of the particles"),
        (
            dict(resample=lambda key, w: jnp.zeros(2, int)),
            r"resample returned int32\[2\] for 4 particles; expected their ancestors, integers",
        ),
        (
            dict(resample=lambda key, w: w),
            r"resample returned float32\[4\] for 4 particles; expected their ancestors, integers",
        ),
        (dict(potentials=[lambda x, t, n: x[:, 0]]), "processors: .* returned logits of shape"),
        (dict(twists=[lambda x, t, n: x[0]]), "processors: .* returned logits of shape"),
        (dict(proposal=[lambda x, t, n: x[0]]), "processors: .* returned logits of shape"),
        (
            dict(potentials=[Infill(np.zeros((3, 2), np.int32), 1)]),
            "template has 3 rows but the batch size is 2; expected one a row",
        ),
    ],
)
def test_sequential_monte_carlo_says_what_is_wrong(change, message):
    refuses(sequential_monte_carlo, change, message, num_particles=4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: Infill(np.zeros((2, 2)), 0),
            r"template is float.*\[2, 2\]; expected integers \[B, L\] or \[L\]",
        ),
        (lambda: Infill(np.zeros((2, 0), int), 0), r"template is int.*\[2, 0\]; expected integers"),
        (
            lambda: lookahead_infill(np.zeros((1, 1, 1), int), jnp.zeros((2, 2))),
            r"template is int.*\[1, 1, 1\]; expected integers",
        ),
        (
            lambda: lookahead_infill([0], jnp.zeros((2, 3))),
            r"bigram is float32\[2, 3\]; expected floats \[V, V\], log p of the next token",
        ),
        (
            lambda: lookahead_infill([0], jnp.zeros((2, 2), int)),
            r"bigram is int32\[2, 2\]; expected floats \[V, V\]",
        ),
    ],
)
def test_infilling_says_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *COMMON_ERRORS,
        (dict(num_draft=0), "num_draft is 0; expected an integer of at least 1."),
        (
            dict(draft_step=lambda c, t: (c, jnp.zeros((t.shape[0], 4)))),
            "draft_step has a vocabulary of 4 tokens but step has 3; expected the same one.",
        ),
        (
            dict(draft_carry=jnp.zeros(3)),
            "draft_step and draft_carry: carry has batch size 3 but bos has 2; expected every",
        ),
        (
            dict(draft_step=lambda c, t: t),
            "draft_step and draft_carry: step returned .*; expected the pair",
        ),
        (dict(verify=lambda c, t: c), "verify returned a dict; expected the pair"),
        (
            dict(verify=lambda c, t: ({"h": jnp.zeros((2, 3))}, jnp.zeros((2, 2, 3)))),
            r"verify returned logits of shape \(2, 2, 3\); expected \[B, G \+ 1, V\] = \(2, 3, 3\)",
        ),
        (
            dict(verify=lambda c, t: (c, jnp.zeros((2, 3, 3)))),
            r"verify's carries\['h'\] is float32\[2\]; expected float32\[2, 3\], as carry is after",
        ),
    ],
)
def test_speculative_sample_says_what_is_wrong(change, message):
    def decoder(step, carry, draft_step=good, draft_carry=(), **how):
        return speculative_sample(step, carry, draft_step, draft_carry, **how)

    refuses(decoder, change, message, num_draft=2)
