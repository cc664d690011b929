"""How the vectors of Pairs are laid out for the kernels, and what describes them there."""

from __future__ import annotations

from functools import lru_cache

from torch import Tensor

from dmlkernels.backends.gpu.layout import unit_stride
from dmlkernels.backends.gpu.splits import cdiv
from dmlkernels.backends.pairs import Pairs, Shape
from dmlkernels.backends.triton.kernels.norms import prepare_kernel
from dmlkernels.backends.triton.kernels.order import arrange_kernel
from dmlkernels.backends.triton.kernels.scalars import coded
from dmlkernels.backends.triton.labels import RawLabels
from dmlkernels.backends.triton.launcher import Constants, constants_of, launch
from dmlkernels.backends.triton.plan import REMEMBERED, copy_tiles, norm_tiles
from dmlkernels.backends.triton.saved import Saved
from dmlkernels.backends.triton.work import operand_of

NOWHERE = 2**30 - 2  # a border that no index reaches
Parts = tuple[Tensor, Tensor]  # of rows and of columns, or of points that begin with rows: see parts.py
MOST_COUNTED = 2**13  # points that a kernel puts in order by itself: its work grows as their square


def prepare(
    pairs: Pairs, saved: Saved, cut: bool = False, parts: Parts | None = None, raw: RawLabels | None = None
) -> Tensor | None:
    """Fill ``saved`` with all but what forward's scores say, in one launch, and ``raw`` labels of rows. Points come
    back in their order, and behind them the columns that they meet. ``cut``: norms of what tf32 leaves of float32
    vectors, see ``load_scored``."""
    if pairs.within:
        return _arrange(pairs, saved, cut, parts)
    prepare_vectors(pairs, saved, cut, parts, raw)
    return None


def prepare_vectors(
    pairs: Pairs, saved: Saved, cut: bool = False, parts: Parts | None = None, raw: RawLabels | None = None
) -> None:
    """The same for rows that meet columns, which may be split into ``parts``."""
    assert pairs.columns is not None and saved.rows is not None, "rows meet columns or each other"
    rows, columns = unit_stride(pairs.rows.flatten(0, -2)), unit_stride(pairs.columns)
    given, column_labels = pairs.row_values, pairs.column_labels if pairs.statistic.reads_labels else None
    num_words = 0 if saved.cleared is None else saved.cleared.shape[0]
    (programs,), sizes, constants = _preparation(pairs.shape, saved.rows.shape[1], saved.columns.shape[1], num_words)
    row_labels, ignore_index, resolved, poison = (pairs.row_labels, 0, None, None) if raw is None else raw
    launch(
        prepare_kernel, (programs + (raw is not None),),
        rows, columns, row_labels, column_labels, given, _weights(pairs),
        saved.rows, saved.columns, saved.labels, saved.cleared, resolved, poison, *(parts or (None, None)), sizes,
        (rows.stride(0), columns.stride(0), *part_strides(parts), *((0, 0) if given is None else given.stride())),
        ignore_index, PARTS=num_parts(parts, pairs.dim), CUT=cut, constants=constants,
    )  # fmt: skip


@lru_cache(maxsize=REMEMBERED)
def _preparation(
    shape: Shape, x_pitch: int, w_pitch: int, num_words: int
) -> tuple[tuple[int], tuple[int, ...], Constants]:
    """Grid, sizes and constants of the launch."""
    statistic = shape.statistic
    m, block_d = norm_tiles(shape.dim)
    sizes = coded(
        shape.num_rows, shape.num_rows * statistic.views, x_pitch, shape.num_columns, w_pitch,
        shape.num_columns // statistic.group, num_words,
    )  # fmt: skip
    constants = constants_of({
        "GIVEN": statistic.num_row_values, "WEIGHTED": statistic.reads_weights, "GROUP": statistic.group,
        "DIM": shape.dim, "M": m, "BLOCK_D": block_d,
    })  # fmt: skip
    return (cdiv(x_pitch, m) + cdiv(w_pitch, m),), sizes, constants


def _arrange(pairs: Pairs, saved: Saved, cut: bool, parts: Parts | None) -> Tensor:
    assert pairs.row_labels is not None, "points that meet each other have labels"
    assert len(pairs.row_boundaries) <= 1, "points are of two segments at most"
    assert saved.cleared is not None, "tiles count"
    labels = pairs.row_labels.contiguous()
    more = None if pairs.column_labels is None else pairs.column_labels.contiguous()
    few = pairs.num_rows + pairs.num_columns <= MOST_COUNTED
    labels_in_order, order = (None, None) if few else labels.sort(stable=True)
    vectors = empty_points(pairs)
    rows, columns = unit_stride(pairs.rows), None if pairs.columns is None else unit_stride(pairs.columns)
    m, block_d = copy_tiles(pairs.dim)
    pitch = saved.columns.shape[1]
    launch(
        arrange_kernel, (cdiv(pitch, m),),
        labels, more, labels_in_order, order, rows, columns, _weights(pairs),
        saved.order, saved.labels, vectors, None if parts is None else parts[1], saved.columns, saved.cleared,
        pairs.num_rows, pairs.num_columns, borders(pairs.shape)[0], pitch, point_strides(rows, columns),
        saved.cleared.shape[0], pairs.num_rows.bit_length(),
        WEIGHTED=pairs.statistic.reads_weights, PARTS=num_parts(parts, pairs.dim), CUT=cut,
        DIM=pairs.dim, M=m, N=64, BLOCK_D=block_d,
    )  # fmt: skip
    return vectors


def empty_points(pairs: Pairs) -> Tensor:
    """Memory of points and of the columns that they meet."""
    return pairs.rows.new_empty((pairs.num_rows + pairs.num_columns, pairs.dim), dtype=operand_of(pairs.shape))


def num_parts(parts: Parts | None, dim: int) -> int:
    """Of a vector of so many numbers."""
    return 0 if parts is None else parts[1].shape[1] // dim


def part_strides(parts: Parts | None) -> tuple[int, int]:
    """Of the parts of rows and of columns, if there are any."""
    return (0, 0) if parts is None else (parts[0].stride(0), parts[1].stride(0))


def point_strides(rows: Tensor, columns: Tensor | None) -> tuple[int, int]:
    """Of points and columns."""
    return rows.stride(0), 0 if columns is None else columns.stride(0)


def _weights(pairs: Pairs) -> Tensor | None:
    if not pairs.statistic.reads_weights or pairs.column_weights is None:
        return None
    return pairs.column_weights.contiguous()


def borders(shape: Shape) -> tuple[int, int, int]:
    """Where the second part of the rows and the two later parts of the columns begin: Pairs says how they count."""
    row = shape.row_boundaries[0] if shape.row_boundaries else NOWHERE
    if shape.within:
        return row, row, shape.num_rows
    return row, 0, shape.column_boundaries[0] if shape.column_boundaries else NOWHERE
