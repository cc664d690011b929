"""PD-Loss, potential field and ODBA penalty from one pass over the scores."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.functional.checks import check_choice, check_number
from dmlkernels.functional.decidability import check_decidability_options, decidability_objective
from dmlkernels.functional.field import REDUCTIONS, checked_field, joined_points, reduce_energy
from dmlkernels.functional.inputs import ProxyInputs, proxy_inputs
from dmlkernels.functional.odba import check_odba_options, weighted_atoms
from dmlkernels.ops import pair_statistics
from dmlkernels.statistics import Field, Fused, Moments, Square


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
    weights = {"pd": pd_weight, "field": field_weight, "odba": odba_weight}
    weights = {name: check_number(f"{name}_weight", weight) for name, weight in weights.items()}
    min_gap, eps = check_decidability_options(form, correction, min_gap, eps)
    temperature = check_number("temperature", temperature, above=0)
    field = checked_field(alpha, delta_att, delta_rep, d_min, unit_depth)
    check_choice("reduction", reduction, REDUCTIONS)
    inputs = proxy_inputs(
        embeddings, labels, proxies, proxy_labels, ignore_index=ignore_index, backend=backend, validate=validate,
        needs_samples=bool(pd_weight or odba_weight), needs_impostors=bool(pd_weight),
        correction=correction if pd_weight else 0,
    )  # fmt: skip
    atoms, atom_weight = _dictionary(inputs, atoms, prior, active, odba_weight)

    moments, field_energies, point_labels, odba_energies = _statistics(
        inputs, atoms, atom_weight, field if field_weight else None, bool(pd_weight)
    )
    parts = {}
    if moments is not None and pd_weight:
        parts["pd"] = decidability_objective(moments, form, temperature, correction, min_gap, eps)
    if field_energies is not None:
        parts["field"] = reduce_energy(field_energies.sum(), point_labels, reduction)
    if odba_energies is not None:
        parts["odba"] = odba_energies.sum() / inputs.valid.sum()
    total = inputs.poison
    for name, part in parts.items():
        total = total + weights[name] * part
    zero = torch.zeros_like(total.detach())
    return total, {name: parts[name].detach() if name in parts else zero for name in weights}


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


def _statistics(
    inputs: ProxyInputs, atoms: Tensor | None, atom_weight: Tensor | None, field: Field | None, wants_moments: bool
) -> tuple[Tensor | None, Tensor | None, Tensor, Tensor | None]:
    """Moments, field energies with the points' labels, and ODBA energies; None for what is not wanted."""
    if field is not None:
        points, point_labels = joined_points(inputs)
        fused = pair_statistics(
            Fused(*field.parameters()),
            points,
            atoms,
            backend=inputs.backend,
            row_labels=point_labels,
            column_weights=atom_weight,
            within=True,
            row_boundaries=[inputs.embeddings.shape[0]],
        )
        moments, field_energies, odba_energies = fused.split((Moments.width, Field.width, Square.width), dim=1)
        return moments, field_energies, point_labels, None if atoms is None else odba_energies
    moments = inputs.statistics(Moments()) if wants_moments else None
    odba_energies = None
    if atoms is not None:
        odba_energies = pair_statistics(
            Square(),
            inputs.embeddings,
            atoms,
            backend=inputs.backend,
            row_labels=inputs.labels,
            column_weights=atom_weight,
        )
    return moments, None, inputs.labels, odba_energies
