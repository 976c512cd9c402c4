"""Backpropagation through time written out by hand, in NumPy, for a batch [B, T, D].

A rule is a pair: forward (params, carry, x) -> (carry, y, kept), and backward (params, kept,
gradient of the new carry, gradient of y) -> (gradients of params, of the old carry, of x). The
gradient of a weight is an outer product of what entered it and the error at what left it, summed
over rows, and `backpropagate` sums it over steps: every step uses the same weights.
"""

import numpy as np

import seqjax as sj


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def backpropagate(rule, params, carry, xs, dcarry, dys):
    """((final carry, ys), gradients of params, carry and xs) of sum(dys ys) + sum(dcarry final)."""
    forward, backward = rule
    kept, ys = [], []
    for t in range(xs.shape[1]):
        carry, y, keep = forward(params, carry, xs[:, t])
        kept.append(keep)
        ys.append(y)
    dparams, dxs = [0.0 for _ in params], np.zeros_like(xs)
    for t in reversed(range(xs.shape[1])):
        parts, dcarry, dxs[:, t] = backward(params, kept[t], dcarry, dys[:, t])
        dparams = [total + part for total, part in zip(dparams, parts, strict=True)]
    dparams = [None if a is None else d for a, d in zip(params, dparams, strict=True)]
    return (carry, np.stack(ys, axis=1)), (type(params)(*dparams), dcarry, dxs)


def elman_forward(params, h, x):
    new = np.tanh(x @ params.w_x + h @ params.w_h + params.b)
    return new, new, (x, h, new)


def elman_backward(params, kept, dh, dy):
    x, h, new = kept
    error = (dh + dy) * (1 - new**2)
    return [x.T @ error, h.T @ error, error.sum(0)], error @ params.w_h.T, error @ params.w_x.T


def lstm_forward(params, carry, x):
    h, c = carry
    i, f, g, o = np.split(x @ params.w_x + h @ params.w_h + params.b, 4, axis=1)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    new = f * c + i * g
    y = o * np.tanh(new)
    return sj.LSTMCarry(y, new), y, (x, h, c, new, i, f, g, o)


def lstm_backward(params, kept, dcarry, dy):
    x, h, c, new, i, f, g, o = kept
    dh = dcarry.h + dy
    shown = np.tanh(new)
    dc = dcarry.c + dh * o * (1 - shown**2)
    gates = [dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g**2)]
    error = np.concatenate([*gates, dh * shown * o * (1 - o)], axis=1)
    dparams = [x.T @ error, h.T @ error, error.sum(0)]
    return dparams, sj.LSTMCarry(error @ params.w_h.T, dc * f), error @ params.w_x.T


def gru_gates(params, h, x):
    size = h.shape[1]
    x_r, x_z, x_n = np.split(x @ params.w_x + params.b, 3, axis=1)
    h_r, h_z = np.split(h @ params.w_h[:, : 2 * size], 2, axis=1)
    return sigmoid(x_r + h_r), sigmoid(x_z + h_z), x_n, params.w_h[:, 2 * size :]


def gru_after_forward(params, h, x):
    r, z, x_n, u_n = gru_gates(params, h, x)
    inner = h @ u_n + params.b_n
    n = np.tanh(x_n + r * inner)
    new = (1 - z) * n + z * h
    return new, new, (x, h, r, z, n, inner)


def gru_after_backward(params, kept, dh, dy):
    x, h, r, z, n, inner = kept
    dh = dh + dy
    dn = dh * (1 - z) * (1 - n**2)
    gates = [dn * inner * r * (1 - r), dh * (h - n) * z * (1 - z)]
    error_x = np.concatenate([*gates, dn], axis=1)
    error_h = np.concatenate([*gates, dn * r], axis=1)
    dparams = [x.T @ error_x, h.T @ error_h, error_x.sum(0), (dn * r).sum(0)]
    return dparams, dh * z + error_h @ params.w_h.T, error_x @ params.w_x.T


def gru_before_forward(params, h, x):
    r, z, x_n, u_n = gru_gates(params, h, x)
    n = np.tanh(x_n + (r * h) @ u_n)
    new = (1 - z) * n + z * h
    return new, new, (x, h, r, z, n)


def gru_before_backward(params, kept, dh, dy):
    x, h, r, z, n = kept
    size = h.shape[1]
    u_rz, u_n = params.w_h[:, : 2 * size], params.w_h[:, 2 * size :]
    dh = dh + dy
    dn = dh * (1 - z) * (1 - n**2)
    dshown = dn @ u_n.T  # of r * h
    gates = np.concatenate([dshown * h * r * (1 - r), dh * (h - n) * z * (1 - z)], axis=1)
    error = np.concatenate([gates, dn], axis=1)
    dw_h = np.concatenate([h.T @ gates, (r * h).T @ dn], axis=1)
    dparams = [x.T @ error, dw_h, error.sum(0), 0.0]  # there is no b_n
    return dparams, dh * z + dshown * r + gates @ u_rz.T, error @ params.w_x.T


RULES = {
    sj.Elman(4): (elman_forward, elman_backward),
    sj.LSTM(4): (lstm_forward, lstm_backward),
    sj.GRU(4): (gru_after_forward, gru_after_backward),
    sj.GRU(4, reset="before"): (gru_before_forward, gru_before_backward),
}
