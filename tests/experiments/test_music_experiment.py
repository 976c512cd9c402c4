"""The music experiment in its pieces: model, windows, texts, command line, and one tiny run."""

import errno
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj

pytest.importorskip("tyro")
pytest.importorskip("matplotlib")
pytest.importorskip("rich")

from experiments.lab import command
from experiments.lab.character_model import CharacterModel
from experiments.lab.folder import RunFolder
from experiments.music import writing
from experiments.music.config import Config
from experiments.music.data import cut, load
from experiments.music.experiment import EXPERIMENT, said
from experiments.music.writing import beam_text, sample_texts
from experiments.sources.vocabulary import BOUNDARY

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
    model = CharacterModel(9, hidden_size=6, layers=2, embedding_size=4, dropout=0.1, tied=False)
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


def test_a_row_of_documents_has_the_losses_of_each_alone(model_and_params):
    """The carry begins anew where a document does, and goes on where a window does."""
    model, params = model_and_params
    documents = [np.array(tokens) for tokens in ([3, 1, 4, 1], [8, 2], [7, 1, 8, 2, 8, 1, 8])]
    unroll = jax.jit(model.unroll)

    def losses(documents):
        carry, found = model.initial_carry(params, 1), []
        for batch in cut(documents, 1, 3):
            carry, logits = unroll(params, carry, batch)
            found.append(np.asarray(sj.token_losses(logits, batch.targets))[batch.mask])
        return np.concatenate(found)

    apart = [losses([document]) for document in documents]
    assert [len(each) for each in apart] == [5, 3, 8]  # two begin in the middle of a window
    np.testing.assert_allclose(losses(documents), np.concatenate(apart), rtol=1e-5)


def test_tied_softmax_shares_the_embedding():
    """Logits are products with the embedding, so tokens that are never read learn too."""
    model = CharacterModel(9, hidden_size=6, layers=1, embedding_size=4, dropout=0.0, tied=True)
    params = model.init(jax.random.key(0))
    assert params.w_o is None and params.embedding.shape == (9, 6)
    carry, tokens = model.initial_carry(params, 2), jnp.array([0, 1])
    _, logits = model.step(params, carry, tokens)
    _, y = model.cell.step(params.cell, carry, params.embedding[tokens])
    np.testing.assert_allclose(logits, y @ params.embedding.T + params.b_o, rtol=1e-6)
    batch = cut([np.array([1, 2, 1, 2, 1, 2, 1])], 1, 8)[0]
    gradient = jax.jit(
        jax.value_and_grad(lambda p: model.loss(p, model.initial_carry(p, 1), batch)[0])
    )
    losses = []
    for _ in range(20):
        loss, grads = gradient(params)
        losses.append(float(loss))
        assert jnp.all(jnp.any(grads.embedding != 0, axis=1)), "3 to 8 are never read"
        params = jax.tree.map(lambda p, g: p - 0.5 * g, params, grads)
    assert losses[-1] < 0.7 * losses[0]


def test_dropout_is_at_work_in_training_alone(model_and_params):
    model, params = model_and_params
    batch = sj.Corpus.from_stream(np.arange(17) % 9, batch_size=2, window=8)[0]
    plain = model.initial_carry(params, 2)
    noisy = model.initial_carry(params, 2, key=jax.random.key(1))
    losses = [float(model.loss(params, carry, batch)[0]) for carry in (plain, plain, noisy)]
    assert losses[0] == losses[1] != losses[2]


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


def test_a_beam_of_one_is_greedy_and_a_wider_one_no_worse(config, monkeypatch):
    data = load(replace(config, prompt="the "))
    params = jax.tree.map(lambda a: 3 * a, data.model.init(jax.random.key(1)))
    model = data.model, params, data.vocabulary, data.prompt
    how: dict[str, Any] = {"count": 1, "temperature": 0.0, "key": jax.random.key(0), "max_len": 12}
    ((text, finished, log_prob),) = sample_texts(*model, **how)
    wide, ended, better = beam_text(*model, max_len=12)
    monkeypatch.setattr(writing, "BEAM_SIZE", 1)
    assert beam_text(*model, max_len=12) == (text, finished, pytest.approx(log_prob, rel=1e-5))
    length = lambda text, finished: len(text) - len("the ") + finished
    score = lambda log_prob, length: log_prob / ((5 + length) / 6)
    assert wide.startswith("the ") and wide != text
    assert score(better, length(wide, ended)) > score(log_prob, length(text, finished))


TUNE = "R:reel\nM:C\nL:1/8\nK:D\nd2f2 a4|d2f2 a|A4 d4|]"
NO_TUNE = "d2f2 a4|"


def check_midi(path):
    """A header chunk, then tracks whose lengths add up to the file's."""
    content = path.read_bytes()
    assert content[:8] == b"MThd\0\0\0\6"
    at, tracks = 14, int.from_bytes(content[10:12])
    for _ in range(tracks):
        assert content[at : at + 4] == b"MTrk"
        at += 8 + int.from_bytes(content[at + 4 : at + 8])
    assert tracks > 0 and at == len(content)


def test_tunes_are_written_as_abc_and_midi_and_the_share_is_counted(tmp_path, monkeypatch):
    pytest.importorskip("music21")
    sampled = [(TUNE, True, -9.0), (NO_TUNE, False, -5.0), (TUNE, True, -8.0)]
    monkeypatch.setattr(writing, "sample_texts", lambda *args, **options: sampled)
    monkeypatch.setattr(writing, "beam_text", lambda *args, **options: sampled[0])
    model: Any = None
    folder, training = RunFolder(tmp_path, "music"), ["x" + TUNE[:30]]
    written = writing.write_samples(
        Config(samples=3), model, model, model, "", folder, "samples", music=True, training=training
    )
    names = ["sample-00", "sample-01", "sample-02", "beam-00"]
    assert [Path(one.path) for one in written] == [
        tmp_path / "samples" / f"{name}.abc" for name in names
    ]
    assert [one.midi for one in written] == [True, False, True, True]
    assert [one.complete_bars for one in written[:2]] == [2 / 3, 0]
    for one in written:
        path = Path(one.path)
        number, title, *text = path.read_text().splitlines()
        assert number.startswith("X:") and title.startswith(f"T:{one.method} ")
        assert "\n".join(text) == (TUNE if one.midi else NO_TUNE)
        assert path.with_suffix(".mid").exists() == one.midi
        if one.midi:
            check_midi(path.with_suffix(".mid"))
    assert written[0].longest_copy == TUNE[:30] and written[0].log_prob == -9
    heard = said([asdict(one) for one in written])
    assert heard[1] == "2 of 3 sampled tunes convert to MIDI."
    assert heard[0].endswith("3 samples: median 30, greatest 30 characters.")


def longest_copy(sample, text):
    """The first longest substring that occurs in a text, one character at a time."""
    best = ""
    for start in range(len(sample)):
        while (longer := sample[start : start + len(best) + 1]) in text and len(longer) > len(best):
            best = longer
    return best


def test_one_tiny_run_leaves_everything_behind(config, capsys):
    args = ["music", "--text", str(config.text), "--out", str(config.out), "--prompt", "the "]
    args += "--minutes 0.01 --hidden-size 8 --batch-size 4 --window 8 --samples 3".split()
    assert command.main(args) == 0
    results = json.loads((config.out / "results.json").read_text())["measured"]
    assert results["baseline"]["order"] in range(1, 9)
    assert results["model"]["test"] > 0 and results["model"]["skipped"] == 0
    assert len(results["written"]) == 4
    train = TEXT[: round(0.9 * len(TEXT))]
    for one in results["written"]:
        text = Path(one["path"]).read_text()
        assert text.startswith("the ") and len(text) == one["characters"]
        assert one["longest_copy"] == longest_copy(text, train)
    assert (config.out / "curves.png").stat().st_size > 1000
    assert "results.json" in capsys.readouterr().out
    before = {path.name: path.read_text() for path in (config.out / "samples").iterdir()}
    config.text.unlink()  # no longer needed
    args = ["music", "--out", str(config.out)]
    assert command.main([*args, "--try", "the ", "--decode", "beam"]) == 0
    assert (config.out / "written" / "beam-00.txt").read_text() in capsys.readouterr().out
    assert [path.name for path in (config.out / "written").iterdir()] == ["beam-00.txt"]
    assert (config.out / "written" / "beam-00.txt").read_text() == before["beam-00.txt"]
    assert before == {path.name: path.read_text() for path in (config.out / "samples").iterdir()}
    assert results == json.loads((config.out / "results.json").read_text())["measured"]


def bad(tmp_path, *args):
    return command.main(["music", "--out", str(tmp_path / "out"), *args])


def test_errors_of_the_command_line(tmp_path, capsys):
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
        "has no saved model to try": ["--try", "the "],
        "in_metre is for tunes": ["--text", str(text), "--in-metre"],
        "minutes is 0.0": ["--text", str(text), "--minutes", "0"],
        "dropout is 1.0": ["--text", str(text), "--dropout", "1"],
        "seed is -1; expected 0 to": ["--text", str(text), "--seed", "-1"],
        "seed is 4294967296;": ["--text", str(text), "--seed", str(2**32)],
    }
    for message, args in calls.items():
        assert bad(tmp_path, *args) == 2, message
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("method", "message"), [("read_bytes", "cannot be read"), ("mkdir", "cannot write to")]
)
def test_denied_files_and_folders_are_named(config, capsys, monkeypatch, method, message):
    def denied(*args, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, method, denied)
    assert bad(config.out.parent, "--text", str(config.text)) == 2
    error = capsys.readouterr().err
    named = config.text if method == "read_bytes" else config.out.parent / "out"
    assert message in error and str(named) in error and "Permission denied" in error


def test_quick_is_small_and_short():
    config: Any = EXPERIMENT.resolved(Config(quick=True))
    assert config.minutes < 1.5 and config.hidden_size < Config().hidden_size
    assert EXPERIMENT.resolved(Config()) == Config()


def test_a_model_knows_its_own_characters_alone(config, capsys):
    """Two texts of as many characters, of which as many differ: what was wrong wrote nonsense."""
    assert config.text is not None
    other = config.text.with_name("capitals.txt")
    other.write_text(TEXT.upper())
    args = ["music", "--out", str(config.out), "--minutes", "0.01", "--samples", "1"]
    args += "--hidden-size 4 --layers 1 --batch-size 4 --window 8".split()
    assert command.main([*args, "--text", str(config.text)]) == 0
    capsys.readouterr()
    assert command.main([*args, "--text", str(other), "--resume"]) == 2
    assert "is of another text, vocabulary; resume it with the same" in capsys.readouterr().err
    assert command.main([*args, "--text", str(config.text), "--resume", "--hidden-size", "5"]) == 2
    assert "another spec" in capsys.readouterr().err
    assert command.main([*args, "--try", "THE"]) == 2
    assert (
        "unknown characters 'EHT'; the model knows '\\n .acdeghlmnosty'" in capsys.readouterr().err
    )
    assert command.main([*args, "--try", str(config.text), "--decode", "beam"]) == 0
    assert TEXT in (config.out / "written" / "beam-00.txt").read_text()
    assert command.main([*args, "--try", "the", "--in-metre"]) == 2
    assert "in_metre is for tunes, which this model has not read" in capsys.readouterr().err
    # Another text's record of as many characters beside the model: the model's own count.
    results = config.out / "results.json"
    content = json.loads(results.read_text())
    content["measured"]["vocabulary"] = content["measured"]["vocabulary"].upper()
    results.write_text(json.dumps(content))
    assert command.main([*args, "--try", "the", "--decode", "beam"]) == 0
    results.write_text("{}")
    assert command.main([*args, "--try", "the"]) == 2
    assert "has no finished run of a character model" in capsys.readouterr().err
