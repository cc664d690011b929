"""Which of the proxies a rank brings to the pairs, where several ranks have the same ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import distributed

from dmlkernels.distributed.group import Ranks, is_dtensor

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def own_part(number: int, group: ProcessGroup) -> slice:
    """Which of a number of proxies are this rank's, where the ranks of a group divide them."""
    return span(number, distributed.get_rank(group), distributed.get_world_size(group))


def span(number: int, place: int, parts: int) -> slice:
    """One of so many parts of a number of things, as equal as possible."""
    return slice(number * place // parts, number * (place + 1) // parts)


def even_sizes(number: int, parts: int) -> list[int]:
    """How many things each of these parts has."""
    spans = (span(number, place, parts) for place in range(parts))
    return [of.stop - of.start for of in spans]


def own_spans(proxies: Any, ranks: Ranks, columns: list[int]) -> list[slice]:
    """For each rank, which of the proxies that it has are its own: they are divided among the ranks that have them.

    Args:
        proxies: (C, D) on every rank, or a DTensor.
        columns: how many of them each rank has.
    """
    copies = {name: (place, ranks.size) for place, name in enumerate(ranks.names)}
    if is_dtensor(proxies) and ranks.shards is not None:
        dimension = next(i for i, placement in enumerate(proxies.placements) if placement.is_shard())
        mesh = proxies.device_mesh.mesh.movedim(dimension, 0)
        for replicas in mesh.reshape(mesh.shape[0], -1).tolist():
            copies |= {name: (place, len(replicas)) for place, name in enumerate(replicas)}
    return [
        span(size, place, number)
        for size, (place, number) in zip(columns, (copies[name] for name in ranks.names), strict=True)
    ]
