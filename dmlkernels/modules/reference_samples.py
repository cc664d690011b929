"""A batch joined with further samples: a memory of earlier batches, or what other ranks sent."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.backends.autocast import cat
from dmlkernels.functional.checks import check_labels, check_per_row, check_same_space, check_vectors


def joined(
    embeddings: Tensor,  # (B, D)
    labels: Tensor,  # (B,)
    ref_emb: Tensor | None,  # (M, D)
    ref_labels: Tensor | None,  # (M,)
    sample_weight: Tensor | None,  # (B,)
    ref_weight: Tensor | None,  # (M,)
    ignore_index: int,
) -> tuple[Tensor, Tensor, Tensor | None]:  # (B + M, D), (B + M,), (B + M,)
    """Concatenate a batch and further samples; label as ignored those that the batch has already.

    pytorch-metric-learning's ``CrossBatchMemory`` stores a batch before it asks for the loss, so that its memory holds
    the batch again.
    """
    if ref_emb is None or ref_labels is None:
        missing = "ref_emb" if ref_emb is None else "ref_labels"
        raise ValueError(f"{missing}: got None, expected both ref_emb (M, D) and ref_labels (M,), or neither")
    check_vectors("embeddings", embeddings, allow_empty=True)
    check_labels("labels", labels, embeddings, "embeddings")
    check_vectors("ref_emb", ref_emb, allow_empty=True)
    check_same_space("ref_emb", ref_emb, embeddings)
    check_labels("ref_labels", ref_labels, ref_emb, "ref_emb")
    labels, ref_labels = labels.long(), ref_labels.long()
    repeated = torch.isin(_row_hash(ref_emb.to(embeddings.dtype), ref_labels), _row_hash(embeddings, labels))
    check_per_row("sample_weight", sample_weight, embeddings, "embeddings")
    check_per_row("ref_weight", ref_weight, ref_emb, "ref_emb")
    if sample_weight is not None or ref_weight is not None:
        sample_weight = cat((_or_ones(sample_weight, embeddings), _or_ones(ref_weight, ref_emb)))
    return (
        cat((embeddings, ref_emb.to(embeddings.dtype))),
        torch.cat([labels, torch.where(repeated, ignore_index, ref_labels)]),
        sample_weight,
    )


def _or_ones(weight: Tensor | None, vectors: Tensor) -> Tensor:  # (N,)
    """The weights given, or 1 for each vector."""
    return torch.ones(vectors.shape[:1], device=vectors.device) if weight is None else weight


def _row_hash(vectors: Tensor, labels: Tensor) -> Tensor:  # (N,) int64
    """Hash each labelled vector to 64 bits: equal rows collide always, others with probability 2^-64."""
    integers = {2: torch.int16, 4: torch.int32, 8: torch.int64}[vectors.element_size()]
    words = vectors.detach().contiguous().view(integers).long()
    places = torch.arange(1, words.shape[1] + 2, device=words.device)
    # Odd multipliers that look random (splitmix64); products wrap around.
    factors = places * -7046029254386353131
    factors = (factors ^ (factors >> 30)) * -4658895280553007687
    factors = ((factors ^ (factors >> 27)) * -7723592293110705685) | 1
    return (words * factors[:-1]).sum(1) + labels * factors[-1]
