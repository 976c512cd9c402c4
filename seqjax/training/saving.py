"""Saving a training run and resuming it, bit for bit, after any kind of end.

A run killed at any moment leaves the older checkpoints and, at most, an unfinished one that the
next save removes. A checkpoint is arrays and JSON; nothing in it is ever unpickled.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import seqjax.training.checkpoints as checkpoints
import seqjax.training.fingerprints as fingerprints
from seqjax._internal import checks


class Restored(NamedTuple):
    """What a checkpoint gives back.

    Fields:
      state: like the one asked for, its leaves of the saved shapes [...].
      position: where the data goes on, as it was saved.
    """

    state: Any
    position: Any


def save_checkpoint(
    directory: str | Path, state: Any, *, spec: Any, position: Any = None, keep: int | None = 3
) -> Path:
    """Saves everything a run needs to go on.

    One process at a time writes to a directory. It removes older checkpoints and unfinished ones,
    but only the files that a save wrote: yours stay, and so does any file that you changed.

    Args:
      directory: where the run's checkpoints are; made if it does not exist.
      state: a pytree of arrays [...], typed keys and Python numbers, such as a `TrainState`.
      spec: the model's configuration, such as a cell or a frozen dataclass of numbers, strings,
        arrays and functions; its content must be equal when the run resumes.
      position: where the data goes on, any value that JSON keeps as it is; often an int.
      keep: how many checkpoints to keep, the newest ones; None keeps all.

    Returns:
      The path of the checkpoint.

    Raises:
      ValueError: if directory cannot be written, a leaf is not an array, its dtype cannot be
        saved (as NumPy's longdouble), JSON would change position, the spec has a value that
        another process cannot recognise (as a lambda), or keep is not a positive integer.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as directory:
      ...     print(save_checkpoint(directory, {"w": jnp.ones(3)}, spec="LSTM(3)").name)
      checkpoint-00000001
    """
    if keep is not None:
        checks.positive_int("keep", keep, "None keeps all.")
    meta = {"format": 2, "spec": _spec(spec), "position": _json("position", position)}
    forms, arrays = [], {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        form, array = _encode("state" + jax.tree_util.keystr(path), leaf)
        if array.size:  # Orbax refuses empty arrays, which have a form only
            arrays[f"leaf-{len(forms):05d}"] = array
        forms.append(form)
    directory = _made(directory)
    checkpoints.remove_unfinished(directory)
    done = checkpoints.complete(directory)
    try:
        path = checkpoints.write(directory, arrays, {**meta, "leaves": forms})
    except (OSError, ValueError) as error:  # a full disk is the latter, with a long traceback
        raise ValueError(f"directory {str(directory)!r} cannot be written: {error}.") from None
    if keep is not None:
        for old in done[: max(0, len(done) + 1 - keep)]:
            checkpoints.remove(old)
    return path


def restore_checkpoint(directory: str | Path, like: Any, *, spec: Any) -> Restored:
    """Restores the newest complete checkpoint of a directory.

    Args:
      directory: what `save_checkpoint` was given.
      like: a pytree of the same structure, shapes [...] and dtypes: a fresh state, or the
        `jax.eval_shape` of one. Its values are not used; each array goes where its `like` is.
      spec: the model's configuration, equal to the saved one.

    Returns:
      `Restored(state, position)`, equal bit for bit to what was saved.

    Raises:
      ValueError: if there is no checkpoint, it belongs to another spec or to a state of another
        form, or it cannot be read.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as directory:
      ...     path = save_checkpoint(directory, {"w": jnp.ones(3)}, spec="LSTM(3)", position=7)
      ...     print(path.name, restore_checkpoint(directory, {"w": jnp.zeros(3)}, spec="LSTM(3)"))
      checkpoint-00000001 Restored(state={'w': Array([1., 1., 1.], dtype=float32)}, position=7)
    """
    path = latest_checkpoint(directory)
    if path is None:
        raise ValueError(
            f"directory {str(directory)!r} holds no complete checkpoint. Check the path, or start "
            "without resuming."
        )
    try:
        content = checkpoints.read(path)
    except ValueError as error:
        raise _unreadable(path, error) from error
    _check_spec(path, content["spec"], _spec(spec))
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    names = ["state" + jax.tree_util.keystr(key_path) for key_path, _ in leaves]
    forms = [_form(name, leaf) for name, (_, leaf) in zip(names, leaves, strict=True)]
    _check_forms(path, content["leaves"], forms)
    arrays = _read_arrays(path, content["leaves"])
    parts = zip(content["leaves"], arrays, (leaf for _, leaf in leaves), strict=True)
    return Restored(structure.unflatten([_decode(*part) for part in parts]), content["position"])


def latest_checkpoint(directory: str | Path) -> Path | None:
    """The newest complete checkpoint of a directory, None where there is none.

    Args:
      directory: what `save_checkpoint` is given; it may not exist yet.

    Returns:
      A path; the newest is the one written last.

    Example:
      >>> print(latest_checkpoint("no/such/directory"))
      None
    """
    done = checkpoints.complete(Path(directory).absolute())
    return done[-1] if done else None


# Leaves: their forms, and the arrays that stand for them on disk.


def _form(name: str, leaf: Any) -> dict:
    """What JSON keeps of a leaf: its name, dtype and shape."""
    known = leaf if hasattr(leaf, "dtype") and hasattr(leaf, "shape") else np.asarray(leaf)
    is_array = jnp.issubdtype(known.dtype, jnp.number) or known.dtype == bool
    checks.require(
        is_array or jnp.issubdtype(known.dtype, jax.dtypes.prng_key),
        f"{name} is {leaf!r}; expected an array, a typed key or a Python number.",
    )
    return {"name": name, "dtype": str(known.dtype), "shape": list(known.shape)}


def _encode(name: str, leaf: Any) -> tuple[dict, np.ndarray]:
    form = _form(name, leaf)
    if form["dtype"].startswith("key<"):
        form["key"] = str(jax.random.key_impl(leaf))
        leaf = jax.random.key_data(leaf)
    array = np.asarray(leaf)
    checks.require(
        checkpoints.can_store(array.dtype),
        f"{name} has dtype {array.dtype}, which cannot be saved. Convert it to float32, say.",
    )
    array = array.astype(array.dtype.newbyteorder("="), copy=False)  # as it is read back
    form["sha256"] = fingerprints.array_checksum(array)
    return form, array


def _decode(form: dict, array: np.ndarray, like: Any) -> Any:
    """The leaf in the kind of `like`: JAX or NumPy array, Python number, typed key."""
    if isinstance(like, (bool, int, float, complex)):
        return type(like)(array.item())
    if isinstance(like, (np.ndarray, np.generic)):
        array = np.array(array, like.dtype)  # in its byte order
        return array if isinstance(like, np.ndarray) else array[()]
    # A copy: a train step may donate it, and what NumPy owns is not its to reuse.
    value = jnp.array(array, copy=True)
    if "key" in form:
        value = jax.random.wrap_key_data(value, impl=form["key"])
    sharding = getattr(like, "sharding", None)
    if sharding is None or (isinstance(like, jax.Array) and not like.committed):
        return value
    return jax.device_put(value, sharding)


def _check_spec(path: Path, saved: dict, expected: dict) -> None:
    """Refuses a checkpoint of another spec, shows both, and says where they differ first."""
    difference = fingerprints.first_difference(saved["fields"], expected["fields"])
    checks.require(
        not difference,
        f"checkpoint {path} was saved for another spec.\n  saved:    {saved['repr']}\n"
        f"  expected: {expected['repr']}\nThe first difference is {difference}. Restore it with "
        "the spec it was saved for, or use another directory.",
    )


def _check_forms(path: Path, saved: list[dict], expected: list[dict]) -> None:
    """Refuses a checkpoint whose leaves differ from those asked for, and says which."""

    def shown(forms):
        return {form["name"]: f"{form['dtype']}{form['shape']}" for form in forms}

    there, here = shown(saved), shown(expected)
    lines = [
        f"  {name}: saved {there.get(name, 'nothing')}, expected {here.get(name, 'nothing')}"
        for name in {**there, **here}
        if there.get(name) != here.get(name)
    ]
    shortened = lines[:5] + [f"  and {len(lines) - 5} more"] * (len(lines) > 5)
    message = f"checkpoint {path} holds a state of another form than like."
    checks.require(not lines, "\n".join([message, *shortened]))


def _read_arrays(path: Path, forms: list[dict]) -> Iterator[np.ndarray]:
    """The arrays that stand for the leaves, each equal to what was saved."""
    stored = [f"leaf-{i:05d}" for i, form in enumerate(forms) if 0 not in form["shape"]]
    arrays = checkpoints.read_arrays(path, stored)
    for form in forms:
        try:
            is_empty = 0 in form["shape"]
            array = np.zeros(form["shape"], form["dtype"]) if is_empty else next(arrays)
        except Exception as error:  # whatever Orbax makes of a damaged file
            raise _unreadable(path, f"{form['name']}: {type(error).__name__}") from error
        if fingerprints.array_checksum(array) != form["sha256"]:
            raise _unreadable(path, f"{form['name']} does not have the checksum it was saved with")
        yield array


# What is kept beside the leaves.


def _made(directory: str | Path) -> Path:
    """The directory, absolute as Orbax wants it."""
    path = Path(directory).absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"directory {str(directory)!r} cannot be made: {error}.") from error
    return path


def _unreadable(path: Path, reason: Any) -> ValueError:
    return ValueError(
        f"checkpoint {path} cannot be read ({reason}). It was changed after it was saved; remove "
        "it to restore the one before it."
    )


def _spec(spec: Any) -> dict:
    """What JSON keeps of a spec: its fields to compare, its repr to show."""
    return {"repr": repr(spec), "fields": fingerprints.spec_fields(spec)}


def _json(name: str, value: Any) -> Any:
    """The value, if JSON gives it back as it was."""
    try:
        same = json.loads(json.dumps(value, allow_nan=False)) == value
    except (TypeError, ValueError):
        same = False
    checks.require(
        same,
        f"{name} is {value!r}, which JSON does not keep as it is; expected numbers, strings, "
        "lists and dicts with string keys (int(...) for a NumPy number, a list for a tuple).",
    )
    return value
