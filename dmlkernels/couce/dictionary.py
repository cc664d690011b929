"""The background dictionary and its orthogonal penalty."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dmlkernels.couce.batch_norm import frozen_running_statistics_of_calls
from dmlkernels.couce.descriptors import background_descriptors
from dmlkernels.couce.dictionary_update import DictionaryState, updated_dictionary
from dmlkernels.couce.layout import channels_first
from dmlkernels.distributed.checks import before_agreement, check_same
from dmlkernels.distributed.group import Ranks, ranks_of_world
from dmlkernels.functional.checks import (
    check_choice,
    check_device,
    check_flag,
    check_integer,
    check_number,
    check_vectors,
)
from dmlkernels.functional.cosines import unit_rows
from dmlkernels.functional.odba import REDUCTIONS, odba_penalty

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class BackgroundDictionary(nn.Module):
    """Directions of the background, learnt as a moving average, that embeddings should be orthogonal to (ODBA).

    ``forward`` is ``odba_penalty`` against the active atoms. ``update`` learns the atoms from a batch, with m the
    momentum and n_k and s_k the number and the sum of the descriptors most similar to atom k::

        counts_k = m counts_k + n_k      sums_k = m sums_k + s_k      atom_k = normalize(sums_k)

    Re-seeding (the details are ours): after the decay and before the assignment, an atom whose count is at most
    ``starved_share`` of its share, the mean count, is starved. The first starved atom becomes the descriptor of the
    batch that is least similar to any atom that is not starved, the second the next such descriptor, and so on as far
    as the batch goes; ties in the order of the batch. Its count starts at e times the limit, so that it stays above
    the limit for about 1 / (1 - momentum) updates if no descriptor joins. Atoms never written are starved too: the
    first batches fill the dictionary by the same rule, and there the limit is near 0. Zero and non-finite descriptors
    are left out.

    CouCE-style: a reconstruction from the abstract of CouCE (Yuan et al., 2026, arXiv 2606.30365) and from published
    building blocks, because its full text was not available. It claims to reproduce no number of that paper.

    Args:
        num_atoms: K, at least 1; warns unless below ``embedding_size``: that many directions leave no room.
        embedding_size: D, at least 1.
        momentum: share of counts and sums kept by an update, in [0, 1).
        starved_share: see above, in [0, 1).
        use_prior: weigh the atoms by ``prior`` instead of equally.
        reduction: "mean" or "sum", see ``odba_penalty``.
        backend: "auto", "torch", "triton" or "native".
        device: of the buffers.
        dtype: of the buffers, float32 or float64. Conversions to half precision leave it float32, because a moving
            average stands still in half precision.
        process_group: ranks that each have a part of one batch: ``forward`` gives the penalty of the whole batch, and
            ``update`` learns from it. None: the penalty is of this rank's samples alone, and ``update`` learns from
            the batches of all ranks.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: an argument out of range.

    Gradients: of the embeddings in ``forward``; none in ``update``.

    Memory and determinism: O(K D), in buffers of the state dict; no parameters. Repeatable bit for bit on one device.
        ``update`` never synchronises. With torch.distributed initialised it must be called on every rank (of
        ``process_group``), in evaluation mode, too: the ranks agree that they make the same call. K candidates a rank
        are gathered for re-seeding and the additions are summed, so that all ranks keep equal atoms; batches may differ
        in size.

    Example:
        >>> import torch
        >>> from dmlkernels import BackgroundDictionary
        >>> dictionary = BackgroundDictionary(2, 4)
        >>> feature_map, head = torch.randn(8, 16, 7, 7), torch.nn.Linear(16, 4)
        >>> dictionary.update(feature_map, head)
        >>> dictionary.active
        tensor([True, True])
        >>> penalty = dictionary(head(feature_map.mean((2, 3))))
    """

    atoms: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(
        self,
        num_atoms: int,
        embedding_size: int,
        *,
        momentum: float = 0.99,
        starved_share: float = 0.01,
        use_prior: bool = False,
        reduction: str = "mean",
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
        process_group: ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        self.process_group = process_group
        for name, size in (("num_atoms", num_atoms), ("embedding_size", embedding_size)):
            check_integer(name, size, at_least=1)
        for name, value in (("momentum", momentum), ("starved_share", starved_share)):
            check_number(name, value, at_least=0, below=1)
        check_flag("use_prior", use_prior)
        check_choice("reduction", reduction, REDUCTIONS)
        check_choice("dtype", dtype, (torch.float32, torch.float64))
        if num_atoms >= embedding_size:
            warnings.warn(
                f"num_atoms: got {num_atoms}, expected fewer than embedding_size = {embedding_size}: atoms that span "
                "the whole space leave embeddings nothing to be orthogonal in",
                stacklevel=2,
            )
        self.momentum, self.starved_share = momentum, starved_share
        self.use_prior, self.reduction, self.backend = use_prior, reduction, backend
        self.register_buffer("atoms", torch.zeros(num_atoms, embedding_size, device=device, dtype=dtype))
        self.register_buffer("counts", torch.zeros(num_atoms, device=device, dtype=dtype))
        self.register_buffer("sums", torch.zeros(num_atoms, embedding_size, device=device, dtype=dtype))

    @property
    def active(self) -> Tensor:  # (K,) bool
        """Atoms that were written at least once."""
        return self.counts > 0

    @property
    def prior(self) -> Tensor:  # (K,)
        """Each atom's share of the descriptors; all zero before the first update."""
        return self.counts / self.counts.sum().clamp_min(torch.finfo(self.counts.dtype).tiny)

    @torch.no_grad()
    def update(
        self, features: Tensor, head: Callable[[Tensor], Tensor] | None = None, *, layout: str | None = None
    ) -> None:
        """Learn from a batch; nothing in evaluation mode, but with several ranks all have to call it there, too.

        Args:
            features: (B, C, H, W) feature maps, turned into descriptors by ``background_descriptors``; or (B, D)
                ready descriptors of any scale. Any floating type.
            head: the model's own way from pooled features (B, C) to embeddings (B, D), a module or any function; only
                for feature maps. BatchNorm layers that it calls keep their running statistics.
            layout: of feature maps, "NCHW" or "NHWC"; see ``fourier_intervention``.

        Raises:
            TypeError: ``features`` is no tensor of floats.
            ValueError: ``features`` has a wrong shape or device, or ``head`` came with ready descriptors.
        """
        descriptors = self._descriptors(features, head, layout) if self.training else None
        ranks = self._ranks()
        if ranks is not None:
            from dmlkernels.distributed.calls import uncompiled  # imports the compiler

            names = ("training", "momentum", "starved_share", "atoms")
            uncompiled(check_same, "BackgroundDictionary.update", ranks, {name: getattr(self, name) for name in names})
        if descriptors is None:
            return
        with torch.autocast(descriptors.device.type, enabled=False):
            state = DictionaryState(self.atoms, self.counts, self.sums)
            state = updated_dictionary(
                state,
                descriptors,
                momentum=self.momentum,
                starved_share=self.starved_share,
                process_group=None if ranks is None else ranks.group,
            )
        self.atoms.copy_(state.atoms)
        self.counts.copy_(state.counts)
        self.sums.copy_(state.sums)

    @before_agreement
    def _descriptors(self, features: Tensor, head: Callable[[Tensor], Tensor] | None, layout: str | None) -> Tensor:
        if isinstance(features, Tensor) and features.dim() == 4:
            maps = channels_first("features", features, layout)
            with frozen_running_statistics_of_calls():
                descriptors = background_descriptors(maps, head, layout="NCHW")
        else:
            check_vectors("features", features, allow_empty=True)
            if head is not None:
                raise ValueError("head: came with ready descriptors (B, D), expected None or features (B, C, H, W)")
            if layout is not None:
                raise ValueError("layout: came with ready descriptors (B, D), expected None or features (B, C, H, W)")
            descriptors = features
        if descriptors.shape[1:] != self.atoms.shape[1:]:
            size = self.atoms.shape[1]
            hint = " (layout='NHWC' would give them)" if layout is None and features.shape[-1] == size else ""
            raise ValueError(f"features: got descriptors {tuple(descriptors.shape)}, expected (B, {size}){hint}")
        check_device("features", descriptors, self.atoms, "the atoms")
        return unit_rows(descriptors).to(self.atoms.dtype)

    def _ranks(self) -> Ranks | None:
        """The ranks that ``update`` learns from."""
        return ranks_of_world() if self.process_group is None else Ranks(self.process_group)

    def forward(
        self,
        embeddings: Tensor,  # (B, D)
        process_group: ProcessGroup | None = None,
        *,
        sample_weight: Tensor | None = None,  # (B,)
    ) -> Tensor:
        """Compute the penalty; 0 while no atom is active. ``process_group`` takes the place of the module's own."""
        return odba_penalty(
            embeddings,
            self.atoms.clone(),  # an update may follow before backward
            prior=self.prior if self.use_prior else None,
            active=self.active,
            sample_weight=sample_weight,
            reduction=self.reduction,
            backend=self.backend,
            process_group=process_group or self.process_group,
        )

    def extra_repr(self) -> str:
        return (
            f"num_atoms={self.atoms.shape[0]}, embedding_size={self.atoms.shape[1]}, momentum={self.momentum}, "
            f"starved_share={self.starved_share}, use_prior={self.use_prior}, reduction={self.reduction!r}"
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        def at_least_float32(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype.itemsize >= 4 else tensor.to(moved.device)

        return super()._apply(at_least_float32, recurse)
