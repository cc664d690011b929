"""What is launched for pairs of one shape, found out once: a training has few shapes, and many steps.

A pure function of the shape, the device and the precision that is set, so it is remembered. Nothing of it is memory.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from dmlkernels.backends.gpu.splits import MEMORY_FLOOR, cdiv, num_splits
from dmlkernels.backends.pairs import Shape
from dmlkernels.backends.triton.epilogues import epilogue_of
from dmlkernels.backends.triton.kernels.blocks import Layout, Values
from dmlkernels.backends.triton.kernels.gradient_block import COLUMNS, ROWS
from dmlkernels.backends.triton.kernels.scalars import coded, split_numbers
from dmlkernels.backends.triton.launcher import Constants, constants_of
from dmlkernels.backends.triton.layout import borders
from dmlkernels.backends.triton.plan import (
    REMEMBERED,
    Architecture,
    Work,
    backward_tiles,
    forward_tiles,
    next_power_of_2,
)
from dmlkernels.backends.triton.saved import FLAG_ROWS, WORD_COLUMNS
from dmlkernels.backends.triton.tiles import Tiles
from dmlkernels.backends.triton.work import backward_work, forward_work

MOST_STREAMED = 8  # tiles of a program that shares them with no other, where one launch finds both gradients


class Plan(NamedTuple):
    """A launch of the forward kernel, or of a backward kernel for one side or both."""

    grid: tuple[int, ...]  # the last axis is of splits
    sizes: tuple[int, int]  # vectors that programs own, and that they stream
    partial: tuple[int, int, int] | None  # shape of what splits find; None if there is one
    borders: tuple[int, ...]
    hyper: tuple[float, ...]  # numbers of the statistic
    cut: bool  # as in Work.cuts
    parts: int  # as in Work
    constants: Constants

    @property
    def slices(self) -> int:
        """Programs of backward that share out the numbers of an owned vector."""
        return self.grid[1]


@lru_cache(maxsize=REMEMBERED)
def forward_schedule(shape: Shape, arch: Architecture, matmul: str) -> Plan:
    """Of the forward kernel; ``matmul`` is the precision of products of float32 that is set."""
    statistic, epilogue = shape.statistic, epilogue_of(shape.statistic)
    rows, columns = _sizes(shape)
    work = forward_work(shape, arch, matmul)
    tiles = forward_tiles(work, arch, rows)
    neutral = epilogue.empty if epilogue.neutral is None else epilogue.neutral
    one = epilogue.mask_one is not None and _is_labelled_by_number(shape)
    blocks = cdiv(_row_places(shape), tiles.M)
    limit = max(MEMORY_FLOOR, (rows + columns) * shape.dim)
    count = num_splits(blocks, columns, tiles.N, arch.multiprocessors, rows * len(neutral), limit)
    constants = constants_of({
        "FOLD": epilogue.fold, "MASK": epilogue.mask_one if one else epilogue.mask, "FINISH": epilogue.finish,
        "READY": epilogue.ready, "MERGE": epilogue.merge, "EMPTY": epilogue.empty, "NEUTRAL": neutral,
        "VALUES": Values(0, statistic.num_row_values, int(epilogue.weighted)), "LAYOUT": _layout(shape, work, one),
        "PRECISION": work.precision, "DIM": shape.dim, "M": tiles.M, "N": tiles.N,
        "BLOCK_D": tiles.BLOCK_D, **tiles.options(),
    })  # fmt: skip
    partial = None if count == 1 else (count, rows, len(neutral))
    return Plan(
        (blocks, count), (rows, columns), partial, coded(*borders(shape)), hyper_of(shape), work.cuts, work.parts,
        constants,
    )  # fmt: skip


@lru_cache(maxsize=REMEMBERED)
def backward_schedule(shape: Shape, arch: Architecture, matmul: str, side: int) -> Plan:
    """Of the backward kernel for one side: ROWS, COLUMNS, or BOTH if rows are columns, too."""
    statistic, epilogue, dim = shape.statistic, epilogue_of(shape.statistic), shape.dim
    owned, streamed = _sizes(shape)
    of_borders, places, has_flags = borders(shape), _row_places(shape), statistic.sparse
    if side == COLUMNS:
        if shape.within:  # only those that are not rows, too
            owned, streamed = shape.num_columns, shape.num_rows
            row, first, second = of_borders
            of_borders = (row, first - shape.num_rows, second - shape.num_rows)
            has_flags = False
        else:
            owned, streamed = streamed, owned
        places = owned // statistic.group * next_power_of_2(statistic.group)
    work = backward_work(shape, arch, matmul)
    tiles = backward_tiles(work, arch, side == COLUMNS)
    if has_flags:
        row_tile, column_tile = (tiles.N, tiles.M) if side == COLUMNS else (tiles.M, tiles.N)
        assert row_tile <= FLAG_ROWS and column_tile <= WORD_COLUMNS, "a tile asks for one word of flags"
    blocks, slices = cdiv(places, tiles.M), cdiv(dim, tiles.SLICE)
    limit = max(MEMORY_FLOOR, (owned + streamed) * dim)
    count = num_splits(blocks * slices, streamed, tiles.N, arch.multiprocessors, owned * dim, limit)
    given = statistic.num_row_values
    num_values = given + epilogue.num_values
    num_plain = num_values if epilogue.num_plain is None else given + epilogue.num_plain
    # Hopper's tensor cores want 64 vectors on the side that comes first.
    turned = side == COLUMNS and work.parts > 1 and tiles.N < 64 and statistic.group == 1
    constants = constants_of({
        "SLOPE": epilogue.slope, "VALUES": Values(num_plain, num_values, int(epilogue.weighted)),
        "LAYOUT": _layout(shape, work), "SIDE": side, "TURNED": turned, "PARTIAL": count > 1,
        "PRECISION": work.precision, "DIM": dim, "M": tiles.M, "N": tiles.N, "BLOCK_D": tiles.BLOCK_D,
        "SLICE": tiles.SLICE, **tiles.options(),
    })  # fmt: skip
    partial = None if count == 1 else (count, owned, dim)
    return Plan(
        (blocks, slices, count), (owned, streamed), partial, coded(*of_borders), hyper_of(shape), work.cuts, work.parts,
        constants,
    )  # fmt: skip


@lru_cache(maxsize=REMEMBERED)
def joint_schedule(shape: Shape, arch: Architecture, matmul: str) -> Plan | None:
    """Of the gradients of rows and of columns in one launch; None if that would be too much work for its programs."""
    if shape.within:
        return None
    plans = [backward_schedule(shape, arch, matmul, side) for side in (ROWS, COLUMNS)]
    (rows, columns), (x, w) = plans, (_tiles_of(plan) for plan in plans)
    group = shape.statistic.group
    streamed = shape.num_columns // group * next_power_of_2(group), _row_places(shape)
    if x.num_warps != w.num_warps or max(cdiv(streamed[0], x.N), cdiv(streamed[1], w.N)) > MOST_STREAMED:
        return None
    options = x._replace(num_stages=min(x.num_stages, w.num_stages), registers=0).options()
    shared = {name: rows.constants[name] for name in ("SLOPE", "VALUES", "LAYOUT", "PRECISION", "DIM")}
    constants = constants_of({**shared, "TURNED": columns.constants["TURNED"], "X": x, "W": w, **options})
    programs = sum(plan.grid[0] * plan.grid[1] for plan in plans)
    return rows._replace(grid=(programs, 1), partial=None, constants=constants)


def _tiles_of(plan: Plan) -> Tiles:
    names = ("M", "N", "BLOCK_D", "SLICE", "num_warps", "num_stages")
    return Tiles(*(plan.constants[name] for name in names))


def hyper_of(shape: Shape) -> tuple[float, ...]:
    """Numbers of the statistic, as kernels take them."""
    return split_numbers(tuple(epilogue_of(shape.statistic).hyper(shape.statistic)))


def _sizes(shape: Shape) -> tuple[int, int]:
    """Vectors that are rows, and those that they meet."""
    if shape.within:
        return shape.num_rows, shape.num_rows + shape.num_columns
    return shape.num_rows * shape.statistic.views, shape.num_columns


def _row_places(shape: Shape) -> int:
    """Places of rows in tiles: views are taken eight rows at a time."""
    rows = shape.num_rows * shape.statistic.views
    return rows if shape.statistic.views == 1 else -(-rows // 16) * 16


def _is_labelled_by_number(shape: Shape) -> bool:
    """Whether column j has class j."""
    statistic = shape.statistic
    return statistic.reads_labels and statistic.group == 1 and not (shape.within or shape.has_column_labels)


def _layout(shape: Shape, work: Work, one_positive: bool = False) -> Layout:
    """What the kernels know of the vectors when they are compiled."""
    statistic, epilogue = shape.statistic, epilogue_of(shape.statistic)
    return Layout(
        statistic.group, statistic.views, shape.within, statistic.reads_labels, epilogue.segmented,
        epilogue.same_scores, work.parts, work.scales, one_positive,
    )  # fmt: skip
