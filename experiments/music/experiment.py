"""A character model of tunes: trained in minutes, compared with an n-gram, and heard."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from experiments.lab.character_model import restore
from experiments.lab.experiment import Experiment, Results
from experiments.lab.folder import RunFolder
from experiments.lab.record import Report, Table
from experiments.lab.task import parameters
from experiments.music.config import Config
from experiments.music.data import Loaded, load


def measure(config: Config, results: Results, folder: RunFolder) -> dict[str, Any]:
    """Trains and writes; says how to go on after Ctrl-C."""
    del results
    data = load(config)
    sizes = ", ".join(f"{name} {count}" for name, count in data.describe().items())
    print(f"{data.source}: {sizes}", flush=True)
    try:
        return train(config, data, folder)
    except KeyboardInterrupt:
        saved = folder.directory("last").is_dir()
        how = f"go on with: --resume --out {folder.path}" if saved else "nothing was saved yet"
        raise KeyboardInterrupt(how) from None


def train(config: Config, data: Loaded, folder: RunFolder) -> dict[str, Any]:
    """Baseline, training, evaluation, samples."""
    from rich.console import Console

    from experiments.music import ngram
    from experiments.music.progress import train_with_progress
    from experiments.music.training import Run
    from experiments.music.writing import write_samples

    run = Run(config, data.model, data.windows, data.identity, folder)
    run.resume() if config.resume else run.start()
    print(f"{data.model}\n{run.history.total_steps} steps; Ctrl-C stops, --resume goes on")
    train_with_progress(run, Console())
    done, planned = int(run.state.step), run.history.total_steps
    if done < planned:
        print(f"the time was over after {done} of {planned} steps; --minutes for more")
    params = run.best_params()
    print("counting n-grams for the baseline ...", flush=True)
    gram = ngram.baseline(data.encoded, len(data.vocabulary))
    written = write_samples(
        config,
        data.model,
        params,
        data.vocabulary,
        data.prompt,
        folder,
        "samples",
        music=config.text is None,
        training=data.splits.train,
    )
    print("\n" + Path(written[0].path).read_text("utf-8"))
    return {
        "spec": repr(data.model),
        "vocabulary": data.vocabulary.characters,
        "data": data.describe(),
        "baseline": {**asdict(gram), "valid": gram.valid},
        "model": {
            "valid": run.bits(params, data.windows.valid),
            "test": run.bits(params, data.windows.test),
            "parameters": parameters(data.model.init),
            "training_seconds": run.history.seconds,
            "steps": done,
            "skipped": int(run.state.skipped),
        },
        "history": vars(run.history),
        "written": [asdict(one) for one in written],
    }


def use(config: Config, folder: RunFolder, text: str) -> str:
    """What the best model of a run writes after a text; the files go into the folder `written`.

    Raises:
      ValueError: if no run was finished, or the text has characters that its text has not.
    """
    from experiments.music.writing import write_samples

    model, params, vocabulary, trained = restore(folder.path)
    music = trained["text"] is None
    if config.in_metre and not music:
        raise ValueError("in_metre is for tunes, which this model has not read; leave it out")
    prompt = text.replace("\\n", "\n")
    written = write_samples(
        config, model, params, vocabulary, prompt, folder, "written", music=music
    )
    lines = [Path(written[-1].path).read_text("utf-8")]
    shares = [one.complete_bars for one in written if one.complete_bars is not None]
    if shares:
        whole = sum(share == 1 for share in shares)
        lines.append(
            f"complete bars: {100 * sum(shares) / len(shares):.1f} %; {whole} of {len(shares)} "
            "tunes have nothing but complete bars"
        )
    return "\n".join([*lines, f"{len(written)} texts are in {Path(written[0].path).parent}"])


def report(config: Config, results: Results) -> Report:
    """Bits per character beside the n-gram's, and what was written."""
    found = results.measured
    gram, model = found["baseline"], found["model"]
    rows = [
        [f"Kneser-Ney, order {gram['order']}", f"{gram['valid']:.4f}", f"{gram['test']:.4f}", ""],
        [
            f"LSTM, {config.layers} of {config.hidden_size}, {model['steps']:,} steps",
            *(f"{model[split]:.4f}" for split in ("valid", "test")),
            f"{model['parameters']:,}",
        ],
    ]
    gap = gram["test"] - model["test"]
    line = f"{abs(gap):.4f} bits per character {'better' if gap > 0 else 'WORSE'} than the n-gram."
    table = Table(["bits per character", "validation", "test", "parameters"], rows)
    return Report(f"The model is {line}", [table], notes=said(found["written"]))


def said(written: list[Mapping[str, Any]]) -> list[str]:
    """How much of what was sampled is copied, and how much of it can be heard."""
    sampled = [one for one in written if one["method"] == "sample"]
    if not sampled:
        return []
    copies = sorted(len(one["longest_copy"]) for one in sampled)
    lines = [
        f"Longest substring copied from the training text, {len(sampled)} samples: median "
        f"{copies[len(copies) // 2]}, greatest {copies[-1]} characters."
    ]
    if sampled[0]["midi"] is not None:
        heard = sum(one["midi"] for one in sampled)
        lines.append(f"{heard} of {len(sampled)} sampled tunes convert to MIDI.")
    return lines


def draw(config: Config, results: Results) -> dict[str, Any]:
    """The curves of training against the n-gram."""
    from experiments.music.curves import curves

    del config
    found = results.measured
    gram = found["baseline"]
    return {"curves.png": curves(found["history"], gram["valid"], gram["order"])}


EXPERIMENT = Experiment(
    name="music",
    source="Karpathy 2015; Zaremba et al. 2014; Chen and Goodman 1999",
    data="4,210 tunes of O'Neill, Ryan and Aird in music21, or a text file of your own",
    minutes=6,
    config=Config,
    report=report,
    measure=measure,
    draw=draw,
    use=use,
    needs=("music21", "rich"),
    quick={"minutes": 0.4, "hidden_size": 128, "layers": 1, "samples": 10},
    tiny={
        "text": Path(__file__),
        "minutes": 0.01,
        "hidden_size": 4,
        "layers": 1,
        "batch_size": 4,
        "window": 8,
        "samples": 1,
    },
)
