"""Settings go by name: a size is the one thing that a spec takes by position."""

import dataclasses
import inspect
import pickle
from typing import Any

import jax
import pytest
from support.public import public_names, rooms
from support.zoo import CELLS

import seqjax as sj

PUBLIC = [value for room in rooms().values() for value in public_names(room).values()]
SPECS = {
    spec.__name__: spec
    for spec in PUBLIC
    if inspect.isclass(spec) and dataclasses.is_dataclass(spec) and hasattr(spec, "init")
}
PAIRS = {"AttentionDecoder", "Zoneout"}  # of things that no size is taken for
UPDATES = {"TriggeredAverage"}  # draws no params


@pytest.mark.parametrize("name", sorted(SPECS.keys() - UPDATES))
def test_one_argument_goes_by_position(name):
    spec: Any = SPECS[name]
    by_position = [field for field in dataclasses.fields(spec) if not field.kw_only]
    assert len(by_position) <= (2 if name in PAIRS else 1)
    with pytest.raises(
        TypeError, match=r"by name\..* The size of the inputs .* goes to init\(key, "
    ):
        spec(64, 128, 256)


@pytest.mark.parametrize(
    "spec",
    [sj.LSTM, sj.cells.PeepholeLSTM, sj.cells.CoupledLSTM, sj.linear.QRNN, sj.linear.Mamba],
)
def test_the_habit_of_other_libraries_is_an_error(spec):
    """LSTM(64, 128) was 64 units with a forget bias of 128."""
    expected = (
        f"{spec.__name__}(64, 128) was given 2 arguments by position; expected hidden_size, and "
        "the rest by name. The size of the inputs is no part of a spec: it goes to "
        "init(key, input_size)."
    )
    with pytest.raises(TypeError) as caught:
        spec(64, 128)
    assert str(caught.value) == expected


def test_cells_of_a_stack_are_one_tuple():
    with pytest.raises(TypeError, match=r"Write Stack\(\(a, b\)\)"):
        sj.Stack(sj.LSTM(2), sj.GRU(2))  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize(
    ("make", "remedy"),
    [
        (lambda spec: spec.Bidirectional(spec.LSTM(2), spec.GRU(2)), "Those are backward, merge."),
        (lambda spec: spec.Dropout(0.1, True), "Those are variational."),
        (lambda spec: spec.Residual(spec.LSTM(2), spec.GRU(2)), "There are no others."),
    ],
)
def test_settings_by_position_are_named(make, remedy):
    """The message spoke of the size of the inputs, which nobody had given."""
    with pytest.raises(TypeError) as caught:
        make(sj)
    assert str(caught.value).endswith(f"and the rest by name. {remedy}")


@pytest.mark.parametrize("name", CELLS)
def test_copies_are_equal(name):
    cell = CELLS[name]
    assert pickle.loads(pickle.dumps(cell)) == cell == dataclasses.replace(cell)
    assert jax.tree.leaves(cell) == [cell]
