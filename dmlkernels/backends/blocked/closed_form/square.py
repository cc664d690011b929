"""Sum of weighted squares: with M = sum_k weight_k w_k w_k', row x has x'Mx and its gradient is 2 M x."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.backends.blocked.columns import Columns
from dmlkernels.backends.blocked.normalise import Norms
from dmlkernels.backends.blocked.plan import unscored_column_blocks
from dmlkernels.backends.blocked.rows import Rows
from dmlkernels.backends.pairs import Forward, Gradients, Pairs


def saved_shape(pairs: Pairs) -> tuple[int, ...]:
    """Shape of M."""
    return (pairs.dim, pairs.dim)


def forward(pairs: Pairs, norms: Norms) -> Forward:
    rows = Rows(pairs, norms)
    saved = rows.units.new_zeros(saved_shape(pairs))
    for block in unscored_column_blocks(pairs, pairs.dim):
        columns = Columns(pairs, block, norms)
        saved.addmm_((columns.units * columns.weights).mT, columns.units)
    energy = ((rows.units @ saved) * rows.units).sum(1, keepdim=True)
    return Forward(rows.scatter(energy), saved)


def backward(
    pairs: Pairs, forward: Forward, gradient: Tensor, needs_rows: bool, needs_columns: bool, norms: Norms
) -> Gradients:
    rows = Rows(pairs, norms)
    weighted = rows.units * (2 * rows.gather(gradient))
    of_rows = rows.gradient(weighted @ forward.saved) if needs_rows else None
    if not needs_columns or pairs.columns is None:
        return Gradients(of_rows, None)
    of_columns = torch.empty_like(pairs.columns, memory_format=torch.contiguous_format)
    matrix = weighted.mT @ rows.units
    for block in unscored_column_blocks(pairs, pairs.dim):
        columns = Columns(pairs, block, norms)
        of_columns[columns.span] = columns.gradient((columns.units * columns.weights) @ matrix)
    return Gradients(of_rows, of_columns)
