"""Sums over alignments by enumeration, in NumPy and float64: the oracle of losses and searches."""

import itertools

import numpy as np


def log_softmax(logits):
    x = np.asarray(logits, np.float64)
    return (
        x
        - np.log(np.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True))
        - x.max(-1, keepdims=True)
    )


def collapse(path, blank=0):
    """Merges what repeats, then leaves blanks out."""
    return tuple(label for label, _ in itertools.groupby(path) if label != blank)


def ctc_probabilities(logits, blank=0):
    """The probability of every labelling of frames [T, V], by summing over all paths."""
    log_probs = log_softmax(logits)
    found = {}
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        labels = collapse(path, blank)
        p = np.exp(sum(frame[label] for frame, label in zip(log_probs, path, strict=True)))
        found[labels] = found.get(labels, 0.0) + p
    return found


def transducer_log_prob(log_probs, labels, blank=0):
    """log p(labels) of a lattice [T, U + 1, V]: a sum over the frames at which labels go out."""
    steps, size = len(log_probs), len(labels)
    total = 0.0
    # One frame for each label, in order: labels at frame t go out before its blank.
    for frames in itertools.combinations_with_replacement(range(steps), size):
        log_p, u = 0.0, 0
        for t in range(steps):
            while u < size and frames[u] == t:
                log_p += log_probs[t, u, labels[u]]
                u += 1
            log_p += log_probs[t, u, blank]
        total += np.exp(log_p)
    return np.log(total) if total else -np.inf


def labellings(found, row):
    """(labels, log_prob) of what a search has found in a row, as plain numbers, best first."""
    rows = zip(found.labels[row], found.lengths[row], found.log_probs[row], strict=True)
    return [(tuple(y[:n].tolist()), float(p)) for y, n, p in rows if p > -np.inf]
