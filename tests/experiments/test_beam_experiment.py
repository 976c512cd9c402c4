"""Words backwards: what is known of them, the tree of a beam, its alignment, its commands."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj

pytest.importorskip("tyro")
pytest.importorskip("matplotlib")

import matplotlib.pyplot as plt

from experiments.decoding.beam import data
from experiments.decoding.beam.experiment import (
    EXPERIMENT,
    Config,
    alignment,
    heat_map,
    report,
    tasks,
)
from experiments.decoding.beam.model import Reverser
from experiments.lab import command, page, record
from experiments.lab.character_model import CharacterModel
from experiments.lab.experiment import Results
from experiments.lab.trees import (
    CUT,
    END,
    Hypothesis,
    draw_tree,
    prefix_tree,
    read_beams,
    show_tree,
)
from experiments.sources.vocabulary import Vocabulary

FOUND = [
    Hypothesis(("b", "a", END), -0.5, -1.5),
    Hypothesis(("a", "b", "b", END), -3.0, -6.0),
    Hypothesis(("a", "b", END), -1.0, -2.0),
    Hypothesis(("a", "b", "b", "b", CUT), -2.0, -5.0),
]
DRAWN = """\

├─ ba■    score -0.500  log p -1.500
└─ ab
   ├─ ■   score -1.000  log p -2.000
   └─ b
      ├─ b…  score -2.000  log p -5.000
      └─ ■   score -3.000  log p -6.000"""


def test_a_tree_writes_what_is_shared_once_and_the_best_first():
    tree = prefix_tree(FOUND)
    squeezed = lambda text: [" ".join(line.split()) for line in text.splitlines()]
    assert squeezed(show_tree(tree)) == squeezed(DRAWN)
    assert (
        len({line.index("score") for line in show_tree(tree).splitlines() if "score" in line}) == 1
    )
    assert [leaf.score for leaf in tree.leaves()] == [-0.5, -1.0, -2.0, -3.0]
    assert show_tree(prefix_tree(FOUND[:1], ">")) == ">ba■  score -0.500  log p -1.500"
    with pytest.raises(ValueError, match="there is no hypothesis to draw"):
        prefix_tree([])


def test_beams_are_read_up_to_their_lengths():
    tokens = jnp.array([[[1, 0, 0], [2, 1, 2], [0, 0, 0]]])
    scores = jnp.array([[-1.0, -2.0, -jnp.inf]])
    beams = sj.Beams(tokens, scores, scores * 3, jnp.array([[2, 3, 0]]))
    first, second = read_beams(beams, 0, ["", "a", "\n"], eos=0)
    assert first == Hypothesis(("a", END), -1.0, -3.0)
    assert second.tokens == ("↵", "a", "↵", CUT)


def test_an_alignment_in_ten_shades():
    weights = np.array([[0.0, 0.09, 1.0], [0.5, 0.45, 0.05]])
    best = Hypothesis(("a", "b", END), -1.0, -1.0)
    assert alignment(weights, "xyz", best).splitlines() == ["  xyz", "a   @", "b += "]
    figure = heat_map(weights, "xyz", best)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "b"]
    plt.close(figure)


def test_the_targets_are_the_words_backwards():
    source, lengths, targets = map(np.asarray, data.draw_batch(jax.random.key(0), 200))
    kept = 0
    for word, length, target in zip(source, lengths, targets, strict=True):
        wanted = word[:length][::-1]
        same = target[:length] == wanted
        assert (wanted[~same] == data.C).all() and (target[:length][~same] == data.K).all()
        assert (target[length:] == data.BOUNDARY).all()
        kept += (wanted[same] == data.C).sum()
    share = kept / (kept + (targets == data.K).sum())
    assert abs(share - (1 - data.K_SHARE)) < 0.1


def test_all_answers_are_known_and_what_they_cost():
    """The optimum and the baseline are means over everything that can be drawn."""
    found = data.answers("cab")
    assert found == {"bac": pytest.approx(0.6), "bak": pytest.approx(0.4)}
    assert sum(data.answers("cicadace").values()) == pytest.approx(1)
    assert len(data.answers("cicadace")) == 8
    source, lengths, targets = map(np.asarray, data.draw_batch(jax.random.key(0), 20_000))
    words = [
        "".join(data.VOCABULARY[a] for a in row[:n]) for row, n in zip(source, lengths, strict=True)
    ]
    written = ["".join(data.VOCABULARY[a] for a in row) for row in targets]
    best = [-np.log(data.answers(w)[t]) for w, t in zip(words, written, strict=True)]
    np.testing.assert_allclose(np.mean(best), data.OPTIMUM, atol=0.03)
    shares = dict.fromkeys(data.LETTERS, 0.1) | {"c": 0.06, "k": 0.04}
    blind = [np.log(7) - sum(np.log(shares[a]) for a in one) for one in written]
    np.testing.assert_allclose(np.mean(blind), data.BASELINE, atol=0.1)


def test_beams_of_one_memory_are_rows_of_their_own():
    """The step on B K rows is the step on each with its own copy of the memory."""
    model = Reverser(hidden_size=4)
    params = model.init(jax.random.key(0))
    source, lengths, _ = data.draw_batch(jax.random.key(1), 2)
    memory, carry = jax.jit(model.encode)(params, source, lengths)
    step = jax.jit(model.step)
    twice = lambda tree: jax.tree.map(lambda leaf: jnp.repeat(leaf, 2, axis=0), tree)
    tokens = jnp.array([1, 2, 3, 4])
    together = step(params, memory, lengths, twice(carry), tokens)
    alone = step(params, twice(memory), twice(lengths), twice(carry), tokens)
    for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_losses_are_those_of_single_steps_up_to_the_boundary():
    model = Reverser(hidden_size=4)
    params = model.init(jax.random.key(0))
    source, lengths, targets = data.draw_batch(jax.random.key(1), 3)
    losses = np.asarray(jax.jit(model.losses)(params, source, lengths, targets))
    memory, carry = model.encode(params, source, lengths)
    step, tokens = jax.jit(model.step), jnp.zeros(3, jnp.int32)
    for t in range(data.LONGEST + 1):
        carry, logits, _ = step(params, memory, lengths, carry, tokens)
        tokens = targets[:, t]
        expected = -jax.nn.log_softmax(logits)[jnp.arange(3), tokens]
        np.testing.assert_allclose(losses[:, t], np.where(t <= lengths, expected, 0), rtol=1e-5)


def test_hypotheses_stand_beside_their_exact_probabilities():
    one = lambda text, p: {"tokens": [*text, END], "score": 0.0, "log_prob": np.log(p)}
    found = [one("bac", 0.5), one("bak", 0.4), one("dab", 0.1)]
    (task,) = tasks(Config())
    test = {task.name: {"test": {"nats a word": {"seeds": [0.5]}}}}
    config = Config(word="cab", beam_size=3)
    said = report(config, Results([task], test, {}, {"hypotheses": found}))
    assert said.headline == (
        "A beam of 3 keeps 2 of the 2 right answers, whose probabilities are wrong by 0.100 at "
        "most."
    )
    assert said.tables[0].rows[2] == [f"dab{END}", "0.1000", "0.0000"]


def test_trees_are_drawn():
    for found in (FOUND, FOUND[:1]):
        figure = draw_tree(prefix_tree(found), "a title")
        assert len(figure.axes[0].texts) > len(found)
        plt.close(figure)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a tiny run."""
    folder = tmp_path_factory.mktemp("beam") / "run"
    args = ["--steps", "2", "--seeds", "1", "--word", "cab", "--max-len", "5"]
    assert command.main(["beam", "--out", str(folder), *args]) == 0
    return folder


def test_a_saved_model_is_tried_on_a_word(trained, tmp_path, capsys):
    (tmp_path / "word.txt").write_text("dace\n")
    for given in ("dace", str(tmp_path / "word.txt")):
        assert command.main(["beam", "--out", str(trained), "--try", given]) == 0
        assert "\n  dace\n" in capsys.readouterr().out
    assert command.main(["beam", "--out", str(trained), "--try", "xyz"]) == 2
    assert "'xyz'; expected 2 to 8 of the letters abcdefghij" in capsys.readouterr().err
    assert command.main(["beam", "--out", str(tmp_path / "none"), "--try", "dace"]) == 2
    assert "none has no saved model to try; run python -m experiments beam" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "none").exists()
    assert command.main(["adding", "--try", "dace"]) == 2
    assert "adding has nothing to --try; expected one of beam, music" in capsys.readouterr().err


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What a run of music on a text of one's own leaves behind."""
    folder = tmp_path_factory.mktemp("run")
    sizes: dict[str, Any] = dict(hidden_size=4, layers=1, embedding_size=3, dropout=0.0, tied=False)
    vocabulary = Vocabulary.of(["the cat sat on the mat.\n"])
    model = CharacterModel(vocab_size=len(vocabulary), **sizes)
    params, position = model.init(jax.random.key(0)), {"vocabulary": vocabulary.characters}
    sj.save_checkpoint(folder / "best", params, spec=model, position=position)
    content = page.committed(EXPERIMENT) | {"config": sizes, "measured": position}
    (folder / "results.json").write_text(json.dumps(content))
    return folder


def test_the_model_of_a_run_of_music_is_searched(run, tmp_path, capsys):
    args = ["--checkpoint", str(run), "--prompt", "the ", "--beam-size", "3", "--max-len", "4"]
    assert command.main(["beam", *args, "--out", str(tmp_path)]) == 0
    content = record.read(tmp_path / "results.json")
    assert len(content["measured"]["hypotheses"]) == 3 and not content["tasks"]
    assert content["report"]["headline"] in capsys.readouterr().out
    assert (tmp_path / "beam.png").stat().st_size > 3000


def test_errors_of_the_command_line(run, tmp_path, capsys):
    other = tmp_path / "other"
    (other / "best").mkdir(parents=True)
    content = json.loads((run / "results.json").read_text())
    content["config"]["hidden_size"] = 5
    (other / "results.json").write_text(json.dumps(content))
    sj.save_checkpoint(other / "best", jnp.zeros(3), spec="of something else")
    calls = {
        "has no finished run of a character model": ["--checkpoint", str(tmp_path / "none")],
        "another spec": ["--checkpoint", str(other)],
        "'xyz'; expected 2 to 8 of the letters abcdefghij": ["--word", "xyz"],
        "--prompt 'Q': unknown characters": ["--checkpoint", str(run), "--prompt", "Q"],
        "beam_size is 0": ["--checkpoint", str(run), "--prompt", "", "--beam-size", "0"],
    }
    for message, args in calls.items():
        assert command.main(["beam", "--out", str(tmp_path / "out"), *args]) == 2, message
        assert message in capsys.readouterr().err
