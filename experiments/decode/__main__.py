"""python -m experiments.decode: see a beam as a tree and an alignment as a heat map."""

import functools
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.commands import run_command
from experiments.lab.folder import RunFolder


@dataclass(frozen=True)
class Settings:
    """Draw a beam as a tree, and an alignment as a heat map, as pictures and as text."""

    checkpoint: Path | None = None
    """Folder of a run of experiments.music; left out: runs/music if there is one, otherwise a
    tiny model that is trained here in seconds."""
    builtin: bool = False
    """The tiny model, even if there is a run of experiments.music."""
    word: str = "cicadace"
    """What the tiny model writes backwards; letters a to j."""
    prompt: str = r"R:jig\nM:6/8\nL:1/8\nK:G\n"
    r"""How the tune of the music model begins; \n is a line break."""
    beam_size: int = 8
    """K."""
    max_len: int = 48
    """The largest number of characters that are searched."""
    out: Path = Path("runs/decode")
    """Where the pictures are written."""


def main(args: list[str] | None = None) -> int:
    """Draws; returns 0, or 2 after an error in what the user asked for."""
    return run_command(show, Settings, args, "python -m experiments.decode")


def show(settings: Settings, folder: RunFolder) -> None:
    """Searches and draws."""
    run = settings.checkpoint
    if run is None and not settings.builtin and Path("runs/music/best").is_dir():
        run = Path("runs/music")
    if run is None:
        show_tiny(settings, folder)
    else:
        show_music(settings, run, folder)


def show_tiny(settings: Settings, folder: RunFolder) -> list[Path]:
    """The tree and the alignment of the model that writes words backwards."""
    import jax
    import numpy as np

    import seqjax as sj
    from experiments.decode import reverser
    from experiments.decode.alignment import show_alignment
    from experiments.decode.pictures import draw_alignment
    from experiments.decode.tree import END

    source, lengths = encode_word(settings.word)
    model = reverser.Reverser()
    params, loss = reverser.train(model)
    print(f"trained a model that writes words backwards: {loss:.3f} nats a letter")
    memory, carry = model.encode(params, source, lengths)
    beams = jax.jit(
        lambda: sj.beam_search(
            functools.partial(model.step, params, memory, lengths),
            carry,
            bos=reverser.BOUNDARY,
            eos=reverser.BOUNDARY,
            beam_size=settings.beam_size,
            max_len=settings.max_len,
        )
    )()
    paths = draw_beam(beams, reverser.VOCABULARY, f"{settings.word!r} backwards", folder)
    length = int(beams.lengths[0, 0])
    weights = np.asarray(beams.outputs)[0, 0, :length, : len(settings.word)]
    best = np.asarray(beams.tokens)[0, 0, :length]
    written = [reverser.VOCABULARY[token] or END for token in best]
    text = show_alignment(weights, settings.word, written)
    title = "what each letter was written from"
    with folder.writing("alignment.png") as path:
        draw_alignment(weights, settings.word, written, path, title)
    return [*paths, folder.written, say(text, folder, "alignment.txt")]


def encode_word(word: str):
    """The tiny model's source [1, LONGEST] and its length [1]."""
    import jax.numpy as jnp

    from experiments.decode import reverser

    known = reverser.LETTERS[: reverser.SOURCE_LETTERS]
    if not (1 < len(word) <= reverser.LONGEST and set(word) <= set(known)):
        raise ValueError(
            f"--word is {word!r}; expected 2 to {reverser.LONGEST} of the letters {known}"
        )
    tokens = [reverser.VOCABULARY.index(letter) for letter in word]
    padding = [reverser.BOUNDARY] * (reverser.LONGEST - len(word))
    return jnp.array([tokens + padding]), jnp.array([len(word)])


def show_music(settings: Settings, run: Path, folder: RunFolder) -> list[Path]:
    """The tree of what the music model goes on with."""
    import jax
    import jax.numpy as jnp

    import seqjax as sj
    from experiments.sources.vocabulary import BOUNDARY

    model, params, vocabulary = load_music(run)
    prompt = settings.prompt.replace("\\n", "\n")
    try:
        tokens = jnp.asarray(vocabulary.encode(prompt)[None])
    except ValueError as error:
        raise ValueError(f"--prompt {settings.prompt!r}: {error}") from None
    print(f"{run}: {model}")
    beams = jax.jit(
        lambda: sj.beam_search(
            functools.partial(model.step, params),
            model.initial_carry(params, 1),
            bos=BOUNDARY,
            eos=BOUNDARY,
            beam_size=settings.beam_size,
            max_len=settings.max_len,
            prompt=tokens if prompt else None,
        )
    )()
    title = prompt.strip().replace("\n", "  ") or "a tune"
    return draw_beam(beams, ("", *vocabulary.characters), title, folder)


def load_music(run: Path) -> tuple[Any, Any, Any]:
    """The model, its best params and its vocabulary from a run of experiments.music."""
    import jax

    import seqjax as sj
    from experiments.music.model import Model
    from experiments.sources.text import read_text_file
    from experiments.sources.tunes import read_music
    from experiments.sources.vocabulary import Vocabulary

    try:
        config = json.loads((run / "results.json").read_text("utf-8"))["config"]
        sizes = {name: config[name] for name in ("hidden_size", "layers", "embedding_size")}
        rest = {name: config[name] for name in ("dropout", "tied")}
        text = config["text"]
    except (OSError, KeyError, ValueError, TypeError):
        raise ValueError(
            f"{run} holds no finished run of experiments.music (a results.json and a checkpoint); "
            "train one with python -m experiments.music, or use --builtin"
        ) from None
    splits = read_music() if text is None else read_text_file(text)
    vocabulary = Vocabulary.of([*splits.train, *splits.valid, *splits.test])
    model = Model(vocab_size=len(vocabulary), **sizes, **rest)
    template = model.init(jax.random.key(0))
    params = sj.restore_checkpoint(run / "best", template, spec=model).state
    return model, params, vocabulary


def draw_beam(beams, texts, title: str, folder: RunFolder) -> list[Path]:
    """Writes the tree of the first row's beam, and prints it."""
    from experiments.decode.pictures import draw_tree
    from experiments.decode.tree import prefix_tree, read_beams, show_tree

    tree = prefix_tree(read_beams(beams, 0, texts, eos=0))
    with folder.writing("beam.png") as path:
        draw_tree(tree, path, title)
    return [folder.written, say(show_tree(tree), folder, "beam.txt")]


def say(text: str, folder: RunFolder, name: str) -> Path:
    """Prints a text and writes it."""
    print(text)
    path = folder.write_text(name, text + "\n")
    print(f"({path} and {path.with_suffix('.png')})")
    return path


if __name__ == "__main__":
    sys.exit(main())
