"""``python -m tests.triton.counted > docs/launches.md``: GPU launches a step of every loss, before and now."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from tests import problem
from tests.losses import LOSSES, Loss
from tests.triton.counting import Launches, count

COUNTED = (
    "pd", "decidability", "field", "field_alone", "odba", "symmetric_kl", "fused", "anchor", "softmax", "nca",
    "cosface", "arcface", "soft_triple",
)  # fmt: skip
"""Losses that were there before."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a batch, and launches of ``COUNTED`` at it before they were cut down."""

    name: str
    batch: int
    classes: int
    dim: int
    before: tuple[int, ...]

    def __str__(self) -> str:
        return self.name


SMALL = Shape("small", 128, 100, 512, (94, 103, 59, 49, 16, 31, 157, 47, 44, 44, 45, 86, 102))
LARGE = Shape("large", 1024, 100_000, 128, (2862, 104, 57, 50, 16, 32, 155, 46, 44, 44, 45, 86, 5048))
SHAPES = (SMALL, LARGE)
# Host time of a step, before and after, in microseconds: when launches were cut down, since they are remembered, since
# a loss is one op, and since launches are joined.
CUT_DOWN = {
    "pd": (1485, 1166), "decidability": (1495, 1053), "field": (1437, 1161), "field_alone": (1250, 1075),
    "odba": (1007, 1015), "symmetric_kl": (1170, 1024), "fused": (2200, 1260), "anchor": (1263, 1179),
    "softmax": (1255, 1178), "nca": (1248, 1174), "cosface": (1262, 1183), "arcface": (1498, 1188),
    "soft_triple": (2262, 1499),
}  # fmt: skip
REMEMBERED = {
    "pd": (767, 585), "decidability": (682, 541), "field": (827, 655), "field_alone": (713, 580),
    "odba": (755, 739), "symmetric_kl": (708, 540), "fused": (856, 699), "anchor": (765, 615),
    "softmax": (790, 587), "nca": (800, 589), "cosface": (766, 595), "arcface": (799, 621),
    "soft_triple": (1005, 783), "sub_center": (803, 623), "adaface": (937, 728), "magface": (1012, 822),
    "curricular": (909, 677), "circle": (780, 600),
}  # fmt: skip
ONE_OP = {
    "pd": (677, 488), "decidability": (643, 513), "field": (743, 540), "field_alone": (679, 551), "odba": (697, 742),
    "symmetric_kl": (616, 445), "fused": (918, 624), "anchor": (842, 530), "softmax": (785, 545), "nca": (734, 482),
    "cosface": (732, 485), "arcface": (734, 510), "soft_triple": (912, 685), "sub_center": (759, 516),
    "adaface": (850, 645), "magface": (1006, 761), "curricular": (939, 657), "circle": (1101, 633),
}  # fmt: skip
AT_ONCE = {
    "pd": (442, 394), "decidability": (436, 415), "field": (516, 490), "field_alone": (454, 432),
    "odba": (704, 687), "symmetric_kl": (409, 386), "fused": (574, 553), "anchor": (477, 421),
    "softmax": (453, 399), "nca": (445, 395), "cosface": (448, 399), "arcface": (461, 408),
    "soft_triple": (628, 541), "sub_center": (480, 453), "adaface": (578, 528), "magface": (660, 608),
    "curricular": (566, 487), "circle": (449, 396),
}  # fmt: skip
ATOMS = 64


def make_problem(
    shape: Shape, dtype: torch.dtype = torch.float32, proxy_dtype: torch.dtype | None = None
) -> problem.Problem:
    """Tensors of these sizes without memory."""

    def vectors(count: int, dtype: torch.dtype) -> Tensor:
        return torch.empty(count, shape.dim, dtype=dtype, device="meta", requires_grad=True)

    def per_row(count: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(count, dtype=dtype, device="meta")

    proxy_dtype = proxy_dtype or dtype
    return replace(
        problem.make_problem("plain", torch.float32),
        embeddings=vectors(shape.batch, dtype),
        intervened=vectors(shape.batch, dtype),
        labels=per_row(shape.batch, torch.int64),
        proxies=vectors(shape.classes, proxy_dtype),
        centers=vectors(shape.classes * problem.CENTERS_PER_CLASS, proxy_dtype),
        atoms=vectors(ATOMS, proxy_dtype).detach(),
        active=per_row(ATOMS, torch.bool),
        prior=per_row(ATOMS),
        weight=per_row(shape.batch),
    )


def count_loss(loss: Loss, shape: Shape) -> Launches:
    """Of one step, forward and backward, all gradients."""
    given = make_problem(shape)
    return count(lambda: loss(given))


def rows() -> Iterator[str]:
    for loss in LOSSES:
        cells = [f"`{loss.function}`" + (", samples alone" if loss.name == "field_alone" else "")]
        for shape in SHAPES:
            before = dict(zip(COUNTED, shape.before, strict=True)).get(loss.name, "")
            found = count_loss(loss, shape)
            cells += [str(number) for number in (before, len(found.forward), len(found.backward), found.total)]
        yield f"| {' | '.join(cells)} |"


HEAD = """\
# Launches

Made by `python -m tests.triton.counted > docs/launches.md`. Counted without a GPU; what was measured on
one stands at the end.

What a GPU launches in one step, forward and backward with all gradients, labels of classes 0 to C - 1, float32. A
kernel of this package counts as one, and so does each operation of PyTorch that computes or copies (a sort as three, a
scatter that adds up in a fixed order as seven); views and allocations count as nothing. One of them, backward, is
autograd's own: it fills the gradient of the loss with 1. SoftTriple and MagFace have two such: autograd also adds up
the two gradients of the centres, and of the embeddings, whose norm is in the loss. The rule is
`tests/triton/counting.py`, and a test holds every loss to its number.

Small is (B, C, D) = (128, 100, 512), large (1024, 100000, 128), with 64 atoms and two centres a class. PD-Loss at the
large shape is the closed form, which launches as much at any C.

| loss | small: before | forward | backward | now | large: before | forward | backward | now |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""


HOST = """

## Host time

Host time of a step, without a GPU (`python -m tests.triton.host_time`), after / before: when launches were cut down;
since what is launched for a shape, and what Triton compiled for a kind of arguments, are looked up and not found out at
every step; since a loss is one op each way, which eager calls reach past PyTorch's dispatcher, and its labels and
slopes are no launches of their own; and since forward's launch finds the loss, one launch both gradients of a small
batch, and autograd is told of nothing else. On one shared CPU core, medians of seven runs of either version (of one op,
of eleven, on a noisier machine; of the last, of nine), interleaved, each the lower quartile of 60 steps. What Triton
does in Python at a launch is in it, the driver's call is not, nor what a launch of an operation of PyTorch costs on a
GPU, nor questions to the CUDA runtime. D is 64, at which ODBA is a closed form in PyTorch's operations.

| loss | launches cut down | remembered | one op | joined | all |
| --- | ---: | ---: | ---: | ---: | ---: |
"""


MEASURED = """
On an H200, in a virtual machine whose processor is slower, before the last two of these changes (torch 2.11, triton
3.6, small, bfloat16, host and device together, medians of seven times 100 steps):

| loss | ours | plain PyTorch |
| --- | ---: | ---: |
| `pd_loss` | 1.95 ms | 2.29 ms |
| `normalized_softmax_loss` | 2.01 ms | 1.28 ms |
| `proxy_anchor_loss` | 1.83 ms | 2.24 ms |

The host sets that pace: the kernels of the softmax take 50 us, as does the step when it is replayed as a CUDA graph
([training.md](training.md#cuda-graphs)).
"""


def host_rows() -> Iterator[str]:
    for name in REMEMBERED:
        steps = [of.get(name) for of in (CUT_DOWN, REMEMBERED, ONE_OP, AT_ONCE)]
        ratios = [None if step is None else step[1] / step[0] for step in steps]
        cells = ["" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
        cells.append("" if None in ratios else f"{prod(ratio for ratio in ratios if ratio):.2f}")
        yield f"| `{name}` | {' | '.join(cells)} |"


def main() -> None:
    sys.stdout.write(HEAD + "\n".join(rows()) + "\n" + HOST + "\n".join(host_rows()) + "\n" + MEASURED)


if __name__ == "__main__":
    main()
