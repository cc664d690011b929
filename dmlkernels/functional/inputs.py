"""The arguments that all proxy losses share, checked and resolved once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from dmlkernels import backends
from dmlkernels.distributed.agreement import Step
from dmlkernels.functional.checks import check_integer, check_labels, check_same_space, check_vectors
from dmlkernels.functional.per_sample import per_sample
from dmlkernels.functional.sample_labels import Resolved, SampleLabels, Unresolved
from dmlkernels.functional.sampling import chosen_rows, draw_classes
from dmlkernels.functional.validation import should_check
from dmlkernels.ops import (
    Formula,
    pair_loss,
    pair_statistics,
    resolve_labels,
    resolve_proxy_labels,
    suits_kernels,
    suits_row_kernels,
)
from dmlkernels.ops.relabel import count_of_class, places_among
from dmlkernels.statistics import IGNORED, Statistic

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def class_range(proxies: Tensor, first: int = 0) -> Tensor:  # (C,) int64
    """The classes of proxies that each have a different one."""
    return torch.arange(first, first + proxies.shape[0], device=proxies.device)


@dataclass(frozen=True)
class ProxyInputs:
    """Embeddings and proxies with labels as the engine wants them."""

    is_spread: ClassVar[bool] = False  # whether these are this rank's part of a batch, as in ``PartInputs``

    embeddings: Tensor  # (B, D)
    sample_labels: SampleLabels
    proxies: Tensor  # (C, D)
    proxy_labels: Tensor | None  # (C,) int64; None: proxy j has class j
    backend: str
    has_kernels: bool = field(default=False, kw_only=True)  # whether Triton's serve these
    chosen: Tensor | None = field(default=None, kw_only=True)  # (C,), classes of the proxies if not all take part

    @property
    def labels(self) -> Tensor:  # (B,) int64
        """IGNORED for ignored rows."""
        return self.sample_labels.resolved.labels

    @property
    def poison(self) -> Tensor:  # ()
        """NaN if a label that could not be checked is no proxy's class, else 0: add it to the loss."""
        return self.sample_labels.resolved.poison

    @property
    def point_labels(self) -> Tensor | None:  # (B + C,), with a gap if APART
        """Labels of samples and proxies, if made at once."""
        return self.sample_labels.resolved.points

    @property
    def valid(self) -> Tensor:  # (B,) bool
        """Rows that take part."""
        return self.labels != IGNORED

    @property
    def labels_of_proxies(self) -> Tensor:  # (C,)
        """Their classes, also where proxy j has class j."""
        if self.proxy_labels is not None:
            return self.proxy_labels
        if self.point_labels is not None:
            return self.point_labels[self.point_labels.shape[0] - self.num_proxies :]
        return class_range(self.proxies)

    @property
    def classes(self) -> Tensor | None:  # (C,)
        """Classes of the proxies that are here; None: proxy j has class j."""
        return self.chosen if self.proxy_labels is None else self.proxy_labels

    @property
    def num_positives(self) -> Tensor:  # (B,)
        """How many proxies have the class of each sample."""
        if self.proxy_labels is None:
            return torch.ones_like(self.labels)
        return count_of_class(self.labels, self.proxy_labels)

    @property
    def num_proxies(self) -> int:
        """C."""
        return self.proxies.shape[0]

    @property
    def is_sharded(self) -> bool:
        """Whether this rank has a part of the proxies, be it all of them."""
        return False

    @property
    def has_row_kernels(self) -> bool:
        """Whether Triton's kernels compute norms, cosines and the like of the samples, too."""
        return self.has_kernels and suits_row_kernels(self.labels)

    @property
    def dtype(self) -> torch.dtype:
        """What statistics are computed in."""
        return torch.promote_types(torch.promote_types(self.embeddings.dtype, self.proxies.dtype), torch.float32)

    def statistics(self, statistic: Statistic, row_values: Tensor | None = None) -> Tensor:  # (B, width)
        """A statistic of every sample's scores with the proxies, given the values that it has for each sample."""
        return pair_statistics(statistic, self.embeddings, self.proxies, row_values=row_values, **self._of_samples)

    def loss(
        self, formula: Formula, statistic: Statistic, row_values: Tensor | None = None, **options: Any
    ) -> Tensor | None:
        """A formula of that statistic by an engine; None: then it takes plain PyTorch. ``options`` as ``pair_loss``."""
        if self.is_spread:
            return None
        unresolved = self.sample_labels.unresolved
        if unresolved is None:
            options.update(poison=self.poison, **self._of_samples)
        else:
            labels, ignore_index, _ = unresolved
            options.update(ignore_index=ignore_index, row_labels=labels, backend=self.backend)
        return pair_loss(formula, statistic, self.embeddings, self.proxies, row_values=row_values, **options)

    @property
    def _of_samples(self) -> dict[str, Any]:
        return {"backend": self.backend, "row_labels": self.labels, "column_labels": self.proxy_labels}

    def per_sample(self, name: str, value: float | Tensor, group: int = 1) -> float | Tensor:
        """An option as a number, or as values of the samples: see ``functional.per_sample``."""
        return per_sample(name, value, self, group) if isinstance(value, Tensor) else value

    def sampled(self, fraction: float, generator: torch.Generator | None, sparse: bool) -> ProxyInputs:
        """With a part of the proxies, drawn anew: those of the batch's classes, and others, a fraction together."""
        chosen = draw_classes(self.labels, self.num_proxies, fraction, generator)
        return replace(
            self,
            proxies=chosen_rows(self.proxies, chosen, sparse),
            sample_labels=SampleLabels(Resolved(places_among(chosen, self.labels), self.poison)),
            chosen=chosen,
        )

    def statistics_of_proxies(self, statistic: Statistic) -> Tensor:  # (C, width)
        """A statistic of every proxy's scores with the samples."""
        return pair_statistics(statistic, self.proxies, self.embeddings, **self._of_proxies)

    def loss_of_proxies(self, formula: Formula, statistic: Statistic) -> Tensor | None:
        """A formula of that statistic, as ``loss``."""
        if self.is_spread:
            return None
        return pair_loss(formula, statistic, self.proxies, self.embeddings, poison=self.poison, **self._of_proxies)

    @property
    def _of_proxies(self) -> dict[str, Any]:
        return {"backend": self.backend, "row_labels": self.labels_of_proxies, "column_labels": self.labels}

    def totals(self, *sums: Tensor) -> tuple[Tensor, ...]:
        """Sums over the samples of the whole batch, from those of this rank's."""
        return sums

    def gathered(self, values: Tensor) -> Tensor:
        """The values of the samples of the whole batch, from those of this rank's; without a gradient."""
        return values

    def sum_of_shards(self, of_proxies: Tensor) -> Tensor:
        """A sum over all proxies for this rank's own use, from that over this rank's."""
        return of_proxies

    def whole(self, of_proxies: Tensor) -> Tensor:
        """Numbers whose sum is over all proxies, from those of this rank's."""
        return of_proxies


def proxy_inputs(
    embeddings: Tensor,
    labels: Tensor,
    proxies: Tensor,
    proxy_labels: Tensor | None,
    *,
    ignore_index: int,
    backend: str,
    validate: bool,
    needs_samples: bool = True,
    needs_impostors: bool = False,
    correction: int = 0,
    proxies_name: str = "proxies",
    proxies_per_label: int = 1,
    process_group: ProcessGroup | Step | None = None,
    labels_proxies: int = 0,
) -> ProxyInputs:
    """Check the common arguments of a proxy loss and resolve its labels.

    Args:
        needs_samples: an error if all rows are ignored.
        needs_impostors: an error if all proxies share a class.
        correction: an error if there are no more genuine or impostor scores than that.
        proxies_name: what the loss calls its proxies, for messages.
        proxies_per_label: rows of ``proxies`` that one label stands for, when they come in such groups.
        process_group: a ``Step`` if the batch is spread over ranks, see ``across_ranks``.
        labels_proxies: BEHIND or APART if the loss will ask for the labels of proxies as tensors: where in one tensor
            with those of samples they begin. 0 if it will not.
    """
    if isinstance(process_group, Step):
        from dmlkernels.functional.parts import part_inputs  # only here: one process does without all of it

        return part_inputs(
            process_group, embeddings, labels, proxies, proxy_labels, ignore_index, backend, validate,
            needs_samples, needs_impostors, correction, proxies_name, proxies_per_label,
        )  # fmt: skip
    check_vectors("embeddings", embeddings)
    check_labels("labels", labels, embeddings, "embeddings")
    check_same_space(proxies_name, proxies, embeddings)
    if proxy_labels is not None:
        check_labels("proxy_labels", proxy_labels, proxies, proxies_name)
        proxy_labels = proxy_labels.long()
    check_integer("ignore_index", ignore_index)
    device = embeddings.device.type
    check, has_kernels = should_check(device, validate), backends.resolve(backend, device) == "triton"
    options = (proxies.shape[0] // proxies_per_label, ignore_index, check, needs_samples, needs_impostors, correction)
    if not has_kernels:
        given: Resolved | Unresolved = Resolved(*resolve_labels(labels, proxy_labels, *options))
    elif proxy_labels is None and not (check or labels_proxies) and suits_kernels(labels, None):
        given = Unresolved(labels, ignore_index, options[0])
    else:
        given = Resolved(*resolve_proxy_labels(labels, proxy_labels, *options, backend, labels_proxies))
    return ProxyInputs(embeddings, SampleLabels(given), proxies, proxy_labels, backend, has_kernels=has_kernels)
