"""The contract of cells: every public one keeps it, and broken ones are found out."""

import hypothesis
import hypothesis.strategies as st
import pytest
from zoo import CELLS

from seqjax.testing import check_cell


@pytest.mark.parametrize("name", CELLS)
@hypothesis.settings(max_examples=3, deadline=None, derandomize=True, database=None)
@hypothesis.given(seed=st.integers(0, 2**31 - 1))
def test_every_cell_keeps_the_contract(name, seed):
    check_cell(CELLS[name], seed=seed)
