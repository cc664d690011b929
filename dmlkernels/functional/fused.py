"""PD-Loss, potential field and ODBA penalty from one pass over the scores."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from dmlkernels.distributed.agreement import across_ranks
from dmlkernels.functional.checks import check_choice, check_number
from dmlkernels.functional.decidability import (
    check_decidability_options,
    decidability_formula,
    decidability_objective,
)
from dmlkernels.functional.field import REDUCTIONS, checked_field, count_points, joined_points, reduce_energy
from dmlkernels.functional.inputs import ProxyInputs, proxy_inputs
from dmlkernels.functional.odba import check_odba_options, weighted_atoms
from dmlkernels.ops import BEHIND, Formula, pair_loss_and_parts, pair_statistics
from dmlkernels.statistics import Field, Fused, Moments, Square

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

PARTS = ("pd", "field", "odba")
"""Names of the terms."""


@partial(across_ranks, parts=PARTS)
def fused_objective(
    embeddings: Tensor,  # (B, D)
    labels: Tensor,  # (B,)
    proxies: Tensor,  # (C, D)
    atoms: Tensor | None = None,  # (K, D)
    *,
    pd_weight: float = 1.0,
    field_weight: float = 0.0,
    odba_weight: float = 0.0,
    proxy_labels: Tensor | None = None,  # (C,)
    form: str = "neg_log",
    temperature: float = 1.0,
    correction: int = 0,
    min_gap: float = 0.01,
    eps: float = 1e-6,
    alpha: float = 3.0,
    delta_att: float = 0.2,
    delta_rep: float = 0.2,
    reduction: str = "mean",
    unit_depth: bool = True,
    d_min: float = 1e-2,
    prior: Tensor | None = None,  # (K,)
    active: Tensor | None = None,  # (K,) bool
    ignore_index: int = -100,
    backend: str = "auto",
    validate: bool = False,
    process_group: ProcessGroup | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Weighted sum of PD-Loss, potential-field loss and ODBA penalty.

    ``pd_weight * pd_loss + field_weight * potential_field_loss + odba_weight * odba_penalty``, equal to the three
    apart. With a field each score is computed once forward and once backward for all three. Without one nothing is
    shared, since proxies and atoms are different columns, and each part is evaluated in its own cheapest way.

    Args:
        embeddings: (B, D) samples of any scale; float16, bfloat16, float32 or float64.
        labels: (B,) class of each sample, integers; rows with ``ignore_index`` take no part in any term.
        proxies: (C, D) proxies of any scale.
        atoms: (K, D) dictionary atoms, needed for a non-zero ``odba_weight``.
        pd_weight, field_weight, odba_weight: a part with weight 0 is neither computed nor checked, and reported as 0.
        proxy_labels, form, temperature, correction, min_gap, eps: as in ``pd_loss``.
        alpha, delta_att, delta_rep, reduction, unit_depth, d_min: as in ``potential_field_loss``.
        prior, active: as in ``odba_penalty``, whose reduction is "mean".
        ignore_index, backend, validate: as in ``pd_loss``.
        process_group: ranks that each have a part of one batch, or None for this rank's samples alone. With a field the
            ranks divide the pairs among them, as in ``potential_field_loss``, and all must call backward too.

    Returns:
        The total, and the detached parts ``{"pd", "field", "odba"}`` before weighting; scalars, float32, or float64 if
        an input is float64.

    Raises:
        ValueError: as the three losses; ``odba_weight`` without atoms.
        TypeError: a wrong dtype.
        RuntimeError: the backend asked for cannot run here.

    Gradients: of embeddings and proxies, first order.

    Memory and determinism: O((B + C + K) D). Repeatable bit for bit on one device.

    Example:
        >>> import torch
        >>> from dmlkernels import fused_objective
        >>> x, proxies = torch.randn(4, 8), torch.randn(3, 8)
        >>> total, parts = fused_objective(x, torch.tensor([0, 1, 2, 0]), proxies, pd_weight=1.0, field_weight=0.5)
        >>> sorted(parts)
        ['field', 'odba', 'pd']
    """
    weights = dict(zip(PARTS, (pd_weight, field_weight, odba_weight), strict=True))
    weights = {name: check_number(f"{name}_weight", weight) for name, weight in weights.items()}
    min_gap, eps = check_decidability_options(form, correction, min_gap, eps)
    temperature = check_number("temperature", temperature, above=0)
    field = checked_field(alpha, delta_att, delta_rep, d_min, unit_depth)
    check_choice("reduction", reduction, REDUCTIONS)
    used = {name for name, weight in weights.items() if weight}  # dynamo of torch 2.6 has no bool() of what varies
    wants_pd, wants_field = "pd" in used, "field" in used
    inputs = proxy_inputs(
        embeddings, labels, proxies, proxy_labels, ignore_index=ignore_index, backend=backend, validate=validate,
        needs_samples=wants_pd or "odba" in used, needs_impostors=wants_pd,
        correction=correction if wants_pd else 0, process_group=process_group,
        labels_proxies=BEHIND if wants_field else 0,
    )  # fmt: skip
    atoms, atom_weight = _dictionary(inputs, atoms, prior, active, odba_weight)

    wanted = field if wants_field else None
    if inputs.is_spread and wanted is not None:
        sums = _sums_of_ranks(inputs, proxies, atoms, atom_weight, wanted, wants_pd)
    elif wanted is not None:
        points, point_labels, mixed = joined_points(inputs)
        joint = Fused(*wanted.parameters())
        pairs: dict[str, Any] = {
            "backend": backend, "row_labels": point_labels, "column_weights": atom_weight, "within": True,
            "mixed": mixed, "row_boundaries": [embeddings.shape[0]],
        }  # fmt: skip
        numbers = (temperature, correction, min_gap, eps, 1.0, *weights.values())
        formula, mean = Formula(f"fused_{form}" if wants_pd else "fused", numbers), reduction == "mean"
        found = pair_loss_and_parts(formula, joint, points, atoms, poison=inputs.poison, mean=mean, **pairs)
        if found is not None:
            total, values = found
            return total, dict(zip(weights, values.unbind(), strict=True))
        statistics = pair_statistics(joint, points, atoms, **pairs)
        moments, energies, squares = statistics.split((Moments.width, Field.width, Square.width), dim=1)
        sums = _Sums(moments, energies.sum(), count_points(point_labels), None if atoms is None else squares.sum())
    else:
        of_moments = decidability_formula(form, temperature, correction, min_gap, eps)
        decidability = inputs.loss(of_moments, Moments()) if wants_pd else None
        moments = inputs.statistics(Moments()) if wants_pd and decidability is None else None
        sums = _Sums(moments, squares=_squares(inputs, atoms, atom_weight), decidability=decidability)
    parts = {}
    if sums.decidability is not None:
        parts["pd"] = sums.decidability
    elif sums.moments is not None and wants_pd:
        rows = inputs if wanted is None else None
        parts["pd"] = decidability_objective(sums.moments, form, temperature, correction, min_gap, eps, inputs=rows)
    if sums.energy is not None and sums.num_points is not None:
        parts["field"] = reduce_energy(sums.energy, sums.num_points, reduction)
    if sums.squares is not None:
        squares, num_samples = inputs.totals(sums.squares, inputs.valid.sum())
        parts["odba"] = squares / num_samples
    total = inputs.poison if sums.poison is None else sums.poison
    for name, part in parts.items():
        total = total + weights[name] * part
    zero = torch.zeros_like(total.detach())
    return total, {name: parts[name].detach() if name in parts else zero for name in weights}


class _Sums(NamedTuple):
    """What the parts are computed from; None for what is not wanted."""

    moments: Tensor | None  # (N, 6)
    energy: Tensor | None = None  # (), of all points of the field
    num_points: Tensor | None = None
    squares: Tensor | None = None  # (), of this rank's samples
    poison: Tensor | None = None
    decidability: Tensor | None = None  # (), in the place of moments


def _dictionary(
    inputs: ProxyInputs, atoms: Tensor | None, prior: Tensor | None, active: Tensor | None, odba_weight: float
) -> tuple[Tensor | None, Tensor | None]:
    """Atoms and their weights, if they take part."""
    if atoms is None:
        if odba_weight:
            raise ValueError(f"atoms: got None, expected (K, D) atoms for odba_weight={odba_weight}")
        for name, value in (("prior", prior), ("active", active)):
            if value is not None:
                raise ValueError(f"{name}: given without atoms")
        return None, None
    check_odba_options(atoms, prior, active, "mean", inputs.embeddings)
    if not odba_weight:
        return None, None
    return weighted_atoms(atoms, prior, active, "mean", inputs.embeddings)


def _sums_of_ranks(
    inputs: ProxyInputs,
    proxies: Tensor,
    atoms: Tensor | None,
    atom_weight: Tensor | None,
    field: Field,
    wants_moments: bool,
) -> _Sums:
    """Compute the parts over the points of all ranks, except the squares."""
    from dmlkernels.functional.shared_pairs import shared_pairs  # one process does without

    between = Fused(*field.parameters()) if wants_moments else field
    shared = shared_pairs(inputs, proxies, {(0, 0): field, (0, 1): between, (1, 1): field})
    squares = _squares(inputs, atoms, atom_weight)
    return _Sums(shared.moments, shared.energy, shared.num_points, squares, shared.poison)


def _squares(inputs: ProxyInputs, atoms: Tensor | None, atom_weight: Tensor | None) -> Tensor | None:  # ()
    if atoms is None:
        return None
    energies = pair_statistics(
        Square(),
        inputs.embeddings,
        atoms,
        backend=inputs.backend,
        row_labels=inputs.labels,
        column_weights=atom_weight,
    )
    return energies.sum()
