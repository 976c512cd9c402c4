"""Training within a time budget: schedule, progress, validation, checkpoints, resuming."""

import contextlib
import math
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import seqjax as sj
from experiments.lab.character_model import CharacterModel
from experiments.lab.folder import RunFolder
from experiments.music.config import Config

VALIDATIONS = 10  # in the course of a run
MAX_NORM = 1.0
WARM_UP, TIMED = 5, 60  # steps, to plan a run


class Data(NamedTuple):
    """A split as windows for training, validation and test."""

    train: sj.Corpus
    valid: sj.Corpus
    test: sj.Corpus


@dataclass
class History:
    """What a run measured, as lists of [step, value]; a plain JSON value."""

    total_steps: int
    data: dict = field(default_factory=dict)  # what the step's number stands for
    train: list[list[float]] = field(default_factory=list)  # bits per character
    valid: list[list[float]] = field(default_factory=list)  # bits per character
    grad_norm: list[list[float]] = field(default_factory=list)
    seconds: float = 0.0

    def best(self) -> float:
        """The lowest validation loss so far, in bits per character."""
        return min((value for _, value in self.valid), default=float("inf"))


class Run:
    """One training run in a folder: `last/` to go on from, `best/` to use."""

    def __init__(
        self,
        config: Config,
        model: CharacterModel,
        data: Data,
        identity: dict[str, str],
        folder: RunFolder,
    ):
        self.config, self.model, self.data, self.identity = config, model, data, identity
        self.folder = folder
        place = {"seed": config.seed, "window": config.window, "batch_size": config.batch_size}
        self.history = History(total_steps=1, data=place | identity)
        self.state = self._fresh()
        self._evaluate = jax.jit(self._window_loss)

    def start(self) -> None:
        """Plans the steps that fit the budget, from a few timed ones; clears an older run."""
        for name in ("last", "best", "results.json"):
            self.folder.remove(name)
        step, state = self._train_step(100), self._fresh()
        begun = time.perf_counter()
        for k in range(WARM_UP + TIMED):
            if k == WARM_UP:
                begun = time.perf_counter()
            state, metrics = step(state, self.data.train[k % len(self.data.train)])
            jax.block_until_ready(metrics)
        a_step = (time.perf_counter() - begun) / TIMED
        begun = time.perf_counter()
        self.bits(state.params, self.data.valid)
        validating = VALIDATIONS * (time.perf_counter() - begun)
        left = 60 * self.config.minutes - validating
        # A fifth to spare: processors slow down when they have been busy for minutes.
        self.history.total_steps = max(20, round(0.8 * left / a_step))

    def resume(self) -> None:
        """Takes up the run in the folder where it was left.

        Raises:
          ValueError: if there is none, or it is of another model, text, window or seed.
        """
        saved = sj.restore_checkpoint(self.folder.directory("last"), self._fresh(), spec=self.model)
        history = History(**saved.position)
        other = [name for name, value in self.history.data.items() if history.data[name] != value]
        if other:
            raise ValueError(
                f"the run in {self.folder.path} is of another {', '.join(other)}; resume it with "
                "the same text, --window, --batch-size and --seed"
            )
        self.state, self.history = saved.state, history

    def steps(self) -> Iterator[tuple[int, sj.training.Metrics]]:
        """Trains to the end of the plan or of the time, one step at a time; saves at the end."""
        total = self.history.total_steps
        train_step = self._train_step(total)
        due = {round(total * (k + 1) / VALIDATIONS) for k in range(VALIDATIONS)} | {total}
        windows, epoch, corpus = len(self.data.train), -1, self.data.train
        first = int(self.state.step)
        before, begun = self.history.seconds, time.perf_counter()
        with interrupt_noted() as interrupted:
            for step in range(first, total):
                if step // windows != epoch:
                    epoch = step // windows
                    corpus = self.data.train.shuffled((self.config.seed, epoch))
                self.state, metrics = train_step(self.state, corpus[step % windows])
                self.history.seconds = before + time.perf_counter() - begun
                over = self.history.seconds > 60 * self.config.minutes
                if step + 1 in due or over:
                    self._validate(step + 1)
                yield step + 1, metrics
                if interrupted:
                    self.save()
                    raise KeyboardInterrupt
                if over:  # a machine that became slower than planned
                    break
        self.save()

    def save(self) -> None:
        """Writes `last/`, from which `resume` goes on."""
        position = vars(self.history)
        self.folder.save_checkpoint("last", self.state, spec=self.model, position=position, keep=2)

    def best_params(self) -> Any:
        """The parameters with the lowest validation loss."""
        best = self.folder.directory("best")
        return sj.restore_checkpoint(best, self.state.params, spec=self.model).state

    def bits(self, params: Any, corpus: sj.Corpus) -> float:
        """Bits per scored token of a split, the end of a document counted as one."""
        carry = self.model.initial_carry(params, corpus.batch_size)
        total, count = 0.0, 0
        for batch in corpus:
            carry, loss = self._evaluate(params, carry, batch)
            total, count = total + float(loss.total), count + int(loss.tokens)
        return float(sj.losses.bits_per_character(jnp.float32(total / count)))

    def _window_loss(self, params, carry, batch):
        carry, logits = self.model.unroll(params, carry, batch)
        return carry, sj.losses.cross_entropy_sum(logits, batch.targets, mask=batch.mask)

    def _validate(self, step: int) -> None:
        value = self.bits(self.state.params, self.data.valid)
        better = value < self.history.best()
        if math.isfinite(value):
            self.history.valid.append([step, value])
        if better:
            self.folder.save_checkpoint(
                "best", self.state.params, spec=self.model, position=self.identity, keep=1
            )
        self.save()

    def _fresh(self) -> sj.TrainState:
        key_p, key_n, key_t = jax.random.split(jax.random.key(self.config.seed), 3)
        params = self.model.init(key_p)
        carry = self.model.initial_carry(params, self.config.batch_size, key=key_n)
        return sj.init_train_state(params, self._optimizer(100), key=key_t, carry=carry)

    def _optimizer(self, total_steps: int) -> optax.GradientTransformation:
        warmup = min(200, max(1, total_steps // 20))
        peak = self.config.learning_rate
        schedule = optax.warmup_cosine_decay_schedule(0.0, peak, warmup, total_steps, 0.01 * peak)
        return optax.adam(schedule, b2=0.99)

    def _train_step(self, total_steps: int) -> Callable:
        return sj.make_train_step(self.model.loss, self._optimizer(total_steps), max_norm=MAX_NORM)


@contextlib.contextmanager
def interrupt_noted() -> Iterator[list]:
    """Notes Ctrl-C in a list instead of raising, so that no step is left half done."""
    noted: list = []
    old = signal.signal(signal.SIGINT, lambda *details: noted.append(details))
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, old)
