"""The decidability of the moments of all rows, alone or with potential field and ODBA penalty, and its gradient."""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl

from dmlkernels.backends.formulas import Kind
from dmlkernels.backends.triton.kernels.functions import ROWS_AT_ONCE, load_row
from dmlkernels.backends.triton.kernels.labels import counted_rows
from dmlkernels.backends.triton.kernels.scalars import loop_bound, number

TEMPERATURE, CORRECTION, MIN_GAP, EPS, ENDS = (tl.constexpr(k) for k in range(5))
PD_WEIGHT, FIELD_WEIGHT, ODBA_WEIGHT, SAMPLES = (tl.constexpr(k) for k in range(5, 9))  # of the fused objective
"""Places of the formula's numbers."""


def joined_parts(kind: Kind, numbers: tuple[float, ...]) -> int:
    """Which parts the joint objective has, a bit each: decidability, field, ODBA. 0 of other losses."""
    if kind.num_parts == 0:
        return 0
    return 2 + (kind.form != "") + 4 * (numbers[ODBA_WEIGHT.value] != 0)


@triton.jit
def decide(gap, spread, min_gap, eps, FORM: tl.constexpr):
    """The loss, and its derivatives by gap and spread."""
    if FORM == "neg_log":
        above = tl.maximum(gap, min_gap)
        loss = tl.log(spread + eps) * 0.5 - tl.log(above) - (gap - above) / min_gap
        return loss, tl.where(gap >= min_gap, -1.0 / gap, -1.0 / min_gap), 0.5 / (spread + eps)
    else:
        half = spread * 0.5 + eps
        root = tl.sqrt(half)
        if FORM == "neg":
            return -gap / root, -1.0 / root, gap / (4.0 * half * root)
        else:
            return root / gap, -root / (gap * gap), 1.0 / (4.0 * root * gap)


@triton.jit
def pooled_means(statistics_p, num_rows, WIDTH: tl.constexpr):
    """Counts and means over all rows, (1,) each: genuine, impostor."""
    number_a, score_a = tl.zeros([ROWS_AT_ONCE], tl.float64), tl.zeros([ROWS_AT_ONCE], tl.float64)
    number_b, score_b = tl.zeros([ROWS_AT_ONCE], tl.float64), tl.zeros([ROWS_AT_ONCE], tl.float64)
    for start in tl.range(0, loop_bound(num_rows), ROWS_AT_ONCE):
        row = start + tl.arange(0, ROWS_AT_ONCE)
        moments = load_row(statistics_p, row, row < num_rows, WIDTH, WIDTH, True)
        number_a += moments[0].to(tl.float64)
        score_a += moments[0].to(tl.float64) * moments[1].to(tl.float64)
        number_b += moments[3].to(tl.float64)
        score_b += moments[3].to(tl.float64) * moments[4].to(tl.float64)
    nothing = tl.zeros([1], tl.float64)
    count_a, count_b = tl.sum(number_a, 0) + nothing, tl.sum(number_b, 0) + nothing
    return count_a, (tl.sum(score_a, 0) + nothing) / count_a, count_b, (tl.sum(score_b, 0) + nothing) / count_b


@triton.jit
def squares_about(statistics_p, num_rows, mean_a, mean_b, WIDTH: tl.constexpr):
    """Squared deviations of all scores from the pooled means."""
    within_a, within_b = tl.zeros([ROWS_AT_ONCE], tl.float64), tl.zeros([ROWS_AT_ONCE], tl.float64)
    for start in tl.range(0, loop_bound(num_rows), ROWS_AT_ONCE):
        row = start + tl.arange(0, ROWS_AT_ONCE)
        moments = load_row(statistics_p, row, row < num_rows, WIDTH, WIDTH, True)
        step_a, step_b = moments[1].to(tl.float64) - mean_a, moments[4].to(tl.float64) - mean_b
        within_a += moments[2].to(tl.float64) + moments[0].to(tl.float64) * step_a * step_a
        within_b += moments[5].to(tl.float64) + moments[3].to(tl.float64) * step_b * step_b
    nothing = tl.zeros([1], tl.float64)
    return tl.sum(within_a, 0) + nothing, tl.sum(within_b, 0) + nothing


@triton.jit
def energies(statistics_p, label_p, num_rows, samples, WIDTH: tl.constexpr):
    """Field and ODBA energies, and the points and the samples that are not ignored."""
    field, odba = tl.zeros([ROWS_AT_ONCE], tl.float64), tl.zeros([ROWS_AT_ONCE], tl.float64)
    points, kept = tl.zeros([ROWS_AT_ONCE], tl.float64), tl.zeros([ROWS_AT_ONCE], tl.float64)
    for start in tl.range(0, loop_bound(num_rows), ROWS_AT_ONCE):
        row = start + tl.arange(0, ROWS_AT_ONCE)
        inside = row < num_rows
        values = load_row(statistics_p, row, inside, WIDTH, WIDTH, True)
        counted = counted_rows(label_p, row, inside)
        field += tl.where(counted, values[6], 0.0).to(tl.float64)
        odba += tl.where(counted & (row < samples), values[7], 0.0).to(tl.float64)
        points += counted.to(tl.float64)
        kept += (counted & (row < samples)).to(tl.float64)
    nothing = tl.zeros([1], tl.float64)
    return tl.sum(field, 0) + nothing, tl.sum(odba, 0) + nothing, tl.sum(points, 0) + nothing, tl.sum(kept, 0) + nothing


class MomentsLossForm(NamedTuple):
    """What is compiled into the loss."""

    joined: int  # as ``joined_parts`` says
    mean: bool
    width: int


@triton.jit
def decidability_loss(
    statistics_p, formula_p, loss_p, shares_p, num_rows, num_added, numbers, VALUE: tl.constexpr, FORM: tl.constexpr
):  # fmt: skip
    """See ``losses``; VALUE is the ``form`` of its kind. ``state``: pooled mean, shift and rate of genuine and of
    impostor scores, then what field and ODBA energies are multiplied by."""
    FUSED: tl.constexpr = FORM.joined
    WIDTH: tl.constexpr = FORM.width
    label_p, poison_p = formula_p[1], formula_p[4]
    value_p, state_p, parts_p = loss_p
    one = tl.arange(0, 1)
    T: tl.constexpr = value_p.dtype.element_ty
    loss = tl.zeros([1], tl.float64)
    if FUSED == 0 or FUSED % 2 == 1:
        count_a, mean_a, count_b, mean_b = pooled_means(statistics_p, num_rows, WIDTH)
        within_a, within_b = squares_about(statistics_p, num_rows, mean_a, mean_b, WIDTH)
        less = number(numbers, CORRECTION, tl.float64) * number(numbers, ENDS, tl.float64)
        temperature = number(numbers, TEMPERATURE, tl.float64)
        gap = (mean_a - mean_b) / temperature
        spread = (within_a / (count_a - less) + within_b / (count_b - less)) / (temperature * temperature)
        min_gap, eps = number(numbers, MIN_GAP, tl.float64), number(numbers, EPS, tl.float64)
        loss, of_gap, of_spread = decide(gap, spread, min_gap, eps, VALUE)
        weight = 1.0
        if FUSED > 0:
            tl.store(parts_p + one, loss.to(T))
            weight = number(numbers, PD_WEIGHT, tl.float64)
            loss *= weight
        of_gap, of_spread = of_gap / temperature * weight, of_spread / (temperature * temperature) * weight
        tl.store(state_p + one, mean_a)
        tl.store(state_p + 1 + one, of_gap / count_a)
        tl.store(state_p + 2 + one, of_spread / (count_a - less))
        tl.store(state_p + 3 + one, mean_b)
        tl.store(state_p + 4 + one, -of_gap / count_b)
        tl.store(state_p + 5 + one, of_spread / (count_b - less))
    elif FUSED > 0:
        tl.store(parts_p + one, tl.zeros([1], T))
        for k in tl.static_range(6):
            tl.store(state_p + k + one, tl.zeros([1], tl.float64))
    if FUSED > 0:
        samples = number(numbers, SAMPLES, tl.float64).to(tl.int32)
        field, odba, points, kept = energies(statistics_p, label_p, num_rows, samples, WIDTH)
        if not FORM.mean:
            points = tl.full([1], 1.0, tl.float64)
        of_field, of_odba = number(numbers, FIELD_WEIGHT, tl.float64), number(numbers, ODBA_WEIGHT, tl.float64)
        tl.store(parts_p + 1 + one, (field / points).to(T))
        loss += of_field * (field / points)
        tl.store(state_p + 6 + one, of_field / points)
        odba = odba / kept if FUSED >= 4 else tl.zeros([1], tl.float64)
        tl.store(parts_p + 2 + one, odba.to(T))
        loss += of_odba * odba
        tl.store(state_p + 7 + one, of_odba / kept)
    if poison_p is not None:
        loss += tl.load(poison_p + one).to(tl.float64)
    tl.store(value_p + one, loss.to(T))


@triton.jit
def decidability_slopes(
    moments, gradient_p, formula_p, row, inside, numbers, SLOPE: tl.constexpr, FUSED: tl.constexpr
):  # fmt: skip
    """Gradient of the statistics. Counts have none: nothing reads it."""
    T: tl.constexpr = moments[0].dtype
    state_p, gradient = formula_p[3], tl.load(gradient_p).to(tl.float64)
    nothing, slopes = tl.zeros(row.shape, T), ()
    for kind in tl.static_range(2):
        of_mean, of_squares = nothing, nothing
        if FUSED == 0 or FUSED % 2 == 1:
            mean = tl.load(state_p + 3 * kind)
            shift, rate = tl.load(state_p + 3 * kind + 1) * gradient, tl.load(state_p + 3 * kind + 2) * gradient
            count = moments[3 * kind].to(tl.float64)
            of_mean = (count * (shift + 2.0 * rate * (moments[3 * kind + 1].to(tl.float64) - mean))).to(T)
            of_squares += rate.to(T)
        slopes = slopes + (nothing, of_mean, of_squares)
    if FUSED > 0:
        slopes = slopes + (nothing + (tl.load(state_p + 6) * gradient).to(T),)
        if FUSED >= 4:
            is_sample = row < number(numbers, SAMPLES, tl.float64).to(tl.int32)
            slopes = slopes + (tl.where(is_sample, (tl.load(state_p + 7) * gradient).to(T), 0.0),)
        else:
            slopes = slopes + (nothing,)
    return slopes
