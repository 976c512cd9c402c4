import dataclasses
import enum
import functools
import io
import json
import math
import os
import pickle
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import resumable

import seqjax as sj
from seqjax.training import (
    checkpoints,
    latest_checkpoint,
    make_train_step,
    restore_checkpoint,
    save_checkpoint,
)
from seqjax.training.fingerprints import spec_fields

SPEC = sj.LSTM(4)


class Pair(NamedTuple):
    a: Any
    b: Any


def everything():
    """A state with every kind of leaf."""
    odd = np.array([0x7FC00001, 0x80000000, 1, 0xFF800000], np.uint32)  # a NaN's payload, -0, ...
    return Pair(
        a={
            "bf16": jnp.array([1.5, jnp.nan, -0.0], jnp.bfloat16),
            "f16": jnp.ones((2, 1), jnp.float16),
            "bits": jax.lax.bitcast_convert_type(jnp.asarray(odd), jnp.float32),
            "complex": jnp.array(1 + 2j, jnp.complex64),
            "ints": (jnp.arange(3, dtype=jnp.int8), jnp.array(2**31, jnp.uint32)),
            "bool": jnp.array([True, False]),
            "zero size": jnp.zeros((0, 3), jnp.bfloat16),
            "key": jax.random.key(5),
            "keys": jax.random.split(jax.random.key(6, impl="rbg"), 3),
        },
        b=[
            (),
            None,
            {},
            3,
            True,
            0.1,
            np.arange(3),
            np.arange(3, dtype=">f4"),
            np.float64(1 / 3),
            Pair((), jnp.array(1)),
        ],
    )


def raw(tree):
    """The tree with its bits for numbers, so that NaNs compare."""

    def bits(leaf):
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
            return str(leaf.dtype), leaf.shape, np.asarray(jax.random.key_data(leaf)).tobytes()
        return type(leaf), str(np.asarray(leaf).dtype), np.shape(leaf), np.asarray(leaf).tobytes()

    return [bits(leaf) for leaf in jax.tree.leaves(tree)], jax.tree.structure(tree)


def test_everything_survives_bit_for_bit_without_a_word(tmp_path, capfd):
    state = everything()
    position = {"epoch": 2, "window": 7, "names": ["a", None, True], "lr": 0.1}
    path = save_checkpoint(tmp_path / "new" / "run", state, spec=SPEC, position=position)
    restored = restore_checkpoint(tmp_path / "new" / "run", state, spec=SPEC)
    assert raw(restored.state) == raw(state)
    assert restored.position == position
    assert path == latest_checkpoint(tmp_path / "new" / "run")
    abstract = jax.eval_shape(lambda: state.a)
    save_checkpoint(tmp_path, state.a, spec=SPEC)
    assert raw(restore_checkpoint(tmp_path, abstract, spec=SPEC).state) == raw(state.a)
    assert capfd.readouterr() == ("", "")


def test_a_dtype_that_cannot_be_saved_is_named_with_its_leaf(tmp_path, capfd):
    for dtype in ("float6_e2m3fn", "uint4", "longdouble"):
        array = np.ones(3, jnp.dtype(dtype))
        with pytest.raises(ValueError) as caught:
            save_checkpoint(tmp_path / "run", {"a": np.ones(3), "b": [array]}, spec=SPEC)
        assert str(caught.value) == (
            f"state['b'][0] has dtype {array.dtype}, which cannot be saved. Convert it to float32, "
            "say."
        )
    assert not (tmp_path / "run").exists() and capfd.readouterr() == ("", "")


def test_float64_survives(tmp_path, x64):
    state = {"w": jnp.array([1 / 3]), "n": jnp.array(2**40)}
    save_checkpoint(tmp_path, state, spec=SPEC)
    assert raw(restore_checkpoint(tmp_path, state, spec=SPEC).state) == raw(state)


@pytest.mark.parametrize("state", [(), {"w": np.zeros((0, 2))}, None])
def test_a_state_without_numbers(tmp_path, state):
    save_checkpoint(tmp_path, state, spec=None, position=[1])
    restored = restore_checkpoint(tmp_path, state, spec=None)
    assert raw(restored.state) == raw(state) and restored.position == [1]


def test_nothing_is_pickled_or_unpickled(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("pickle was used")

    for name in ("dump", "dumps", "load", "loads", "Pickler", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    save_checkpoint(tmp_path, everything(), spec=SPEC, position=1)
    restore_checkpoint(tmp_path, everything(), spec=SPEC)
    monkeypatch.undo()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    for path in files:
        with pytest.raises(Exception):  # noqa: B017 - whatever it is, it is no pickle
            pickle.load(io.BytesIO(path.read_bytes()))


def test_the_newest_are_kept_and_the_newest_is_the_last_written(tmp_path):
    def positions():
        return [int(path.name[-8:]) for path in sorted(tmp_path.glob("checkpoint-*"))]

    for step in (5, 9, 3):  # a run begun anew in an old directory is not older
        save_checkpoint(tmp_path, (), spec=SPEC, position=step, keep=2)
    assert positions() == [2, 3]
    assert restore_checkpoint(tmp_path, (), spec=SPEC).position == 3
    save_checkpoint(tmp_path, (), spec=SPEC, keep=5)
    save_checkpoint(tmp_path, (), spec=SPEC, keep=None)
    assert positions() == [2, 3, 4, 5]
    save_checkpoint(tmp_path, (), spec=SPEC, keep=1)
    assert positions() == [6]


def test_numbers_may_have_more_than_eight_digits(tmp_path):
    save_checkpoint(tmp_path, (), spec=SPEC, position=1).rename(tmp_path / "checkpoint-99999999")
    for number in (100_000_000, 100_000_001):
        path = save_checkpoint(tmp_path, (), spec=SPEC, position=number, keep=2)
        assert path == tmp_path / f"checkpoint-{number}" == latest_checkpoint(tmp_path)
        assert restore_checkpoint(tmp_path, (), spec=SPEC).position == number
    assert not (tmp_path / "checkpoint-99999999").exists()


def stopped(monkeypatch, step, call, *args, **kwargs):
    """Kills a call where it calls a function of `checkpoints`."""

    def kill(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoints, step, kill)
        call(*args, **kwargs)


def names(directory):
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize("step", ["_write_arrays", "_tree", "_content_checksum"])
def test_a_half_written_checkpoint_is_ignored_then_removed(tmp_path, monkeypatch, step):
    state = {"w": jnp.arange(3.0)}
    save_checkpoint(tmp_path, state, spec=SPEC, position=1)
    stopped(monkeypatch, step, save_checkpoint, tmp_path, state=state, spec=SPEC, position=2)
    assert names(tmp_path) == ["checkpoint-00000001", "checkpoint-00000002"]
    assert restore_checkpoint(tmp_path, state, spec=SPEC).position == 1
    save_checkpoint(tmp_path, state, spec=SPEC, position=3)
    assert names(tmp_path) == ["checkpoint-00000001", "checkpoint-00000002"]
    assert restore_checkpoint(tmp_path, state, spec=SPEC).position == 3


@pytest.mark.parametrize("step", ["_tree", "_remove_empty"])
def test_a_half_removed_checkpoint_is_ignored_then_removed(tmp_path, monkeypatch, step):
    state = {"w": jnp.arange(3.0)}
    save_checkpoint(tmp_path, state, spec=SPEC, position=1)
    path = save_checkpoint(tmp_path, state, spec=SPEC, position=2)
    stopped(monkeypatch, step, checkpoints.remove, path)
    assert restore_checkpoint(tmp_path, state, spec=SPEC).position == 1
    save_checkpoint(tmp_path, state, spec=SPEC, position=3)
    assert names(tmp_path) == ["checkpoint-00000001", "checkpoint-00000002"]
    assert restore_checkpoint(tmp_path, state, spec=SPEC).position == 3


def foreign_files(run, elsewhere, text):
    """Puts files into every folder of a run, with likely names and beside checkpoints too."""
    folders = [run, *(path for path in run.rglob("*") if path.is_dir())]
    files = [folder / name for folder in folders for name in ("notes.txt", "more/checkpoint.json")]
    for folder in folders:
        (folder / "link").symlink_to(elsewhere)
        (folder / "empty").mkdir()
    part = "arrays/d/0123456789abcdef0123456789abcdef"
    files += [run / f"checkpoint-00000009/{part}", run / "checkpoint-00000010"]
    files += [run / "checkpoint-00000011/seqjax-unfinished", run / f"checkpoint-00000011/{part}"]
    files += [run / "checkpoint-00000001.orbax-checkpoint-tmp" / part]
    files += [run / "checkpoint-00000001.removed/checkpoint.json"]
    files += [
        run / "checkpoint-00000001/arrays/_METADATA",
        run / "checkpoint-00000002/seqjax-unfinished",
    ]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text)
    return files


def test_no_file_is_removed_that_a_save_did_not_write(tmp_path, monkeypatch):
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    new = {"state": {"w": jnp.arange(3.0)}, "spec": SPEC}
    for position in range(1, 6):
        save_checkpoint(run, **new, position=position, keep=None)
    (run / "checkpoint-00000003").rename(elsewhere)  # to a larger disk, say
    (run / "checkpoint-00000003").symlink_to(elsewhere)
    stopped(monkeypatch, "_tree", save_checkpoint, run, **new)
    ours = [path for path in run.rglob("*") if path.is_file()]
    files = foreign_files(run, elsewhere, b"my notes")
    kept = {path for path in run.rglob("*") if path.name in ("empty", "link")}
    kept |= {*files, *elsewhere.rglob("*"), *(run / "checkpoint-00000002").rglob("*")}
    for position in (6, 7):
        path = save_checkpoint(run, **new, position=position, keep=1)
        assert restore_checkpoint(run, new["state"], spec=SPEC).position == position
    assert path == run / "checkpoint-00000013"
    assert {file.read_bytes() for file in files} == {b"my notes"}
    assert [path for path in kept if not path.exists()] == []
    assert [path for path in ours if path.exists() and path not in kept] == []


def test_another_spec_is_refused_and_both_are_shown(tmp_path):
    save_checkpoint(tmp_path, (), spec=sj.LSTM(4))
    with pytest.raises(ValueError) as caught:
        restore_checkpoint(tmp_path, (), spec=sj.LSTM(5))
    text = str(caught.value)
    assert "was saved for another spec" in text
    assert f"saved:    {sj.LSTM(4)!r}\n" in text and f"expected: {sj.LSTM(5)!r}\n" in text
    assert "The first difference is spec.hidden_size: saved 4, expected 5." in text


@dataclasses.dataclass(frozen=True)
class Spec:
    """A spec with a field for anything, one that is not shown and one that does not count."""

    value: Any
    hidden: int = dataclasses.field(default=0, repr=False)
    name: str = dataclasses.field(default="", compare=False)


class Color(enum.Enum):
    RED, BLUE = 1, 2


NUMBERS = np.arange(5_000)
ALTERED = np.where(NUMBERS == 2_500, 0, NUMBERS)


def different_specs():
    """Specs that differ in pairs, many of them in ways that their repr or == does not show."""
    key = jax.random.key(0)
    cells = (sj.LSTM(4), sj.GRU(4))
    values = [
        *(NUMBERS, ALTERED, jnp.asarray(NUMBERS, jnp.int32), NUMBERS[:, None], np.zeros((0, 2))),
        *(0, False, 0.0, -0.0, 0j, "0", b"0", None, "None", 0.1, np.float64(0.1), np.float32(0.1)),
        *(math.inf, math.nan, (), [], {}, (0,), (0, 0), [0], {0}, frozenset([0])),
        *({"a": 0}, {"a": 1}, {"b": 0}, {0: 0}, {"0": 0}, Spec(0), Spec(1), Pair(0, 1)),
        *(Color.RED, Color.BLUE, jnp.float32, np.float32, np.dtype("float32"), jnp.bfloat16, Spec),
        *(jnp.tanh, jnp.sin, np.tanh, jax.nn.relu, jnp.add, raw),
        *(functools.partial(jnp.tanh), functools.partial(jnp.tanh, 0)),
        *(key, jax.random.key(1), jax.random.key_data(key)),
    ]
    return [*map(Spec, values), Spec(0, hidden=1), *cells, sj.Stack(cells), sj.Stack(cells[::-1])]


def test_specs_are_known_by_content_not_by_text(tmp_path):
    assert repr(Spec(NUMBERS)) == repr(Spec(ALTERED)) and repr(Spec(0)) == repr(Spec(0, hidden=1))
    kept = [json.dumps(spec_fields(spec)) for spec in different_specs()]
    assert kept == [json.dumps(spec_fields(spec)) for spec in different_specs()]
    assert len(set(kept)) == len(kept)
    save_checkpoint(tmp_path, (), spec=Spec(NUMBERS))
    restore_checkpoint(tmp_path, (), spec=Spec(NUMBERS.copy()))
    with pytest.raises(ValueError, match="was saved for another spec"):
        restore_checkpoint(tmp_path, (), spec=Spec(ALTERED))


def test_the_order_of_a_dict_or_a_set_and_uncompared_fields_do_not_count(tmp_path):
    save_checkpoint(tmp_path, (), spec=Spec([{"a": 1, "b": 2}, {"c", "b", "a"}], name="before"))
    restore_checkpoint(tmp_path, (), spec=Spec([{"b": 2, "a": 1}, {"a", "b", "c"}], name="after"))


def test_the_first_field_that_differs_is_named(tmp_path):
    save_checkpoint(tmp_path, (), spec=Spec([Spec(NUMBERS), {"a": (1, 2)}]))
    for text, spec in {
        "spec.value[0].value": Spec([Spec(ALTERED), {"a": (1, 3)}]),
        "spec.value[1]['a'][1]: saved 2, expected 3": Spec([Spec(NUMBERS), {"a": (1, 3)}]),
        "spec.value[1]['a'][1]: saved 2, expected nothing": Spec([Spec(NUMBERS), {"a": (1,)}]),
        "spec: saved Spec, expected LSTM": SPEC,
    }.items():
        with pytest.raises(ValueError) as caught:
            restore_checkpoint(tmp_path, (), spec=spec)
        assert f"The first difference is {text}" in str(caught.value)


@pytest.mark.parametrize(
    ("like", "text"),
    [
        ({"w": jnp.zeros(4)}, "state['w']: saved float32[3], expected float32[4]"),
        ({"w": jnp.zeros(3, jnp.bfloat16)}, "state['w']: saved float32[3], expected bfloat16[3]"),
        ({"v": jnp.zeros(3)}, "state['w']: saved float32[3], expected nothing\n  state['v']"),
        ((jnp.zeros(3),), "state[0]: saved nothing, expected float32[3]"),
        ({}, "state['w']: saved float32[3], expected nothing"),
        ({"w": jax.random.split(jax.random.key(0), 3)}, "expected key<fry>[3]"),
        ([jnp.zeros(())] * 9, "and 5 more"),
    ],
)
def test_another_form_is_refused(tmp_path, like, text):
    save_checkpoint(tmp_path, {"w": jnp.zeros(3)}, spec=SPEC)
    with pytest.raises(ValueError) as caught:
        restore_checkpoint(tmp_path, like, spec=SPEC)
    assert "holds a state of another form than like" in str(caught.value)
    assert text in str(caught.value)


def test_errors(tmp_path):
    def refused(message, call, *args, **kwargs):
        with pytest.raises(ValueError, match=message):
            call(*args, **{"spec": SPEC, **kwargs})

    for directory in (tmp_path / "missing", tmp_path):
        refused("holds no complete checkpoint. Check the path", restore_checkpoint, directory, ())
    assert latest_checkpoint(tmp_path / "missing") is None
    (tmp_path / "file").write_text("")
    refused("directory '.*file' cannot be made", save_checkpoint, tmp_path / "file", ())
    refused("directory '/proc/nowhere' cannot be made", save_checkpoint, "/proc/nowhere", ())
    refused("keep is 0; expected", save_checkpoint, tmp_path, (), keep=0)
    for value in (lambda: 0, object(), SPEC.step, np.array([None]), {(1, 2): 0}, iter(())):
        message = r"spec\.value\[0\] is .*cannot recognise; expected numbers"
        refused(message, save_checkpoint, tmp_path, (), spec=Spec([value]))
    for position in ((1, 2), {1: 2}, np.int64(3), float("nan"), object()):
        refused("position is .*int", save_checkpoint, tmp_path, (), position=position)
    for leaf in ("text", object(), 2**70):
        refused(r"state\['x'\] is .*expected an array", save_checkpoint, tmp_path, {"x": leaf})
    assert not list(tmp_path.glob("checkpoint-*"))


def test_a_damaged_checkpoint_is_named(tmp_path):
    state = {"w": jnp.arange(3.0)}
    for position in (1, 2, 3):
        save_checkpoint(tmp_path, state, spec=SPEC, position=position)
    newest = latest_checkpoint(tmp_path)
    assert newest is not None
    (newest / "arrays" / "manifest.ocdbt").write_bytes(b"")
    with pytest.raises(ValueError) as caught:
        restore_checkpoint(tmp_path, state, spec=SPEC)
    assert str(caught.value) == (
        f"checkpoint {newest} cannot be read (state['w']: ValueError). It was changed after it was "
        "saved; remove it to restore the one before it."
    )
    (newest / "checkpoint.json").write_text("{")
    with pytest.raises(ValueError, match=f"{newest} cannot be read .*checkpoint.json"):
        restore_checkpoint(tmp_path, state, spec=SPEC)
    shutil.rmtree(newest)
    assert restore_checkpoint(tmp_path, state, spec=SPEC).position == 2


def test_a_flipped_bit_is_refused_or_harmless(tmp_path, capfd):
    rng = np.random.default_rng(0)
    w = jnp.asarray(rng.normal(size=10_000), jnp.float32)
    state = {"b": jnp.ones(3, jnp.bfloat16), "key": jax.random.key(5), "w": w}
    path = save_checkpoint(tmp_path, state, spec=SPEC, position=7)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    largest = max(files, key=lambda file: file.stat().st_size)
    refused = {}
    for file in files:
        good = np.fromfile(file, np.uint8)
        for _ in range(5):
            bad = good.copy()
            bad[rng.integers(len(good))] ^= 1 << rng.integers(8)
            bad.tofile(file)
            try:
                restored = restore_checkpoint(tmp_path, state, spec=SPEC)
                assert restored.position == 7 and raw(restored.state) == raw(state)
            except ValueError as error:
                refused.setdefault(file, []).append(str(error))
        good.tofile(file)
    assert len(refused[path / "checkpoint.json"]) == len(refused[largest]) == 5
    assert all(
        "cannot be read (checkpoint.json" in text for text in refused[path / "checkpoint.json"]
    )
    assert all("cannot be read (state['w']" in text for text in refused[largest])
    assert capfd.readouterr() == ("", "")
    assert raw(restore_checkpoint(tmp_path, state, spec=SPEC).state) == raw(state)


def test_a_failed_write_leaves_the_older_one_and_says_one_sentence(tmp_path, capfd):
    state = {"w": np.random.default_rng(0).normal(size=10_000)}
    save_checkpoint(tmp_path, state, spec=SPEC, position=1, keep=1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(ValueError) as caught:
            save_checkpoint(tmp_path, state, spec=SPEC, position=2, keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(caught.value).startswith(f"directory {str(tmp_path)!r} cannot be written: ")
    assert "File too large" in str(caught.value)
    assert len("".join(traceback.format_exception(caught.value)).splitlines()) < 12
    assert capfd.readouterr() == ("", "")
    assert restore_checkpoint(tmp_path, state, spec=SPEC).position == 1
    save_checkpoint(tmp_path, state, spec=SPEC, position=3, keep=1)
    assert names(tmp_path) == ["checkpoint-00000002"]


# Resuming.


@pytest.fixture(scope="module")
def uninterrupted():
    """The run without a stop: every step's metrics, and the states after each step."""
    train_step = make_train_step(resumable.loss_fn, resumable.OPTIMIZER, max_norm=1.0)
    text = resumable.corpus()
    assert len(text) > 1 and not text[len(text) - 1].mask.all() and text[1].reset.any()
    lines, states = [], []
    run = resumable.advance(train_step, resumable.fresh_state(), text, 0)
    for state, position, metrics in run:
        lines.append(f"{position} {resumable.hexadecimal(metrics)}")
        states.append(jax.tree.map(jnp.copy, state))
    return train_step, lines, states


def test_a_resumed_run_equals_the_uninterrupted_one(uninterrupted, tmp_path):
    train_step, lines, states = uninterrupted
    compiled = train_step._cache_size()
    save_checkpoint(tmp_path, states[9], spec=resumable.CELL, position=10)
    like = jax.eval_shape(resumable.fresh_state)
    start, begin = restore_checkpoint(tmp_path, like, spec=resumable.CELL)
    assert raw(start) == raw(states[9])
    position = begin
    run = resumable.advance(train_step, start, resumable.corpus(), begin)
    for state, position, metrics in run:
        assert f"{position} {resumable.hexadecimal(metrics)}" == lines[position - 1]
        assert raw(state) == raw(states[position - 1])
    assert position == resumable.STEPS
    assert train_step._cache_size() == compiled, "the restored state compiled anew"


def start_worker(directory, cache):
    """The run as a process of its own, with the promotion rule of the tests."""
    root = Path(__file__).parents[2]
    environment = {
        **os.environ,
        "JAX_NUMPY_DTYPE_PROMOTION": "strict",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONPATH": str(root),
        "PYTHONWARNINGS": "error",
    }
    command = [sys.executable, resumable.__file__, str(directory)]
    return subprocess.Popen(
        command,
        env=environment,
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill_during(worker, directory, delay):
    """Kills the process after its first step: a delay later or, without one, within a save."""
    assert worker.stdout.readline(), worker.communicate()[1]
    if delay is None:
        deadline = time.monotonic() + 60
        while not list(directory.glob("*/seqjax-unfinished")):
            assert worker.poll() is None and time.monotonic() < deadline
    else:
        time.sleep(delay)
    os.kill(worker.pid, signal.SIGKILL)


def test_killed_and_resumed_until_done_equals_the_uninterrupted_run(uninterrupted, tmp_path):
    _, lines, states = uninterrupted
    directory, cache = tmp_path / "run", tmp_path / "cache"
    chance = random.uniform(0, 0.3)  # another moment each time; shown if the test fails
    print(f"killed after {chance!r} s")
    seen = []
    for delay in (None, chance, None, "never"):
        worker = start_worker(directory, cache)
        guard = threading.Timer(120, worker.kill)
        guard.start()
        if delay != "never":
            kill_during(worker, directory, delay)
        out, errors = worker.communicate()
        guard.cancel()
        assert errors == ""
        seen += out.splitlines()
        assert worker.returncode == (0 if delay == "never" else -signal.SIGKILL)
    assert set(seen) <= set(lines)
    assert seen[-1] == lines[-1]
    assert len([path for path in directory.iterdir() if any(path.iterdir())]) == 2
    state, position = restore_checkpoint(directory, states[-1], spec=resumable.CELL)
    assert position == resumable.STEPS
    assert raw(state) == raw(states[-1])
    chex.assert_tree_all_finite(state.params)


def test_orbax_is_imported_only_where_it_is_used():
    package = Path(sj.__file__).parent
    for path in package.rglob("*.py"):
        lines = path.read_text().splitlines()
        assert not [line for line in lines if line.startswith(("import orbax", "from orbax"))], path
