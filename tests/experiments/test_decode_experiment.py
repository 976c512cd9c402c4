"""Beams as trees and alignments as heat maps, and the command that draws them."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj

pytest.importorskip("tyro")
pytest.importorskip("matplotlib")

from experiments import commands
from experiments.decode import __main__ as command
from experiments.decode import reverser
from experiments.decode.alignment import check_weights, show_alignment
from experiments.decode.pictures import draw_alignment, draw_tree
from experiments.decode.tree import CUT, END, Hypothesis, prefix_tree, read_beams, show_tree
from experiments.music.model import Model
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
    assert show_alignment(weights, "xyz", ["a", "bb"]).splitlines() == [
        "   xyz",
        "a    @",
        "bb += ",
    ]
    with pytest.raises(ValueError, match=r"shape \(2, 3\); expected \[L, S\] = \(2, 2\)"):
        check_weights(weights, "xy", "ab")
    with pytest.raises(ValueError, match=r"weights lie outside \[0, 1\]"):
        check_weights(-weights, "xyz", "ab")


def test_the_tiny_models_targets_are_the_words_backwards():
    source, lengths, targets = map(np.asarray, reverser.draw_batch(jax.random.key(0), 200))
    kept = 0
    for word, length, target in zip(source, lengths, targets, strict=True):
        wanted = word[:length][::-1]
        same = target[:length] == wanted
        assert (wanted[~same] == reverser.C).all() and (target[:length][~same] == reverser.K).all()
        assert (target[length:] == reverser.BOUNDARY).all()
        kept += (wanted[same] == reverser.C).sum()
    share = kept / (kept + (targets == reverser.K).sum())
    assert abs(share - (1 - reverser.K_SHARE)) < 0.1


def test_beams_of_one_memory_are_rows_of_their_own():
    """The step on B K rows is the step on each with its own copy of the memory."""
    model = reverser.Reverser(hidden_size=4)
    params = model.init(jax.random.key(0))
    source, lengths, targets = reverser.draw_batch(jax.random.key(1), 2)
    memory, carry = jax.jit(model.encode)(params, source, lengths)
    step = jax.jit(model.step)
    twice = lambda tree: jax.tree.map(lambda leaf: jnp.repeat(leaf, 2, axis=0), tree)
    tokens = jnp.array([1, 2, 3, 4])
    together = step(params, memory, lengths, twice(carry), tokens)
    alone = step(params, twice(memory), twice(lengths), twice(carry), tokens)
    for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def png(path: Path) -> bool:
    return path.read_bytes()[:4] == b"\x89PNG" and path.stat().st_size > 3000


def test_pictures(tmp_path):
    assert png(draw_tree(prefix_tree(FOUND), tmp_path / "tree.png", "a title"))
    assert png(draw_tree(prefix_tree(FOUND[:1]), tmp_path / "one.png"))
    assert png(draw_alignment(np.eye(3), "abc", "abc", tmp_path / "heat.png"))


def test_the_command_draws_the_tiny_model(tmp_path, capsys, monkeypatch):
    whole = reverser.train
    monkeypatch.setattr(reverser, "train", lambda model: whole(model, steps=10))
    args = ["--builtin", "--word", "cab", "--beam-size", "3", "--max-len", "5"]
    assert command.main([*args, "--out", str(tmp_path / "out")]) == 0
    assert {path.name for path in (tmp_path / "out").glob("[!.]*")} == {
        "beam.png", "beam.txt", "alignment.png", "alignment.txt",
    }  # fmt: skip
    shown = capsys.readouterr().out
    assert (tmp_path / "out" / "beam.txt").read_text() in shown
    assert (tmp_path / "out" / "alignment.txt").read_text().startswith("  cab\n")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What a run of the music experiment on a text of one's own leaves behind."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "text.txt").write_text("the cat sat on the mat.\n" * 9)
    sizes: dict[str, Any] = dict(hidden_size=4, layers=1, embedding_size=3, dropout=0.0, tied=False)
    vocabulary = Vocabulary.of(["the cat sat on the mat.\n"])
    model = Model(vocab_size=len(vocabulary), **sizes)
    sj.save_checkpoint(folder / "best", model.init(jax.random.key(0)), spec=model)
    results = {"config": {**sizes, "text": str(folder / "text.txt")}}
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def test_the_command_draws_a_checkpoint(run, tmp_path, capsys):
    args = ["--checkpoint", str(run), "--prompt", "the ", "--beam-size", "3", "--max-len", "4"]
    assert command.main([*args, "--out", str(tmp_path)]) == 0
    assert (tmp_path / "beam.txt").read_text() in capsys.readouterr().out
    assert png(tmp_path / "beam.png")


def test_errors_of_the_command_line(run, tmp_path, capsys, monkeypatch):
    other = tmp_path / "other"
    (other / "best").mkdir(parents=True)
    results = json.loads((run / "results.json").read_text())
    results["config"]["hidden_size"] = 5
    (other / "results.json").write_text(json.dumps(results))
    sj.save_checkpoint(other / "best", jnp.zeros(3), spec="of something else")
    (tmp_path / "file").write_text("")
    calls = {
        "holds no finished run of experiments.music": ["--checkpoint", str(tmp_path / "none")],
        "another spec": ["--checkpoint", str(other)],
        "cannot write to": ["--builtin", "--out", str(tmp_path / "file" / "out")],
        "--word is 'xyz'; expected 2 to 8 of the letters abcdefghij": [
            "--builtin",
            "--word",
            "xyz",
        ],
        "--prompt 'Q': unknown characters": ["--checkpoint", str(run), "--prompt", "Q"],
        "beam_size is 0": ["--checkpoint", str(run), "--prompt", "", "--beam-size", "0"],
    }
    for message, args in calls.items():
        assert command.main(["--out", str(tmp_path / "out"), *args]) == 2, message
        assert message in capsys.readouterr().err
    monkeypatch.setattr(commands, "find_spec", lambda name: None)
    assert command.main([]) == 2
    assert "matplotlib, tyro not installed" in capsys.readouterr().err
