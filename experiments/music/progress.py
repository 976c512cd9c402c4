"""What a run shows while it trains."""

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

import seqjax as sj
from experiments.music.training import Run

EVERY = 10  # steps between looks at the device, which wait for it


def train_with_progress(run: Run, console: Console) -> None:
    """Runs a training plan under a progress bar."""
    history = run.history
    columns = [
        TextColumn("{task.completed}/{task.total}"),
        BarColumn(None),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("compiling", total=history.total_steps)
        for step, metrics in run.steps():
            if step % EVERY and step != history.total_steps:
                continue
            bits = float(sj.losses.bits_per_character(metrics.loss))
            norm = float(metrics.grad_norm)
            if not metrics.skipped:
                history.train.append([step, bits])
                history.grad_norm.append([step, norm])
            progress.update(
                task, completed=step, description=_describe(run, step, float(metrics.loss), norm)
            )


def _describe(run: Run, step: int, loss: float, norm: float) -> str:
    tokens = run.config.batch_size * run.config.window
    speed = step * tokens / max(run.history.seconds, 1e-9)
    valid = f" valid {run.history.valid[-1][1]:.3f}" if run.history.valid else ""
    bits = float(sj.losses.bits_per_character(loss))
    return f"loss {loss:.3f} bpc {bits:.3f}{valid} |g| {norm:.2f} {speed:,.0f} chars/s"
