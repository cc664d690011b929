"""Whether a model sees nothing of a feature map but its mean over positions, read off the autograd graph."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from torch import Tensor

LINEAR = {
    "AddBackward0",
    "AliasBackward0",
    "AvgPool2DBackward0",
    "CatBackward0",
    "CloneBackward0",
    "ConvolutionBackward0",
    "NegBackward0",
    "SubBackward0",
    "ToCopyBackward0",
}
"""Nodes that treat all positions alike and linearly, borders aside."""


def only_mean_matters(output: Any, feature_node: Any) -> bool:
    """Every way from a (B, C, H, W) feature map to ``output`` is linear up to a global average pool.

    False in doubt: for unknown operations and where autograd recorded nothing.

    Args:
        output: what the model returned.
        feature_node: ``grad_fn`` of the feature map.
    """
    if not isinstance(output, Tensor) or output.grad_fn is None or feature_node is None:
        return False
    consumers = _consumers(output.grad_fn, feature_node)
    found, waiting, seen = False, [feature_node], {feature_node}
    while waiting:
        node = waiting.pop()
        if not consumers[node]:  # the output, and no pool on the way
            return False
        for consumer in consumers[node]:
            if _is_global_mean(consumer):
                found = True
            elif not _is_linear(consumer):
                return False
            elif consumer not in seen:
                seen.add(consumer)
                waiting.append(consumer)
    return found


def _consumers(last: Any, first: Any) -> dict[Any, list[Any]]:
    """Map each node of the graph between two nodes to the nodes that use its result."""
    consumers: dict[Any, list[Any]] = defaultdict(list)
    waiting, seen = [last], {last}
    while waiting:
        node = waiting.pop()
        if node is first:
            continue
        for source, _ in node.next_functions:
            if source is not None:
                consumers[source].append(node)
                if source not in seen:
                    seen.add(source)
                    waiting.append(source)
    return consumers


def _is_global_mean(node: Any) -> bool:
    name = node.name()
    if name == "MeanBackward1":
        shape = getattr(node, "_saved_self_sym_sizes", ())
        axes = {axis % 2**64 for axis in getattr(node, "_saved_dim", ())}
        return len(shape) == 4 and {axis - 2**64 + 4 if axis >= 2**63 else axis for axis in axes} == {2, 3}
    if name == "AvgPool2DBackward0":
        window, pooled = getattr(node, "_saved_kernel_size", None), getattr(node, "_saved_self", None)
        return isinstance(pooled, Tensor) and window is not None and {*window} == {*pooled.shape[-2:]}
    return False


def _is_linear(node: Any) -> bool:
    if node.name().endswith("BatchNormBackward0"):
        return getattr(node, "_saved_training", True) is False
    return node.name() in LINEAR
