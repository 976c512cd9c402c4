"""The music experiment in its pieces: model, windows, resuming, command line, and one tiny run."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj

pytest.importorskip("tyro")
pytest.importorskip("matplotlib")

from experiments.music import __main__ as command
from experiments.music.config import Config, parse
from experiments.music.data import load
from experiments.music.model import Model
from experiments.music.training import Run
from experiments.music.vocabulary import BOUNDARY
from experiments.music.writing import beam_text, sample_texts

TEXT = "the cat sat on the mat.\nthe dog lay on the log.\n" * 60
SMALL = Config(
    hidden_size=8, embedding_size=4, batch_size=4, window=8, samples=3, dropout=0.1, minutes=0.01
)


@pytest.fixture
def config(tmp_path) -> Config:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return replace(SMALL, text=path, out=tmp_path / "run")


@pytest.fixture(scope="module")
def model_and_params():
    model = Model(9, hidden_size=6, layers=2, embedding_size=4, dropout=0.1, tied=False)
    return model, model.init(jax.random.key(0))


def test_teacher_forced_loss_is_the_chain_of_steps(model_and_params):
    """log p(prefix + rest) - log p(prefix) is what the steps after priming add up to."""
    model, params = model_and_params
    tokens = np.array([[3, 1, 4, 1, 5, 8, 2]])
    batch = sj.Corpus.from_documents(
        list(tokens), bos=BOUNDARY, eos=BOUNDARY, batch_size=1, window=8
    )[0]
    mean, _ = model.loss(params, model.initial_carry(params, 1), batch)
    carry, last, total = model.initial_carry(params, 1), jnp.array([BOUNDARY]), 0.0
    for token in [*tokens[0], BOUNDARY]:
        carry, logits = model.step(params, carry, last)
        total -= float(jax.nn.log_softmax(logits)[0, token])
        last = jnp.array([token])
    np.testing.assert_allclose(float(mean) * 8, total, rtol=1e-5)


def test_tied_softmax_shares_the_embedding():
    model = Model(9, hidden_size=6, layers=1, embedding_size=4, dropout=0.1, tied=True)
    params = model.init(jax.random.key(0))
    assert params.w_o is None and params.embedding.shape == (9, 6)
    _, logits = model.step(params, model.initial_carry(params, 2), jnp.array([0, 1]))
    assert logits.shape == (2, 9)


def test_dropout_is_at_work_in_training_alone(model_and_params):
    model, params = model_and_params
    batch = sj.Corpus.from_stream(np.arange(17) % 9, batch_size=2, window=8)[0]
    plain = model.initial_carry(params, 2)
    noisy = model.initial_carry(params, 2, key=jax.random.key(1))
    losses = [float(model.loss(params, carry, batch)[0]) for carry in (plain, plain, noisy)]
    assert losses[0] == losses[1] != losses[2]


def test_an_interrupted_run_goes_on_to_the_same_end(config):
    data = load(config)
    whole, first, second = (
        Run(replace(config, minutes=5.0, out=config.out / name), data.model, data.windows)
        for name in ("whole", "parts", "parts")
    )
    whole.history.total_steps = first.history.total_steps = 8
    list(whole.steps())
    with pytest.raises(KeyboardInterrupt):
        for step, _ in first.steps():
            if step == 3:
                os.kill(os.getpid(), signal.SIGINT)
    second.resume()
    assert int(second.state.step) == 3
    steps = [step for step, _ in second.steps()]
    assert steps == [4, 5, 6, 7, 8]
    for a, b in zip(
        jax.tree.leaves((whole.state.params, whole.state.opt_state)),
        jax.tree.leaves((second.state.params, second.state.opt_state)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    assert [bits for _, bits in second.history.valid][-1] == whole.history.valid[-1][1]


def test_samples_begin_with_the_prompt_and_end_by_themselves_or_not(config):
    data = load(replace(config, prompt="the "))
    params = data.model.init(jax.random.key(0))
    texts = sample_texts(
        data.model,
        params,
        data.vocabulary,
        data.prompt,
        count=3,
        temperature=1.0,
        key=jax.random.key(0),
        max_len=12,
    )
    for text, finished, log_prob in texts:
        assert text.startswith("the ") and log_prob < 0
        assert finished or len(text) == len("the ") + 12
    best, _, log_prob = beam_text(data.model, params, data.vocabulary, data.prompt, max_len=12)
    assert best.startswith("the ")
    assert log_prob >= max(log_prob for _, _, log_prob in texts) - 20


def test_one_tiny_run_leaves_everything_behind(config, capsys):
    args = ["--text", str(config.text), "--out", str(config.out), "--prompt", "the "]
    args += "--minutes 0.01 --hidden-size 8 --batch-size 4 --window 8 --samples 3".split()
    assert command.main(args) == 0
    results = json.loads((config.out / "results.json").read_text())
    assert results["baseline"]["order"] in range(1, 9)
    assert results["model"]["test"] > 0 and results["model"]["skipped"] == 0
    assert len(results["written"]) == 4
    assert all(Path(one["path"]).read_text().startswith("the ") for one in results["written"])
    assert (config.out / "curves.png").stat().st_size > 1000
    assert "results.json" in capsys.readouterr().out
    before = {path.name: path.read_text() for path in (config.out / "samples").iterdir()}
    assert command.main([*args, "--write-only", "--decode", "beam"]) == 0
    assert [path.name for path in (config.out / "written").iterdir()] == ["beam-00.txt"]
    assert (config.out / "written" / "beam-00.txt").read_text() == before["beam-00.txt"]
    assert before == {path.name: path.read_text() for path in (config.out / "samples").iterdir()}
    other = ["--resume", "--hidden-size", "16"]
    assert command.main(args + other) == 2
    assert "another spec" in capsys.readouterr().err


def bad(tmp_path, *args):
    return command.main(["--out", str(tmp_path / "out"), *args])


def test_errors_of_the_command_line(tmp_path, capsys, monkeypatch):
    empty, short, text = (tmp_path / name for name in ("empty", "short", "text"))
    empty.write_text(" \n")
    short.write_text("too short for a window")
    text.write_text(TEXT)
    (tmp_path / "file").write_text("")
    calls = {
        "there is no file": ["--text", str(tmp_path / "none")],
        "name a text file": ["--text", str(tmp_path)],
        "is empty": ["--text", str(empty)],
        "fewer than": ["--text", str(short)],
        "unknown characters 'Q'": ["--text", str(text), "--prompt", "Q"],
        "cannot write to": ["--text", str(text), "--out", str(tmp_path / "file" / "out")],
        "holds no complete checkpoint": ["--text", str(text), "--resume"],
        "best' holds no complete checkpoint": ["--text", str(text), "--write-only"],
        "in_metre is for tunes": ["--text", str(text), "--in-metre"],
        "minutes is 0.0": ["--text", str(text), "--minutes", "0"],
        "dropout is 1.0": ["--text", str(text), "--dropout", "1"],
    }
    for message, args in calls.items():
        assert bad(tmp_path, *args) == 2, message
        assert message in capsys.readouterr().err
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "rich" else name)
    assert bad(tmp_path) == 2
    assert "rich not installed; run: pip install -e '.[experiments]'" in capsys.readouterr().err


def test_quick_is_small_and_short():
    config = parse(["--quick"]).resolved()
    assert config.minutes < 1.5 and config.hidden_size < Config().hidden_size
    assert parse([]).resolved() == Config()
