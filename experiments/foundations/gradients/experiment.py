"""Every diagnostic of four language models, at initialisation and trained."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments.foundations.gradients.data import (
    splits,
    unigram_entropy,
    windows,
)
from experiments.foundations.gradients.model import Arm, arms, initial, look, losses
from experiments.lab.experiment import Experiment, Results, SweepSettings
from experiments.lab.folder import RunFolder
from experiments.lab.record import Report, Table
from experiments.lab.task import Task, estimate

WINDOW, ROWS, TEST_ROWS = 64, 32, 128
WHEN = {"initial": "at initialisation", "trained": "trained"}
COLORS = {"initial": "0.55", "trained": "C3"}


@dataclass(frozen=True)
class Config(SweepSettings):
    """Look inside language models of equal size, at initialisation and trained."""

    steps: int = 400
    """Updates of each language model."""
    budget: int = 29_700
    """Parameters of each network, nearly."""
    length: int = 200
    """T, steps that gradients are followed back through; training has windows of 64."""
    context: int = 96
    """Characters of which the influence on the next ones is measured."""


def task(arm: Arm, steps: int) -> Task:
    """The next character of windows of 64; what a window cannot see is not scored as known."""
    train, valid, test = (jnp.asarray(part) for part in splits())
    shortest = min(valid.size, test.size)
    held_out = jnp.stack([valid[:shortest], test[:shortest]])

    def evaluate(params, key, split):
        tokens = windows(held_out[split], key, TEST_ROWS, WINDOW + 1)
        return {"nats a character": estimate(losses(arm.network, params, tokens))}

    return Task(
        name=arm.name,
        init=arm.network.init,
        loss=lambda params, key: losses(
            arm.network, params, windows(train, key, ROWS, WINDOW + 1)
        ).mean(),
        evaluate=evaluate,
        metric="nats a character",
        optimum={},
        baseline=unigram_entropy(),
        gate=0.8 * unigram_entropy(),
        steps=steps,
        rates=(3e-3, 1e-2),
        rises=False,
    )


def tasks(config: Config) -> list[Task]:
    """The four language models."""
    return [task(arm, config.steps) for arm in arms(config.budget)]


def measure(config: Config, results: Results, folder: RunFolder) -> dict[str, Any]:
    """Every diagnostic before and after training."""
    del folder
    networks = {}
    for arm in arms(config.budget):
        if arm.name in results.params:
            params = {"initial": initial(arm, config.seeds), "trained": results.params[arm.name]}
            seen = {
                when: look(arm, stacked, config.length, config.context)
                for when, stacked in params.items()
            }
            networks[arm.name] = seen
    return {"networks": networks}


def report(config: Config, results: Results) -> Report:
    """Medians over seeds, new and trained."""
    networks = results.measured["networks"]
    rows = []
    for name, each in networks.items():
        test = results.found[name]["test"]["nats a character"]["mean"]
        for when in WHEN:
            nats = f"{test:.3f}" if when == "trained" else ""
            rows.append([f"{name}, {WHEN[when]}", nats, *middles(each[when])])
    caption = (
        "Medians over seeds; lags in steps, exponents in nats a step, half-lives in characters; "
        f"inf: beyond {config.length} steps or {config.context // 2} characters. The frequencies "
        f"of characters give {unigram_entropy():.2f} nats:"
    )
    header = ["", "nats a character", "memory", "half-life", "largest exponent"]
    table = Table([*header, "half-life of context", "at an end"], rows, caption)
    reach = {name: float(middles(each["trained"])[0]) for name, each in networks.items()}
    longest = max(reach, key=reach.__getitem__)
    return Report(f"After training the gradient of {longest} reaches furthest.", [table])


def middles(seeds: list[dict[str, Any]]) -> list[str]:
    """Of the seeds of a network: memory, half-life, exponent, half-life of context, ends."""
    middle = lambda key: np.median([seed[key] for seed in seeds])
    top = np.median([max(seed["exponents"]) for seed in seeds])
    ends = np.mean([share_at_ends(seed["saturation"]) for seed in seeds])
    reach = [f"{middle('memory'):.1f}", f"{middle('half_life'):.1f}", f"{top:.3f}"]
    return [*reach, f"{middle('influence_half_life'):.1f}", f"{100 * ends:.0f} %"]


def share_at_ends(saturation: dict[str, Any]) -> float:
    """Mean share of time that a unit of a gate is at either of its ends."""
    gates = saturation.values()
    return float(np.mean([np.add(gate["left"], gate["right"]).mean() for gate in gates]))


def draw(config: Config, results: Results) -> dict[str, Any]:
    """How far gradients and characters reach, and where gates stand."""
    del config
    networks = results.measured["networks"]
    return {"gradients.png": reaches(networks), "saturation.png": saturation(networks)}


def panels(networks: dict[str, Any], rows: int, **how) -> tuple[Any, Any]:
    """A column for each network."""
    import matplotlib.pyplot as plt

    size = (3.3 * len(networks), 2.6 * rows)
    figure, axes = plt.subplots(
        rows, len(networks), figsize=size, layout="constrained", squeeze=False, **how
    )
    for axis, name in zip(axes[0], networks, strict=True):
        axis.set_title(name, fontsize=10)
    return figure, axes


def reaches(networks: dict[str, Any]) -> Any:
    """Jacobians of the last state by states and by inputs, influence of characters, exponents."""
    log = lambda values: np.array(values) / np.log(10)
    drawn = (
        ("log_norms", log, r"$\log_{10}\,\|\partial h_T/\partial h_{T-k}\|$", "lag k, steps"),
        ("log_input_norms", log, r"$\log_{10}\,\|\partial h_T/\partial x_{T-k}\|$", "lag k, steps"),
        ("influence", lambda values: np.log10(np.maximum(values, 1e-8)),
         r"$\log_{10}\,E\,\|\partial \log p_t/\partial x_{t-k}\|$", "distance k, characters"),
        ("exponents", lambda values: np.maximum(np.sort(values)[::-1], -8),
         "Lyapunov exponent, nats a step", "number of the exponent"),
    )  # fmt: skip
    figure, axes = panels(networks, len(drawn), sharey="row")
    for column, each in zip(axes.T, networks.values(), strict=True):
        for axis, (key, shown, _, below) in zip(column, drawn, strict=True):
            axis.set_xlabel(below, fontsize=8)
            for when, color in COLORS.items():
                for i, seed in enumerate(each[when]):
                    label = WHEN[when] if i == 0 else None
                    axis.plot(shown(seed[key]), color=color, lw=1.2, label=label)
    for axis, (_, _, beside, _) in zip(axes[:, 0], drawn, strict=True):
        axis.set_ylabel(beside, fontsize=9)
    axes[0, 0].legend(fontsize=7)
    return figure


def saturation(networks: dict[str, Any]) -> Any:
    """How often each unit of each gate of the first seed is open, over how often it is shut."""
    figure, axes = panels(networks, 2, sharex=True, sharey=True)
    for column, each in zip(axes.T, networks.values(), strict=True):
        for axis, when in zip(column, WHEN, strict=True):
            for name, gate in each[when][0]["saturation"].items():
                axis.scatter(gate["left"], gate["right"], s=9, alpha=0.7, label=name)
            axis.plot([0, 1], [1, 0], color="0.8", lw=0.8)
            axis.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
            axis.legend(fontsize=7)
        column[1].set_xlabel("share of time at the left end", fontsize=8)
    for axis, title in zip(axes[:, 0], WHEN.values(), strict=True):
        axis.set_ylabel(f"{title}:\nat the right end", fontsize=8)
    return figure


EXPERIMENT = Experiment(
    name="gradients",
    source="Pascanu et al. 2013; Karpathy et al. 2016",
    data="Python's own help texts, characters",
    minutes=2,
    config=Config,
    tasks=tasks,
    measure=measure,
    report=report,
    draw=draw,
    quick={"seeds": 1, "steps": 100, "budget": 8_000},
    tiny={"seeds": 1, "steps": 1, "budget": 300, "length": 6, "context": 8, "only": "GRU"},
)
