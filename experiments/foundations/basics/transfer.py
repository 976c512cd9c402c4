"""A keyword learned at some places and looked for at others: memory against a fixed window."""

import seqjax as sj
from experiments.foundations.basics.data import keyword_rows
from experiments.foundations.basics.model import WindowMLP
from experiments.lab.network import Network
from experiments.lab.task import Task, estimate

VOCAB_SIZE, LENGTH = 16, 36  # room after the last place to settle
SEEN, SHIFTED = (0, 9), (20, 29)  # where the keyword begins
TEST_ROWS = 2048


def keyword(name: str, network, steps: int, gated: str) -> Task:
    """Is the keyword there, or its symbols in another order, or neither?

    The learning rate is chosen at the places seen in training. Rows with nothing in them make a
    recurrent network wait to the end of the row; without them its state drifts after place 12,
    where nothing in training told it to go on looking.
    """

    def draw(key, rows, places):
        return keyword_rows(key, rows, places, LENGTH, VOCAB_SIZE)

    def loss(params, key):
        tokens, labels = draw(key, 64, SEEN)
        return sj.cross_entropy(network.last(params, tokens), labels)

    def accuracy(params, key, places):
        tokens, labels = draw(key, TEST_ROWS, places)
        return estimate(network.last(params, tokens).argmax(axis=-1) == labels)

    def evaluate(params, key, split):
        places = {"accuracy": SEEN, "accuracy, shifted": SHIFTED}
        return {name: accuracy(params, key, place) for name, place in places.items()}

    return Task(
        name=f"keyword, {name}",
        init=network.init,
        loss=loss,
        evaluate=evaluate,
        metric="accuracy",
        optimum={"accuracy": 1.0, "accuracy, shifted": 1.0},
        baseline=0.5,
        gate=0.99,
        steps=steps,
        rates=(1e-2, 3e-2),
        gated=gated,
    )


def tasks() -> list[Task]:
    """All of this file."""
    return [
        keyword("GRU", Network(sj.GRU(32), VOCAB_SIZE, 2), steps=600, gated="accuracy, shifted"),
        # The baseline: it has to learn the task, and may fail elsewhere.
        keyword("window MLP", WindowMLP(128, VOCAB_SIZE, 2, LENGTH), steps=300, gated="accuracy"),
    ]
