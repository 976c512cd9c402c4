"""Speed of beam search: seqjax, loops on the host, keras-hub, and the floor of the steps alone.

    python -m benchmarks.decode                          # every table, every peer that is installed
    python -m benchmarks.decode --vocab-sizes 100 --peers numpy --out runs/today

The model is an LSTM language model whose eos is impossible, so that every search takes max_len
steps of B K rows. "floor" is a `lax.scan` of those steps and nothing else: tokens come from
outside, logits are computed and dropped. "python" is the beam of textbooks, one hypothesis a call
of the jitted step, lists on the host, on at most two rows and scaled to B (rows take turns);
"numpy" calls the jitted step on all B K rows and chooses on the host. These two are slow and timed
once. Results are compared before anything is timed; rounds are interleaved; medians. Ratios are of
seqjax's time to the other's: below 1, seqjax is faster. "exits" counts the steps that an early
exit saves on models that do end.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax

import seqjax as sj
from benchmarks import decoders, harness
from benchmarks.decoders import BOS, EOS, Job
from benchmarks.figures import draw_ratios
from experiments.lab.folder import RunFolder

ALPHAS = (0.0, 0.6, 1.0, -1.0)  # GNMT penalties of the table "exits"
HOST = ("python", "numpy")  # loops in Python
EOS_BIAS = 4.0  # of the models there, which do end


@dataclass
class Settings:
    """What is measured.

    Attributes:
      tables: speed, exits or both.
      batch_sizes: B.
      beam_sizes: K.
      vocab_sizes: V.
      hidden_size: H, of the LSTM and of its embedding.
      max_len: L, the steps of every search.
      peers: contenders beside seqjax and the floor; those not installed are named and left out.
      device: "cpu", "gpu", "gpu:1", ...; JAX's default where left out.
      rounds: how often each contender is timed; those of HOST once.
      out: the folder for decode.json and decode.png.
    """

    tables: tuple[Literal["speed", "exits"], ...] = ("speed", "exits")
    batch_sizes: tuple[int, ...] = (1, 8, 32)
    beam_sizes: tuple[int, ...] = (1, 4, 16)
    vocab_sizes: tuple[int, ...] = (100, 32000)
    hidden_size: int = 256
    max_len: int = 50
    peers: tuple[str, ...] = tuple(decoders.BUILDERS)
    device: str | None = None
    rounds: int = 5
    out: Path = Path("runs/benchmarks/decode")


def measure(job: Job, settings: Settings) -> dict[str, Any]:
    """Median seconds of each contender and of the floor, and seqjax's temporaries in bytes."""
    search, carry = decoders.compiled_search(job), job.carry()
    runs: dict[str, Callable[[], Any]] = {"seqjax": lambda: search(job.params, carry)}
    runs["floor"] = decoders.build_floor(job)
    expected, once = runs["seqjax"](), {}
    for name in settings.peers:
        if not decoders.installed(name):
            continue
        run = decoders.BUILDERS[name](job)
        decoders.check_equal(name, run(), expected)
        if name in HOST:
            start = time.perf_counter()
            rows = len(run()[1])
            once[name] = (time.perf_counter() - start) * job.batch_size / rows
        else:
            runs[name] = run
    seconds = harness.medians(harness.interleave(runs, settings.rounds)) | once
    memory = search.memory_analysis()
    return {"seconds": seconds, "bytes": memory.temp_size_in_bytes if memory else None}


def measure_speed(settings: Settings) -> list[dict[str, Any]]:
    """One row for each V, K and B."""
    rows = []
    for vocab_size in settings.vocab_sizes:
        params = decoders.language_model(vocab_size, settings.hidden_size, eos_bias=-1e4)
        for beam_size in settings.beam_sizes:
            for batch_size in settings.batch_sizes:
                job = Job(params, batch_size, beam_size, settings.max_len)
                row = measure(job, settings)
                row |= {"table": f"V {vocab_size}", "kind": f"K {beam_size}"}
                row |= {"shape": (batch_size, beam_size, vocab_size), "max_len": settings.max_len}
                rows.append(row)
                shown = " ".join(f"{n} {1e3 * s:.2f}" for n, s in row["seconds"].items())
                print(f"B {batch_size} K {beam_size} V {vocab_size} ms: {shown}", flush=True)
    return rows


def count_steps(settings: Settings, early_exit: str, alpha: float, models: int = 8) -> float:
    """The mean number of steps of one-row searches on models that end."""
    runs = []
    params = decoders.language_model(min(settings.vocab_sizes), settings.hidden_size, EOS_BIAS)

    @jax.jit
    def search(carry):
        job = Job(params, 1, 4, settings.max_len)

        def step(carry, tokens):
            jax.debug.callback(lambda: runs.append(0))
            return job.step(params, carry, tokens)

        penalty = sj.decoding.GNMTLengthPenalty(alpha)
        how: dict[str, Any] = dict(beam_size=4, max_len=settings.max_len)
        how["rules"] = sj.decoding.BeamRules(early_exit=early_exit)
        beams = sj.beam_search(step, carry, bos=BOS, eos=EOS, length_penalty=penalty, **how)
        return beams.scores

    carry = Job(params, models, 4, settings.max_len).carry()
    for row in range(models):
        search(jax.tree.map(lambda x, row=row: x[row : row + 1], carry)).block_until_ready()
    jax.effects_barrier()
    return len(runs) / models


def measure_exits(settings: Settings) -> list[dict[str, Any]]:
    """One row for each alpha: steps by early exit."""
    exits = ("exact", "first", "never")
    return [
        {"alpha": alpha, "steps": {name: count_steps(settings, name, alpha) for name in exits}}
        for alpha in ALPHAS
    ]


def report(rows: list[dict[str, Any]]) -> str:
    """One Markdown table a vocabulary: tokens a second, and the ratios of seqjax's time."""
    parts = []
    for name in dict.fromkeys(row["table"] for row in rows):
        here = [row for row in rows if row["table"] == name]
        names = list(dict.fromkeys(n for row in here for n in row["seconds"] if n != "seqjax"))
        lines = []
        for row in here:
            batch_size, beam_size, vocab_size = row["shape"]
            ours = row["seconds"]["seqjax"]
            ratios = [f"{ours / row['seconds'][n]:.3g}" for n in names]
            logits = 4 * batch_size * beam_size * vocab_size
            memory = "" if row["bytes"] is None else f"{row['bytes'] / logits:.2f}"
            speed = f"{batch_size * row['max_len'] / ours:.0f}"
            lines.append([batch_size, beam_size, speed, *ratios, memory])
        header = ["B", "K", "seqjax, B L / s", *names, "temporaries / [B, K, V]"]
        parts.append(f"{name}\n\n{harness.table(header, lines)}")
        for other in names:
            ratios = [row["seconds"]["seqjax"] / row["seconds"][other] for row in here]
            mean, worst = harness.geometric_mean(ratios), max(ratios)
            parts.append(f"to {other}: geometric mean {mean:.3g}, worst {worst:.3g}")
    return "\n\n".join(parts)


def report_exits(rows: list[dict[str, Any]]) -> str:
    """Steps by early exit."""
    lines = [[row["alpha"], *(f"{n:.1f}" for n in row["steps"].values())] for row in rows]
    return "steps\n\n" + harness.table(["GNMT alpha", *rows[0]["steps"]], lines)


def main(settings: Settings, folder: RunFolder) -> None:
    """Measures, prints, writes."""
    device = harness.pick_device(settings.device)
    harness.check_rounds(settings.rounds)
    for name in ("batch_sizes", "beam_sizes", "vocab_sizes"):
        sizes = getattr(settings, name)
        if min(sizes, default=1) < 1:
            raise ValueError(f"{name} is {sizes}; expected integers of at least 1.")
    missing = harness.check_peers(settings.peers, list(decoders.BUILDERS), decoders.installed)
    result: dict[str, Any] = {"environment": harness.environment(device), "missing": missing}
    with jax.default_device(device):
        if "speed" in settings.tables:
            result["rows"] = measure_speed(settings)
            print("\n" + report(result["rows"]))
            with folder.writing("decode.png") as path:
                draw_ratios(result["rows"], path)
        if "exits" in settings.tables:
            result["exits"] = measure_exits(settings)
            print("\n" + report_exits(result["exits"]))
    harness.write_json(folder, "decode", result)
    print(f"\ndecode.json is in {folder.path}")


if __name__ == "__main__":
    sys.exit(harness.command(main, Settings, "decode", __doc__))
