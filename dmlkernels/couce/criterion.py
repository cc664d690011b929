"""The objective of CouCE-style training around any proxy loss."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dmlkernels.couce.dictionary import BackgroundDictionary
from dmlkernels.distributed.checks import before_agreement, check_same
from dmlkernels.distributed.group import Ranks, is_dtensor, ranks_of
from dmlkernels.functional.checks import check_flag, check_number, check_per_row
from dmlkernels.functional.symmetric_kl import symmetric_kl_loss

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

_NUMBERS = ("odba_weight", "invariance_weight", "temperature", "ramp_epochs", "warmup_epochs")
"""Options that are numbers."""


def gaussian_ramp(epoch: float, *, ramp_epochs: float, warmup_epochs: float = 0.0) -> float:
    """0 during warm-up, then exp(-5 (1 - t / ramp_epochs)^2) for t epochs after it, then 1.

    Example:
        >>> [round(gaussian_ramp(epoch, ramp_epochs=5, warmup_epochs=1), 4) for epoch in (0, 1, 3.5, 6, 7)]
        [0.0, 0.0067, 0.2865, 1.0, 1.0]
    """
    since = epoch - warmup_epochs
    if since < 0:
        return 0.0
    return 1.0 if since >= ramp_epochs else math.exp(-5.0 * (1.0 - since / ramp_epochs) ** 2)


class CouCE(nn.Module):
    """A proxy loss with the two causal terms of CouCE-style training, ramped up over the first epochs.

    ``base + ramp (odba_weight ODBA + invariance_weight MSRCI)``: ODBA keeps embeddings orthogonal to a dictionary of
    background directions, MSRCI keeps their proxy distribution the same under an intervention on the features
    (``symmetric_kl_loss``). A term whose input is missing, the dictionary or the second view, is left out, and so is
    one whose weight is 0. Rows that ``base_loss`` ignores by their label take no part in either. With both weights 0,
    and during warm-up, the value is that of ``base_loss``, bit for bit, and nothing else is computed.

    The dictionary learns by ``dictionary.update``; the second view comes from ``intervened_forward``. All of it lives
    beside the model: what is exported after training is the backbone alone, unchanged.

    CouCE-style: a reconstruction from the abstract of CouCE (Yuan et al., 2026, arXiv 2606.30365) and from published
    building blocks, because its full text was not available. It claims to reproduce no number of that paper.

    Args:
        base_loss: any callable (embeddings, labels) -> scalar: a module of this package, of pytorch-metric-learning, or
            a function.
        dictionary: a ``BackgroundDictionary``; without it there is no ODBA term.
        odba_weight: of the ODBA term, at least 0.
        invariance_weight: of the MSRCI term, at least 0.
        temperature: of the proxy distributions in MSRCI, above 0 (ours: 0.1).
        ramp_epochs: length of the ramp, at least 0; see ``gaussian_ramp``.
        warmup_epochs: epochs of the base loss alone before the ramp, at least 0 (ours: 0).
        detach_proxies: no gradient from MSRCI to the proxies.
        proxies: a callable that returns the (C, D) proxies of ``base_loss``. Default: its ``.proxies`` (C, D), else the
            transpose of its ``.W`` or ``.fc`` (D, C), the names in pytorch-metric-learning.
        backend: of MSRCI: "auto", "torch", "triton" or "native".
        process_group: of both terms, for parts of one batch on several ranks. Default: that of ``base_loss``, or the
            ranks of its sharded proxies. At each call the ranks agree on the options, the epoch and what is given.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: a number out of range; in ``forward``, a second view without proxies to compare it by, or a base
            loss that is no scalar.

    Gradients: of the embeddings of both views and of the proxies, as the parts give them.

    Memory and determinism: as the parts. No parameters of its own; a batch adds no state. The state dict holds the
        epoch of the schedule, so that training resumes where the ramp was; one without it leaves the schedule as it is.

    Example:
        >>> import torch
        >>> from dmlkernels import BackgroundDictionary, CouCE, PDLoss
        >>> loss = CouCE(PDLoss(10, 16), dictionary=BackgroundDictionary(4, 16), warmup_epochs=1)
        >>> embeddings, intervened = torch.randn(2, 8, 16)
        >>> loss.dictionary.update(embeddings)
        >>> loss.set_epoch(3.5)
        >>> value = loss(embeddings, torch.arange(8), intervened)
        >>> sorted(loss.parts)
        ['base', 'invariance', 'odba', 'ramp']
    """

    epoch: Tensor
    ramp: Tensor

    def __init__(
        self,
        base_loss: Callable[..., Tensor],
        *,
        dictionary: BackgroundDictionary | None = None,
        odba_weight: float = 1.0,
        invariance_weight: float = 1.0,
        temperature: float = 0.1,
        ramp_epochs: float = 5.0,
        warmup_epochs: float = 0.0,
        detach_proxies: bool = True,
        proxies: Callable[[], Tensor] | None = None,
        backend: str = "auto",
        process_group: ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        self.process_group = process_group
        if not callable(base_loss):
            raise TypeError(f"base_loss: got {type(base_loss).__name__}, expected a callable (embeddings, labels)")
        if dictionary is not None and not isinstance(dictionary, BackgroundDictionary):
            raise TypeError(f"dictionary: got {type(dictionary).__name__}, expected a BackgroundDictionary or None")
        if proxies is not None and not callable(proxies):
            raise TypeError(f"proxies: got {type(proxies).__name__}, expected a callable that returns them, or None")
        odba_weight = check_number("odba_weight", odba_weight, at_least=0)
        invariance_weight = check_number("invariance_weight", invariance_weight, at_least=0)
        temperature = check_number("temperature", temperature, above=0)
        check_flag("detach_proxies", detach_proxies)
        ramp_epochs = check_number("ramp_epochs", ramp_epochs, at_least=0)
        warmup_epochs = check_number("warmup_epochs", warmup_epochs, at_least=0)
        self.base_loss, self.dictionary, self.proxies_of = base_loss, dictionary, proxies
        self._of_function = _ignore_index_of(base_loss)
        self.odba_weight, self.invariance_weight = odba_weight, invariance_weight
        self.temperature, self.detach_proxies, self.backend = temperature, detach_proxies, backend
        self.ramp_epochs, self.warmup_epochs = ramp_epochs, warmup_epochs
        # Tensors, so that torch.compile and CUDA graphs see new values without a new graph.
        self.register_buffer("epoch", torch.empty(()))
        self.register_buffer("ramp", torch.empty(()), persistent=False)
        self._move_schedule(math.inf)
        self.parts: dict[str, Tensor] = {}
        """Detached parts of the last call, unweighted: "base", and "odba", "invariance", "ramp" where computed."""

    def set_epoch(self, epoch: float) -> None:
        """Move the schedule; fractions are fine. Without any call the terms have their full weight."""
        epoch = check_number("epoch", epoch)
        self._move_schedule(epoch)

    def _move_schedule(self, epoch: float) -> None:
        ramp = gaussian_ramp(epoch, ramp_epochs=self.ramp_epochs, warmup_epochs=self.warmup_epochs)
        self._epoch, self.warming_up = epoch, ramp == 0
        self.epoch.fill_(epoch)
        self.ramp.fill_(ramp)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> CouCE:
        super()._apply(fn, recurse)
        if not self.ramp.is_meta:
            self._move_schedule(self._epoch)  # to_empty leaves whatever was in memory
        return self

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        key = f"{prefix}epoch"
        if key not in state_dict:
            state_dict = {**state_dict, key: torch.full_like(self.epoch, self._epoch, device="cpu")}
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        loaded = state_dict[key]
        if self.ramp.is_meta:  # not in the state, so not assigned with it
            self.ramp = torch.empty_like(self.epoch)
        self._move_schedule(self._epoch if loaded.is_meta or loaded.dim() else float(loaded))

    def forward(
        self,
        embeddings: Tensor,  # (B, D)
        labels: Tensor,  # (B,)
        intervened: Tensor | Sequence[Tensor] | None = None,  # (B, D)
        ref_emb: Tensor | None = None,  # (M, D)
        ref_labels: Tensor | None = None,  # (M,)
        *,
        indices_tuple: Sequence[Tensor] | None = None,
        sample_weight: Tensor | None = None,  # (B,)
    ) -> Tensor:
        """Compute the objective of a batch.

        Args:
            embeddings, labels: the batch.
            intervened: the second view of the same samples. A tuple in its place, where pytorch-metric-learning passes
                a miner's choice, is ``indices_tuple``.
            ref_emb, ref_labels, indices_tuple: for ``base_loss``, which gets them if one is given.
            sample_weight: weight of each sample in ``base_loss``, which must take it, and in both terms.
        """
        if intervened is not None and not isinstance(intervened, Tensor):
            intervened, indices_tuple = None, intervened
        if self._common_group() is not None:
            from dmlkernels.distributed.calls import uncompiled  # imports the compiler

            uncompiled(self._agree, intervened)
        weights: dict[str, Any] = {} if sample_weight is None else {"sample_weight": sample_weight}
        if indices_tuple is None and ref_emb is None and ref_labels is None:
            base = self.base_loss(embeddings, labels, **weights)
        else:
            base = self.base_loss(embeddings, labels, indices_tuple, ref_emb, ref_labels, **weights)
        if not isinstance(base, Tensor) or base.dim():
            got = f"shape {tuple(base.shape)}" if isinstance(base, Tensor) else type(base).__name__
            raise ValueError(f"base_loss: returned {got}, expected a scalar tensor, as with reduction 'mean'")
        parts: dict[str, Tensor] = {"base": base.detach()}
        terms: list[Tensor] = []
        dictionary = None if self.warming_up or self.odba_weight == 0 else self.dictionary
        intervened = None if self.warming_up or self.invariance_weight == 0 else intervened
        if not (dictionary is None and intervened is None) and self._ignore_index is not None:
            check_per_row("sample_weight", sample_weight, embeddings, "embeddings")
            valid = labels.long() != self._ignore_index
            sample_weight = torch.where(valid, 1.0 if sample_weight is None else sample_weight, 0.0)
            embeddings = torch.where(valid[:, None], embeddings, 0)  # they may hold anything
            if intervened is not None and intervened.shape == embeddings.shape:
                intervened = torch.where(valid[:, None], intervened, 0)
        if dictionary is not None:
            odba = dictionary(embeddings, process_group=self._group(), sample_weight=sample_weight)
            parts["odba"] = odba.detach()
            terms.append(self.odba_weight * odba)
        if intervened is not None:
            invariance = symmetric_kl_loss(
                embeddings,
                intervened,
                self._proxies(),
                temperature=self.temperature,
                detach_proxies=self.detach_proxies,
                sample_weight=sample_weight,
                backend=self.backend,
                process_group=self._group(),
            )
            parts["invariance"] = invariance.detach()
            terms.append(self.invariance_weight * invariance)
        self.parts = parts
        if not terms:
            return base
        ramp = self.ramp.clone()  # autograd keeps it, and set_epoch may come before backward
        parts["ramp"] = ramp
        return base + ramp * sum(terms[1:], terms[0])

    @property
    def _ignore_index(self) -> int | None:
        """Label of rows that take no part in ``base_loss``, and so in no term; None if it is not known to have one."""
        for loss in (self.base_loss, getattr(self.base_loss, "loss", None)):  # itself, or one with a memory around it
            options = getattr(loss, "options", None)
            if isinstance(options, Mapping) and "ignore_index" in options:
                index: int = options["ignore_index"]
                return index
        return self._of_function

    def _group(self) -> ProcessGroup | None:
        """Process group whose ranks hold the parts of the batch, as the base loss has it."""
        proxies = getattr(self.base_loss, "proxies", None)
        if self.process_group is None and is_dtensor(proxies):
            return ranks_of(None, proxies).group
        return self.process_group or getattr(self.base_loss, "process_group", None)

    def _common_group(self) -> ProcessGroup | None:
        """Process group whose ranks make a call of this, for the base loss or for a term."""
        of_dictionary = None if self.dictionary is None else self.dictionary.process_group
        return self._group() or of_dictionary

    def _ranks(self) -> Ranks | None:
        group = self._common_group()
        return None if group is None else Ranks(group)

    def _agree(self, intervened: Tensor | None) -> None:
        """Agree with the other ranks on the terms, which nobody may wait in alone, and their weights."""
        ranks = self._ranks()
        assert ranks is not None
        options = {name: getattr(self, name) for name in (*_NUMBERS, "detach_proxies")}
        terms = {"dictionary": self.dictionary is not None, "intervened": intervened}
        check_same("CouCE", ranks, {"epoch": self._epoch, **options, **terms})

    @before_agreement
    def _proxies(self) -> Tensor:  # (C, D)
        if self.proxies_of is not None:
            return self.proxies_of()
        by_row = getattr(self.base_loss, "proxies", None)
        if isinstance(by_row, Tensor):
            return by_row
        for name in ("W", "fc"):
            by_column = getattr(self.base_loss, name, None)
            if isinstance(by_column, Tensor):
                return by_column.T
        raise ValueError(
            f"base_loss: got {type(self.base_loss).__name__} without tensor .proxies, .W or .fc, expected one of "
            "them or the argument proxies: the second view is compared by them"
        )

    @property
    def last_parts(self) -> dict[str, Tensor]:
        """Deprecated name of ``parts``."""
        warnings.warn("last_parts is deprecated: use parts", DeprecationWarning, stacklevel=2)
        return self.parts

    def param_groups(self, lr: float, proxy_lr_factor: float = 100.0) -> list[dict[str, Any]]:
        """Optimiser groups of ``base_loss``: its own, or its parameters at ``proxy_lr_factor`` times the base rate."""
        if hasattr(self.base_loss, "param_groups"):
            groups: list[dict[str, Any]] = self.base_loss.param_groups(lr, proxy_lr_factor)
            return groups
        parameters = list(self.base_loss.parameters()) if isinstance(self.base_loss, nn.Module) else []
        return [{"params": parameters, "lr": lr * proxy_lr_factor, "weight_decay": 0.0}] if parameters else []

    def get_logits(self, embeddings: Tensor) -> Tensor:  # (B, num_classes)
        """Class scores of embeddings (B, D) by ``base_loss``."""
        logits: Tensor = self._of_base("get_logits")(embeddings)
        return logits

    def init_proxies_from(
        self, embeddings: Tensor | Iterable[tuple[Tensor, Tensor]], labels: Tensor | None = None
    ) -> None:
        """Set the proxies of ``base_loss``."""
        self._of_base("init_proxies_from")(embeddings, labels)

    def extend_classes(self, num_new: int, **options: Any) -> None:
        """Add classes to ``base_loss``, with its options."""
        self._of_base("extend_classes")(num_new, **options)

    def _of_base(self, method: str) -> Callable[..., Any]:
        found = getattr(self.base_loss, method, None)
        if found is None:
            raise RuntimeError(f"base_loss: {type(self.base_loss).__name__} has no {method}")
        return found

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)}" for name in _NUMBERS)


def _ignore_index_of(function: Callable[..., Tensor]) -> int | None:
    """What a function, with the arguments that are bound already, takes where it is not told; None if it takes none."""
    if isinstance(function, nn.Module):
        return None
    try:
        default = inspect.signature(function).parameters["ignore_index"].default
    except (KeyError, TypeError, ValueError):
        return None
    return default if isinstance(default, int) else None
