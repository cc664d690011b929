"""float32 as sums of halves, for tensor cores.

Backward multiplies by the streamed vectors twice, along D and along the vectors. Hopper takes halves either way, the
second operand of tf32 in one order only: it would be turned in registers. So unit vectors come as sums of halves: of
float16 to be scored, of which one keeps the bits of tf32; and of bfloat16 to be added up, as slopes need its range.
"""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl

from dmlkernels.backends.triton.kernels.blocks import load_units, load_vectors
from dmlkernels.backends.triton.kernels.scalars import decoded

SCALE = tl.constexpr(256.0)  # of units as float16, which then loses no bits of a number down to 2**-22


class Parts(NamedTuple):
    """How many parts a unit vector has; none if vectors are multiplied as they are."""

    scored: int = 0
    added: int = 0


@triton.jit
def parts_of(numbers, COUNT: tl.constexpr, T: tl.constexpr):
    """Numbers of type T whose sum is as near as so many of them come, the largest first."""
    parts = ()
    for _ in tl.static_range(COUNT):
        part = numbers.to(T)
        parts = parts + (part,)
        numbers = numbers - part.to(numbers.dtype)
    return parts


@triton.jit
def load_parts(block, start, COUNT: tl.constexpr, DIM: tl.constexpr, BLOCK_D: tl.constexpr):
    """Numbers ``start`` to ``start + BLOCK_D`` of the parts of a block's vectors."""
    p, base, local, valid, stride = block
    parts = ()
    for k in tl.static_range(COUNT):
        part = load_vectors((p + k * DIM, base, local, valid, stride), start, p.dtype.element_ty, DIM, BLOCK_D)
        parts = parts + (part,)
    return parts


@triton.jit
def transposed(parts):
    turned = ()
    for k in tl.static_range(len(parts)):
        turned = turned + (tl.trans(parts[k]),)
    return turned


@triton.jit
def add_product(first, second, total):
    """``total`` and the product of two sums of parts, the smallest products first, without those that are smaller than
    the last part."""
    COUNT: tl.constexpr = len(first)
    for skipped in tl.static_range(COUNT):
        for k in tl.static_range(COUNT - skipped):
            total = tl.dot(first[k], second[COUNT - 1 - skipped - k], total, out_dtype=total.dtype)
    return total


@triton.jit
def store_parts(p, units, place, count, d, PARTS: tl.constexpr, DIM: tl.constexpr):
    """Into (count, PARTS, DIM)."""
    parts = parts_of(units, PARTS, p.dtype.element_ty)
    for k in tl.static_range(PARTS):
        out = p + place.to(tl.int64)[:, None] * (PARTS * DIM) + (k * DIM + d)[None, :]
        tl.store(out, parts[k], mask=(place < count)[:, None] & (d < DIM)[None, :])


@triton.jit
def split(
    block, p, norm_p, scored_p, added_p, count, stride,
    PARTS: tl.constexpr, CUT: tl.constexpr, DIM: tl.constexpr, M: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    place = block * M + tl.arange(0, M)
    norm = tl.load(norm_p + place, mask=place < count, other=0.0)
    vectors = (p, block * M, tl.arange(0, M), norm != 0.0, stride)
    for start in tl.range(0, DIM, BLOCK_D):
        units = load_units(vectors, norm, start, CUT, norm.dtype, DIM, BLOCK_D)
        d = start + tl.arange(0, BLOCK_D)
        store_parts(scored_p, units * SCALE, place, count, d, PARTS.scored, DIM)
        store_parts(added_p, units, place, count, d, PARTS.added, DIM)


@triton.jit
def split_kernel(
    x_p, x_norm_p, x_scored_p, x_added_p, w_p, w_norm_p, w_scored_p, w_added_p,
    sizes,  # rows, their stride, columns, their stride
    PARTS: tl.constexpr, CUT: tl.constexpr, DIM: tl.constexpr, M: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Parts of unit vectors; zeros for those that do not count, whose reciprocal norm is 0. The first programs take the
    rows."""
    num_rows, x_stride, num_columns, w_stride = decoded(sizes)
    block, blocks = tl.program_id(0), tl.cdiv(num_rows, M)
    if block < blocks:
        split(block, x_p, x_norm_p, x_scored_p, x_added_p, num_rows, x_stride, PARTS, CUT, DIM, M, BLOCK_D)
    else:
        block -= blocks
        split(block, w_p, w_norm_p, w_scored_p, w_added_p, num_columns, w_stride, PARTS, CUT, DIM, M, BLOCK_D)
