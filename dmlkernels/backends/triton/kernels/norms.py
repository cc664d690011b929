"""Reciprocal norms of raw vectors, one number each."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["count"])
def norms_kernel(p, out_p, count, stride, DIM: tl.constexpr, M: tl.constexpr, BLOCK_D: tl.constexpr):
    """1 / max(norm, 1e-12), NaN where the norm is not finite. Squares are summed in float64: any scale has a norm."""
    index = tl.program_id(0) * M + tl.arange(0, M)
    valid = index < count
    total = tl.zeros([M], tl.float64)
    for start in tl.range(0, DIM, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        mask = valid[:, None] & (d < DIM)[None, :]
        values = tl.load(p + index.to(tl.int64)[:, None] * stride + d[None, :], mask=mask, other=0.0).to(tl.float64)
        total += tl.sum(values * values, 1)
    norm = tl.sqrt(total)
    reciprocal = 1.0 / tl.where(norm < 1e-12, 1e-12, norm)
    reciprocal = tl.where(norm == float("inf"), float("nan"), reciprocal)
    tl.store(out_p + index, reciprocal.to(out_p.dtype.element_ty), mask=valid)
