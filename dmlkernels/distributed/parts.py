"""A batch in parts, one on each rank, and where the proxies are sharded too, what has to travel for that."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from dmlkernels import backends
from dmlkernels.distributed.agreement import Numbers, Step
from dmlkernels.distributed.collectives import all_gather, gather_rows, redivide_rows, sum_over_ranks
from dmlkernels.distributed.group import Ranks
from dmlkernels.distributed.layout import shard_sizes
from dmlkernels.distributed.merging import merged_statistics
from dmlkernels.distributed.shards import first_row
from dmlkernels.ops.relabel import places_among, shard_labels
from dmlkernels.statistics import Statistic


@dataclass
class Shard:
    """This rank's part of the proxies, which the samples of all ranks of its line meet."""

    ranks: Ranks
    everyone: list[Numbers]
    columns: int  # proxies of this shard
    group: int = 1  # neighbouring proxies that one label stands for
    labels: Tensor | None = None  # (B,), of the line; int64, IGNORED allowed
    chosen: Tensor | None = None  # (S,), ascending: the columns that take part; None: all

    @cached_property
    def sizes(self) -> list[int]:
        """Samples of each rank of the line."""
        return [self.everyone[place].rows for place in self.ranks.line]

    @cached_property
    def first(self) -> int:
        """The row of all proxies with which the shard begins."""
        return first_row([numbers.columns for numbers in self.everyone], self.ranks)

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of the line, differentiably."""
        assert self.ranks.shards is not None
        return gather_rows(rows, self.ranks.shards, self.sizes)

    def gather_labels(self, labels: Tensor) -> Tensor:
        """The labels of the line."""
        assert self.ranks.shards is not None
        return all_gather(labels, self.ranks.shards, self.sizes)

    def relative(self, labels: Tensor) -> Tensor:
        """Labels as numbers of this shard's own columns, so that column j has class j."""
        return shard_labels(labels, self.first // self.group, self.columns // self.group)

    @cached_property
    def all_columns(self) -> list[int]:
        """Proxies of each rank of the line."""
        return [self.everyone[place].columns for place in self.ranks.line]

    def check(self, name: str, number: int) -> None:
        """The shards of the line make up all proxies."""
        found = self.all_columns
        if sum(found) != number:
            raise ValueError(f"{name}: got shards of {found} rows, expected {number} in all, as the DTensor has")

    def whole_groups(self, proxies: Tensor, group: int) -> Tensor:
        """Those of the classes that ``Shard(0)`` of the classes would give this rank, from the ranks that have them."""
        assert self.ranks.shards is not None
        classes = shard_sizes(sum(self.all_columns) // group, len(self.all_columns))
        return redivide_rows(proxies, self.ranks.shards, self.all_columns, [group * size for size in classes])

    def statistics(
        self,
        statistic: Statistic,
        rows: Tensor,  # every rank's of the line: (B, D) or (2, B, D)
        columns: Tensor,  # this shard
        *,
        backend: str,
        column_labels: Tensor | None = None,
        row_values: Tensor | None = None,  # of this rank's samples
    ) -> Tensor:
        """Statistics of this rank's samples with all proxies, differentiably."""
        assert self.ranks.shards is not None
        labels = None
        if statistic.reads_labels:
            assert self.labels is not None
            labels = self.labels if column_labels is not None else self.relative(self.labels)
            if self.chosen is not None:
                labels = places_among(self.chosen, labels)
        return merged_statistics(
            statistic, rows, columns, self.ranks.shards, self.sizes,
            row_labels=labels, column_labels=column_labels, row_values=row_values, backend=backend,
        )  # fmt: skip


@dataclass
class Parts:
    """One batch on several ranks."""

    ranks: Ranks
    everyone: list[Numbers]
    shard: Shard | None = None  # of the proxies; None: this rank has all

    @cached_property
    def num_rows(self) -> int:
        """Samples of the whole batch."""
        return sum(numbers.rows for numbers in self.everyone)

    @property
    def repeats(self) -> int:
        """How many ranks have the same shard."""
        return self.ranks.size // len(self.ranks.line)

    def total(self, sums: Tensor) -> Tensor:
        """Sums over all ranks, from each one's own; the same bits on all, and no collective in backward."""
        return sum_over_ranks(sums, self.ranks.group)


def batch_parts(
    step: Step,
    embeddings: Tensor,  # (B, D), this rank's
    proxies: Tensor | None = None,  # (C, D), this rank's
    all_proxies: int = 0,
    *,
    backend: str = "auto",
) -> Parts:
    """The parts of a batch without labels: here the ranks agree."""
    backends.resolve(backend, embeddings.device.type)
    columns = 0 if proxies is None else proxies.shape[0]
    parts = Parts(step.ranks, step.agree(Numbers(rows=embeddings.shape[0], columns=columns)))
    if parts.num_rows == 0:
        raise ValueError("embeddings: the parts of all ranks are empty, expected at least one row")
    if step.ranks.shards is not None:
        parts.shard = Shard(step.ranks, parts.everyone, columns)
        parts.shard.check("proxies", all_proxies)
    return parts
