"""What a run of the music experiment can be told from the command line."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.lab.experiment import Settings


@dataclass(frozen=True)
class Config(Settings):
    """Train a character model on tunes, compare it with an n-gram, and let it write tunes."""

    minutes: float = 5.0
    """Minutes of training; the learning-rate schedule fits them."""
    resume: bool = False
    """Go on with the run in the output folder."""
    text: Path | None = None
    """A plain text file to train on instead of the tunes."""
    encoding: str | None = None
    """Of that file; left out: what its first bytes say, or UTF-8."""
    prompt: str | None = None
    r"""How samples begin, such as 'R:reel\nM:4/4\nL:1/8\nK:D\n'; \n is a line break."""
    seed: int = 0
    """Of the parameters, the order of the tunes, dropout and the samples."""
    hidden_size: int = 192
    """Units of each LSTM layer."""
    layers: int = 2
    """LSTM layers."""
    embedding_size: int = 64
    """Width of the embedding of a character."""
    dropout: float = 0.2
    """Share of a layer's outputs dropped in training."""
    tied: bool = False
    """Share the embedding with the softmax; the embedding is then as wide as a layer."""
    batch_size: int = 16
    """Rows of text read at once."""
    window: int = 64
    """Steps of truncated backpropagation through time."""
    learning_rate: float = 4e-3
    """Peak of the learning rate, after warming up and before its cosine decay."""
    temperature: float = 0.8
    """Of the samples."""
    samples: int = 50
    """Number of sampled texts."""
    decode: Literal["both", "sample", "beam"] = "both"
    """How texts are written: drawn, or found by beam search."""
    in_metre: bool = False
    """Let every bar of a tune be complete: an automaton refuses what would not fit."""

    def check(self) -> None:
        """Raises ValueError for numbers that make no run."""
        for name in ("minutes", "learning_rate"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}; expected a positive number")
        for name in ("hidden_size", "layers", "embedding_size", "batch_size", "window", "samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")
        if self.in_metre and self.text is not None:
            raise ValueError("in_metre is for tunes; leave out --in-metre or --text")
        if self.encoding is not None and self.text is None:
            raise ValueError("encoding is that of a text file; name one by --text")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed}; expected 0 to 2^32 - 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; expected a number in [0, 1)")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ValueError(f"temperature is {self.temperature}; expected at least 0")
