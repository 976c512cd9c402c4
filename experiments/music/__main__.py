"""python -m experiments.music: train a model that writes tunes, and hear what it writes."""

import sys
import time
from dataclasses import asdict
from pathlib import Path

from experiments.commands import installed
from experiments.lab.folder import RunFolder

EXTRA = ("matplotlib", "music21", "rich", "tyro")


def main(args: list[str] | None = None) -> int:
    """Runs the experiment; returns 0, or 2 after an error in what the user asked for."""
    if not installed(EXTRA):
        return 2
    from experiments.music.config import parse

    config = parse(args)
    try:
        config.check()
        with RunFolder(config.out, "music") as folder:
            run_experiment(config.resolved(), folder)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        saved = (config.out / "last").is_dir()
        how = f"go on with: --resume --out {config.out}" if saved else "nothing was saved yet"
        print(f"\nstopped; {how}", file=sys.stderr)
        return 130
    return 0


def run_experiment(config, folder: RunFolder) -> dict:
    """Data, baseline, training, evaluation, samples, report."""
    from rich.console import Console

    from experiments.music import ngram, report
    from experiments.music.data import load
    from experiments.music.training import Run

    console = Console()
    begun = time.perf_counter()
    data = load(config)
    console.print(f"{data.source}: {data.describe()}", markup=False)
    if config.write_only:
        return write_only(config, data, folder, console)
    run = Run(config, data.model, data.windows, folder)
    run.resume() if config.resume else run.start()
    console.print(f"{data.model}\n{run.history.total_steps} steps; Ctrl-C stops, --resume goes on")
    report.train_with_progress(run, console)
    done, planned = int(run.state.step), run.history.total_steps
    if done < planned:
        console.print(f"the time was over after {done} of {planned} steps; --minutes for more")
    params = run.best_params()
    console.print("counting n-grams for the baseline ...")
    gram = ngram.baseline(data.encoded, len(data.vocabulary))
    written = write_samples(config, data, params, folder, "samples")
    results = {
        **collect(config, data, run, gram, params),
        "written": [asdict(one) for one in written],
        "seconds": time.perf_counter() - begun,
    }
    report.draw_curves(folder, run.history, gram.valid, gram.order)
    report.write_results(folder, results)
    report.show_table(console, results)
    summarise(console, results, written, folder)
    return results


def collect(config, data, run, gram, params) -> dict:
    """What was run and how well it does, for results.json."""
    from experiments.music.model import count_parameters

    return {
        "spec": repr(data.model),
        "config": asdict(config),
        "data": data.describe(),
        "baseline": {**asdict(gram), "valid": gram.valid},
        "model": {
            "valid": run.bits(params, data.windows.valid),
            "test": run.bits(params, data.windows.test),
            "parameters": count_parameters(params),
            "training_seconds": run.history.seconds,
            "steps": int(run.state.step),
            "skipped": int(run.state.skipped),
        },
        "history": vars(run.history),
    }


def write_only(config, data, folder: RunFolder, console) -> dict:
    """Writes with the best model of an earlier run, and leaves everything else of it alone."""
    import jax

    import seqjax as sj

    template = data.model.init(jax.random.key(0))
    params = sj.restore_checkpoint(folder.directory("best"), template, spec=data.model).state
    written = write_samples(config, data, params, folder, "written")
    shares = [one.complete_bars for one in written if one.complete_bars is not None]
    if shares:
        whole = sum(share == 1 for share in shares)
        console.print(
            f"complete bars: {100 * sum(shares) / len(shares):.1f} %; {whole} of {len(shares)} "
            "tunes have nothing but complete bars"
        )
    console.print(Path(written[-1].path).read_text("utf-8"), markup=False, highlight=False)
    console.print(f"{len(written)} texts are in {Path(written[0].path).parent}")
    return {"written": [asdict(one) for one in written]}


def write_samples(config, data, params, folder: RunFolder, place: str) -> list:
    """Texts in a subfolder: sampled ones, one found by beam search, or both; the last ones go."""
    import jax

    from experiments.music.copying import TrainingText
    from experiments.music.writing import beam_text, in_metre, sample_texts, write

    folder.remove(place)
    training = TrainingText(data.splits.train)
    processors = [in_metre(data.vocabulary, data.prompt)] if config.in_metre else []
    who = (data.model, params, data.vocabulary, data.prompt)
    written, music = [], config.text is None
    if config.decode in ("both", "sample"):
        sampled = sample_texts(
            *who,
            count=config.samples,
            temperature=config.temperature,
            key=jax.random.key(config.seed),
            processors=processors,
        )
        written += write(sampled, "sample", folder, place, training, music=music)
    if config.decode in ("both", "beam"):
        found = beam_text(*who, processors=processors)
        written += write([found], "beam", folder, place, training, music=music)
    return written


def summarise(console, results: dict, written: list, folder: RunFolder) -> None:
    """Says what was written, how it compares, and where it is."""
    gap = results["baseline"]["test"] - results["model"]["test"]
    verdict = "better" if gap > 0 else "WORSE"
    console.print(f"the model is {abs(gap):.4f} bits per character {verdict} than the n-gram")
    sampled = [one for one in written if one.method == "sample"]
    if sampled:
        copies = sorted(len(one.longest_copy) for one in sampled)
        console.print(
            f"longest substring copied from the training text, {len(sampled)} samples: "
            f"median {copies[len(copies) // 2]}, greatest {copies[-1]} characters"
        )
    if sampled and sampled[0].midi is not None:
        heard = sum(one.midi for one in sampled)
        console.print(f"{heard} of {len(sampled)} sampled tunes convert to MIDI")
    console.print(Path(written[0].path).read_text("utf-8"), markup=False, highlight=False)
    console.print(f"everything is in {folder.path}: results.json, curves.png, samples/")


if __name__ == "__main__":
    sys.exit(main())
