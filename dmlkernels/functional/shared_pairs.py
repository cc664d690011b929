"""Losses of pairs of points over the ranks of a process group, which divide the pairs among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dmlkernels import backends
from dmlkernels.distributed.agreement import Numbers, Step
from dmlkernels.distributed.division import own_spans
from dmlkernels.distributed.pair_blocks import ENERGY, MOMENTS, NUM_POINTS, Points
from dmlkernels.distributed.pairwise import pair_totals
from dmlkernels.distributed.parts import Parts
from dmlkernels.distributed.plan import Plan
from dmlkernels.distributed.schedule import Schedule
from dmlkernels.functional.checks import check_integer, check_labels, check_vectors
from dmlkernels.functional.inputs import ProxyInputs
from dmlkernels.functional.parts import PartInputs
from dmlkernels.functional.validation import should_check
from dmlkernels.ops import resolve_pair_labels
from dmlkernels.ops.labels import raise_if_unpaired
from dmlkernels.statistics import IGNORED, Statistic

_COUNTS = (NUM_POINTS, MOMENTS.start, MOMENTS.start + 3)  # of samples, of genuine and of impostor pairs


@dataclass(frozen=True)
class SharedPairs:
    """The sums over all pairs of the points of all ranks, the same bits on each."""

    totals: Tensor  # (TOTAL,)
    num_proxies: int

    @property
    def moments(self) -> Tensor:  # (1, 6)
        """Moments of genuine and impostor pairs, each counted once."""
        return self.totals[None, MOMENTS]

    @property
    def energy(self) -> Tensor:
        """Sum over all ordered pairs."""
        return 2 * self.totals[ENERGY]

    @property
    def num_points(self) -> Tensor:
        """Samples that are not ignored, and proxies. NaN if a rank's labels are not what they must be."""
        return self.totals[NUM_POINTS].detach() + self.num_proxies

    @property
    def poison(self) -> Tensor:
        """NaN if ``num_points`` is NaN, else 0: add it to the loss."""
        return self.num_points * 0


def shared_sample_pairs(
    step: Step,
    statistic: Statistic,
    embeddings: Tensor,
    labels: Tensor,
    *,
    ignore_index: int,
    backend: str,
    validate: bool,
    needs_pairs: bool = False,
    correction: int = 0,
) -> SharedPairs:
    """Check the arguments of a loss of the samples alone, on all ranks, and sum over the pairs of their samples.

    Args:
        needs_pairs: an error without a same-class pair or without a different-class pair, of any two ranks.
        correction: an error if there are no more pairs of either kind than that.
    """
    check_vectors("embeddings", embeddings, allow_empty=True)
    check_labels("labels", labels, embeddings, "embeddings")
    check_integer("ignore_index", ignore_index)
    backends.resolve(backend, embeddings.device.type, statistic.name)
    resolved, poison = resolve_pair_labels(labels, ignore_index, False, False, 0)
    parts = Parts(step.ranks, step.agree(Numbers(rows=labels.shape[0])))
    shared = _sum(parts, {(0, 0): statistic}, backend, [Points(embeddings, resolved)], [], True, poison)
    if should_check(embeddings.device.type, validate):
        counts = shared.totals[list(_COUNTS)]
        if not counts.isnan().any():
            samples, genuine, impostors = map(int, counts)
            raise_if_unpaired(samples, genuine, impostors, needs_pairs, correction)
    return shared


def shared_pairs(inputs: ProxyInputs, proxies: Any, statistics: dict[tuple[int, int], Statistic]) -> SharedPairs:
    """Sum over the pairs of all samples and proxies.

    Args:
        inputs: this rank's.
        proxies: as the loss was given them.
        statistics: as ``Schedule`` takes them.
    """
    assert isinstance(inputs, PartInputs)
    parts = inputs.parts
    spans = own_spans(proxies, parts.ranks, [told.columns for told in parts.everyone])
    labels = inputs.proxy_labels
    if labels is None:
        first = 0 if parts.shard is None else parts.shard.first
        labels = torch.arange(first, first + inputs.proxies.shape[0], device=inputs.proxies.device)
    columns = Points(inputs.proxies, labels)
    travel = parts.shard is not None
    if travel:
        columns = columns.cut(spans[parts.ranks.rank])
    return _sum(
        parts, statistics, inputs.backend, [Points(inputs.embeddings, inputs.labels), columns],
        [span.stop - span.start for span in spans], travel, inputs.poison, proxies.shape[0],
    )  # fmt: skip


def _sum(
    parts: Parts,
    statistics: dict[tuple[int, int], Statistic],
    backend: str,
    points: list[Points],
    columns: list[int],  # proxies of each rank's own; none without proxies
    proxies_travel: bool,
    poison: Tensor,
    num_proxies: int = 0,
) -> SharedPairs:
    if parts.num_rows == 0:
        raise ValueError("embeddings: got no row on any rank, expected at least one")
    rows = [told.rows for told in parts.everyone]
    sizes = tuple(zip(rows, columns, strict=True) if columns else ((size,) for size in rows))
    # A rank's own points get ``size`` times the gradient of one process, and of proxies that all have the mean counts.
    plan = Plan(
        parts.ranks.group,
        Schedule(parts.ranks.rank, sizes, statistics),
        backend,
        proxies_travel,
        tuple(of_kind.vectors.requires_grad and torch.is_grad_enabled() for of_kind in points),
        float(parts.ranks.size),
    )
    num_samples = (points[0].labels != IGNORED).sum() + poison
    return SharedPairs(pair_totals(plan, points, num_samples), num_proxies)
