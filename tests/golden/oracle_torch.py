# pyright: reportMissingImports=false
"""torch.nn's recurrent layers, ragged by PackedSequence."""

from collections.abc import Callable

import numpy as np
import torch
from record import BATCH, HIDDEN, INPUT, LENGTH, LENGTHS, PROJECTION, Arrays, record
from torch.func import functional_call
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

VERSIONS = {"torch": torch.__version__.split("+")[0], "numpy": np.__version__}


def make(layer: Callable, ragged: bool, **options) -> Callable[[str], Arrays]:
    """Records a layer of torch.nn built with these options."""

    def run_torch(inputs):
        """{weights, carry, xs} of tensors -> (ys, final)."""
        carry = inputs["carry"]
        start = (carry["h"], carry["c"]) if "c" in carry else carry["h"]
        xs = inputs["xs"]
        if ragged:  # enforce_sorted=False: torch puts rows, and the carry's, in order itself
            lengths = torch.as_tensor(LENGTHS, dtype=torch.int64)
            xs = pack_padded_sequence(xs, lengths, batch_first=True, enforce_sorted=False)
        ys, final = functional_call(module, inputs["weights"], (xs, start))
        if ragged:
            ys, _ = pad_packed_sequence(ys, batch_first=True, total_length=LENGTH)
        final = dict(zip(("h", "c"), final, strict=True)) if "c" in carry else {"h": final}
        return ys, final

    def run(inputs):
        ys, final = run_torch(map_arrays(torch.as_tensor, inputs))
        return ys.numpy(), map_arrays(lambda a: a.numpy(), final)

    def grad(inputs, loss):
        leaves = map_arrays(lambda a: torch.tensor(a, requires_grad=True), inputs)
        ys, final = run_torch(leaves)
        total = (ys * torch.as_tensor(loss[0])).sum()
        for name, weight in loss[1].items():
            total = total + (final[name] * torch.as_tensor(weight)).sum()
        total.backward()
        return map_arrays(lambda a: a.grad.numpy(), leaves)

    module = layer(INPUT, options.pop("hidden_size", HIDDEN), batch_first=True, **options)
    shapes = {name: tuple(a.shape) for name, a in module.named_parameters()}
    rows = module.num_layers * (2 if module.bidirectional else 1)
    width = module.proj_size or module.hidden_size
    carry = {"h": (rows, BATCH, width)}
    if layer is torch.nn.LSTM:
        carry["c"] = (rows, BATCH, module.hidden_size)
    steps = {"lengths": LENGTHS} if ragged else {}
    return lambda case: record(case, shapes, carry, run, grad, steps)


def map_arrays(function: Callable, tree):
    """Applies a function to every leaf of nested dicts."""
    if isinstance(tree, dict):
        return {name: map_arrays(function, value) for name, value in tree.items()}
    return function(tree)


LAYERS = {
    "rnn_tanh": (torch.nn.RNN, {"nonlinearity": "tanh"}),
    "rnn_relu": (torch.nn.RNN, {"nonlinearity": "relu"}),
    "lstm": (torch.nn.LSTM, {}),
    "gru": (torch.nn.GRU, {}),
}
CASES = {}
for _name, (_layer, _options) in LAYERS.items():
    CASES[f"torch_{_name}_ragged"] = make(_layer, True, **_options)
    CASES[f"torch_{_name}_bidirectional_ragged"] = make(
        _layer, True, bidirectional=True, **_options
    )
    CASES[f"torch_{_name}_stacked"] = make(_layer, False, num_layers=2, **_options)
CASES["torch_lstm_stacked_bidirectional_ragged"] = make(
    torch.nn.LSTM, True, num_layers=2, bidirectional=True
)
CASES["torch_lstm_projected_ragged"] = make(
    torch.nn.LSTM, True, hidden_size=PROJECTION, proj_size=HIDDEN
)
