"""Modules whose proxies are sharded over the ranks of a mesh."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from dmlkernels.distributed.agreement import Numbers, Step
from dmlkernels.distributed.collectives import all_gather, gather_rows
from dmlkernels.distributed.group import Ranks, is_dtensor, ranks_of_mesh
from dmlkernels.distributed.layout import (
    check_mesh,
    common_seed,
    drawn_rows,
    from_columns,
    from_rows,
    placements_of,
    rows_of,
)
from dmlkernels.distributed.parts import Shard
from dmlkernels.functional.checks import check_same_space, check_vectors
from dmlkernels.functional.cosines import cosines, unit_rows

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

M = TypeVar("M", bound=nn.Module)


def shard_proxies(module: M, mesh: DeviceMesh) -> M:
    """Divide the proxies of a loss module among the ranks of a mesh, by classes.

    ``module.proxies`` becomes a ``DTensor`` parameter, ``Shard(0)`` on a mesh of one dimension and ``(Replicate(),
    Shard(0))`` on one of two (data, class). The values are those of the first rank. The batch of the module's loss is
    then the global batch of all ranks of the mesh. Call it on every rank, and before an optimiser is made; for more
    classes than fit one device make the module sharded from the start, with ``device_mesh=``. Other parameters of the
    module, such as a learnable margin, stay whole on every rank: their gradients are for DDP or the caller to average.

    Args:
        module: a loss module with ``.proxies``, or one around it, such as ``CouCE``.
        mesh: of one or two dimensions.

    Returns:
        The module, changed in place.

    Raises:
        TypeError: ``mesh`` is no DeviceMesh.
        ValueError: the module has no proxies, or sharded ones; the mesh has more than two dimensions.
    """
    from torch.distributed.tensor import distribute_tensor

    check_mesh("mesh", mesh)
    owner = next((part for part in module.modules() if isinstance(getattr(part, "proxies", None), nn.Parameter)), None)
    if owner is None:
        raise ValueError(f"module: {type(module).__name__} has no parameter .proxies")
    if is_dtensor(owner.proxies):
        raise ValueError("module: its proxies are sharded already")
    proxies: nn.Parameter = owner.proxies  # type: ignore[assignment]
    placed = distribute_tensor(proxies.detach(), mesh, placements_of(mesh))
    owner.proxies = nn.Parameter(placed, requires_grad=proxies.requires_grad)
    return module


def random_proxies(
    shape: tuple[int, int], mesh: DeviceMesh, generator: torch.Generator | None, device: Any, dtype: torch.dtype | None
) -> Any:
    """Random directions as a DTensor, drawn shard by shard: the same whatever the number of ranks."""
    device = torch.device(mesh.device_type if device is None else device)

    def draw(rows: int, source: torch.Generator) -> Tensor:
        drawn = torch.randn(rows, shape[1], generator=source, device=device, dtype=dtype)
        return unit_rows(drawn).to(drawn.dtype)

    local = drawn_rows(rows_of(shape[0], mesh), common_seed(ranks_of_mesh(mesh), generator), draw, device)
    return from_rows(local, shape[0], mesh)


def random_rows(rows: range, like: Tensor, seed: int) -> Tensor:
    """Normally distributed rows like others, the same on every rank that has them."""

    def draw(number: int, source: torch.Generator) -> Tensor:
        return torch.randn(number, like.shape[1], generator=source, device=like.device, dtype=like.dtype)

    return drawn_rows(rows, seed, draw, like.device)


def joined_batches(
    batches: Iterable[tuple[Tensor, Tensor]], ranks: Ranks, like: Tensor, sizes: dict[str, Any]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches (N, D), (N,) of all ranks, joined, until none has any left; an error on one is raised on all.

    A rank without a batch takes part with an empty one, made after ``like``: (0, D). The sizes of the module have to be
    those of the other ranks.
    """
    iterator = iter(batches)
    while True:
        with Step("init_proxies_from", ranks) as step:
            batch = next(iterator, None)
            rows, classes = (like, torch.zeros(0, dtype=torch.int64, device=like.device)) if batch is None else batch
            step.describe({**sizes, "embeddings": rows})
            everyone = step.agree(Numbers(rows=rows.shape[0], valid=int(batch is not None)))
        if not any(told.valid for told in everyone):
            return
        parts = [told.rows for told in everyone]
        yield all_gather(rows, ranks.group, parts), all_gather(classes, ranks.group, parts)


def sharded_scores(
    embeddings: Tensor,  # (B, D), this rank's
    proxies: Any,
    group: int,
    score: Callable[[Tensor], Tensor],  # (B, classes, group) -> (B, classes)
) -> Any:
    """Class scores of the embeddings of all ranks, a DTensor (B, classes); each class has ``group`` proxies."""
    mesh = proxies.device_mesh
    ranks = ranks_of_mesh(mesh)
    with Step("get_logits", ranks) as step:
        check_vectors("embeddings", embeddings, allow_empty=True)
        check_same_space("proxies", local := proxies.to_local(), embeddings, allow_empty=True)
        step.describe({"embeddings": embeddings})
        everyone = step.agree(Numbers(rows=embeddings.shape[0], columns=local.shape[0]))
    shard = Shard(ranks, everyone, local.shape[0])
    shard.check("proxies", proxies.shape[0])
    rows = gather_rows(embeddings, ranks.group, [told.rows for told in everyone])
    classes = rows_of(proxies.shape[0] // group, mesh)
    scores = score(cosines(rows, shard.whole_groups(local, group)).unflatten(1, (len(classes), group)))
    return from_columns(scores, proxies.shape[0] // group, mesh)
