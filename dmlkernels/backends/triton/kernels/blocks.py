"""What forward and backward share: a block of vectors, its norms and values, and a tile of products."""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl

from dmlkernels.backends.triton.kernels.functions import cut_to_tf32, rounded_to_tf32

NORM_FLOOR_RECIPROCAL = tl.constexpr(1e12)


class Layout(NamedTuple):
    """How a launch's vectors lie, and what its masks depend on."""

    group: int = 1  # columns of a label
    views: int = 1  # of each row
    within: bool = False  # the columns begin with the rows
    labelled: bool = True  # whether positives and negatives are told apart
    segmented: bool = False  # whether the epilogue looks at segments
    same_scores: bool = False  # see Epilogue
    parts: int = 0  # of unit vectors, which then come in place of the vectors: see parts.py
    scaled: bool = False  # whether these are not unit vectors but float16 ones times powers of two
    one_positive: bool = False  # whether column j has class j, and forward masks with ``masks_of_one``


class Values(NamedTuple):
    """How many values an epilogue reads of each row, in plain tiles and in the others, and of each column."""

    plain: int = 0
    rows: int = 0
    columns: int = 0


@triton.constexpr_function
def compute_type(first, second):
    """Type of the operands of a product: that of both, or float32 (float64) where half meets float32 (float64)."""
    if first == second:
        return first
    return tl.float64 if tl.float64 in (first, second) else tl.float32


@triton.constexpr_function
def sum_type(operand):
    """Type that products and statistics are summed in."""
    return tl.float64 if operand == tl.float64 else tl.float32


@triton.constexpr_function
def slope_type(operand):
    """Operand type of the second product. A float16 would not hold small slopes: as wide as tf32 it costs half the
    rate and keeps float16's digits, unless they come in parts. bfloat16 has the range."""
    return tl.float32 if operand == tl.float16 else operand


@triton.constexpr_function
def normalises(operand, owned, owns_rows, same_scores):
    """Whether vectors are normalised before they are multiplied. Products of halves are exact and cannot overflow, so
    neither side is. Of wider vectors the owned side is, once; or always the rows, where scores must not depend on who
    owns the tile."""
    if operand.primitive_bitwidth == 16:
        return False
    return owned == owns_rows if same_scores else owned


@triton.constexpr_function
def padded_group(group):
    """Columns that a group of columns takes up in a tile."""
    return triton.next_power_of_2(group)


@triton.constexpr_function
def ignored_label(dtype):
    return -(2 ** (dtype.primitive_bitwidth - 1))


@triton.jit
def places_of(count, GROUP: tl.constexpr, VIEWS: tl.constexpr):
    """Places that so many vectors take up in tiles: see ``locate``."""
    if VIEWS == 2:
        return tl.cdiv(count // 2, 8) * 16
    else:
        return count // GROUP * padded_group(GROUP)


@triton.jit
def locate(labels_p, start, count, SIZE: tl.constexpr, GROUP: tl.constexpr, VIEWS: tl.constexpr):
    """Where the vectors at SIZE places from ``start`` on lie in memory, as a number and a vector to be added; their
    labels; whether they count.

    Groups are padded to a power of two. Of two views, eight rows of the first come before the same eight of the second:
    a thread that holds scores of one, in any tensor-core layout, holds those of the other.
    """
    PADDED: tl.constexpr = padded_group(GROUP)
    places = start + tl.arange(0, SIZE)
    if VIEWS == 2:
        base = start * 0
        group = places // 16 * 8 + places % 8
        valid = group < count // 2
        local = tl.where(valid, places // 8 % 2 * (count // 2) + group, count)
    elif GROUP != PADDED:
        base = start * 0
        group = places // PADDED
        local = group * GROUP + places % PADDED
        valid = (local < count) & (places % PADDED < GROUP)
    else:
        base = start
        group = places // GROUP
        local = tl.arange(0, SIZE)
        valid = local < count - start
    label = group
    if labels_p is not None:
        IGNORED: tl.constexpr = ignored_label(labels_p.dtype.element_ty)
        if VIEWS == 1 and GROUP == 1:
            label = tl.load(labels_p + start + local, mask=valid, other=IGNORED)
        else:
            label = tl.load(labels_p + group, mask=valid, other=IGNORED)
        valid = valid & (label != IGNORED)
    return base, local, label, valid


@triton.jit
def load_vectors(block, start, TYPE: tl.constexpr, DIM: tl.constexpr, BLOCK_D: tl.constexpr):
    """Numbers ``start`` to ``start + BLOCK_D`` of a block's raw vectors; zeros beyond DIM and where not valid."""
    p, base, local, valid, stride = block
    d = start + tl.arange(0, BLOCK_D)
    mask = valid[:, None]
    if DIM % BLOCK_D != 0:
        mask = mask & (d < DIM)[None, :]
    first_p = p + base.to(tl.int64) * stride
    return tl.load(first_p + local.to(tl.int64)[:, None] * stride + d[None, :], mask=mask, other=0.0).to(TYPE)


@triton.constexpr_function
def cuts(operand, precision):
    """Whether tensor cores take only the first bits of such vectors."""
    return operand == tl.float32 and precision == "tf32"


@triton.jit
def load_scored(
    block, norm, start, NORMALISED: tl.constexpr, TYPE: tl.constexpr, DIM: tl.constexpr, BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """A block's vectors as they are multiplied. Tensor cores cut numbers to tf32, which makes all of them smaller: the
    norms are those of what is left, and what is normalised before is rounded."""
    vectors = load_vectors(block, start, TYPE, DIM, BLOCK_D)
    if NORMALISED:
        if cuts(TYPE, PRECISION):
            vectors = rounded_to_tf32(cut_to_tf32(vectors) * norm[:, None])
        else:
            vectors = vectors * norm.to(TYPE)[:, None]
    return vectors


@triton.jit
def load_units(
    block, norm, start, CUT: tl.constexpr, TYPE: tl.constexpr, DIM: tl.constexpr, BLOCK_D: tl.constexpr
):  # fmt: skip
    """A block's unit vectors. CUT: the norms are of what tf32 leaves of the vectors."""
    vectors = load_vectors(block, start, TYPE, DIM, BLOCK_D)
    if CUT:
        vectors = cut_to_tf32(vectors)
    return vectors * norm[:, None]


@triton.jit
def load_value(p, base, local, pitch, K: tl.constexpr):
    """Row K of (k, pitch) values. They are padded, so that nothing is masked: see ``padded``."""
    return tl.load(p + K * pitch.to(tl.int64) + base + local)


@triton.jit
def load_values(p, base, local, pitch, FIRST: tl.constexpr, LENGTH: tl.constexpr, AXIS: tl.constexpr):
    """Rows FIRST to FIRST + LENGTH as vectors that broadcast over the other axis."""
    values = ()
    for k in tl.static_range(LENGTH):
        values = values + (tl.expand_dims(load_value(p, base, local, pitch, FIRST + k), AXIS),)
    return values


@triton.jit
def product_tile(
    rows, columns, row_block, column_block, row_norm, column_norm, ROW_UNITS: tl.constexpr,
    COLUMN_UNITS: tl.constexpr, TYPE: tl.constexpr, DIM: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Products of two blocks, normalised or not. ``rows`` and ``columns`` are their vectors if one BLOCK_D holds
    them."""
    SUM: tl.constexpr = sum_type(TYPE)
    products = tl.zeros([row_norm.shape[0], column_norm.shape[0]], SUM)
    if DIM <= BLOCK_D:
        products = tl.dot(rows, tl.trans(columns), products, input_precision=PRECISION, out_dtype=SUM)
    else:
        for start in tl.range(0, DIM, BLOCK_D):
            a = load_scored(row_block, row_norm, start, ROW_UNITS, TYPE, DIM, BLOCK_D, PRECISION)
            b = load_scored(column_block, column_norm, start, COLUMN_UNITS, TYPE, DIM, BLOCK_D, PRECISION)
            products = tl.dot(a, tl.trans(b), products, input_precision=PRECISION, out_dtype=SUM)
    return products


@triton.jit
def scores_of(products, row_norm, column_norm, ROW_UNITS: tl.constexpr, COLUMN_UNITS: tl.constexpr):
    """An epilogue's ``scores`` and ``factor``.

    One multiplication comes before the branches on what a tile holds: Triton 3.6 fails to pipeline a product that is
    used within branches alone.
    """
    one = tl.full(row_norm.shape, 1.0, products.dtype)[:, None]
    if COLUMN_UNITS:
        return products * row_norm[:, None], one
    else:
        return products * column_norm[None, :], one if ROW_UNITS else row_norm[:, None]


@triton.jit
def in_order(order_p, index, inside):
    """Where the caller has these vectors."""
    if order_p is not None:
        return tl.load(order_p + index, mask=inside, other=0)
    else:
        return index
