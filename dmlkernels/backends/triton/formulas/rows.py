"""Weighted means or sums over rows of functions of a row's statistics, and the gradients of these.

A formula is two device functions. ``value`` gives its terms, each a value and whether the row has it; ``slope`` gives
the derivative by every statistic. The loss is the sum of the terms' means, or sums.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from dmlkernels.backends.triton.formulas.angles import (
    slope_angle,
    slope_magnified,
    slope_turned,
    value_angle,
    value_magnified,
    value_turned,
)
from dmlkernels.backends.triton.kernels.functions import (
    ROWS_AT_ONCE,
    always,
    arrives_last,
    load_row,
    sigmoid,
    softplus,
)
from dmlkernels.backends.triton.kernels.labels import counted_rows
from dmlkernels.backends.triton.kernels.scalars import loop_bound, number

MOST_PROGRAMS = tl.constexpr(64)  # for one formula; a power of two


@triton.jit
def weights_of(weight_p, row, counted, T: tl.constexpr):
    if weight_p is not None:
        return tl.load(weight_p + row, mask=counted, other=0.0).to(T)
    else:
        return counted.to(T)


class RowLossForm(NamedTuple):
    """What is compiled into the loss of a formula of rows."""

    terms: int
    mean: bool
    read: int  # statistics
    width: int
    given: int


@triton.jit
def row_loss(
    statistics_p, formula_p, loss_p, shares_p, num_rows, num_added, numbers, VALUE: tl.constexpr, FORM: tl.constexpr
):  # fmt: skip
    """See ``losses``. ``state`` is what each term is divided by. Of several programs the last one done adds up what all
    of them found, in ``shares``, which is zeros before."""
    T: tl.constexpr = statistics_p.dtype.element_ty
    TERMS: tl.constexpr = FORM.terms
    given_p, label_p, weight_p, added_p, poison_p = formula_p
    sums, totals = (), ()
    for _ in tl.static_range(TERMS):
        sums = sums + (tl.zeros([ROWS_AT_ONCE], tl.float64),)
        totals = totals + (tl.zeros([ROWS_AT_ONCE], tl.float64),)
    first, stop = num_rows * 0, num_rows
    if shares_p is not None:
        share = tl.cdiv(tl.cdiv(num_rows, ROWS_AT_ONCE), tl.num_programs(0)) * ROWS_AT_ONCE
        first = tl.program_id(0) * share
        stop = tl.minimum(first + share, num_rows)
    for start in tl.range(loop_bound(first), loop_bound(stop), ROWS_AT_ONCE):
        row = start + tl.arange(0, ROWS_AT_ONCE)
        counted = counted_rows(label_p, row, row < num_rows)
        weight = weights_of(weight_p, row, counted, T)
        read = load_row(statistics_p, row, row < num_rows, FORM.read, FORM.width, True)
        if FORM.given > 0:
            read = read + load_row(given_p, row, row < num_rows, FORM.given, FORM.given)
        values, has = VALUE(read, numbers)
        new_sums, new_totals = (), ()
        for k in tl.static_range(TERMS):
            here = counted & has[k]
            new_sums = new_sums + (sums[k] + tl.where(here, values[k] * weight, 0.0).to(tl.float64),)
            new_totals = new_totals + (totals[k] + tl.where(here, weight, 0.0).to(tl.float64),)
        sums, totals = new_sums, new_totals
    if shares_p is None:
        finish_loss(sums, totals, added_p, poison_p, loss_p, num_added, FORM.mean)
    else:
        for k in tl.static_range(TERMS):
            place_p = shares_p + tl.program_id(0) + 2 * k * MOST_PROGRAMS
            tl.store(place_p, tl.sum(sums[k], 0))
            tl.store(place_p + MOST_PROGRAMS, tl.sum(totals[k], 0))
        counter_p = (shares_p + 2 * TERMS * MOST_PROGRAMS).to(tl.pointer_type(tl.int32))
        if arrives_last(counter_p, tl.num_programs(0)):
            all_sums, all_totals = (), ()
            found_p = shares_p + tl.arange(0, MOST_PROGRAMS)
            for k in tl.static_range(TERMS):  # from where all multiprocessors see it
                all_sums = all_sums + (tl.load(found_p + 2 * k * MOST_PROGRAMS, cache_modifier=".cg"),)
                all_totals = all_totals + (tl.load(found_p + (2 * k + 1) * MOST_PROGRAMS, cache_modifier=".cg"),)
            finish_loss(all_sums, all_totals, added_p, poison_p, loss_p, num_added, FORM.mean)


@triton.jit
def finish_loss(sums, totals, added_p, poison_p, loss_p, num_added, MEAN: tl.constexpr):
    """Write the loss and the state from vectors of what each term's rows add up to."""
    value_p, state_p, _ = loss_p
    loss = tl.zeros([1], tl.float64)
    one = tl.arange(0, 1)
    for k in tl.static_range(len(sums)):
        total = tl.sum(totals[k], 0) + tl.zeros([1], tl.float64) if MEAN else tl.full([1], 1.0, tl.float64)
        loss += tl.sum(sums[k], 0) / total
        tl.store(state_p + k + one, total)
    if added_p is not None:
        added = tl.zeros([ROWS_AT_ONCE], tl.float64)
        for start in tl.range(0, loop_bound(num_added), ROWS_AT_ONCE):
            i = start + tl.arange(0, ROWS_AT_ONCE)
            added += tl.load(added_p + i, mask=i < num_added, other=0.0).to(tl.float64)
        loss += tl.sum(added, 0)
    if poison_p is not None:
        loss += tl.load(poison_p + one).to(tl.float64)
    tl.store(value_p + one, loss.to(value_p.dtype.element_ty))


class RowForm(NamedTuple):
    """What is compiled into the slopes of a formula of rows."""

    term: tuple[int, ...]  # that each statistic, and each value given of a row, is in
    read: int  # statistics
    width: int
    given: int


@triton.jit
def row_slopes(
    statistics, gradient_p, formula_p, row, inside, numbers, SLOPE: tl.constexpr, FORM: tl.constexpr
):  # fmt: skip
    """Gradient of the statistics, zeros of those that are not read, and behind them of what is given."""
    T: tl.constexpr = statistics[0].dtype
    READ: tl.constexpr = FORM.read
    GIVEN: tl.constexpr = FORM.given
    WIDTH: tl.constexpr = FORM.width
    given_p, label_p, weight_p, state_p = formula_p
    counted = counted_rows(label_p, row, inside)
    weight = weights_of(weight_p, row, counted, T)
    gradient, read = tl.load(gradient_p).to(tl.float64), ()
    for k in tl.static_range(READ):
        read = read + (statistics[k],)
    if GIVEN > 0:
        read = read + load_row(given_p, row, inside, GIVEN, GIVEN)
    slopes, has = SLOPE(read, numbers)
    found, of_given = (), ()
    for k in tl.static_range(READ + GIVEN):
        factor = (gradient / tl.load(state_p + FORM.term[k])).to(T)
        slope = tl.where(counted & has[FORM.term[k]], slopes[k] * (weight * factor), 0.0)
        if k < READ:
            found = found + (slope,)
        else:
            of_given = of_given + (slope,)
    for _ in tl.static_range(WIDTH - READ):
        found = found + (tl.zeros(row.shape, T),)
    return found + of_given


@triton.jit
def value_cross_entropy(statistics, numbers):
    """Of log-sum-exps of positives and negatives, the positives' less a margin."""
    positive, negative = statistics
    return (softplus(negative - positive + number(numbers, 0, positive.dtype)),), (always(positive),)


@triton.jit
def slope_cross_entropy(statistics, numbers):
    positive, negative = statistics
    slope = sigmoid(negative - positive + number(numbers, 0, positive.dtype))
    return (-slope, slope), (always(positive),)


@triton.jit
def value_difference(statistics, numbers):
    positive, negative = statistics
    return (negative - positive,), (always(positive),)


@triton.jit
def slope_difference(statistics, numbers):
    positive, negative = statistics
    one = tl.full(positive.shape, 1.0, positive.dtype)
    return (-one, one), (always(positive),)


@triton.jit
def value_joint(statistics, numbers):
    """Of log-sum-exps that add up in the loss, circle loss's."""
    positive, negative = statistics
    return (softplus(positive + negative),), (always(positive),)


@triton.jit
def slope_joint(statistics, numbers):
    positive, negative = statistics
    slope = sigmoid(positive + negative)
    return (slope, slope), (always(positive),)


@triton.jit
def value_anchor(statistics, numbers):
    """Pull of the positives, where a proxy has any, and push of the negatives."""
    positive, negative = statistics
    margin = number(numbers, 0, positive.dtype)
    has = positive != float("-inf")
    return (softplus(tl.where(has, positive, 0.0) + margin), softplus(negative + margin)), (has, always(negative))


@triton.jit
def slope_anchor(statistics, numbers):
    positive, negative = statistics
    margin = number(numbers, 0, positive.dtype)
    has = positive != float("-inf")
    return (sigmoid(tl.where(has, positive, 0.0) + margin), sigmoid(negative + margin)), (has, always(negative))


@triton.jit
def value_last(statistics, numbers):
    """The last statistic times a number."""
    last = statistics[len(statistics) - 1]
    return (last * number(numbers, 0, last.dtype),), (always(last),)


@triton.jit
def slope_last(statistics, numbers):
    last = statistics[len(statistics) - 1]
    slopes = ()
    for _ in tl.static_range(len(statistics) - 1):
        slopes = slopes + (tl.zeros_like(last),)
    return slopes + (tl.zeros_like(last) + number(numbers, 0, last.dtype),), (always(last),)


class RowFormula(NamedTuple):
    """Device functions of a formula, and the term that each statistic is in."""

    value: Any
    slope: Any
    terms: int = 1
    reads: int | None = 2  # the first so many statistics; None: all
    costs: bool = True  # enough for very many rows to be shared out among programs, for one launch more

    def term_of(self, width: int) -> tuple[int, ...]:
        return tuple(range(width)) if self.terms > 1 else (0,) * width

    def read_of(self, width: int) -> int:
        return width if self.reads is None else self.reads


ROW_FORMULAS = {
    "cross_entropy": RowFormula(value_cross_entropy, slope_cross_entropy),
    "difference": RowFormula(value_difference, slope_difference),
    "joint": RowFormula(value_joint, slope_joint),
    "angle": RowFormula(value_angle, slope_angle),
    "turned": RowFormula(value_turned, slope_turned),
    "magnified": RowFormula(value_magnified, slope_magnified),
    "anchor": RowFormula(value_anchor, slope_anchor, terms=2),
    "last": RowFormula(value_last, slope_last, reads=None, costs=False),
}
