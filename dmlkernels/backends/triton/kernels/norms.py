"""What forward needs of each vector before it scores any: reciprocal norms beside other values, parts, small labels."""

from __future__ import annotations

import triton
import triton.language as tl

from dmlkernels.backends.triton.kernels.blocks import ignored_label, load_vectors
from dmlkernels.backends.triton.kernels.functions import cut_to_tf32
from dmlkernels.backends.triton.kernels.labels import IGNORED, check_numbers, resolve
from dmlkernels.backends.triton.kernels.parts import split
from dmlkernels.backends.triton.kernels.scalars import decoded, loop_bound

SHRINK = tl.constexpr(2.0**-650)


@triton.jit
def add_squares(total, shrunk_total, values, WIDE: tl.constexpr):
    """Squares in float64, where only those of a float64 row can overflow: these are also summed after a multiplication
    by a power of two."""
    values = values.to(tl.float64)
    total += tl.sum(values * values, 1)
    if WIDE:
        values *= SHRINK
        shrunk_total += tl.sum(values * values, 1)
    return total, shrunk_total


@triton.jit
def reciprocal_root(x):
    """1 / sqrt(x) for 1e-24 <= x < 2**300 to 43 bits, NaN of infinity. A float64 root and quotient take ten times as
    long: a step of Newton's method from float32's instruction does not."""
    large = x > 2.0**100
    x = tl.where(large, x * 2.0**-200, x)
    root = tl.rsqrt(x.to(tl.float32)).to(tl.float64)
    root *= 1.5 - 0.5 * x * root * root
    return tl.where(large, root * 2.0**-100, root)


@triton.jit
def reciprocal_of(total, shrunk_total, valid, T: tl.constexpr, WIDE: tl.constexpr):
    """1 / max(norm, 1e-12) to the digits of T, NaN where the norm is not finite, 0 where not valid."""
    if tl.float64 == T:
        norm = tl.sqrt(total)
        reciprocal = 1.0 / tl.where(norm < 1e-12, 1e-12, norm)
        if WIDE:
            shrunk_norm = tl.sqrt(shrunk_total)
            shrunk_reciprocal = tl.where(shrunk_norm == float("inf"), float("nan"), SHRINK / shrunk_norm)
            reciprocal = tl.where(norm == float("inf"), shrunk_reciprocal, reciprocal)
        else:
            reciprocal = tl.where(norm == float("inf"), float("nan"), reciprocal)
    else:
        reciprocal = tl.where(
            total == float("inf"), float("nan"), reciprocal_root(tl.where(total < 1e-24, 1e-24, total))
        )
    return tl.where(valid, reciprocal, 0.0)


@triton.jit
def squares_of(block, CUT: tl.constexpr, DIM: tl.constexpr, M: tl.constexpr, BLOCK_D: tl.constexpr):
    """What ``add_squares`` gives of a block's vectors, and its WIDE. CUT: of what tf32 leaves of them."""
    T: tl.constexpr = block[0].dtype.element_ty
    WIDE: tl.constexpr = tl.float64 == T
    total, shrunk_total = tl.zeros([M], tl.float64), tl.zeros([M], tl.float64)
    for start in tl.range(0, DIM, BLOCK_D):
        vectors = load_vectors(block, start, T, DIM, BLOCK_D)
        if CUT and tl.float32 == T:
            vectors = cut_to_tf32(vectors)
        total, shrunk_total = add_squares(total, shrunk_total, vectors, WIDE)
    return total, shrunk_total, WIDE


@triton.jit
def norms_of(
    block, T: tl.constexpr, DIM: tl.constexpr, M: tl.constexpr, BLOCK_D: tl.constexpr, CUT: tl.constexpr = False
):
    """Reciprocal norms of a block's vectors, float64 with the digits of T, 0 where not valid."""
    total, shrunk_total, WIDE = squares_of(block, CUT, DIM, M, BLOCK_D)
    return reciprocal_of(total, shrunk_total, block[3], T, WIDE)


@triton.jit
def are_counted(label_p, index, count, labelled, GROUP: tl.constexpr):
    """Which vectors there are and are not ignored; ``label_p`` is of each so many of them in turn, if any."""
    valid = index < count
    if label_p is not None:
        label = tl.load(label_p + index % labelled // GROUP, mask=valid, other=0)
        valid = valid & (label != ignored_label(label_p.dtype.element_ty))
    return valid


@triton.jit
def store_norms(
    p, out_p, parts_p, index, valid, count, pitch, stride, parts_stride,
    PARTS: tl.constexpr, CUT: tl.constexpr, DIM: tl.constexpr, M: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Of the vectors ``index``, zeros where not valid and up to ``pitch``. And PARTS of the unit vectors."""
    T: tl.constexpr = out_p.dtype.element_ty
    reciprocal = norms_of((p, tl.program_id(0) * 0, index, valid, stride), T, DIM, M, BLOCK_D, CUT)
    tl.store(out_p + index, reciprocal.to(T), mask=index < pitch)
    if PARTS > 0:
        split(
            tl.program_id(0) * 0, index, reciprocal.to(T), p, parts_p, count, stride, parts_stride, PARTS, DIM, BLOCK_D
        )


@triton.jit
def small_label(label, bound):
    """A label to compare with the numbers of ``bound`` columns, in 32 bits: what is no column's number stays none."""
    close = tl.maximum(tl.minimum(label, bound.to(label.dtype)), -1).to(tl.int32)
    return tl.where(label == ignored_label(label.dtype), ignored_label(tl.int32), close)


@triton.jit
def load_weights(weight_p, column, valid, num_columns, T: tl.constexpr):
    """Weights of columns: those given, or as much for each; zeros where not valid."""
    if weight_p is not None:
        return tl.load(weight_p + column, mask=valid, other=0.0).to(T)
    else:
        each = (1.0 / tl.maximum(num_columns, 1).to(tl.float64)).to(T)
        return tl.where(valid, each, tl.zeros(column.shape, T))


@triton.jit
def clear(words_p, num_words, SIZE: tl.constexpr):
    """Zero this program's share of so many words. In 64 bits: two million programs are more words than fit into 32."""
    begin, step = tl.program_id(0).to(tl.int64) * SIZE, tl.num_programs(0).to(tl.int64) * SIZE
    for start in tl.range(loop_bound(begin), loop_bound(num_words), loop_bound(step)):
        word = start + tl.arange(0, SIZE)
        tl.store(words_p + word, tl.zeros([SIZE], tl.int32), mask=word < num_words)


@triton.jit(do_not_specialize=["ignore_index"])
def prepare_kernel(
    x_p, w_p, x_label_p, w_label_p, given_p, weight_p,  # given: (R, GIVEN) values of rows; weight: of columns
    x_out_p, w_out_p, small_p, words_p,  # as in Saved
    resolved_p, poison_p,  # of the labels of rows, unless they are resolved
    x_parts_p, w_parts_p, sizes, strides, ignore_index,  # strides: of x, of w, of the parts of each, of given
    GIVEN: tl.constexpr, WEIGHTED: tl.constexpr, PARTS: tl.constexpr, GROUP: tl.constexpr, CUT: tl.constexpr,
    DIM: tl.constexpr, M: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Everything that forward keeps of rows and columns; the first programs take the rows. ``sizes``: labelled rows,
    rows, their pitch, columns, their pitch, labels of columns, words of flags. One more program checks labels that are
    yet to be resolved."""
    labelled, num_rows, x_pitch, num_columns, w_pitch, num_labels, num_words = decoded(sizes)
    T: tl.constexpr = x_out_p.dtype.element_ty
    blocks = tl.cdiv(x_pitch, M)
    if words_p is not None:
        clear(words_p, num_words, 1024)
    if tl.program_id(0) < blocks:
        row = tl.program_id(0) * M + tl.arange(0, M)
        if resolved_p is None:
            valid = are_counted(x_label_p, row, num_rows, labelled, 1)
        else:
            label, ignored = resolve(x_label_p, resolved_p, row, row < labelled, ignore_index)
            label = tl.where(ignored, IGNORED, label)
            valid = (row < num_rows) & (label != IGNORED)
        store_norms(
            x_p, x_out_p, x_parts_p, row, valid, num_rows, x_pitch, strides[0], strides[2], PARTS, CUT, DIM, M, BLOCK_D
        )
        for k in tl.static_range(GIVEN):
            value = tl.load(given_p + row * strides[4] + k * strides[5], mask=row < num_rows, other=0.0)
            tl.store(x_out_p + (k + 1) * x_pitch.to(tl.int64) + row, value.to(T), mask=row < x_pitch)
        if small_p is not None:
            if resolved_p is None:
                label = tl.load(x_label_p + row, mask=row < labelled, other=0)
            tl.store(small_p + row, small_label(label, num_labels), mask=row < labelled)
    elif poison_p is not None and tl.program_id(0) == tl.num_programs(0) - 1:
        check_numbers(x_label_p, poison_p, labelled, num_labels, ignore_index, False, 1024)
    else:
        column = (tl.program_id(0) - blocks) * M + tl.arange(0, M)
        valid = are_counted(w_label_p, column, num_columns, num_columns, GROUP)
        store_norms(
            w_p, w_out_p, w_parts_p, column, valid, num_columns, w_pitch, strides[1], strides[3],
            PARTS, CUT, DIM, M, BLOCK_D,
        )  # fmt: skip
        if WEIGHTED:
            weight = load_weights(weight_p, column, column < num_columns, num_columns, T)
            tl.store(w_out_p + w_pitch + column, weight, mask=column < w_pitch)
