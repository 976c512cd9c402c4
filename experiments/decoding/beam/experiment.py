"""A beam search whose answers are known, as a tree, and what attention read, as a heat map."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import seqjax as sj
from experiments.decoding.beam import data
from experiments.decoding.beam.model import Params, Reverser
from experiments.lab import character_model, trees
from experiments.lab.experiment import Experiment, Results, SweepSettings
from experiments.lab.folder import RunFolder
from experiments.lab.record import Report, Table
from experiments.lab.task import Task, estimate
from experiments.lab.trees import Hypothesis

BATCH, TEST_ROWS = 64, 2048
GATE = 0.1  # nats a word above what is possible
SHADES = " .:-=+*#%@"


@dataclass(frozen=True)
class Config(SweepSettings):
    """Train a tiny model that writes words backwards, and see what a beam search makes of it."""

    steps: int = 600
    """Training steps of a run."""
    word: str = "cicadace"
    """What is written backwards; letters a to j."""
    beam_size: int = 8
    """K."""
    checkpoint: Path | None = None
    """Folder of a finished run of music: search with its model instead, and train nothing."""
    prompt: str = r"R:jig\nM:6/8\nL:1/8\nK:G\n"
    r"""How the tune of that model begins; \n is a line break."""
    max_len: int = 48
    """The largest number of characters that are searched."""


def tasks(config: Config) -> list[Task]:
    """Words backwards; how good a model can be is known, as it cannot know what a c becomes."""
    if config.checkpoint is not None:
        return []
    data.encode(config.word)
    model = Reverser()

    def loss(params, key):
        batch = data.draw_batch(key, BATCH)
        return model.losses(params, *batch).sum() / (batch[1] + 1).sum().astype(jnp.float32)

    def evaluate(params, key, split):
        del split  # fresh words, from another key
        losses = model.losses(params, *data.draw_batch(key, TEST_ROWS))
        return {"nats a word": estimate(losses.sum(axis=1))}

    task = Task(
        name="words backwards",
        init=model.init,
        loss=loss,
        evaluate=evaluate,
        metric="nats a word",
        optimum={"nats a word": data.OPTIMUM},
        baseline=data.BASELINE,
        gate=data.OPTIMUM + GATE,
        steps=config.steps,
        rates=(5e-3, 1e-2),
        rises=False,
    )
    return [task]


def measure(config: Config, results: Results, folder: RunFolder) -> dict[str, Any]:
    """Saves and searches with the first seed's model, or searches with that of a run of music."""
    if config.checkpoint is not None:
        found = continuations(config, config.checkpoint)
        print("\n" + trees.show_tree(trees.prefix_tree(found)))
        return {"hypotheses": [asdict(one) for one in found]}
    (task,) = results.tasks
    params = jax.tree.map(lambda a: jnp.asarray(a[0]), results.params[task.name])
    folder.remove("best")
    folder.save_checkpoint("best", params, spec=Reverser(), keep=1)
    found, weights = search(config, params, config.word)
    print("\n" + shown(found, weights, config.word))
    return {"hypotheses": [asdict(one) for one in found], "weights": weights.tolist()}


def search(config: Config, params: Params, word: str) -> tuple[list[Hypothesis], np.ndarray]:
    """What a beam finds for a word, and the weights [L, S] by which the best one was written."""
    model = Reverser()
    source, lengths = data.encode(word)
    memory, carry = model.encode(params, source, lengths)
    beams = _beams(config, functools.partial(model.step, params, memory, lengths), carry)
    weights = np.asarray(beams.outputs)[0, 0, : int(beams.lengths[0, 0]), : len(word)]
    return trees.read_beams(beams, 0, data.VOCABULARY, eos=data.BOUNDARY), weights


def continuations(config: Config, run: Path) -> list[Hypothesis]:
    """What a beam finds after the prompt, by the model of a run of music."""
    model, params, vocabulary, _ = character_model.restore(run)
    prompt = config.prompt.replace("\\n", "\n")
    try:
        tokens = jnp.asarray(vocabulary.encode(prompt)[None])
    except ValueError as error:
        raise ValueError(f"--prompt {config.prompt!r}: {error}") from None
    step, carry = functools.partial(model.step, params), model.initial_carry(params, 1)
    beams = _beams(config, step, carry, prompt=tokens if prompt else None)
    return trees.read_beams(beams, 0, ("", *vocabulary.characters), eos=data.BOUNDARY)


def _beams(config: Config, step: Callable, carry: Any, prompt: Any = None) -> sj.Beams:
    run = functools.partial(
        sj.beam_search,
        step,
        bos=data.BOUNDARY,
        eos=data.BOUNDARY,
        beam_size=config.beam_size,
        max_len=config.max_len,
        prompt=prompt,
    )
    return jax.jit(run)(carry)


def use(config: Config, folder: RunFolder, text: str) -> str:
    """What the saved model makes of a word."""
    word, model = text.strip(), Reverser()
    like = jax.eval_shape(model.init, jax.random.key(0))
    data.encode(word)
    params = sj.restore_checkpoint(folder.directory("best"), like, spec=model).state
    return shown(*search(config, params, word), word)


def shown(found: Sequence[Hypothesis], weights: np.ndarray, word: str) -> str:
    """The tree, and a heat map of characters."""
    return f"{trees.show_tree(trees.prefix_tree(found))}\n\n{alignment(weights, word, found[0])}"


def alignment(weights: np.ndarray, word: str, best: Hypothesis) -> str:
    """Weights [L, S] as one character each, darker for more; ten shades from 0 to 1."""
    shades = np.minimum((weights * len(SHADES)).astype(int), len(SHADES) - 1)
    rows = [f"{token} {''.join(SHADES[shade] for shade in row)}"
        for token, row in zip(best.tokens, shades, strict=False)]  # fmt: skip
    return "\n".join([f"  {word}", *rows])


def report(config: Config, results: Results) -> Report:
    """Each hypothesis beside its exact probability, where that is known."""
    found = results.measured["hypotheses"]
    texts = ["".join(one["tokens"]) for one in found]
    chances = [math.exp(one["log_prob"]) for one in found]
    if config.checkpoint is not None:
        rows = [[t, f"{one['log_prob']:.3f}"] for t, one in zip(texts, found, strict=True)]
        table = Table(["hypothesis", "log-probability"], rows, "After the prompt, in nats:")
        return Report(f"The best of {len(found)} has {found[0]['log_prob']:.3f} nats.", [table])
    answers = data.answers(config.word)
    exact = [answers.get(text.removesuffix(trees.END), 0.0) for text in texts]
    rows = [[t, f"{p:.4f}", f"{q:.4f}"] for t, p, q in zip(texts, chances, exact, strict=True)]
    kept, off = (
        sum(q > 0 for q in exact),
        max(abs(p - q) for p, q in zip(chances, exact, strict=True)),
    )
    test = results.found[results.tasks[0].name]["test"]["nats a word"]
    line = (
        f"A beam of {config.beam_size} keeps {kept} of the {len(answers)} right answers, whose "
        f"probabilities are wrong by {off:.3f} at most."
    )
    caption = f"{config.word} backwards, by the first of {config.seeds} seeds:"
    note = (
        f"Nats a word on test data: {', '.join(f'{one:.4f}' for one in test['seeds'])}; the best "
        f"possible is {data.OPTIMUM:.4f}, without the word {data.BASELINE:.2f}."
    )
    header = ["hypothesis", "probability", "exact"]
    return Report(line, [Table(header, rows, caption)], notes=[note])


def draw(config: Config, results: Results) -> dict[str, Any]:
    """The tree, and the alignment of the best hypothesis."""
    found = [
        Hypothesis(tuple(one["tokens"]), one["score"], one["log_prob"])
        for one in results.measured["hypotheses"]
    ]
    tree = trees.prefix_tree(found)
    if config.checkpoint is not None:
        title = config.prompt.strip().replace("\\n", "  ") or "a text"
        return {"beam.png": trees.draw_tree(tree, title)}
    heat = heat_map(np.array(results.measured["weights"]), config.word, found[0])
    return {"beam.png": trees.draw_tree(tree, f"{config.word!r} backwards"), "alignment.png": heat}


def heat_map(weights: np.ndarray, word: str, best: Hypothesis) -> Any:
    """Weights [L, S]: a row for each written token, a column for each letter of the word."""
    import matplotlib.pyplot as plt

    size = (1.8 + 0.34 * len(word), 1.3 + 0.34 * len(weights))
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    image = axes.imshow(weights, cmap="Greys", vmin=0, vmax=1)
    axes.set_xticks(range(len(word)), word)
    axes.set_yticks(range(len(weights)), best.tokens[: len(weights)])
    axes.xaxis.tick_top()
    axes.set(xlabel="source", ylabel="written")
    axes.set_title("what each letter was written from", fontsize=10)
    figure.colorbar(image, ax=axes, label="weight", fraction=0.05)
    return figure


EXPERIMENT = Experiment(
    name="beam",
    source="Sutskever et al. 2014; Bahdanau et al. 2015",
    data="drawn: words of two to eight letters",
    minutes=1,
    config=Config,
    tasks=tasks,
    measure=measure,
    report=report,
    draw=draw,
    use=use,
    quick={"seeds": 1},
    tiny={"seeds": 1, "steps": 2, "word": "cab", "max_len": 5},
)
