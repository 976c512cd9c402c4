"""Distances between sequences of tokens: edits, edits by kind, positions that differ.

All are jittable and take rows of unequal lengths. `...` are leading axes, which broadcast: the n
best hypotheses [B, K, L] meet their references as [B, 1, S].
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from seqjax._internal import checks
from seqjax._internal.ranks import own_ranks
from seqjax.core.ids import as_ids, check_ids
from seqjax.core.lengths import check_lengths, within


class EditCounts(NamedTuple):
    """The edits of an alignment with the fewest edits, and among those the most substitutions.

    Fields:
      substitutions: [...] int32, tokens of the hypothesis in the place of another.
      deletions: [...] int32, tokens of the reference that are missing.
      insertions: [...] int32, tokens of the hypothesis without one in the reference.
    """

    substitutions: jax.Array
    deletions: jax.Array
    insertions: jax.Array


@own_ranks
def edit_distance(
    hypotheses,
    references,
    lengths=None,
    reference_lengths=None,
    *,
    insertion: float = 1,
    deletion: float = 1,
    substitution: float = 1,
) -> jax.Array:
    """The least cost of the edits between two sequences.

        D[i, 0] = i · insertion,   D[0, j] = j · deletion
        D[i, j] = min(D[i-1, j-1] + substitution · [yᵢ ≠ y*ⱼ],
                      D[i-1, j] + insertion, D[i, j-1] + deletion)

    One pass over the hypothesis, a whole row of D at a time: what runs along a row is a running
    minimum, since min over k <= j of (e[k] + (j - k) d) = j d + min over k <= j of (e[k] - k d).
    It takes O(L S) operations in L sequential steps, and O(S) memory a row. An insertion is a token
    of the hypothesis without one in the reference, as in error rates of speech recognition. It is
    not differentiable.

    Args:
      hypotheses: [..., L] integers.
      references: [..., S] integers.
      lengths: [...] tokens of each hypothesis, 0..L; None means L.
      reference_lengths: [...] tokens of each reference, 0..S; None means S.
      insertion: its cost, a finite number >= 0.
      deletion: its cost.
      substitution: its cost.

    Returns:
      [...] int32, exact, where all costs are integers; floats otherwise.

    Raises:
      ValueError: if tokens are not integers, lengths do not fit or a cost is negative or infinite.

    Example:
      >>> spell = lambda word: jnp.array([ord(letter) for letter in word])
      >>> print(edit_distance(spell("sitting"), spell("kitten")))
      3

    References:
      Levenshtein, Binary codes capable of correcting deletions, insertions and reversals, 1966.
      Wagner and Fischer, The string-to-string correction problem, 1974, algorithm X.
    """
    hyp, hyp_lengths = check_tokens("hypotheses", hypotheses, "lengths", lengths)
    ref, ref_lengths = check_tokens(
        "references", references, "reference_lengths", reference_lengths
    )
    dtype = _cost_dtype(
        hyp.shape[-1] + ref.shape[-1],
        insertion=insertion,
        deletion=deletion,
        substitution=substitution,
    )
    ins, dele, sub = (jnp.asarray(cost, dtype) for cost in (insertion, deletion, substitution))
    shape = _leading(hyp.shape[:-1], ref.shape[:-1])
    along = dele * jnp.arange(ref.shape[-1] + 1).astype(dtype)
    first = jnp.broadcast_to(along, (*shape, along.size))

    def read(row, token_place):
        token, place = token_place
        changed = jnp.where(token[..., None] == ref, jnp.zeros_like(sub), sub)
        entered = jnp.minimum(row[..., 1:] + ins, row[..., :-1] + changed)
        entered = jnp.concatenate([row[..., :1] + ins, entered], axis=-1)
        new = lax.cummin(entered - along, axis=entered.ndim - 1) + along
        return jnp.where((place < hyp_lengths)[..., None], new, row), None

    places = jnp.arange(hyp.shape[-1], dtype=jnp.int32)
    last, _ = lax.scan(read, first, (jnp.moveaxis(hyp, -1, 0), places))
    ends = jnp.broadcast_to(ref_lengths, shape)[..., None]
    return jnp.take_along_axis(last, ends, axis=-1)[..., 0]


@own_ranks
def edit_counts(hypotheses, references, lengths=None, reference_lengths=None) -> EditCounts:
    """How many edits of each kind an alignment of least distance has.

    The kinds are not unique: "ab" for "ba" is two substitutions, or an insertion and a deletion.
    The most substitutions win: insertions and deletions cost a little more than they do, too little
    to change the total.

    Args:
      hypotheses: [..., L] integers.
      references: [..., S] integers; L + S at most 46,339.
      lengths: [...] tokens of each hypothesis, 0..L; None means L.
      reference_lengths: [...] tokens of each reference, 0..S; None means S.

    Returns:
      `EditCounts`, fields [...] int32; their sum is `edit_distance`.

    Raises:
      ValueError: as `edit_distance`, or if there are too many tokens for int32.

    Example:
      >>> hypothesis, reference = jnp.array([1, 2, 4, 5]), jnp.array([1, 3, 4])
      >>> [int(count) for count in edit_counts(hypothesis, reference)]
      [1, 0, 1]

    References:
      Wagner and Fischer, The string-to-string correction problem, 1974.
    """
    hyp, hyp_lengths = check_tokens("hypotheses", hypotheses, "lengths", lengths)
    ref, ref_lengths = check_tokens(
        "references", references, "reference_lengths", reference_lengths
    )
    edit = hyp.shape[-1] + ref.shape[-1] + 1
    how = dict(insertion=edit + 1, deletion=edit + 1, substitution=edit)
    total = edit_distance(hyp, ref, hyp_lengths, ref_lengths, **how)
    moved = total % edit  # insertions and deletions
    longer = hyp_lengths - ref_lengths
    insertions = (moved + longer) // 2
    return EditCounts(total // edit - moved, moved - insertions, insertions)


@own_ranks
def hamming_distance(hypotheses, references, lengths=None) -> jax.Array:
    """The number of positions at which two sequences of one length differ.

    Args:
      hypotheses: [..., T] integers.
      references: [..., T] integers.
      lengths: [...] tokens of each pair, 0..T; None means T.

    Returns:
      [...] int32.

    Raises:
      ValueError: if tokens are not integers of one width, or lengths do not fit.

    Example:
      >>> references = jnp.array([[1, 3, 2, 9]])
      >>> print(hamming_distance(jnp.array([[1, 2, 3, 0]]), references, jnp.array([3])))
      [2]

    References:
      Hamming, Error detecting and error correcting codes, 1950.
    """
    hyp, lengths = check_tokens("hypotheses", hypotheses, "lengths", lengths)
    ref, _ = check_tokens("references", references, "lengths", None)
    checks.require(
        hyp.shape[-1] == ref.shape[-1],
        f"hypotheses has width {hyp.shape[-1]} and references {ref.shape[-1]}; expected the same. "
        "Sequences of unequal lengths have an edit_distance.",
    )
    _leading(hyp.shape[:-1], ref.shape[:-1])
    real = within(lengths, hyp.shape[-1])
    return jnp.sum((hyp != ref) & real, axis=-1, dtype=jnp.int32)


def check_tokens(name: str, tokens: Any, lengths_name: str, lengths: Any):
    """Tokens [..., T] and lengths [...], both int32, T for None; raises where they do not fit."""
    tokens = as_ids(name, tokens)
    checks.require(
        tokens.ndim >= 1, f"{name} has shape {tokens.shape}; expected integer ids [..., T]."
    )
    lengths = check_lengths(lengths_name, lengths, name, tokens.shape, axis=-1)
    _check_distinct(name, tokens, within(lengths, tokens.shape[-1]))
    return tokens, lengths


def _check_distinct(name: str, tokens: jax.Array, real: jax.Array) -> None:
    """Refuses real tokens at the ends of int32, where `as_ids` puts all that lie beyond."""
    ends = jnp.iinfo(jnp.int32)
    beyond = real & ((tokens == ends.max) | (tokens == ends.min))
    remedy = "expected ids within int32. Number the tokens: np.unique(tokens, return_inverse=True)."
    check_ids(name, tokens, beyond, remedy)


def _cost_dtype(tokens: int, **costs: Any):
    """int32 where all costs are integers, else the default float."""
    for name, cost in costs.items():
        checks.require(
            checks.is_number(cost) and math.isfinite(cost) and cost >= 0,
            f"{name} is {cost!r}; expected a finite cost of at least 0.",
        )
    if not all(float(cost).is_integer() for cost in costs.values()):
        return jnp.result_type(float)
    checks.require(
        tokens * max(costs.values()) < 2**31,
        f"{tokens} tokens with costs of up to {max(costs.values())} exceed int32; expected fewer "
        "tokens or smaller costs.",
    )
    return jnp.dtype(jnp.int32)


def _leading(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that leading axes broadcast to."""
    try:
        return jnp.broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError(
            f"hypotheses has leading axes {shapes[0]} and references {shapes[1]}; expected shapes "
            "that broadcast, such as [B, K] and [B, 1]."
        ) from None
