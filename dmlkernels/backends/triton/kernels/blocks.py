"""What forward and backward share: a block of vectors, who may meet whom, and a tile of scores."""

from __future__ import annotations

import triton
import triton.language as tl

NORM_FLOOR_RECIPROCAL = tl.constexpr(1e12)


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
    rate and keeps float16's digits. bfloat16 has the range."""
    return tl.float32 if operand == tl.float16 else operand


@triton.constexpr_function
def is_half(operand):
    return operand.primitive_bitwidth == 16


@triton.constexpr_function
def padded_group(group):
    """Columns that a group of columns takes up in a tile."""
    return triton.next_power_of_2(group)


@triton.constexpr_function
def ignored_label(dtype):
    return -(2 ** (dtype.primitive_bitwidth - 1))


@triton.jit
def alive(labels_p, places, count, GROUP: tl.constexpr):
    """Memory index, label and validity of the vectors at these places; groups are padded to a power of two."""
    PADDED: tl.constexpr = padded_group(GROUP)
    cell = places // PADDED
    index = cell * GROUP + places % PADDED
    valid = index < count
    if GROUP != PADDED:
        valid = valid & (places % PADDED < GROUP)
    label = cell
    if labels_p is not None:
        IGNORED: tl.constexpr = ignored_label(labels_p.dtype.element_ty)
        label = tl.load(labels_p + cell, mask=valid, other=IGNORED)
        valid = valid & (label != IGNORED)
    return index, label, valid


@triton.jit
def load_vectors(p, index, valid, stride, start, TYPE: tl.constexpr, DIM: tl.constexpr, BLOCK_D: tl.constexpr):
    """Numbers ``start`` to ``start + BLOCK_D`` of raw vectors; zeros beyond DIM and where not valid."""
    d = start + tl.arange(0, BLOCK_D)
    mask = valid[:, None]
    if DIM % BLOCK_D != 0:
        mask = mask & (d < DIM)[None, :]
    return tl.load(p + index.to(tl.int64)[:, None] * stride + d[None, :], mask=mask, other=0.0).to(TYPE)


@triton.jit
def load_scored(
    p, index, valid, stride, norm, start, ROWS: tl.constexpr, TYPE: tl.constexpr, DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Vectors as they are multiplied to scores: halves raw, so that products are exact; of wider ones the rows
    normalised, so that none overflows."""
    vectors = load_vectors(p, index, valid, stride, start, TYPE, DIM, BLOCK_D)
    if ROWS and not is_half(TYPE):
        vectors = vectors * norm.to(TYPE)[:, None]
    return vectors


@triton.jit
def score_tile(
    own, other, own_block, other_block, OWNS_ROWS: tl.constexpr,
    TYPE: tl.constexpr, DIM: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Cosines of two blocks (p, index, valid, stride, norm). ``own`` and ``other`` are their vectors if one BLOCK_D
    holds them. Whoever owns the rows, a pair is rounded alike: the row's norm first, the column's last."""
    SUM: tl.constexpr = sum_type(TYPE)
    own_p, own_index, own_valid, own_stride, own_norm = own_block
    other_p, other_index, other_valid, other_stride, other_norm = other_block
    scores = tl.zeros([own_index.shape[0], other_index.shape[0]], SUM)
    if DIM <= BLOCK_D:
        scores = tl.dot(own, tl.trans(other), scores, input_precision=PRECISION, out_dtype=SUM)
    else:
        for start in tl.range(0, DIM, BLOCK_D):
            a = load_scored(own_p, own_index, own_valid, own_stride, own_norm, start, OWNS_ROWS, TYPE, DIM, BLOCK_D)
            b = load_scored(
                other_p, other_index, other_valid, other_stride, other_norm, start, not OWNS_ROWS, TYPE, DIM, BLOCK_D
            )
            scores = tl.dot(a, tl.trans(b), scores, input_precision=PRECISION, out_dtype=SUM)
    if OWNS_ROWS:
        scores = scores * own_norm[:, None] if is_half(TYPE) else scores
        return scores * other_norm[None, :]
    else:
        scores = scores * other_norm[None, :] if is_half(TYPE) else scores
        return scores * own_norm[:, None]


@triton.jit
def meeting(own_label, own_valid, other_label, other_valid, MATCH: tl.constexpr):
    """Masks of same-class and of different-class pairs; both are all pairs for a statistic without labels."""
    pairs = own_valid[:, None] & other_valid[None, :]
    if MATCH:
        same = own_label[:, None] == other_label[None, :]
        return pairs & same, pairs & (same == 0)
    else:
        return pairs, pairs


@triton.jit
def row_segment(place, borders):
    """Which of the joined parts a row is in; ``borders`` are (rows, first columns, second columns)."""
    return (place >= borders[0]).to(tl.int32)


@triton.jit
def column_segment(place, borders):
    return (place >= borders[1]).to(tl.int32) + (place >= borders[2]).to(tl.int32)
