# pyright: reportMissingImports=false
"""Times PyTorch's layer alone in its process; called by `benchmarks.unroll`.

python -m benchmarks.torch_peer TABLE KIND B T D H ROUNDS prints the median seconds, or null where
PyTorch has no such workload. Threads are PyTorch's default.
"""

import json
import statistics
import sys
import time

import numpy as np
import torch


def workload(table: str, kind: str, shape: list[int]):
    """The function that is timed."""
    batch_size, length, input_size, hidden_size = shape
    both = table == "bidirectional"
    new = torch.nn.LSTM if kind == "lstm" else torch.nn.GRU
    layer = new(
        input_size, hidden_size, batch_first=True, num_layers=2 if both else 1, bidirectional=both
    )
    xs = torch.randn(batch_size, length, input_size, requires_grad=table not in ("forward", "step"))
    cotangent = torch.randn(batch_size, length, hidden_size * (2 if both else 1))
    lengths = np.linspace(length // 4, length, batch_size).astype(np.int64)

    def forward():
        with torch.no_grad():
            return layer(xs)[0]

    def train():
        layer.zero_grad()
        xs.grad = None
        inputs = xs
        if table == "ragged":
            inputs = torch.nn.utils.rnn.pack_padded_sequence(
                xs, torch.from_numpy(lengths), batch_first=True, enforce_sorted=False
            )
        ys, _ = layer(inputs)
        if table == "ragged":
            ys, _ = torch.nn.utils.rnn.pad_packed_sequence(
                ys, batch_first=True, total_length=length
            )
        (ys * cotangent).sum().backward()

    return forward if table in ("forward", "step") else train


def main() -> None:
    table, kind, *numbers = sys.argv[1:]
    *shape, rounds = map(int, numbers)
    if kind == "gru_before":
        print("null")
        return
    run, seconds = workload(table, kind, shape), []
    for _ in range(rounds * (20 if table == "step" else 1) + 3):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    print(json.dumps(statistics.median(seconds[3:])))


if __name__ == "__main__":
    main()
