"""Statistics merge as ``Statistic`` promises: parts of the columns, or the rows, give the whole and its gradients."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dmlkernels import backends
from dmlkernels.backends.pairs import Forward, Pairs
from dmlkernels.statistics import (
    CATALOGUE,
    Circle,
    Divergence,
    Field,
    Fused,
    LogSumExp,
    Moments,
    RowCircle,
    RowLogSumExp,
    RowSubCenter,
    SoftTriple,
    Square,
    Statistic,
    SubCenter,
)

ROWS, COLUMNS, DIM = 7, 12, 5
PROXIES = 8  # of the columns, where atoms follow
STATISTICS: list[Statistic] = [
    Circle(8.0, 0.3, True), Circle(8.0, 0.3, False),
    Divergence(8.0, True), Divergence(8.0, False), Field(3.0, 0.6, 1.1, 0.01, True),
    Fused(3.0, 0.6, 1.1, 0.01, True), LogSumExp(8.0, 8.0), LogSumExp(-32.0, 32.0), Moments(),
    RowCircle(True), RowCircle(False), RowLogSumExp(), RowSubCenter(3), SoftTriple(8.0, 0.1, 3),
    Square(), SubCenter(8.0, 3),
]  # fmt: skip
BACKENDS = [name for name, available in backends.available_backends().items() if available and name != "triton"]


def test_every_statistic_is_here() -> None:
    assert {statistic.name for statistic in STATISTICS} == set(CATALOGUE)


def make_pairs(statistic: Statistic, seed: int, labelled: bool, wide: bool) -> Pairs:
    """Of all columns. ``wide`` has so many rows and columns that moments and squares take their closed form."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns, dim = (ROWS, COLUMNS, DIM) if not wide else (100, 96, 3)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    views = (statistic.views,) if statistic.views > 1 else ()
    pairs = Pairs(statistic, normal(*views, rows, dim), normal(columns, dim))
    if statistic.reads_labels:
        classes = columns // statistic.group
        pairs = replace(pairs, row_labels=torch.randint(-1, classes, (rows,), generator=generator))
        if labelled and statistic.group == 1:
            few = torch.randint(0, 4, (columns,), generator=generator)
            pairs = replace(pairs, column_labels=few, row_labels=torch.randint(0, 5, (rows,), generator=generator))
    if statistic.num_row_values:
        scale, threshold, hardness = normal(rows).exp(), normal(rows), normal(rows).square()
        pairs = replace(pairs, row_values=torch.stack((scale, threshold, hardness)[: statistic.num_row_values], dim=1))
    if statistic.reads_weights:
        pairs = replace(pairs, column_weights=normal(columns).exp())
    return replace(pairs, column_boundaries=(PROXIES,)) if isinstance(statistic, Fused) else pairs


def columns_of(pairs: Pairs, start: int, stop: int) -> Pairs:
    """The part of these pairs with columns start to stop, as a rank has it that holds no others."""
    assert pairs.columns is not None
    group, chosen = pairs.statistic.group, slice(start, stop)
    part = replace(pairs, columns=pairs.columns[chosen])
    if pairs.column_labels is not None:
        part = replace(part, column_labels=pairs.column_labels[chosen])
    elif pairs.row_labels is not None:
        labels = pairs.row_labels - start // group
        outside = (labels < 0) | (labels >= (stop - start) // group)
        part = replace(part, row_labels=labels.masked_fill(outside, -1))
    if pairs.column_weights is not None:
        part = replace(part, column_weights=pairs.column_weights[chosen])
    if pairs.column_boundaries:
        part = replace(part, column_boundaries=(PROXIES - start,))
    return part


def solve(name: str, pairs: Pairs, gradient: Tensor, finished: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Statistics, and the gradients of rows and columns; of other finished statistics, if given."""
    backend = backends.get(name)
    forward = backend.forward(pairs)
    found = backend.backward(
        pairs, forward if finished is None else Forward(finished, forward.saved), gradient, True, True
    )
    assert found.rows is not None and found.columns is not None
    return forward.statistics, found.rows, found.columns


def assert_close(found: Tensor, true: Tensor) -> None:
    torch.testing.assert_close(
        found, true, rtol=1e-9, atol=1e-9 * max(1.0, float(true.nan_to_num(0, 0, 0).abs().max()))
    )


cuts_of_columns = st.lists(st.integers(0, COLUMNS // 3), max_size=4).map(lambda cuts: [3 * cut for cut in sorted(cuts)])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("statistic", STATISTICS, ids=lambda statistic: f"{statistic.name}{statistic.parameters()}")
@settings(max_examples=12, deadline=None)
@given(cuts=cuts_of_columns, seed=st.integers(0, 99), labelled=st.booleans(), wide=st.booleans())
def test_parts_of_the_columns_merge(
    statistic: Statistic, backend: str, cuts: list[int], seed: int, labelled: bool, wide: bool
) -> None:
    wide &= not isinstance(statistic, Fused)
    pairs = make_pairs(statistic, seed, labelled, wide)
    if isinstance(statistic, Fused):
        cuts = [min(cut, 6) for cut in cuts]  # every part has atoms: the boundary is within its columns
    elif wide:
        cuts = [8 * cut for cut in cuts]
    parts = [columns_of(pairs, *ends) for ends in pairwise([0, *cuts, pairs.num_columns])]
    generator = torch.Generator().manual_seed(seed)
    gradient = torch.randn(pairs.num_rows, statistic.width, dtype=torch.float64, generator=generator)
    true, true_rows, true_columns = solve(backend, pairs, gradient)
    finished = statistic.merge_parts(torch.stack([backends.get(backend).forward(part).statistics for part in parts]))
    assert_close(finished, true)
    solved = [solve(backend, part, gradient, finished) for part in parts]
    assert_close(torch.stack([rows for _, rows, _ in solved]).sum(0), true_rows)
    assert_close(torch.cat([columns for _, _, columns in solved]), true_columns)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("statistic", STATISTICS, ids=lambda statistic: f"{statistic.name}{statistic.parameters()}")
@pytest.mark.parametrize("cuts", [(3,), (0, 5), (2, 2, 7)], ids=str)
def test_parts_of_the_rows_stack(statistic: Statistic, backend: str, cuts: tuple[int, ...]) -> None:
    pairs = make_pairs(statistic, 1, True, False)
    gradient = torch.randn(ROWS, statistic.width, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    true, true_rows, true_columns = solve(backend, pairs, gradient)
    solved = []
    for start, stop in pairwise([0, *cuts, ROWS]):
        labels = None if pairs.row_labels is None else pairs.row_labels[start:stop]
        values = None if pairs.row_values is None else pairs.row_values[start:stop]
        part = replace(pairs, rows=pairs.rows[..., start:stop, :], row_labels=labels, row_values=values)
        solved.append(solve(backend, part, gradient[start:stop]))
    assert_close(torch.cat([statistics for statistics, _, _ in solved]), true)
    assert_close(torch.cat([rows for _, rows, _ in solved], dim=-2), true_rows)
    assert_close(torch.stack([columns for _, _, columns in solved]).sum(0), true_columns)
