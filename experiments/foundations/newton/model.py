"""Cells with and without dense Jacobians, and the methods that suit them."""

from typing import Any

import seqjax as sj

CASES: tuple[tuple[str, Any, Any], ...] = (
    ("Elman, newton", sj.Elman, "newton"),
    ("Elman, quasi-newton", sj.Elman, "quasi-newton"),
    ("GRU, newton", sj.GRU, "newton"),
    ("GRU, quasi-newton", sj.GRU, "quasi-newton"),
    ("DiagonalGRU, block-newton", sj.cells.DiagonalGRU, "block-newton"),
)
TIMED: tuple[tuple[Any, Any], ...] = (
    (sj.GRU(8), "newton"),
    (sj.GRU(32), "newton"),
    (sj.GRU(32), "quasi-newton"),
    (sj.cells.DiagonalGRU(32), "block-newton"),
    (sj.cells.DiagonalLSTM(32), "block-newton"),
)
