"""What a run of the music experiment can be told from the command line."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class Config:
    """Train a character model on tunes, compare it with an n-gram, and let it write tunes."""

    minutes: float = 5.0
    """Minutes of training; the learning-rate schedule fits them."""
    quick: bool = False
    """A small model for half a minute, to see everything work."""
    resume: bool = False
    """Go on with the run in the output folder."""
    text: Path | None = None
    """A plain text file (UTF-8) to train on instead of the tunes."""
    prompt: str | None = None
    r"""How samples begin, such as 'R:reel\nM:4/4\nL:1/8\nK:D\n'; \n is a line break."""
    out: Path = Path("runs/music")
    """Where everything is written."""
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
    write_only: bool = False
    """Train nothing: write with the best model in the output folder, in its folder `written`."""

    def resolved(self) -> "Config":
        """The configuration with `quick` written out, where nothing else was asked for."""
        small = {"minutes": 0.4, "hidden_size": 128, "layers": 1, "samples": 10}
        default = type(self)()
        kept = {n: v for n, v in small.items() if getattr(self, n) == getattr(default, n)}
        return replace(self, **kept) if self.quick else self

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
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed}; expected 0 to 2^32 - 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; expected a number in [0, 1)")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ValueError(f"temperature is {self.temperature}; expected at least 0")


def parse(args: list[str] | None = None) -> Config:
    """Reads the command line."""
    return tyro.cli(
        Annotated[Config, tyro.conf.arg()], args=args, prog="python -m experiments.music"
    )
