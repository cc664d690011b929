"""The package's custom ops: what torch.compile, autograd and opcheck see of it."""

from dmlkernels.ops.labels import resolve_labels, resolve_pair_labels
from dmlkernels.ops.pairs import pair_statistics

__all__ = ["pair_statistics", "resolve_labels", "resolve_pair_labels"]
