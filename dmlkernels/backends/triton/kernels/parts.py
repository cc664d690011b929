"""float32 as sums of float16, for tensor cores.

Backward multiplies by the streamed vectors twice, along D and along the vectors. Hopper takes halves either way, the
second operand of tf32 in one order only: it would be turned in registers. One float16 keeps as many bits as tf32, two
keep 22. Its range is short, so what is split lies in a known one: unit vectors, and slopes over a bound of their row.

Vectors that are float16 are not rounded to unit ones, but brought near them by a power of two: then backward's scores
are forward's. What is left of their norms, 0.5 to 1, is multiplied by as it is with whole vectors.
"""

from __future__ import annotations

import triton
import triton.language as tl

from dmlkernels.backends.triton.kernels.blocks import load_units, load_vectors
from dmlkernels.backends.triton.kernels.scalars import loop_bound

# What units, and slopes over their bound, are multiplied by. Numbers keep all bits down to 2**-14 over these: 2**-22 of
# a unit, and 2**-26 of a bound, which slopes may exceed 16 times.
UNIT_SCALE, SLOPE_SCALE = tl.constexpr(2.0**8), tl.constexpr(2.0**12)
LEAST_BOUND = tl.constexpr(2.0**-110)  # less than that is as good as no gradient
_ROWS = tl.constexpr(1024)


@triton.jit
def parts_of(numbers, COUNT: tl.constexpr, T: tl.constexpr):
    """COUNT numbers of type T for each of ``numbers``, the largest first, whose sum is as near to it as can be."""
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
def rest_of(norm):
    """What is left of reciprocal norms beside a power of two: 0.5 to 1. 0 and NaN stay."""
    mantissa = (norm.to(tl.int32, bitcast=True) & 0x007FFFFF) | 0x3F000000
    return tl.where(norm > 0.0, mantissa.to(tl.float32, bitcast=True), norm)


@triton.jit
def transposed(parts):
    turned = ()
    for k in tl.static_range(len(parts)):
        turned = turned + (tl.trans(parts[k]),)
    return turned


@triton.jit
def add_product(first, second, total):
    """Add the product of two sums of parts to ``total``, the smallest products first, without those that are smaller
    than the last part."""
    COUNT: tl.constexpr = len(first)
    for skipped in tl.static_range(COUNT):
        for k in tl.static_range(COUNT - skipped):
            total = tl.dot(first[k], second[COUNT - 1 - skipped - k], total, out_dtype=total.dtype)
    return total


@triton.jit
def scores_of_parts(
    rows, columns, row_block, column_block, M: tl.constexpr, N: tl.constexpr, SUM: tl.constexpr,
    PARTS: tl.constexpr, DIM: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Cosines of two blocks of M and of N vectors; ``rows`` and ``columns`` are their parts if one BLOCK_D holds
    them."""
    products = tl.zeros([M, N], SUM)
    if DIM <= BLOCK_D:
        products = add_product(rows, transposed(columns), products)
    else:
        for start in tl.range(0, DIM, BLOCK_D):
            first = load_parts(row_block, start, PARTS, DIM, BLOCK_D)
            second = load_parts(column_block, start, PARTS, DIM, BLOCK_D)
            products = add_product(first, transposed(second), products)
    return products * (1.0 / (UNIT_SCALE * UNIT_SCALE))


@triton.jit
def highest_bound(values_p, count, pitch, K: tl.constexpr):
    """The highest of row K of (k, pitch) values, which are padded with zeros to a multiple of 128."""
    highest = tl.zeros([_ROWS], values_p.dtype.element_ty)
    for start in tl.range(0, loop_bound(count), _ROWS):
        row = start + tl.arange(0, _ROWS)
        found = tl.load(values_p + K * pitch.to(tl.int64) + row, mask=row < count, other=0.0)
        highest = tl.maximum(highest, found)
    return tl.max(highest, 0)


@triton.jit
def store_parts(p, units, place, inside, d, stride, PARTS: tl.constexpr, DIM: tl.constexpr):
    """Numbers ``d`` of these unit vectors."""
    parts = parts_of(units * UNIT_SCALE, PARTS, p.dtype.element_ty)
    for k in tl.static_range(PARTS):
        out = p + place.to(tl.int64)[:, None] * stride + (k * DIM + d)[None, :]
        tl.store(out, parts[k], mask=inside[:, None] & (d < DIM)[None, :])


@triton.jit
def split(
    base, local, norm, p, out_p, count, stride, out_stride,
    PARTS: tl.constexpr, DIM: tl.constexpr, BLOCK_D: tl.constexpr, SCALED: tl.constexpr = False,
):  # fmt: skip
    """Parts of unit vectors of these reciprocal norms, or of vectors SCALED by the power of two in these; zeros for
    those that do not count, where it is 0."""
    norm = norm.to(tl.float32)
    if SCALED:
        norm = tl.where(norm > 0.0, norm / rest_of(norm), norm)
    place = base + local
    for start in tl.range(0, DIM, BLOCK_D):
        units = load_units((p, base, local, norm != 0.0, stride), norm, start, False, tl.float32, DIM, BLOCK_D)
        store_parts(out_p, units, place, place < count, start + tl.arange(0, BLOCK_D), out_stride, PARTS, DIM)
