"""The orthogonal penalty against a dictionary of background atoms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dmlkernels.distributed.agreement import across_ranks, step_of
from dmlkernels.distributed.parts import batch_parts
from dmlkernels.functional.checks import check_choice, check_per_row, check_same_space, check_vectors
from dmlkernels.functional.reduction import mean_of_rows
from dmlkernels.ops import Formula, pair_loss, pair_statistics
from dmlkernels.statistics import Square

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

REDUCTIONS = ("mean", "sum")


@across_ranks
def odba_penalty(
    embeddings: Tensor,  # (B, D)
    atoms: Tensor,  # (K, D)
    *,
    prior: Tensor | None = None,  # (K,)
    active: Tensor | None = None,  # (K,) bool
    sample_weight: Tensor | None = None,  # (B,)
    reduction: str = "mean",
    backend: str = "auto",
    process_group: ProcessGroup | None = None,
) -> Tensor:
    """Orthogonal penalty against a background dictionary (ODBA): the mean squared cosine of samples and atoms.

    ``mean over samples i and active atoms k of cos(z_i, d_k)^2``, which is ``||Z^ D^'||_F^2 / (B K)``. With a prior the
    mean over atoms becomes the sum of ``prior_k cos^2`` over the active ones.

    CouCE-style, after Yuan et al., CouCE, arXiv 2606.30365: a reconstruction from the abstract and published building
    blocks. It reproduces no number of that paper.

    Args:
        embeddings: (B, D) samples of any scale; float16, bfloat16, float32 or float64.
        atoms: (K, D) dictionary atoms of any scale; they get no gradient.
        prior: (K,) weight of each atom, or None for equal weights.
        active: (K,) bool, which atoms take part; default all. Without an active atom the penalty is 0. Inactive atoms
            and their prior may hold anything.
        sample_weight: (B,) weight of each sample, floats; the mean divides by the sum of all weights.
        reduction: "mean"; "sum" divides by neither samples nor atoms.
        backend: "auto", "torch", "triton" or "native".
        process_group: ranks that each have a part of one batch, or None for this rank's samples alone.

    Returns:
        Scalar, float32; float64 if an input is float64.

    Raises:
        ValueError: shapes, devices or options that do not fit; no samples.
        TypeError: a wrong dtype.
        RuntimeError: the backend asked for cannot run here.

    Gradients: of the embeddings and of the weights of samples, first order.

    Memory and determinism: O((B + K) D), no B x K matrix. Repeatable bit for bit on one device.

    Example:
        >>> import torch
        >>> from dmlkernels import odba_penalty
        >>> odba_penalty(torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
        tensor(0.5000)
    """
    step = step_of(process_group)
    check_vectors("embeddings", embeddings, allow_empty=step is not None)
    check_per_row("sample_weight", sample_weight, embeddings, "embeddings")
    check_odba_options(atoms, prior, active, reduction, embeddings)
    atoms, weights = weighted_atoms(atoms, prior, active, reduction, embeddings)
    pairs: dict[str, Any] = {"backend": backend, "column_weights": weights}
    if step is None:
        of_rows: dict[str, Any] = {"weight": sample_weight, "mean": reduction == "mean"}
        loss = pair_loss(Formula("last", (1.0,)), Square(), embeddings, atoms, **of_rows, **pairs)
        if loss is not None:
            return loss
    energies = pair_statistics(Square(), embeddings, atoms, **pairs).squeeze(1)
    parts = None if step is None else batch_parts(step, embeddings, backend=backend)
    if reduction == "mean":
        return mean_of_rows(energies, sample_weight, parts)
    total = (energies if sample_weight is None else energies * sample_weight.to(energies.dtype)).sum()
    return total if parts is None else parts.total(total)


def check_odba_options(
    atoms: Tensor, prior: Tensor | None, active: Tensor | None, reduction: str, embeddings: Tensor
) -> None:
    """Everything about the dictionary."""
    check_same_space("atoms", atoms, embeddings)
    check_per_row("prior", prior, atoms, "atoms")
    check_per_row("active", active, atoms, "atoms", boolean=True)
    check_choice("reduction", reduction, REDUCTIONS)


def weighted_atoms(
    atoms: Tensor,  # (K, D)
    prior: Tensor | None,  # (K,)
    active: Tensor | None,  # (K,) bool
    reduction: str,
    embeddings: Tensor,
) -> tuple[Tensor, Tensor | None]:  # (K, D), (K,)
    """Atoms without gradient, zeros where inactive, and the weight of each one's squared cosine; None for 1 / K."""
    atoms = atoms.detach()
    dtype = torch.promote_types(torch.promote_types(atoms.dtype, embeddings.dtype), torch.float32)
    if active is None and prior is None and reduction == "mean":
        return atoms, None
    weights = torch.ones(atoms.shape[0], dtype=dtype, device=atoms.device) if active is None else active.to(dtype)
    if prior is not None:
        given = prior.detach().to(dtype)
        weights = given if active is None else torch.where(active, given, 0)
    elif reduction == "mean":
        weights = weights / weights.sum().clamp_min(1)
    # A weight of 0 is not enough: 0 * NaN is NaN.
    return (atoms if active is None else torch.where(active[:, None], atoms, 0)), weights
