"""The common arguments of a proxy loss when the batch, and maybe the proxies, are spread over ranks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed

from dmlkernels import backends
from dmlkernels.distributed.agreement import Numbers, Step
from dmlkernels.distributed.collectives import all_gather, all_reduce, gather_rows, sum_of_parts
from dmlkernels.distributed.division import even_sizes, own_part
from dmlkernels.distributed.group import is_dtensor
from dmlkernels.distributed.merging import merged_statistics, own_rows
from dmlkernels.distributed.parts import Parts, Shard
from dmlkernels.distributed.shards import check_placements, check_whole_groups, local_shard
from dmlkernels.functional.checks import check_integer, check_labels, check_same_space, check_vectors
from dmlkernels.functional.inputs import ProxyInputs, class_range
from dmlkernels.functional.sample_labels import Resolved, SampleLabels
from dmlkernels.functional.sampling import chosen_rows, draw_classes, number_drawn
from dmlkernels.functional.validation import should_check
from dmlkernels.ops import pair_statistics, resolve_labels, resolve_pair_labels
from dmlkernels.ops.labels import raise_if_too_few
from dmlkernels.ops.relabel import count_of_class, places_among
from dmlkernels.statistics import IGNORED, Statistic


def local_proxies(name: str, proxies: Any, embeddings: Tensor, step: Step) -> tuple[Tensor, int]:
    """This rank's proxies, checked, and the number of all."""
    number = proxies.shape[0] if isinstance(proxies, Tensor) and proxies.dim() else 0
    if is_dtensor(proxies):
        check_placements(name, proxies)
        proxies = local_shard(proxies, step.ranks)
    check_same_space(name, proxies, embeddings, allow_empty=number > 0)
    return proxies, number


def local_proxy_labels(proxy_labels: Any, proxies: Tensor, number: int, name: str) -> Tensor | None:  # (columns,) int64
    """Classes of this rank's proxies; a shard of them is a DTensor placed as the proxies are."""
    if proxy_labels is None:
        return None
    if is_dtensor(proxy_labels):
        proxy_labels = proxy_labels.to_local()
    elif number != proxies.shape[0]:
        raise ValueError("proxy_labels: got a plain tensor, expected a DTensor placed as the proxies are")
    check_labels("proxy_labels", proxy_labels, proxies, name)
    return proxy_labels.long()


@dataclass(frozen=True)
class PartInputs(ProxyInputs):
    """The inputs of a batch that is spread over ranks: labels and embeddings are this rank's part, and so are the
    proxies if they are sharded."""

    is_spread = True

    step: Step
    numbers: Numbers
    needs: Needs
    ignore_index: int
    all_proxies: int
    proxies_per_label: int

    @property
    def num_proxies(self) -> int:
        return self.all_proxies

    @property
    def is_sharded(self) -> bool:
        return self.step.ranks.shards is not None

    @cached_property
    def parts(self) -> Parts:
        """All parts. Asked for first when every check that a rank can make alone is behind it: here the ranks agree."""
        parts = Parts(self.step.ranks, self.step.agree(self.numbers))
        genuine = sum(told.genuine for told in parts.everyone)
        if parts.ranks.shards is not None:
            parts.shard = Shard(parts.ranks, parts.everyone, self.proxies.shape[0], self.proxies_per_label)
            parts.shard.check(self.needs.proxies_name, self.all_proxies)
            parts.shard.labels = parts.shard.gather_labels(self.labels)
            if self.proxy_labels is not None:
                genuine = self._meet_elsewhere(parts.shard)
        if self.needs.check:
            _check_batch(parts, self.all_proxies, genuine, self.ignore_index, self.needs)
        return parts

    @cached_property
    def embeddings_of_line(self) -> Tensor:
        """Those of the ranks that have a shard each, differentiably, also if asked for first under ``no_grad``."""
        assert self.parts.shard is not None
        with torch.enable_grad():
            return self.parts.shard.gather(self.embeddings)

    def statistics(self, statistic: Statistic, row_values: Tensor | None = None) -> Tensor:
        shard = self.parts.shard
        if shard is None:
            return super().statistics(statistic, row_values)
        return shard.statistics(
            statistic, self.embeddings_of_line, self.proxies,
            column_labels=self.proxy_labels, row_values=row_values, backend=self.backend,
        )  # fmt: skip

    def sampled(self, fraction: float, generator: torch.Generator | None, sparse: bool) -> PartInputs:
        """Every rank that has the same proxies draws the same ones, with a seed of the first rank."""
        if sparse and self.step.ranks.shards is not None:
            raise ValueError("sparse: got True with sharded proxies, whose gradient is a DTensor and so is dense")
        device = "cpu" if generator is None else generator.device
        seed = int(torch.randint(2**62, (), generator=generator, device=device))
        agreed = self.__dict__["parts"] = replace(self, numbers=self.numbers._replace(seed=seed)).parts
        ranks, shard = agreed.ranks, agreed.shard
        everyone = self.gathered(self.labels)
        seed, labels = agreed.everyone[0].seed, self.labels
        if shard is not None and ranks.shards is not None:
            seed += distributed.get_rank(ranks.shards)
            everyone = shard.relative(everyone)
        source = torch.Generator(labels.device).manual_seed(seed % 2**63)
        chosen = draw_classes(everyone, self.proxies.shape[0], fraction, source)
        if shard is None:
            labels = places_among(chosen, labels)
        else:
            shard = replace(shard, chosen=chosen)
        columns = shard.all_columns if shard is not None else [self.all_proxies]
        number = sum(number_drawn(agreed.num_rows, total, fraction) for total in columns)
        classes = chosen if shard is None else chosen + shard.first
        inputs = replace(
            self, proxies=chosen_rows(self.proxies, chosen, sparse), chosen=classes, all_proxies=number,
            sample_labels=SampleLabels(Resolved(labels, self.poison)),
        )  # fmt: skip
        inputs.__dict__["parts"] = replace(agreed, shard=shard)  # these have agreed
        return inputs

    def statistics_of_proxies(self, statistic: Statistic) -> Tensor:
        """Statistics of this rank's proxies: its shard, or a part of it where several ranks hold the same shard."""
        ranks, shard, proxies = self.parts.ranks, self.parts.shard, self.proxies
        first = 0 if shard is None else shard.first
        proxy_labels = class_range(proxies, first) if self.proxy_labels is None else self.proxy_labels
        if shard is None:  # each rank has other samples for all proxies
            return merged_statistics(
                statistic, proxies, self.embeddings, ranks.group, even_sizes(proxies.shape[0], ranks.size),
                backend=self.backend, row_labels=proxy_labels, column_labels=self.labels,
            )  # fmt: skip
        # Whoever has a proxy has all samples, so that what travels does not grow with the classes.
        labels = shard.labels
        if ranks.replicas is not None:
            mine = own_part(proxies.shape[0], ranks.replicas)
            proxies, proxy_labels, labels = proxies[mine], proxy_labels[mine], self.gathered(self.labels)
        everyone = gather_rows(self.embeddings, ranks.group, [told.rows for told in self.parts.everyone])
        return pair_statistics(
            statistic, proxies, everyone, backend=self.backend, row_labels=proxy_labels, column_labels=labels
        )

    def totals(self, *sums: Tensor) -> tuple[Tensor, ...]:
        return self.parts.total(torch.stack(sums) + self.poison).unbind()

    def gathered(self, values: Tensor) -> Tensor:
        return all_gather(values, self.parts.ranks.group, [told.rows for told in self.parts.everyone])

    @property
    def classes(self) -> Tensor | None:
        if self.parts.shard is None or self.proxy_labels is not None or self.chosen is not None:
            return super().classes
        return class_range(self.proxies, self.parts.shard.first)

    @property
    def num_positives(self) -> Tensor:
        shard = self.parts.shard
        if shard is None or self.proxy_labels is None:
            return super().num_positives
        assert shard.labels is not None and shard.ranks.shards is not None
        of_line = all_reduce(count_of_class(shard.labels, self.proxy_labels), shard.ranks.shards)
        return own_rows(of_line, shard.ranks.shards, shard.sizes)

    def sum_of_shards(self, of_proxies: Tensor) -> Tensor:
        shard = self.parts.shard
        if shard is None or shard.ranks.shards is None:
            return of_proxies
        return sum_of_parts(of_proxies, shard.ranks.shards)

    def whole(self, of_proxies: Tensor) -> Tensor:
        if self.parts.shard is None:
            return of_proxies
        return self.parts.total(of_proxies.sum() / self.parts.repeats)

    def _meet_elsewhere(self, shard: Shard) -> int:
        """Check labels whose class may be on any rank; the number of genuine scores of the batch, where the host knows.

        Without the check, a label without a proxy turns the poison into NaN.
        """
        ranks, labels = shard.ranks, shard.labels
        assert labels is not None and self.proxy_labels is not None and ranks.shards is not None
        found = all_reduce(count_of_class(labels, self.proxy_labels), ranks.shards)
        missing = (found == 0) & (labels != IGNORED)
        counts = torch.stack((found.sum(), missing.sum()))
        if ranks.replicas is not None:
            counts = all_reduce(counts, ranks.replicas)
        if not self.needs.check:
            self.poison.add_(torch.where(counts[1] > 0, torch.nan, 0.0))
            return 0
        genuine, unknown = counts.tolist()
        if unknown:
            which = f"{int(labels[missing][0])} is" if missing.any() else "one of another rank is"
            raise ValueError(
                f"labels: {which} the class of no proxy; expected the classes in proxy_labels, or "
                f"ignore_index={self.ignore_index}"
            )
        return genuine


class Needs(NamedTuple):
    """What a loss asks of the whole batch."""

    check: bool  # labels are read on the host
    samples: bool
    impostors: bool
    correction: int
    proxies_name: str


def part_inputs(
    step: Step,
    embeddings: Tensor,
    labels: Tensor,
    proxies: Tensor,
    proxy_labels: Tensor | None,
    ignore_index: int,
    backend: str,
    validate: bool,
    needs_samples: bool,
    needs_impostors: bool,
    correction: int,
    proxies_name: str,
    proxies_per_label: int,
) -> PartInputs:
    """Do what ``proxy_inputs`` does, with the checks that this rank can make alone."""
    check_vectors("embeddings", embeddings, allow_empty=True)
    check_labels("labels", labels, embeddings, "embeddings")
    proxies, number = local_proxies(proxies_name, proxies, embeddings, step)
    proxy_labels = local_proxy_labels(proxy_labels, proxies, number, proxies_name)
    check_integer("ignore_index", ignore_index)
    device = embeddings.device.type
    backends.resolve(backend, device)
    check_whole_groups(proxies_name, proxies.shape[0], proxies_per_label)
    check = should_check(device, validate)
    elsewhere = step.ranks.shards is not None and proxy_labels is not None  # another rank may have a label's class
    if elsewhere:
        resolved, poison = resolve_pair_labels(labels, ignore_index, False, False, 0)
    else:
        resolved, poison = resolve_labels(
            labels, proxy_labels, number // proxies_per_label, ignore_index, check, False, needs_impostors, 0
        )
    numbers = Numbers(rows=labels.shape[0], columns=proxies.shape[0])
    if check:
        genuine = resolved != IGNORED if proxy_labels is None or elsewhere else count_of_class(resolved, proxy_labels)
        numbers = numbers._replace(valid=int((resolved != IGNORED).sum()), genuine=int(genuine.sum()))
    needs = Needs(check, needs_samples, needs_impostors and elsewhere, correction, proxies_name)
    return PartInputs(
        embeddings, SampleLabels(Resolved(resolved, poison)), proxies, proxy_labels, backend,
        step, numbers, needs, ignore_index, number, proxies_per_label,
    )  # fmt: skip


def _check_batch(parts: Parts, number: int, genuine: int, ignore_index: int, needs: Needs) -> None:
    """What one process checks of the batch, on the sums over the ranks."""
    valid = sum(told.valid for told in parts.everyone)
    if needs.samples and valid == 0:
        raise ValueError(
            f"labels: the genuine set is empty: all {parts.num_rows} labels of all ranks are "
            f"ignore_index={ignore_index}; at least one sample of a proxy's class is needed"
        )
    impostors = valid * number - genuine
    if needs.impostors and impostors == 0:
        raise ValueError("proxy_labels: the impostor set is empty; at least two classes are needed")
    if needs.correction:
        raise_if_too_few(genuine, impostors, needs.correction)
