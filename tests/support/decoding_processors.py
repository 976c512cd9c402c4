"""Processors, and what they do to one row, in Python lists."""

import numpy as np

from seqjax.decoding import (
    ExponentialLengthDecay,
    ForcedEnd,
    ForcedTokens,
    FrequencyPenalty,
    MinLength,
    NoRepeatNGram,
    PresencePenalty,
    RepetitionPenalty,
    SequenceBias,
    SuppressTokens,
)

EOS = 1


def log_softmax(x):
    top = x.max()
    return x - top - np.log(np.sum(np.exp(x - top)))


def by_hand(processor, x, seen):
    """A processor on one row of logits x [V], given the list of tokens seen."""
    match processor:
        case RepetitionPenalty(theta, normalise):
            x = log_softmax(x) if normalise else x
            return np.array(
                [(v / theta if v > 0 else v * theta) if i in seen else v for i, v in enumerate(x)]
            )
        case PresencePenalty(alpha):
            return np.array([v - alpha * (i in seen) for i, v in enumerate(x)])
        case FrequencyPenalty(alpha):
            return np.array([v - alpha * seen.count(i) for i, v in enumerate(x)])
        case NoRepeatNGram(n):
            grams = [tuple(seen[i : i + n]) for i in range(len(seen) - n + 1)]
            tail = tuple(seen[len(seen) - n + 1 :]) if n > 1 else ()
            ready = len(seen) >= n - 1
            return np.array(
                [-np.inf if ready and (*tail, i) in grams else v for i, v in enumerate(x)]
            )
        case MinLength(min_len, eos):
            return np.array(
                [-np.inf if i == eos and len(seen) + 1 < min_len else v for i, v in enumerate(x)]
            )
        case SuppressTokens(tokens, until):
            off = until is not None and len(seen) >= until
            return np.array([-np.inf if i in tokens and not off else v for i, v in enumerate(x)])
        case SequenceBias(sequences, bias):
            each = bias if isinstance(bias, tuple) else [bias] * len(sequences)
            x, each = x.copy(), [-np.inf if added is None else added for added in each]
            for sequence, added in zip(sequences, each, strict=True):
                if tuple(seen[len(seen) - len(sequence) + 1 :]) == sequence[:-1]:
                    if len(seen) >= len(sequence) - 1:
                        x[sequence[-1]] += added
            return x
        case ForcedEnd(max_len, eos):
            refused = np.arange(len(x)) != eos
            return np.where(refused, -np.inf, x) if len(seen) == max_len - 1 else x
        case ExponentialLengthDecay(start, factor, eos):
            if len(seen) <= start or np.isinf(x[eos]):
                return x
            more = abs(x[eos]) * (factor ** (len(seen) - start) - 1)
            return np.where(np.arange(len(x)) == eos, x + more, x)
        case ForcedTokens(tokens):
            here = tokens[len(seen)] if len(seen) < len(tokens) else None
            return x if here is None else np.where(np.arange(len(x)) == here, 0, -np.inf)
    raise AssertionError(processor)


LOOKING_BACK = [
    RepetitionPenalty(1.7),
    RepetitionPenalty(0.5),
    RepetitionPenalty(1.7, normalise=True),
    PresencePenalty(0.8),
    FrequencyPenalty(-0.3),
    *map(NoRepeatNGram, (1, 2, 3, 7, 9)),
    SequenceBias(((3,), (1, 2), (0, 0, 2), (0, 0, 0, 0, 0, 0, 0, 0, 1))),
    SequenceBias(((2, 0), (0,), (3, 3), (1, 2, 0)), (0.5, -1.0, None, 0.25)),
]
BY_PLACE = [
    MinLength(3, EOS),
    SuppressTokens((0, 3)),
    SuppressTokens((2,), until=2),
    SuppressTokens(()),
    ForcedTokens((None, 3, 0)),
    ForcedEnd(3, EOS),
    ExponentialLengthDecay(2, 1.5, 2),
    ExponentialLengthDecay(0, 1.1, EOS),
]
