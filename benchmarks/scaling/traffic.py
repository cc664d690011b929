"""What every rank gives to collectives and messages in one step: formulas, which a test holds to what is counted.

Even parts, float32 vectors, labels of classes 0 to C - 1, forward and backward with all gradients. On a mesh (data x
class) a line is the ranks that have the shards of one copy of the proxies.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.harness.traffic import Call
from dmlkernels.distributed.agreement import Numbers
from dmlkernels.statistics import Circle, Divergence, Fused, LogSumExp, Moments, RowLogSumExp, SubCenter

FLOAT, INT = 4, 8  # bytes
WIDTHS = {
    "pd_loss": Moments.width,
    "normalized_softmax_loss": LogSumExp.width,
    "proxy_nca_loss": LogSumExp.width,
    "cosface_loss": LogSumExp.width,
    "arcface_loss": LogSumExp.width,
    "sub_center_arcface_loss": SubCenter.width,
    "adaface_loss": LogSumExp.width,
    "magface_loss": LogSumExp.width,
    "curricularface_loss": RowLogSumExp.width,
    "adacos": RowLogSumExp.width,
    "circle_loss": Circle.width,
    "soft_triple_loss": LogSumExp.width,
    "symmetric_kl_loss": Divergence.width,
}
SUMS = {  # numbers of the sums over the samples, as they are added up over ranks
    "pd_loss": (4, 2), "symmetric_kl_loss": (1,), "odba_penalty": (1,), "proxy_anchor_loss": (3,),
    "adaface_loss": (2, 2, 2),
}  # fmt: skip
PAIRS = ("decidability_loss", "potential_field_loss", "fused_objective")
FIXED = ("decidability_loss", "odba_penalty", "symmetric_kl_loss")  # no proxies, or without gradient
ADAPTIVE = ("adacos", "curricularface_loss")  # with values of each row, and a running value beside those of the loss
GATHER, EXCHANGE, REDUCE, SEND, SHORT_GATHER = "_allgather_base_", "alltoall_base_", "allreduce_", "send", "allgather_"


@dataclass(frozen=True)
class Step:
    """Sizes of a step."""

    ranks: int
    rows: int  # B
    columns: int  # C
    dim: int  # D
    sharded: bool
    replicas: int = 1  # lines of the mesh, each with all proxies; of sharded proxies only

    @property
    def line(self) -> int:
        """Ranks of a line."""
        return self.ranks // self.replicas

    @property
    def own_rows(self) -> int:
        return self.rows // self.ranks

    @property
    def line_rows(self) -> int:
        return self.rows // self.replicas

    @property
    def own_columns(self) -> int:
        """Proxies that a rank holds if they are sharded."""
        return self.columns // self.line


def calls(name: str, step: Step) -> list[Call]:
    """Every call of a loss on one rank."""
    everyone = step.ranks
    found = [Call(GATHER, INT * len(Numbers._fields), everyone)]
    if name in PAIRS:
        found += _of_pairs(name, step)
    elif name == "proxy_anchor_loss":
        found += _of_proxies(step)
    elif name != "odba_penalty" and step.sharded:
        found += _of_statistics(name, step)
    if name not in PAIRS:
        found += [Call(REDUCE, FLOAT * number, everyone) for number in SUMS.get(name, (2,))]
    if name in ADAPTIVE:
        found += _of_running(name, step)
    if step.sharded and step.replicas > 1 and name not in FIXED:
        found.append(Call(REDUCE, step.own_columns * step.dim * FLOAT, step.replicas))  # the proxies' gradient
    return found


def _of_statistics(name: str, step: Step) -> list[Call]:
    """Of the samples with sharded proxies."""
    line, views = step.line, 2 if name == "symmetric_kl_loss" else 1
    found = _gathered(step, line, step.line_rows, views)
    if name != "symmetric_kl_loss":  # which reads no labels
        found.append(Call(GATHER, step.own_rows * INT, line))
    if name == "soft_triple_loss":  # the regulariser's sum
        found.append(Call(REDUCE, FLOAT, step.ranks))
    return found + _merged(step.line_rows, step.own_rows, WIDTHS[name], line)


def _of_running(name: str, step: Step) -> list[Call]:
    """The positive cosines or their mean, and what goes with them; values of rows to the shards."""
    line = step.line
    row_values = [Call(GATHER, step.own_rows * RowLogSumExp.num_row_values * FLOAT, line)]
    if name == "curricularface_loss":
        found = [Call(REDUCE, 2 * FLOAT, step.ranks)]
        if step.sharded:
            found += [*row_values, Call(EXCHANGE, step.line_rows * LogSumExp.width * FLOAT, line)]
        return found
    found = [Call(GATHER, INT * len(Numbers._fields), step.ranks), Call(GATHER, 3 * step.own_rows * FLOAT, step.ranks)]
    if step.sharded:  # negatives and positives, at the old scale
        found += [Call(GATHER, step.own_rows * INT, line), Call(GATHER, step.own_rows * step.dim * FLOAT, line)]
        found += 3 * row_values + 2 * [Call(EXCHANGE, step.line_rows * RowLogSumExp.width * FLOAT, line)]
    return found


def _of_proxies(step: Step) -> list[Call]:
    """Of Proxy-Anchor: a proxy is a row. Without shards each rank has part of every row's columns."""
    if not step.sharded:
        return _merged(step.columns, step.columns // step.ranks, LogSumExp.width, step.ranks)
    labels = [Call(GATHER, step.own_rows * INT, step.line)]
    if step.replicas > 1:
        labels.append(Call(GATHER, step.own_rows * INT, step.ranks))
    return labels + _gathered(step, step.ranks, step.rows)


def _gathered(step: Step, ranks: int, rows: int, views: int = 1) -> list[Call]:
    """Embeddings to all of some ranks, and the gradients back."""
    row = views * step.dim * FLOAT
    return [Call(GATHER, step.own_rows * row, ranks), Call(EXCHANGE, rows * row, ranks)]


def _merged(rows: int, own_rows: int, width: int, ranks: int) -> list[Call]:
    """Statistics to the owners of their rows; finished, and with their gradient, to all."""
    return [Call(EXCHANGE, rows * width * FLOAT, ranks), Call(GATHER, own_rows * 2 * width * FLOAT, ranks)]


def _of_pairs(name: str, step: Step) -> list[Call]:
    travels = step.sharded and name != "decidability_loss"
    sizes = [step.own_rows, *([step.columns // step.ranks] if travels else [])]
    block = [size for rows in sizes for size in (rows * step.dim * FLOAT, rows * INT)]
    gradient = [rows * step.dim * FLOAT for rows in sizes]
    labels = [Call(GATHER, step.own_rows * INT, step.line)] if travels else []
    half = step.ranks // 2  # steps of the ring: blocks forward and backward, gradients with them and once more home
    messages = [Call(SEND, size, step.ranks) for size in half * (2 * block + gradient)]
    return [*labels, *messages, Call(SHORT_GATHER, Fused.width * FLOAT, step.ranks)]
