"""Formulas of the losses with a margin on the angle: cross-entropy of log-sum-exps of positives and negatives."""

from __future__ import annotations

import triton
import triton.language as tl

from dmlkernels.backends.triton.kernels.functions import always, sigmoid, softplus
from dmlkernels.backends.triton.kernels.scalars import number


@triton.jit
def sine_of(cosine):
    """Sine of an angle from 0 to pi, and its derivative by the cosine, where the gradient of the root is held. Several
    proxies of a class have a cosine above 1 together: there the sine stays 0."""
    EPS: tl.constexpr = 2.0**-52 if tl.float64 == cosine.dtype else 2.0**-23
    squared = (1.0 - cosine) * (1.0 + cosine)
    inverse = 1.0 / tl.sqrt(tl.maximum(squared, EPS))
    held = tl.where(squared >= EPS, 0.5 * inverse, tl.where(squared < 0.0, 0.0, inverse))
    return tl.maximum(squared, 0.0) * inverse, -2.0 * cosine * held


@triton.jit
def bend(cosine, cosine_of, sine_of_margin, offset):
    """The cosine with a margin added to its angle, or beyond theta = pi - margin the cosine less ``offset``; its
    derivative; the sine; and where it is the former."""
    sine, slope = sine_of(cosine)
    bent = cosine > -cosine_of
    value = tl.where(bent, cosine * cosine_of - sine * sine_of_margin, cosine - offset)
    return value, tl.where(bent, cosine_of - slope * sine_of_margin, 1.0), sine, bent


@triton.jit
def add_angle(positive, numbers):
    """Logit of the positives with the margin added to their angle, and its derivative."""
    T: tl.constexpr = positive.dtype
    scale, cosine_of, sine_of_margin, offset = (
        number(numbers, 0, T), number(numbers, 1, T), number(numbers, 2, T), number(numbers, 3, T),
    )  # fmt: skip
    value, derivative, _, _ = bend(positive / scale, cosine_of, sine_of_margin, offset)
    return scale * value, derivative


@triton.jit
def value_angle(statistics, numbers):
    positive, negative = statistics
    return (softplus(negative - add_angle(positive, numbers)[0]),), (always(positive),)


@triton.jit
def slope_angle(statistics, numbers):
    positive, negative = statistics
    logit, derivative = add_angle(positive, numbers)
    slope = sigmoid(negative - logit)
    return (-slope * derivative, slope), (always(positive),)


@triton.jit
def turn(positive, quality, numbers):
    """AdaFace's logit of the positives, and its derivative."""
    T: tl.constexpr = positive.dtype
    scale, margin = number(numbers, 0, T), number(numbers, 1, T)
    end, limit = number(numbers, 2, T), number(numbers, 3, T)  # of the angle, and its cosine
    cosine, angle = positive / scale, -margin * quality
    sine, slope = sine_of(cosine)
    turned = cosine * tl.cos(angle) - sine * tl.sin(angle)
    low = (angle < end) & (cosine > tl.cos(end - angle))
    high = (angle > -end) & (cosine < -tl.cos(end + angle))
    value = tl.where(low, limit, tl.where(high, -limit, turned))
    derivative = tl.where(low | high, 0.0, tl.cos(angle) - slope * tl.sin(angle))
    return scale * (value - margin * (1.0 + quality)), derivative


@triton.jit
def value_turned(statistics, numbers):
    positive, negative, quality = statistics
    return (softplus(negative - turn(positive, quality, numbers)[0]),), (always(positive),)


@triton.jit
def slope_turned(statistics, numbers):
    """The quality is held fixed."""
    positive, negative, quality = statistics
    logit, derivative = turn(positive, quality, numbers)
    slope = sigmoid(negative - logit)
    return (-slope * derivative, slope, tl.zeros_like(slope)), (always(positive),)


@triton.jit
def magnify(positive, given, numbers):
    """MagFace's logit of the positives and its regulariser; derivatives of the logit by the positives and by the norm,
    and of the regulariser by the norm."""
    T: tl.constexpr = positive.dtype
    scale, lower, upper = number(numbers, 0, T), number(numbers, 1, T), number(numbers, 2, T)
    margin, rate, weight = number(numbers, 3, T), number(numbers, 4, T), number(numbers, 5, T)
    norm = tl.minimum(tl.maximum(given, lower), upper)
    angle = margin + rate * (norm - lower)
    cosine_of, sine_of_angle = tl.cos(angle), tl.sin(angle)
    paper = angle * sine_of_angle >= 1.0 - cosine_of
    offset = tl.where(paper, angle * sine_of_angle, 1.0 - cosine_of)
    of_offset = sine_of_angle + tl.where(paper, angle * cosine_of, 0.0)
    cosine = positive / scale
    value, of_positive, sine, bent = bend(cosine, cosine_of, sine_of_angle, offset)
    of_angle = tl.where(bent, -cosine * sine_of_angle - sine * cosine_of, -of_offset)
    inside = (given >= lower) & (given <= upper)
    beside = weight * (norm / (upper * upper) + 1.0 / norm)
    of_beside = tl.where(inside, weight * (1.0 / (upper * upper) - 1.0 / (norm * norm)), 0.0)
    return scale * value, beside, of_positive, tl.where(inside, scale * of_angle * rate, 0.0), of_beside


@triton.jit
def value_magnified(statistics, numbers):
    positive, negative, norm = statistics
    logit, beside, _, _, _ = magnify(positive, norm, numbers)
    return (softplus(negative - logit) + beside,), (always(positive),)


@triton.jit
def slope_magnified(statistics, numbers):
    positive, negative, norm = statistics
    logit, _, of_positive, of_norm, of_beside = magnify(positive, norm, numbers)
    slope = sigmoid(negative - logit)
    return (-slope * of_positive, slope, of_beside - slope * of_norm), (always(positive),)
