"""``python -m tests.triton.table > docs/kernels.md``: what the compilers make of the kernels, and what a roofline says.

All of it is read off the compiler, but for what an H200 was found to do.
"""

from __future__ import annotations

import sys

import triton

from tests.triton.compiling import TARGETS
from tests.triton.every import configurations, small_sample, tiled_sample
from tests.triton.predict.__main__ import predictions
from tests.triton.predict.kernel import Prediction

PEAK, BANDWIDTH = 989e12, 4.8e12  # H200, from its data sheet: dense bfloat16 FLOP/s, bytes/s
SHAPES = ((128, 100, 512), (512, 11_318, 512), (4096, 1_000_000, 128))
POINTS, POINTS_DIM = 22_736, 512


INTRODUCTION = """\
# Kernels

Made by `python -m tests.triton.table > docs/kernels.md`, with triton {triton}. What was measured on an H200 is
named so; times of whole steps are in [benchmarks.md](benchmarks.md).

Five kernels serve every loss: `prepare` or, among points, `arrange` (reciprocal norms and what else lies beside the
vectors), `forward` and `backward` (tiles of scores), `values` (what backward reads of a row) and `combine` (gradients
of a split streamed side, added up in a fixed order). Where column j has class j, `prepare` resolves the labels. On
Hopper, programs of `prepare` and `values` leave vectors in float16, too (`kernels/parts.py`). Forward's programs are
counted as they end: the last of a block of rows merges its splits, in a fixed order too, and the last of all evaluates
the formula of the loss, whose slopes are computed in `values`. SoftTriple's regulariser has two kernels of its own,
PD-Loss's closed form five. What differs between losses are the device functions in `backends/triton/epilogues/` and
`formulas/`. A backward kernel owns rows (dX), columns (dW) or, among points, both ends of their pairs. Where no program
streams more than eight tiles, one launch (`both`) has programs for dX and others for dW. The native CUDA engine has
[a page of its own](cuda_engine.md).

Most tiles are plain: they hold no positive pair, no border and nothing ignored, and their epilogue masks nothing.
Labels decide which are, 32 tiles at a time, a bit each. A tile of the others takes several times as many instructions,
so columns of a class should lie together, and rows of given labels in their order.

For a sparse statistic (field, fused) forward keeps a bit for every 64 x 32 scores that have a slope, and backward
neither loads nor multiplies where there is none. Forward scores every tile: balls around the points of a tile, sorted
by class, would leave out none at the paper's sizes (of 15 or 2 proxies a class, even trained ones: a tile of 32 points
holds several classes), and every tile would pay for the question. They begin to tell at 60 trained points a class (5%
of the tiles; at 400, 78%).

A class of more than 32 centres in SoftTriple does not fit in a tile: the torch backend computes such losses. More than
16 spill up to 32 bytes a thread. In float64, which is for checks, the fused objective's backward spills up to 224
bytes. Backward of bfloat16 vectors of more than 256 numbers takes them whole on sm_90 and puts up to 320 bytes a thread
aside outside its loops; that is predicted to be three to five times as fast as slices, which score again. At "highest",
backward of float32 vectors of more than 256 numbers spills up to 640 bytes a thread in its loop, of more than 128 up to
104: predicted to be three times as fast as what does not. On sm_90 backward of the fused objective for float32 points
of more than 128 numbers spills up to 600 bytes a thread in its loop: timed, that is 2.5 times as fast as what does not.

Triton 3.6 or newer; 3.9 is tried too (`.ci/triton`): every kernel compiles, but some spill registers where 3.6 does
not. With 3.5 the kernels for NVIDIA compile, but AMD's split bfloat16 products, which float16 and, for most losses, the
precision "high" use, are not there.

`python -m tests.triton.every` compiles every configuration that ships ({count} calls of forward and backward) for four
targets and holds it against `tests/triton/limits.py`. The tests compile {small} of them, which have every target, every
type and matmul precision for each vendor, and every statistic for NVIDIA. `.ci/nightly` compiles {tiled}, which have
every statistic on every target, and all tiles of `plan.py`.

## Predicted

From the machine code, by `python -m tests.triton.predict`; its assumptions are in `tests/triton/predict/__init__.py`.
It is a prediction: optimistic about memory, without the last wave and the power limit. Slots are instructions of a
thread for each score of a plain tile, and of a masked one; the share is that of the tensor cores' peak, for a plain
tile; forward of the field, for one without a gradient. Backward counts one recomputation and one product a side.
`spilled` is in bytes a thread, of these in loops; blocks are those of a multiprocessor.

Beside it, what an H200 (matmul of bfloat16 775 to 800 TFLOP/s, of tf32 390 to 415) was found to do. 1024 x 100,000, of
the measured matmul rate; two halves of a pass that the L2 cache was emptied before:

| of the matmul rate: predicted, measured | forward | backward rows | backward columns |
| --- | --- | --- | --- |
| bf16, logsumexp, D = 128 | 44%, 32% | 63%, 58% | 42%, 39% |
| bf16, moments, D = 128 | 40%, 31% | 83%, 65% | 54%, 44% |
| bf16, divergence, D = 128 | 31%, 28% | 44%, 43% | |
| bf16, logsumexp, D = 512 | 32%, 37% | 41%, 58% | 39%, 48% |
| bf16, moments, D = 512 | 33%, 38% | 43%, 60% | 39%, 50% |

So the model ranks tiles well, and bfloat16's backward to a tenth or so. What it does not see of forward at D = 128:
positives lie where they lie, so some of the programs, which start all at once, hold more masked tiles than others and
end later; the counters showed multiprocessors idle for a quarter of the time. Where each row has one positive, such a
tile takes half the instructions now, and forward 102 us instead of 122 (moments 108 instead of 118).

float32 as below, in float16, was not measured, nor backward of float16 without tf32. What was is how float32 came
there. tf32 reached 37% of its matmul rate in forward (D = 128: 183 us; with three products of tf32, "highest", 659 us),
but tensor cores of Hopper want its second operand in one order only, and backward took it through registers: 775 and
879 us for rows and columns of D = 128, 8.4 and 8.1 ms of D = 512; at "highest" 2.8 and 2.6 ms, 29 and 24 ms. Halves are
not turned: with one float16 for scores and sums of two bfloat16 for gradients, four products instead of two as now, it
took 192 and 287 us, and 1.5 ms for rows of D = 512; at "highest", with nine products instead of six, 542 and 875 us of
D = 128. A spill counts for less than the model has it, a tile that is read again from L2 for more.\
"""
ARITHMETIC = f"""
## Arithmetic

bfloat16 on an H200 by its data sheet: {PEAK / 1e12:.0f} TFLOP/s, {BANDWIDTH / 1e12} TB/s. Operations are those of the
products: 2 B C D to score; backward scores again and multiplies, for each side. Bytes are inputs read and gradients
written once. The elementwise part comes on top: at D = 128 a tile's products take about as long as eight instructions
per score on the other units, so there it is the epilogue that sets the pace.

| B | C | D | pass | TFLOP | GB | time at the roofline | bound by |
| ---: | ---: | ---: | --- | ---: | ---: | ---: | --- |\
"""
REMARK = """
Vectors too long for one block of registers cost more than this model says: backward computes the scores again for
every slice of the gradient, where `tiles.py` has no row for whole vectors (`plan.py`: 256 bfloat16 numbers, 128 for
the fused objective).\
"""
HEADER = """
### {type_}, D = {dim}, {target}

| epilogue | kernel | tile | registers | spilled | blocks | slots | masked | share | bound |
| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |\
"""
SHOWN = ("logsumexp", "moments", "square", "divergence", "field")
PREDICTED = (
    ("bf16", 128, "sm_90", SHOWN),
    ("bf16", 256, "sm_90", ("logsumexp", "moments", "square")),
    ("bf16", 512, "sm_90", ("logsumexp", "moments", "square")),
    ("tf32", 128, "sm_90", ("logsumexp", "square")),
    ("bf16", 128, "sm_80", SHOWN),
)


def main() -> None:
    count = len(list(configurations(list(TARGETS))))
    show(
        INTRODUCTION.format(
            triton=triton.__version__, count=count, small=len(small_sample()), tiled=len(tiled_sample())
        )
    )
    for type_, dim, target, kinds in PREDICTED:
        show(HEADER.format(type_=type_, dim=dim, target=target))
        for kind in kinds:
            for one in predictions(kind, type_, dim, target):
                show(_row(kind, one))
    show(ARITHMETIC)
    for line in _roofline():
        show(line)
    show(REMARK)


def show(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _row(kind: str, one: Prediction) -> str:
    spilled = f"{one.spilled} / {one.spilled_in_loops}"
    numbers = f"{one.blocks} | {one.slots:.1f} | {one.masked_slots:.1f} | {one.share:.0%}"
    return f"| {kind} | {one.role} | {one.tile} | {one.registers} | {spilled} | {numbers} | {one.bound} |"


def _roofline() -> list[str]:
    lines = []
    for rows, columns, dim in SHAPES:
        inputs, product = 2 * (rows + columns) * dim, 2 * rows * columns * dim
        lines.append(_bound(f"{rows} | {columns} | {dim} | forward", product, inputs))
        lines.append(_bound(f"{rows} | {columns} | {dim} | backward, both sides", 4 * product, 3 * inputs))
    inputs, product = 2 * POINTS * POINTS_DIM, 2 * POINTS * POINTS * POINTS_DIM
    place = f"{POINTS} | points | {POINTS_DIM} | field"
    lines.append(_bound(f"{place}, forward", product, inputs))
    lines.append(_bound(f"{place}, backward, no tile has a gradient", product, 2 * inputs))
    lines.append(_bound(f"{place}, backward, every tile has a gradient", 2 * product, 2 * inputs))
    return lines


def _bound(name: str, operations: float, moved: float) -> str:
    compute, memory = operations / PEAK, moved / BANDWIDTH
    by = "products" if compute > memory else "memory"
    return f"| {name} | {operations / 1e12:.3g} | {moved / 1e9:.3g} | {max(compute, memory) * 1e6:,.2f} µs | {by} |"


if __name__ == "__main__":
    main()
