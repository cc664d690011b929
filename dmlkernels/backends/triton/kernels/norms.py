"""Reciprocal norms of raw vectors, one number each."""

from __future__ import annotations

import triton
import triton.language as tl

from dmlkernels.backends.triton.kernels.blocks import ignored_label

SHRINK = tl.constexpr(2.0**-650)


@triton.jit(do_not_specialize=["count", "padded_count", "labelled"])
def norms_kernel(
    p, label_p, out_p, count, padded_count, labelled, stride,  # label_p: of each so many vectors in turn, if any
    GROUP: tl.constexpr, DIM: tl.constexpr, M: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """1 / max(norm, 1e-12), NaN where the norm is not finite, 0 for what is ignored and for the padding. Squares are
    summed in float64, where only those of a float64 row can overflow: these are also summed after a multiplication by a
    power of two."""
    index = tl.program_id(0) * M + tl.arange(0, M)
    valid = index < count
    if label_p is not None:
        label = tl.load(label_p + index % labelled // GROUP, mask=valid, other=0)
        valid = valid & (label != ignored_label(label_p.dtype.element_ty))
    total = tl.zeros([M], tl.float64)
    shrunk_total = tl.zeros([M], tl.float64)
    for start in tl.range(0, DIM, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        mask = valid[:, None] & (d < DIM)[None, :]
        values = tl.load(p + index.to(tl.int64)[:, None] * stride + d[None, :], mask=mask, other=0.0).to(tl.float64)
        total += tl.sum(values * values, 1)
        if p.dtype.element_ty == tl.float64:
            values *= SHRINK
            shrunk_total += tl.sum(values * values, 1)
    norm = tl.sqrt(total)
    reciprocal = 1.0 / tl.where(norm < 1e-12, 1e-12, norm)
    if p.dtype.element_ty == tl.float64:
        shrunk_norm = tl.sqrt(shrunk_total)
        shrunk_reciprocal = tl.where(shrunk_norm == float("inf"), float("nan"), SHRINK / shrunk_norm)
        reciprocal = tl.where(norm == float("inf"), shrunk_reciprocal, reciprocal)
    else:
        reciprocal = tl.where(norm == float("inf"), float("nan"), reciprocal)
    reciprocal = tl.where(valid, reciprocal, 0.0)
    tl.store(out_p + index, reciprocal.to(out_p.dtype.element_ty), mask=index < padded_count)
