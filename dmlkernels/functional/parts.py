"""The common arguments of a proxy loss when the batch, and maybe the proxies, are spread over ranks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dmlkernels import backends
from dmlkernels.distributed.agreement import Numbers, Step
from dmlkernels.distributed.collectives import all_reduce
from dmlkernels.distributed.group import is_dtensor
from dmlkernels.distributed.parts import Parts, Shard
from dmlkernels.distributed.shards import check_placements, check_whole_groups, local_shard
from dmlkernels.functional.checks import check_integer, check_labels, check_same_space, check_vectors
from dmlkernels.functional.inputs import ProxyInputs
from dmlkernels.functional.validation import should_check
from dmlkernels.ops import resolve_labels, resolve_pair_labels
from dmlkernels.ops.labels import raise_if_too_few
from dmlkernels.statistics import IGNORED


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
) -> ProxyInputs:
    """As ``proxy_inputs``: what this rank can check alone, the agreement, what concerns the whole batch."""
    check_vectors("embeddings", embeddings, allow_empty=True)
    check_labels("labels", labels, embeddings, "embeddings")
    proxies, number = local_proxies(proxies_name, proxies, embeddings, step)
    proxy_labels = local_proxy_labels(proxy_labels, proxies, number, proxies_name)
    check_integer("ignore_index", ignore_index)
    device = embeddings.device.type
    backends.resolve(backend, device)
    check_whole_groups(proxies_name, proxies.shape[0], proxies_per_label)
    check, sharded = should_check(device, validate), step.ranks.shards is not None
    elsewhere = sharded and proxy_labels is not None  # another rank may have a label's class
    if elsewhere:
        resolved, poison = resolve_pair_labels(labels, ignore_index, False, False, 0)
    else:
        resolved, poison = resolve_labels(
            labels, proxy_labels, number // proxies_per_label, ignore_index, check, False, needs_impostors, 0
        )
    numbers = Numbers(rows=labels.shape[0], columns=proxies.shape[0])
    if check:
        genuine = resolved != IGNORED if proxy_labels is None or elsewhere else _of_class(resolved, proxy_labels)
        numbers = numbers._replace(valid=int((resolved != IGNORED).sum()), genuine=int(genuine.sum()))
    parts = Parts(step.ranks, step.agree(numbers))
    if sharded:
        shard = Shard(step.ranks, parts.everyone, proxies.shape[0], proxies_per_label)
        shard.check(proxies_name, number)
        shard.labels = shard.gather_labels(resolved)
        parts.shard = shard
    scores = sum(told.genuine for told in parts.everyone)
    if elsewhere:
        missing, found = _meet_elsewhere(shard, proxy_labels, ignore_index, check)
        if check:
            scores = int(found)
        poison = poison + torch.where(missing, torch.nan, 0.0)
    if check:
        _check_batch(parts, number, scores, ignore_index, needs_samples, needs_impostors and elsewhere, correction)
    return ProxyInputs(embeddings, resolved, proxies, proxy_labels, poison, backend, parts)


def _of_class(labels: Tensor, proxy_labels: Tensor) -> Tensor:  # (B,)
    """How many of the proxies have each label as their class; none has that of ignored rows."""
    classes = proxy_labels.sort().values
    first, last = (torch.searchsorted(classes, labels, right=right) for right in (False, True))
    return last - first


def _meet_elsewhere(
    shard: Shard, proxy_labels: Tensor | None, ignore_index: int, check: bool
) -> tuple[Tensor, Tensor]:  # (), ()
    """Whether a label of the line is the class of no proxy on any rank, and the number of genuine scores of the batch;
    with ``check`` such a label raises."""
    ranks, labels = shard.ranks, shard.labels
    assert labels is not None and proxy_labels is not None and ranks.shards is not None
    found = all_reduce(_of_class(labels, proxy_labels), ranks.shards)
    missing = (found == 0) & (labels != IGNORED)
    genuine, failed = found.sum(), missing.any()
    if ranks.replicas is not None:
        genuine, lines = all_reduce(torch.stack((genuine, failed.long())), ranks.replicas).unbind()
        failed = lines > 0
    if check and failed:
        which = f"{int(labels[missing][0])} is" if missing.any() else "one of another rank is"
        raise ValueError(
            f"labels: {which} the class of no proxy; expected the classes in proxy_labels, or "
            f"ignore_index={ignore_index}"
        )
    return failed, genuine


def _check_batch(
    parts: Parts, number: int, genuine: int, ignore_index: int,
    needs_samples: bool, needs_impostors: bool, correction: int,
) -> None:  # fmt: skip
    """What one process checks of the batch, on the sums over the ranks."""
    valid = sum(told.valid for told in parts.everyone)
    if needs_samples and valid == 0:
        raise ValueError(
            f"labels: the genuine set is empty: all {parts.num_rows} labels of all ranks are "
            f"ignore_index={ignore_index}; at least one sample of a proxy's class is needed"
        )
    impostors = valid * number - genuine
    if needs_impostors and impostors == 0:
        raise ValueError("proxy_labels: the impostor set is empty; at least two classes are needed")
    if correction:
        raise_if_too_few(genuine, impostors, correction)
