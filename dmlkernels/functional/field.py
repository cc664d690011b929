"""The potential-field loss, and the field itself for plots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dmlkernels.backends.autocast import cat, is_mixed
from dmlkernels.distributed.agreement import Step, across_ranks, step_of
from dmlkernels.functional.checks import (
    check_choice,
    check_device,
    check_flag,
    check_labels,
    check_number,
    check_vectors,
)
from dmlkernels.functional.cosines import unit_rows
from dmlkernels.functional.inputs import ProxyInputs, proxy_inputs
from dmlkernels.functional.sample_labels import sample_labels
from dmlkernels.ops import BEHIND, Formula, pair_loss, pair_statistics
from dmlkernels.statistics import IGNORED, Field, Tile
from dmlkernels.statistics.tile import MaskedPairs

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

REDUCTIONS = ("mean", "sum")
SMALLEST_DISTANCE = 1e-9  # its square and the inverse of that are normal float32 numbers
_TILE_ENTRIES = 2**18  # of the points x sources tile that potential_field works on


@across_ranks
def potential_field_loss(
    embeddings: Tensor,  # (B, D)
    labels: Tensor,  # (B,)
    proxies: Tensor | None = None,  # (C, D)
    *,
    proxy_labels: Tensor | None = None,  # (C,)
    alpha: float = 3.0,
    delta_att: float = 0.2,
    delta_rep: float = 0.2,
    reduction: str = "mean",
    unit_depth: bool = True,
    d_min: float = 1e-2,
    ignore_index: int = -100,
    backend: str = "auto",
    validate: bool = False,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    """Potential-field loss (PFML): every point attracts its class and repels the others, more the nearer they are.

    The points are the embeddings joined with all proxies. With d the L2 distance of two normalised points, floored at
    ``d_min``, the energy sums over all ordered pairs of distinct points::

        same class:       psi(d) = -max(d, delta_att)^-alpha
        different class:  psi(d) = +min(d, delta_rep)^-alpha

    Bhatnagar and Ahuja, Potential Field Based Deep Metric Learning, CVPR 2025, arXiv 2405.18560. The paper's raw energy
    is ``unit_depth=False, reduction="sum"``; its own self-pairs add only a constant.

    Args:
        embeddings: (B, D) samples of any scale; float16, bfloat16, float32 or float64.
        labels: (B,) class of each sample, integers; rows with ``ignore_index`` take no part.
        proxies: (C, D) proxies of any scale, or None for a field of the samples alone.
        proxy_labels: (C,) class of each proxy, several may share one; default 0 to C - 1.
        alpha: how fast the force decays, above 0. Any alpha is fine where (delta_rep / d)^alpha of the nearest
            different-class pair is in the range of the sum's dtype; beyond it the loss is infinite.
        delta_att, delta_rep: radius inside which a well is flat, and outside which a hill is flat; at least 1e-9.
        reduction: "mean" (ours) divides the energy by the number of points; "sum" does not.
        unit_depth: multiply the wells by delta_att^alpha and the hills by delta_rep^alpha (ours), so that values are
            of order 1 whatever alpha.
        d_min: floor of the distance (ours), at least 1e-9; no gradient below it.
        ignore_index: label of rows to leave out.
        backend: "auto", "torch", "triton" or "native".
        validate: check the labels on a GPU too, which synchronises; see ``validation``.
        process_group: ranks that each have a part of one batch, or None for this rank's samples alone. The ranks divide
            the pairs among them; points travel from rank to rank, proxies only if they are sharded. All ranks must call
            backward too.

    Returns:
        Scalar, float32; float64 if an input is float64. Distances are float32 or wider, also under autocast.

    Raises:
        ValueError: shapes, devices or options that do not fit; a label that is no proxy's class (on a GPU: NaN).
        TypeError: a wrong dtype.
        RuntimeError: the backend asked for cannot run here.

    Gradients: of embeddings and proxies, first order. It is exactly zero for same-class pairs nearer than ``delta_att``
    and different-class pairs further than ``delta_rep``, so most tiles of a large field cost nothing backward.

    Memory and determinism: O((B + C) D), no matrix of pairs. Repeatable bit for bit on one device.

    Example:
        >>> import torch
        >>> from dmlkernels import potential_field_loss
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
        >>> potential_field_loss(x, torch.tensor([0, 1]), reduction="sum")  # two hills, both flat this far out
        tensor(2., grad_fn=<...>)
    """
    statistic = checked_field(alpha, delta_att, delta_rep, d_min, unit_depth)
    check_choice("reduction", reduction, REDUCTIONS)
    if proxies is None and proxy_labels is not None:
        raise ValueError("proxy_labels: given without proxies")
    step = step_of(process_group)
    if step is not None:
        return _field_of_ranks(
            step, statistic, embeddings, labels, proxies, proxy_labels,
            reduction, ignore_index, backend, validate,
        )  # fmt: skip
    if proxies is None:
        point_labels, poison = sample_labels(
            embeddings, labels, ignore_index=ignore_index, backend=backend, validate=validate
        )
        return _sum_energies(
            statistic, embeddings, reduction, poison, backend=backend, row_labels=point_labels, within=True
        )
    inputs = proxy_inputs(
        embeddings, labels, proxies, proxy_labels,
        ignore_index=ignore_index, backend=backend, validate=validate, needs_samples=False,
        labels_proxies=BEHIND,
    )  # fmt: skip
    points, point_labels, mixed = joined_points(inputs)
    return _sum_energies(
        statistic, points, reduction, inputs.poison, backend=inputs.backend, row_labels=point_labels, within=True,
        mixed=mixed, row_boundaries=[embeddings.shape[0]],
    )  # fmt: skip


def _sum_energies(statistic: Field, points: Tensor, reduction: str, poison: Tensor, **pairs: Any) -> Tensor:
    formula = Formula("last", (1.0,))
    loss = pair_loss(formula, statistic, points, poison=poison, mean=reduction == "mean", **pairs)
    if loss is not None:
        return loss
    energies = pair_statistics(statistic, points, **pairs)
    return reduce_energy(energies.sum(), count_points(pairs["row_labels"]), reduction) + poison


def _field_of_ranks(
    step: Step,
    statistic: Field,
    embeddings: Tensor,
    labels: Tensor,
    proxies: Tensor | None,
    proxy_labels: Tensor | None,
    reduction: str,
    ignore_index: int,
    backend: str,
    validate: bool,
) -> Tensor:
    """The loss of the points of all ranks."""
    from dmlkernels.functional.shared_pairs import shared_pairs, shared_sample_pairs  # one process does without

    if proxies is None:
        shared = shared_sample_pairs(
            step, statistic, embeddings, labels, ignore_index=ignore_index, backend=backend, validate=validate
        )
    else:
        inputs = proxy_inputs(
            embeddings, labels, proxies, proxy_labels, ignore_index=ignore_index, backend=backend, validate=validate,
            needs_samples=False, process_group=step,
        )  # fmt: skip
        shared = shared_pairs(inputs, proxies, {(0, 0): statistic, (0, 1): statistic, (1, 1): statistic})
    return reduce_energy(shared.energy, shared.num_points, reduction) + shared.poison


def joined_points(inputs: ProxyInputs) -> tuple[Tensor, Tensor, bool]:
    """Samples above proxies, the labels of both, and whether halves met float32."""
    labels = inputs.point_labels
    if labels is None:
        labels = torch.cat((inputs.labels, inputs.labels_of_proxies))
    # cat promotes: half samples beside float32 proxies become float32, which rounds nothing.
    points = cat((inputs.embeddings, inputs.proxies))
    return points, labels, is_mixed(inputs.embeddings.dtype, inputs.proxies.dtype)


def count_points(labels: Tensor) -> Tensor:
    """How many are not ignored."""
    return (labels != IGNORED).sum()


def reduce_energy(energy: Tensor, num_points: Tensor, reduction: str) -> Tensor:
    """The loss from the energy of all ordered pairs."""
    return energy if reduction == "sum" else energy / num_points


def checked_field(alpha: float, delta_att: float, delta_rep: float, d_min: float, unit_depth: bool) -> Field:
    """The statistic with these options, which are checked."""
    check_flag("unit_depth", unit_depth)
    alpha = check_number("alpha", alpha, above=0)
    delta_att = check_number("delta_att", delta_att, above=0, at_least=SMALLEST_DISTANCE)
    delta_rep = check_number("delta_rep", delta_rep, above=0, at_least=SMALLEST_DISTANCE)
    d_min = check_number("d_min", d_min, above=0, at_least=SMALLEST_DISTANCE)
    return Field(alpha, delta_att, delta_rep, d_min, unit_depth)


def potential_field(
    points: Tensor,  # (N, D)
    labels: Tensor,  # (N,)
    sources: Tensor,  # (M, D)
    source_labels: Tensor,  # (M,)
    *,
    alpha: float = 3.0,
    delta_att: float = 0.2,
    delta_rep: float = 0.2,
    d_min: float = 1e-2,
    unit_depth: bool = True,
    normalize: bool = True,
) -> tuple[Tensor, Tensor]:
    """Potential and force at each point, for plots and tests.

    The potential is the sum of psi over all sources; a point that is its own source counts like any other pair. The
    force is minus its gradient with respect to the point taken as free in R^D, so forces among a set of points sum to
    zero. What moves a raw embedding x in the loss is its part along the sphere, ``(F - <F, x^> x^) / |x|``.

    Bhatnagar and Ahuja, CVPR 2025, arXiv 2405.18560.

    Args:
        points: (N, D) where to measure; any floating type.
        labels: (N,) class whose field is felt at each point.
        sources: (M, D) the points that make the field.
        source_labels: (M,) their classes.
        alpha, delta_att, delta_rep, d_min, unit_depth: as in ``potential_field_loss``.
        normalize: measure between points projected to the unit sphere, as the loss does; False takes points and
            sources where they are, for instance on a plane to plot.

    Returns:
        Potential (N,) and force (N, D), float32 or wider. Not differentiable.

    Raises:
        ValueError: shapes, devices or options that do not fit.
        TypeError: a wrong dtype.

    Memory and determinism: O(N D) and a block; repeatable bit for bit on one device.

    Example:
        >>> import torch
        >>> from dmlkernels import potential_field
        >>> point, source = torch.tensor([[0.0, 0.5]]), torch.tensor([[0.0, 0.0]])
        >>> _, force = potential_field(point, torch.tensor([0]), source, torch.tensor([0]), normalize=False)
        >>> bool(force[0, 1] < 0)  # pulled towards its class
        True
    """
    statistic = checked_field(alpha, delta_att, delta_rep, d_min, unit_depth)
    check_flag("normalize", normalize)
    check_vectors("points", points, allow_empty=True)
    check_vectors("sources", sources, allow_empty=True)
    check_labels("labels", labels, points, "points")
    check_labels("source_labels", source_labels, sources, "sources")
    check_device("sources", sources, points, "points")
    if points.shape[1] != sources.shape[1]:
        raise ValueError(f"sources: got {sources.shape[1]} dimensions, expected {points.shape[1]} as in points")
    dtype = torch.promote_types(torch.promote_types(points.dtype, sources.dtype), torch.float32)
    # In float64, where a score 1 - d^2 / 2 still tells d_min from zero.
    targets, origins = points.detach().double(), sources.detach().double()
    if normalize:
        targets, origins = unit_rows(targets), unit_rows(origins)
    potential, force = targets.new_zeros(len(points)), torch.zeros_like(targets)
    length = max(1, _TILE_ENTRIES // max(1, len(sources)))
    for start in range(0, len(points), length):
        span = slice(start, start + length)
        same = MaskedPairs(labels[span, None] == source_labels)
        squared = torch.cdist(targets[span], origins, compute_mode="donot_use_mm_for_euclid_dist").square()
        tile = Tile(1 - squared / 2, positives=same, not_negatives=same)
        potential[span] = statistic.fold(tile)[0]
        slope = statistic.slope(tile, potential[span, None], torch.ones_like(potential[span, None]))
        force[span] = targets[span] * slope.sum(1, keepdim=True) - slope @ origins
    return potential.to(dtype), force.to(dtype)
