"""What every rank gives to collectives and messages in one step: formulas, which a test holds to what is counted.

Even parts, float32 vectors, labels of classes 0 to C - 1, forward and backward with all gradients. On a mesh (data x
class) the collectives named ``line`` below are those of the ranks that have the shards of one copy of the proxies.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.harness.traffic import Call
from dmlkernels.distributed.agreement import Numbers
from dmlkernels.statistics import Divergence, Fused, LogSumExp, Moments

FLOAT, INT = 4, 8  # bytes
WIDTHS = {
    "pd_loss": Moments.width,
    "normalized_softmax_loss": LogSumExp.width,
    "proxy_nca_loss": LogSumExp.width,
    "cosface_loss": LogSumExp.width,
    "arcface_loss": LogSumExp.width,
    "soft_triple_loss": LogSumExp.width,
    "symmetric_kl_loss": Divergence.width,
}
SUMS = {  # numbers of the sums over the samples, as they are added up over ranks
    "pd_loss": (4, 2), "symmetric_kl_loss": (1,), "odba_penalty": (1,), "proxy_anchor_loss": (3,),
}  # fmt: skip
PAIRS = ("decidability_loss", "potential_field_loss", "fused_objective")
GATHER, EXCHANGE, REDUCE, SEND, SHORT_GATHER = "_allgather_base_", "alltoall_base_", "allreduce_", "send", "allgather_"


@dataclass(frozen=True)
class Step:
    """Sizes of a step."""

    ranks: int
    rows: int  # B
    columns: int  # C
    dim: int  # D
    sharded: bool

    @property
    def own_rows(self) -> int:
        return self.rows // self.ranks

    @property
    def own_columns(self) -> int:
        return self.columns // self.ranks


def calls(name: str, step: Step) -> list[Call]:
    """Every call of a loss on one rank."""
    found = [(GATHER, INT * len(Numbers._fields))]
    if name in PAIRS:
        found += _of_pairs(name, step)
    else:
        found += _of_statistics(name, step)
        found += [(REDUCE, FLOAT * number) for number in SUMS.get(name, (2,))]
    return [Call(operation, size, step.ranks) for operation, size in found]


def _of_statistics(name: str, step: Step) -> list[tuple[str, int]]:
    vectors = step.dim * FLOAT * (2 if name == "symmetric_kl_loss" else 1)
    gathered = [(GATHER, step.own_rows * vectors), (EXCHANGE, step.rows * vectors)]  # rows there, gradients back
    if step.sharded and name != "symmetric_kl_loss":  # which reads no labels
        gathered.append((GATHER, step.own_rows * INT))
    if name == "odba_penalty":
        return []
    if name == "proxy_anchor_loss":  # a proxy is a row: without shards each rank has part of every row's columns
        width = LogSumExp.width * FLOAT
        return gathered if step.sharded else _merged(step.columns, step.own_columns, width)
    if not step.sharded:
        return []
    spread = [(REDUCE, FLOAT)] if name == "soft_triple_loss" else []  # the regulariser's sum
    return gathered + _merged(step.rows, step.own_rows, WIDTHS[name] * FLOAT) + spread


def _merged(rows: int, own_rows: int, width: int) -> list[tuple[str, int]]:
    """Statistics to the owners of their rows; finished, and with their gradient, to all."""
    return [(EXCHANGE, rows * width), (GATHER, own_rows * 2 * width)]


def _of_pairs(name: str, step: Step) -> list[tuple[str, int]]:
    travels = step.sharded and name != "decidability_loss"
    sizes = [step.own_rows, *([step.own_columns] if travels else [])]
    block = [(SEND, size) for rows in sizes for size in (rows * step.dim * FLOAT, rows * INT)]
    gradient = [(SEND, rows * step.dim * FLOAT) for rows in sizes]
    labels = [(GATHER, step.own_rows * INT)] if travels else []
    half = step.ranks // 2  # steps of the ring: blocks forward and backward, gradients with them and once more home
    return labels + half * (2 * block + gradient) + [(SHORT_GATHER, Fused.width * FLOAT)]
