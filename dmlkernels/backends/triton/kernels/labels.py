"""Labels as int64 with one mark for ignored rows, and whether any is no class."""

from __future__ import annotations

import triton
import triton.language as tl

from dmlkernels.backends.triton.kernels.scalars import loop_bound

IGNORED = tl.constexpr(-(2**63))


@triton.jit
def counted_rows(label_p, row, inside):
    """Which of the rows inside are not ignored."""
    if label_p is not None:
        return inside & (tl.load(label_p + row, mask=inside, other=IGNORED) != IGNORED)
    else:
        return inside


@triton.jit
def load_labels(label_p, place, inside, ignore_index):
    label = tl.load(label_p + place, mask=inside, other=0).to(tl.int64)
    return label, inside & (label == ignore_index)


@triton.jit
def check_given(class_p, poison_p, label, counted, num_classes, M: tl.constexpr, N: tl.constexpr):
    """Write NaN if a label that counts is none of the classes, or if a class is IGNORED."""
    known = tl.zeros([M], tl.int32)
    bad = tl.zeros([M], tl.int32)
    for start in tl.range(0, loop_bound(num_classes), N):
        other = start + tl.arange(0, N)
        there = other < num_classes
        known_class = tl.load(class_p + other, mask=there, other=0).to(tl.int64)
        same = (label[:, None] == known_class[None, :]) & there[None, :]
        known = tl.maximum(known, tl.max(same.to(tl.int32), 1))
        reserved = (known_class == IGNORED) & there
        bad = tl.maximum(bad, tl.max(reserved.to(tl.int32), 0))
    bad = tl.maximum(bad, ((known == 0) & counted).to(tl.int32))
    one = tl.arange(0, 1)
    tl.store(poison_p + one, tl.full([1], float("nan"), tl.float32), mask=(tl.max(bad, 0) > 0) & (one == 0))


@triton.jit
def resolve(label_p, out_p, place, inside, ignore_index):
    """Store labels as int64 with IGNORED for ``ignore_index``; return what they were, and which are ignored."""
    label, ignored = load_labels(label_p, place, inside, ignore_index)
    tl.store(out_p + place, tl.where(ignored, IGNORED, label), mask=inside)
    return label, ignored


@triton.jit
def check_numbers(label_p, poison_p, count, num_classes, ignore_index, ANY: tl.constexpr, M: tl.constexpr):
    """Write NaN if a label that counts is no number of a class, or is IGNORED where ANY class will do; else 0."""
    bad = tl.zeros([M], tl.int32)
    for start in tl.range(0, loop_bound(count), M):
        row = start + tl.arange(0, M)
        label, ignored = load_labels(label_p, row, row < count, ignore_index)
        wrong = label == IGNORED
        if not ANY:
            wrong = (label < 0) | (label >= num_classes)
        bad = tl.maximum(bad, (wrong & (row < count) & (ignored == 0)).to(tl.int32))
    one = tl.arange(0, 1)
    poison = tl.where(tl.max(bad, 0) > 0, float("nan"), 0.0)
    tl.store(poison_p + one, poison + tl.zeros([1], tl.float32))


@triton.jit(do_not_specialize=["count", "num_classes", "first", "ignore_index"])
def labels_kernel(
    label_p, class_p, out_p, poison_p, count, num_classes, first, ignore_index,
    CLASSES: tl.constexpr, JOINED: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """CLASSES: "counted" from 0, "given" by ``class_p``, or "any". The first program looks at all labels and writes
    ``poison``; if classes are given each looks at its own, and ``poison`` is zero before. JOINED writes the classes
    behind the labels, from ``first`` on, and IGNORED between."""
    place = tl.program_id(0) * M + tl.arange(0, M)
    inside = place < count
    label, ignored = resolve(label_p, out_p, place, inside, ignore_index)
    if JOINED:
        gap = (place >= count) & (place < first)
        tl.store(out_p + place, tl.full([M], IGNORED, tl.int64), mask=gap)
        column = place - first
        behind = (column >= 0) & (column < num_classes)
        if class_p is not None:
            tl.store(out_p + place, tl.load(class_p + column, mask=behind, other=0).to(tl.int64), mask=behind)
        else:
            tl.store(out_p + place, column.to(tl.int64), mask=behind)
    if CLASSES == "given":
        if tl.program_id(0) * M < count:  # else only classes are copied here
            check_given(class_p, poison_p, label, inside & (ignored == 0), num_classes, M, N)
    elif tl.program_id(0) == 0:
        check_numbers(label_p, poison_p, count, num_classes, ignore_index, CLASSES == "any", M)
