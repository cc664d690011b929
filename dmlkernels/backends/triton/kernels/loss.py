"""The loss that is a formula of statistics, by itself: where one program is not enough, or other kernels than forward's
have found the statistics."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["num_rows", "num_added"])
def loss_kernel(
    statistics_p, formula_p, loss_p, shares_p, num_rows, num_added, numbers,
    LOSS: tl.constexpr, VALUE: tl.constexpr, FORM: tl.constexpr,
):  # fmt: skip
    """One program, or several with ``shares``."""
    LOSS(statistics_p, formula_p, loss_p, shares_p, num_rows, num_added, numbers, VALUE, FORM)
