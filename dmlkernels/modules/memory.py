"""A memory of earlier batches around any loss module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dmlkernels.distributed.checks import before_agreement
from dmlkernels.distributed.group import Ranks
from dmlkernels.functional.checks import check_integer, check_labels, check_per_row, check_same_space
from dmlkernels.functional.running import refuse_recomputation
from dmlkernels.modules.loss_module import LossModule


class CrossBatchMemory(nn.Module):
    """The loss of each batch joined with the embeddings of the batches before it (XBM).

    ``loss(embeddings, labels, ref_emb=memory, ref_labels=...)``: exactly the loss of the concatenation. The memory is
    a ring buffer of the latest ``memory_size`` embeddings, detached. In training mode each batch is stored after its
    loss was computed, with its weights. Wang et al., Cross-Batch Memory for Embedding Learning, CVPR 2020,
    arXiv 1912.06798.

    pytorch-metric-learning's class of this name takes only the losses that it lists by name.

    Args:
        loss: a loss module of this package.
        embedding_size: D, at least 1.
        memory_size: embeddings kept, at least 1.

    Raises:
        TypeError: ``loss`` is no loss module.
        ValueError: a size below 1; in ``forward``, what does not fit.

    Gradients: of the batch, through the loss; none to the memory.

    Memory and determinism: memory_size x D numbers, labels and weights, in buffers of the state dict. Slots not filled
        yet are labelled ``ignore_index``, so shapes never change and nothing synchronises.

    Example:
        >>> import torch
        >>> from dmlkernels import CrossBatchMemory, DecidabilityLoss
        >>> loss_fn = CrossBatchMemory(DecidabilityLoss(), embedding_size=8, memory_size=64)
        >>> for _ in range(3):
        ...     loss = loss_fn(torch.randn(4, 8), torch.tensor([0, 1, 1, 0]))
        >>> int((loss_fn.memory_labels != -100).sum())
        12
    """

    memory: Tensor
    memory_labels: Tensor
    memory_weight: Tensor
    position: Tensor

    def __init__(self, loss: LossModule, embedding_size: int, memory_size: int = 1024) -> None:
        super().__init__()
        if not isinstance(loss, LossModule):
            raise TypeError(f"loss: got {type(loss).__name__}, expected a loss module of dmlkernels")
        check_integer("embedding_size", embedding_size, at_least=1)
        check_integer("memory_size", memory_size, at_least=1)
        self.loss = loss
        self.register_buffer("memory", torch.zeros(memory_size, embedding_size))
        self.register_buffer("memory_labels", torch.full((memory_size,), loss.options["ignore_index"]))
        self.register_buffer("memory_weight", torch.ones(memory_size))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))

    def forward(
        self,
        embeddings: Tensor,  # (B, D)
        labels: Tensor,  # (B,)
        *,
        sample_weight: Tensor | None = None,  # (B,)
    ) -> Tensor:
        """Compute the loss of a batch joined with the memory, then store the batch.

        Args:
            embeddings, labels: the batch, which may be empty: then the loss is that of the memory.
            sample_weight: weight of each sample, where the loss takes one; default 1. It is stored with the sample.
        """
        if self.training:
            refuse_recomputation("memory")
        self._check(embeddings, labels, sample_weight)
        # Copies, since the batch is stored before backward.
        further: dict[str, Tensor] = {"ref_emb": self.memory.clone(), "ref_labels": self.memory_labels.clone()}
        if self.loss.takes_weights:
            further["ref_weight"] = self.memory_weight.clone()
        loss: Tensor = self.loss(embeddings, labels, sample_weight=sample_weight, **further)
        if self.training:
            self._store(embeddings.detach(), labels.detach(), sample_weight)
        return loss

    @before_agreement
    def _check(self, embeddings: Tensor, labels: Tensor, sample_weight: Tensor | None) -> None:
        check_same_space("embeddings", embeddings, self.memory, "the memory", allow_empty=True)
        check_labels("labels", labels, embeddings, "embeddings")
        check_per_row("sample_weight", sample_weight, embeddings, "embeddings")

    def _ranks(self) -> Ranks | None:
        return self.loss._ranks()

    @torch.no_grad()
    def _store(self, embeddings: Tensor, labels: Tensor, weight: Tensor | None) -> None:
        size = self.memory.shape[0]
        embeddings, labels = embeddings[-size:], labels[-size:]
        places = (self.position + torch.arange(labels.shape[0], device=self.position.device)) % size
        self.memory.index_copy_(0, places, embeddings.to(self.memory.dtype))
        self.memory_labels.index_copy_(0, places, labels.to(self.memory_labels.dtype))
        weight = self.memory_weight.new_ones(labels.shape) if weight is None else weight.detach()[-size:]
        self.memory_weight.index_copy_(0, places, weight.to(self.memory_weight.dtype))
        self.position.add_(labels.shape[0]).remainder_(size)

    @torch.no_grad()
    def reset(self) -> None:
        """Forget all stored embeddings."""
        self.memory_labels.fill_(self.loss.options["ignore_index"])
        self.position.zero_()

    def extra_repr(self) -> str:
        """Show sizes."""
        return f"memory_size={self.memory.shape[0]}, embedding_size={self.memory.shape[1]}"
