"""Bad input to the decoders: each a ValueError with the argument, what came and the remedy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.decoding_searches import ruled

from seqjax.decoding import CoveragePenalty, NoRepeatNGram, beam_search, sample

KEY = jax.random.key(0)


def good(carry, tokens):
    return carry, jnp.zeros((tokens.shape[0], 3))


BEAM_ERRORS = [
    (dict(beam_size=0), "beam_size is 0; expected an integer of at least 1."),
    (dict(max_len=-1), "max_len is -1; expected an integer of at least 1."),
    (dict(eos=3), "eos is 3; expected an integer with 0 <= eos < 3, the vocabulary size"),
    (dict(eos=True), "eos is True; expected an integer"),
    (dict(bos=0.5), "bos has dtype float32; expected integers."),
    (dict(bos=np.zeros(3, np.int32)), r"carry\['h'\] has batch size 2 but bos has 3; expected"),
    (dict(carry={"h": jnp.zeros(2), "c": jnp.zeros((3, 1))}), r"carry\['h'\] has batch size 2 but"),
    (dict(carry=(jnp.zeros(2), 1.0)), r"carry\[1\] is a scalar; expected every carry leaf to lead"),
    (dict(carry=()), "carry has no array leaf and bos is a single integer.*Pass bos as an array"),
    (dict(eos=()), r"eos is \(\); expected an integer with 0 <= eos < 3"),
    (dict(eos=(1, 1)), r"eos is \(1, 1\); expected .* or a tuple of different ones."),
    (dict(eos=(1, 3)), r"eos is \(1, 3\); expected an integer with 0 <= eos < 3"),
    (dict(rules=2), "rules is 2; expected a BeamRules."),
    (dict(min_len=0), "min_len is 0; expected an integer of at least 1."),
    (dict(min_len=4), "min_len is 4; expected 1 <= min_len <= max_len = 3."),
    (dict(early_exit="last"), "early_exit is 'last'; expected one of 'exact', 'first', 'never'"),
    (dict(early_exit="first", patience=0), "patience is 0; expected a number with patience > 0."),
    (dict(patience=2.0), "patience is 2.0 with early_exit='exact'; expected 1.*Pass early_exit="),
    (dict(groups=0), "groups is 0; expected an integer of at least 1."),
    (dict(beam_size=4, groups=3), "groups is 3; expected a divisor of beam_size = 4."),
    (dict(groups=2, diversity=-1), "diversity is -1; expected a number with diversity >= 0."),
    (dict(groups=2, diversity=jnp.ones(2)), r"diversity has shape \(2,\); expected a single num"),
    (dict(diversity=0.5), "diversity is 0.5 with one group; expected 0. Pass groups="),
    (
        dict(prefix=np.zeros((2, 4), np.int32)),
        r"prefix has shape \(2, 4\), P = 4; expected P <= max_len = 3",
    ),
    (dict(prefix=np.zeros(2, np.int32)), r"prefix has shape \(2,\); expected \[B, P\] with batch"),
    (
        dict(prefix=np.zeros((2, 2), np.int32), prefix_lengths=np.array([0, 3])),
        r"prefix_lengths has values from 0 to 3; expected 0 <= prefix_lengths <= T = 2",
    ),
    (dict(prefix=np.array([[0], [3]])), r"prefix is \[\[0\]\n \[3\]\]; expected tokens 0..2 up to"),
    (
        dict(prefix=np.array([[0], [-1]])),
        r"prefix is \[\[ 0\]\n \[-1\]\]; expected tokens 0..2",
    ),
    (dict(prefix_lengths=np.zeros(2, np.int32)), "prefix_lengths was given without a prefix"),
    (dict(alignments=lambda o: o), "alignments was given without a coverage_penalty; expected"),
    (dict(coverage_penalty=CoveragePenalty()), r"coverage_penalty needs attention weights \[B, S"),
    (
        dict(
            step=lambda c, t: (*good(c, t), jnp.zeros((t.shape[0], 4))),
            coverage_penalty=lambda coverage: coverage,
        ),
        r"coverage_penalty returned shape \(2, 2, 4\) for coverage \(2, 2, 4\); expected \[B, K\]",
    ),
    (
        dict(step=lambda c, t: (*good(c, t), {"a": jnp.zeros(3)})),
        r"step returned outputs\['a'\] of shape \(3,\) for 2 tokens; expected every leaf to lead",
    ),
    (
        dict(step=lambda c, t: t),
        r"step returned a ShapeDtypeStruct; expected \(carry, logits\) or \(carry, logits, outputs",
    ),
    (dict(step=lambda c, t: (c,)), r"step returned a tuple of 1; expected \(carry, logits\) or"),
    (dict(step=lambda c, t: (None, t)), "step changed the carry's structure from .* expected it"),
    (
        dict(step=lambda c, t: ({"h": c["h"].astype(jnp.bfloat16)}, t)),
        r"step changed carry\['h'\] from float32\[2\] to bfloat16\[2\]; expected it unchanged.",
    ),
    (dict(step=lambda c, t: (c, jnp.zeros(3))), r"logits of shape \(3,\) for 2 tokens; expected"),
    (dict(step=lambda c, t: (c, jnp.zeros((1, 3)))), r"logits of shape \(1, 3\) for 2 tokens"),
    (dict(step=lambda c, t: (c, jnp.zeros((2, 3), int))), "logits of dtype int32; expected float"),
    (dict(prompt=np.zeros(2, np.int32)), r"prompt has shape \(2,\); expected \[B, P\] with batch"),
    (dict(prompt_lengths=np.zeros(2, np.int32)), "prompt_lengths was given without a prompt"),
    (
        dict(prompt=np.zeros((2, 2), np.int32), prompt_lengths=np.zeros(3, np.int32)),
        r"prompt_lengths has shape \(3,\) but prompt has batch size 2 ",
    ),
    (
        dict(prompt=np.zeros((2, 2), np.int32), prompt_lengths=np.array([0, 3])),
        r"prompt_lengths has values from 0 to 3; expected 0 <= prompt_lengths <= T = 2",
    ),
    (
        dict(length_penalty=lambda p, n: p.sum()),
        r"length_penalty returned shape \(\) for log_probs",
    ),
    (dict(processors=[lambda x, t, n: x[0]]), r"processors: .* returned logits of shape \(3,\)"),
    (
        dict(processors=[lambda x, t, n: x > 0]),
        r"returned logits .* and dtype bool; expected floats",
    ),
    (dict(processors=NoRepeatNGram(2)), r"processors is NoRepeatNGram\(size=2\); expected a list"),
    (dict(processors=[3]), "processors has 3; expected functions .* or objects with initial_state"),
]


@pytest.mark.parametrize(("change", "message"), BEAM_ERRORS)
def test_beam_search_says_what_is_wrong(change, message):
    how: dict[str, Any] = dict(
        step=good, carry={"h": jnp.zeros(2)}, bos=0, eos=1, beam_size=2, max_len=3
    )
    how |= change
    with pytest.raises(ValueError, match=message):
        beam_search(how.pop("step"), how.pop("carry"), **ruled(how))


SAMPLE_ERRORS = [
    (dict(max_len=0), "max_len is 0; expected an integer of at least 1."),
    (dict(eos=-1), "eos is -1; expected an integer with 0 <= eos < 3"),
    (dict(temperature=-0.1), "temperature is -0.1; expected temperature >= 0."),
    (
        dict(temperature=np.array([1.0, np.nan])),
        "temperature is .*nan.*; expected temperature >= 0",
    ),
    (
        dict(temperature=np.ones(3)),
        r"temperature has shape \(3,\); expected a single number or one",
    ),
    (dict(top_p=0.0), r"top_p is 0.0; expected top_p in \(0, 1\]."),
    (dict(top_p=jnp.array([0.5, 1.5])), r"top_p is .*; expected top_p in \(0, 1\]."),
    (dict(min_p=1.01), r"min_p is 1.01; expected min_p in \[0, 1\]."),
    (dict(top_k=0), r"top_k is 0; expected top_k in 1..3, the vocabulary size."),
    (dict(top_k=np.array([1, 4])), r"top_k is array\(\[1, 4\]\); expected top_k in 1..3"),
    (dict(top_k=2.0), "top_k is 2.0; expected an integer, or integers"),
    (
        dict(key=jax.random.PRNGKey(0)),
        "key is an array of uint32 .* expected a typed key. Make one with",
    ),
    (dict(key=0), "key is 0; expected a typed key"),
    (
        dict(key=jax.random.split(KEY, 3)),
        r"key has shape \(3,\); expected one key .* or 2 keys, one a row",
    ),
    (dict(carry={}), "carry has no array leaf and bos is a single integer"),
    (dict(bos=np.zeros((2, 1), np.int32)), r"bos has shape \(2, 1\); expected an integer or"),
    (
        dict(step=lambda c, t: (c.astype(jnp.float32), c)),
        r"step changed carry from int32\[2\] to float32\[2\]",
    ),
    (dict(step=lambda c, t: (c, c, c)), r"step returned a tuple of 3; expected the pair \(carry"),
    (dict(processors=[lambda x, t, n: x[:, 0]]), r"logits of shape \(2,\) and dtype"),
]


@pytest.mark.parametrize(("change", "message"), SAMPLE_ERRORS)
def test_sample_says_what_is_wrong(change, message):
    how: dict[str, Any] = (
        dict(step=good, carry=jnp.zeros(2, jnp.int32), bos=0, eos=1, max_len=3, key=KEY) | change
    )
    with pytest.raises(ValueError, match=message):
        sample(how.pop("step"), how.pop("carry"), **how)


def test_a_step_that_answers_for_the_batch_alone_is_refused():
    """Logits [2, 4] for 2 x 2 hypotheses would else pass for [4, 2]."""
    memory = jnp.zeros((2, 4))
    step = lambda carry, tokens: (carry, memory)
    message = r"logits of shape \(2, 4\) for 4 tokens; expected \[N, V\], N = 4: rows are repeated"
    how: dict[str, Any] = dict(bos=jnp.zeros(2, jnp.int32), eos=1, max_len=3)
    with pytest.raises(ValueError, match=message):
        beam_search(step, (), beam_size=2, **how)
    with pytest.raises(ValueError, match=message):
        sample(step, (), key=KEY, num_samples=2, **how)
