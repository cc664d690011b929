"""No loss launches more on a GPU than its row of the table says; the rule of counting is ``counting.py``'s."""

from __future__ import annotations

from itertools import product

import pytest
import torch

pytest.importorskip("triton")

from dmlkernels.backends.formulas import Loss as FormulaLoss
from dmlkernels.backends.formulas import LossGradient, memory
from dmlkernels.backends.pairs import Forward, Pairs
from dmlkernels.backends.triton import formulas, layout
from dmlkernels.backends.triton import labels as label_kernels
from dmlkernels.backends.triton.formulas.rows import ROW_FORMULAS
from dmlkernels.backends.triton.kernels.gradient_block import BOTH, ROWS
from dmlkernels.backends.triton.plan import Architecture
from dmlkernels.backends.triton.problem import Problem
from dmlkernels.backends.triton.saved import saved_size, split
from dmlkernels.backends.triton.schedule import backward_schedule
from dmlkernels.functional.decidability import FORMS
from dmlkernels.statistics import Fused, LogSumExp, Moments
from tests.losses import LOSSES, Loss
from tests.triton.compiling import compiled
from tests.triton.counted import LARGE, SHAPES, Shape, count_loss
from tests.triton.counting import count
from tests.triton.launches import FIELD

MOST = {  # small, large
    "pd": (5, 12),
    "decidability": (7, 7),
    "field": (8, 10),
    "field_alone": (7, 7),
    "odba": (5, 5),
    "symmetric_kl": (7, 7),
    "fused": (8, 10),
    "anchor": (6, 10),  # so many proxies are shared out among programs
    "softmax": (5, 7),
    "nca": (5, 7),
    "cosface": (5, 7),
    "arcface": (5, 7),
    "soft_triple": (10, 10),
    "sub_center": (7, 7),
    "adaface": (8, 10),
    "magface": (9, 11),
    "curricular": (8, 10),
    "circle": (5, 7),
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_launches_of_a_step(loss: Loss, shape: Shape) -> None:
    found = count_loss(loss, shape)
    assert found.total <= MOST[loss.name][shape is LARGE], str(found)


@pytest.mark.parametrize("target", ["sm_80"])
def test_formulas_compile(target: str) -> None:
    numbers = (1.0, 0.0, 0.01, 1e-6, 1.0, 1.0, 1.0, 1.0, 3.0)
    given = [(name, 2, numbers[:6]) for name in ROW_FORMULAS]
    given += [(f"decidability_{form}", 6, numbers[:5]) for form in FORMS] + [("fused_neg", 8, numbers)]
    with compiled(target) as found:
        for name, width, options in given:
            statistics = torch.empty(9, width, device="meta")
            per_row, poison = torch.empty(9, device="meta"), torch.empty((), device="meta")
            values = per_row[:, None] if name in ("turned", "magnified") else None
            labels, weight = per_row.long(), per_row
            added = per_row if name == "cross_entropy" else None
            made = memory(name, statistics, statistics.dtype)
            wanted = FormulaLoss(name, options, values, added, labels, weight, poison, True, *made)
            formulas.evaluate(wanted, statistics)
            loss = LossGradient(name, options, values, labels, weight, wanted.state, poison, values)
            formulas.backward(loss, statistics)
            prepare_backward(loss, statistics)
    # Forward, the gradient by itself and where it is read; all forms of decidability share the latter.
    assert len(found) == 3 * len(ROW_FORMULAS) + len(FORMS) + 1 + 2 + 2
    # NVIDIA's sine and cosine set 32 bytes aside for arguments above 1e5: of two formulas. One has 8 more.
    spilled = [one.spilled for one in found if one.spilled]
    assert len(spilled) <= 6 and max(spilled, default=0) <= 40


def prepare_backward(loss: LossGradient, statistics: torch.Tensor) -> None:
    """What comes before the scores of backward."""
    statistic = {2: LogSumExp(1.0, 1.0), 6: Moments(), 8: Fused(*FIELD)}[statistics.shape[1]]
    points, within = torch.empty(9, 4, device="meta"), isinstance(statistic, Fused)
    pairs = Pairs(statistic, points, None if within else points, loss.labels, within=within)
    forward = Forward(statistics, points.new_empty(saved_size(pairs.shape)))
    plan = backward_schedule(pairs.shape, Architecture("cuda", 80), "highest", BOTH if within else ROWS)
    Problem.restore(pairs, forward, loss, plan, None)


def test_the_rule() -> None:
    def step() -> torch.Tensor:
        x = torch.empty(8, 4, device="meta", requires_grad=True)
        first, second = x[:, 0], x.unbind(1)[1]  # views
        return (first * second.detach()).sum()

    found = count(step)
    assert found.forward == ["mul", "sum"]
    assert found.backward == ["ones_like", "mul", "select_backward"]  # the first is the gradient of the loss


@pytest.mark.parametrize("target", ["sm_90"])
def test_labels_compile(target: str) -> None:
    with compiled(target) as found:
        for dtype, classes in product((torch.int64, torch.uint8), (None, torch.empty(7, dtype=torch.int64))):
            given = None if classes is None else classes.to("meta")
            label_kernels.resolve(torch.empty(9, dtype=dtype, device="meta"), given, 7, -100, 1)
        points = torch.empty(9, 4, device="meta")
        row_labels = torch.empty(9, dtype=torch.int64, device="meta")
        for pairs in (
            Pairs(Fused(*FIELD), points, points, row_labels, within=True),
            Pairs(Fused(*FIELD), points, points, row_labels, row_labels, within=True),
            Pairs(LogSumExp(1.0, 1.0), points, points, row_labels),
        ):
            saved = split(pairs.shape, points.new_empty(saved_size(pairs.shape)))
            layout.prepare(pairs, saved)
        for given in (row_labels, row_labels.to(torch.uint8)):  # of the last of these
            layout.prepare(pairs, saved, raw=label_kernels.RawLabels.of(given, -100))
    assert len(found) == 9 and not any(one.spilled for one in found)


def test_a_step_that_waits_for_the_device_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="meta"):
        count(lambda: torch.ones(2, device="meta", requires_grad=True).sum() * torch.ones(1, device="meta").item())
