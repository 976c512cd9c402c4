"""What a trained model writes: sampled and beam-searched texts, as files and as MIDI."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import seqjax as sj
from experiments.lab.character_model import CharacterModel
from experiments.lab.folder import RunFolder
from experiments.music.abc_check import check_bars
from experiments.music.abc_midi import write_midi
from experiments.music.config import Config
from experiments.music.copying import TrainingText
from experiments.music.metre import metre_automaton
from experiments.sources.vocabulary import BOUNDARY, Vocabulary
from seqjax.decoding import Accept
from seqjax.decoding.engine.logits import Processor

MAX_LEN = 1000  # 99 of 100 tunes are shorter
BEAM_SIZE = 8


@dataclass(frozen=True)
class Written:
    """One text of the model's.

    Attributes:
      method: "sample" or "beam".
      path: where it was written.
      characters: its length.
      finished: whether the model ended it by itself.
      log_prob: what the model gives it after the prompt, in nats.
      longest_copy: its longest substring that occurs in the training text; None where that was
        not read.
      midi: whether it converts to MIDI; None where the text is no tune.
      complete_bars: share of bars that fill the metre; None where the text is no tune.
    """

    method: str
    path: str
    characters: int
    finished: bool
    log_prob: float
    longest_copy: str | None
    midi: bool | None
    complete_bars: float | None


def in_metre(vocabulary: Vocabulary, prompt: str, max_len: int = MAX_LEN) -> Accept:
    """The constraint that every bar is complete and the tune ends in time."""
    automaton = metre_automaton(vocabulary, prompt)
    return Accept(automaton, eos=BOUNDARY, max_len=max_len)


def sample_texts(
    model,
    params,
    vocabulary,
    prompt,
    *,
    count,
    temperature,
    key,
    max_len=MAX_LEN,
    processors: Sequence[Processor] = (),
):
    """Samples texts that begin with a prompt.

    Returns:
      Triples (text with its prompt, whether it ended by itself, log probability in nats).
    """
    tokens = jnp.asarray(np.tile(vocabulary.encode(prompt), (count, 1)))

    @functools.partial(jax.jit, static_argnames="model")
    def run(model, params, tokens, temperature, key):
        step = functools.partial(model.step, params)
        return sj.sample(
            step,
            model.initial_carry(params, count),
            bos=BOUNDARY,
            eos=BOUNDARY,
            max_len=max_len,
            key=key,
            temperature=temperature,
            processors=processors,
            prompt=tokens if prompt else None,
        )

    out = run(model, params, tokens, temperature, key)
    return _texts(prompt, vocabulary, out.tokens, out.log_probs)


def beam_text(
    model: CharacterModel,
    params: Any,
    vocabulary: Vocabulary,
    prompt: str,
    *,
    max_len: int = MAX_LEN,
    processors: Sequence[Processor] = (),
):
    """The text of highest length-normalised probability that beam search finds; as above."""
    tokens = jnp.asarray(vocabulary.encode(prompt)[None])

    @functools.partial(jax.jit, static_argnames="model")
    def run(model, params, tokens):
        return sj.beam_search(
            functools.partial(model.step, params),
            model.initial_carry(params, 1),
            bos=BOUNDARY,
            eos=BOUNDARY,
            beam_size=BEAM_SIZE,
            max_len=max_len,
            length_penalty=sj.decoding.GNMTLengthPenalty(1.0),
            processors=processors,
            prompt=tokens if prompt else None,
        )

    out = run(model, params, tokens)
    return _texts(prompt, vocabulary, out.tokens[0, :1], out.log_probs[0, :1])[0]


def write(
    texts: list,
    method: str,
    folder: RunFolder,
    place: str,
    training: TrainingText | None,
    *,
    music: bool,
) -> list[Written]:
    """Writes texts as METHOD-NN.abc and .mid, or as .txt, and measures them."""
    written = []
    for number, (text, finished, log_prob) in enumerate(texts):
        name = f"{place}/{method}-{number:02d}"
        shown = f"X:{number + 1}\nT:{method} {number}\n{text}\n" if music else text
        path = folder.write_text(f"{name}.{'abc' if music else 'txt'}", shown)
        midi = None
        if music:
            with folder.writing(f"{name}.mid") as sound:
                midi = write_midi(text, sound) is None
        written.append(
            Written(
                method=method,
                path=str(path),
                characters=len(text),
                finished=finished,
                log_prob=log_prob,
                longest_copy=None if training is None else training.longest_copy(text),
                midi=midi,
                complete_bars=check_bars(text).share if music else None,
            )
        )
    return written


def _texts(prompt: str, vocabulary: Vocabulary, tokens, log_probs):
    return [
        (prompt + vocabulary.decode(row), bool((row == BOUNDARY).any()), float(log_prob))
        for row, log_prob in zip(np.asarray(tokens), np.asarray(log_probs), strict=True)
    ]


def write_samples(
    config: Config,
    model: CharacterModel,
    params: Any,
    vocabulary: Vocabulary,
    prompt: str,
    folder: RunFolder,
    place: str,
    *,
    music: bool,
    training: Sequence[str] | None = None,
) -> list[Written]:
    """Texts in a subfolder: sampled ones, one found by beam search, or both; the last ones go.

    Args:
      config: how many, and how they are written.
      model: with `params` and its `vocabulary`.
      params: as above.
      vocabulary: as above.
      prompt: how the texts begin.
      folder: of the run.
      place: the subfolder.
      music: whether they are tunes.
      training: the documents that they may have copied from; None looks for no copies.
    """
    folder.remove(place)
    processors = [in_metre(vocabulary, prompt)] if config.in_metre else []
    who = (model, params, vocabulary, prompt)
    written, documents = [], None if training is None else TrainingText(training)
    if config.decode in ("both", "sample"):
        sampled = sample_texts(
            *who,
            count=config.samples,
            temperature=config.temperature,
            key=jax.random.key(config.seed),
            processors=processors,
        )
        written += write(sampled, "sample", folder, place, documents, music=music)
    if config.decode in ("both", "beam"):
        found = beam_text(*who, processors=processors)
        written += write([found], "beam", folder, place, documents, music=music)
    return written
