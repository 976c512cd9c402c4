"""Bad input to the decoders that draw many sequences: argument, what came, what was expected."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.decoding import stochastic_beam_search

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
    (dict(temperature=-1.0), "temperature is -1.0; expected temperature >= 0."),
    (dict(top_k=4), "top_k is 4; expected top_k in 1..3, the vocabulary size."),
    (dict(top_p=np.ones(3)), r"top_p has shape \(3,\); expected a single number or one a row"),
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


@pytest.mark.parametrize(
    ("change", "message"),
    [*COMMON_ERRORS, (dict(beam_size=0), "beam_size is 0; expected an integer of at least 1.")],
)
def test_stochastic_beam_search_says_what_is_wrong(change, message):
    refuses(stochastic_beam_search, change, message, beam_size=2)
