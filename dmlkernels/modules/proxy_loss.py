"""The base of every module that owns proxies: making and extending them, their learning rate, logits."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch.optim import Optimizer

from dmlkernels.backends import resolve
from dmlkernels.distributed.checks import before_agreement
from dmlkernels.distributed.group import Ranks, is_dtensor, local_tensor, mesh_of, ranks_of_mesh
from dmlkernels.distributed.layout import check_mesh, common_seed, from_rows, own_slice, rows_like, rows_of
from dmlkernels.functional.checks import check_integer, check_labels, check_same_space, check_vectors
from dmlkernels.functional.cosines import cosines, unit_rows
from dmlkernels.modules.extension import extend
from dmlkernels.modules.forgotten import Watch
from dmlkernels.modules.loss_module import LossModule
from dmlkernels.modules.options import show_options
from dmlkernels.modules.sharding import joined_batches, random_proxies, random_rows, sharded_scores

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


class ProxyLoss(LossModule):
    """A loss with learnable proxies under ``.proxies``, ``proxies_per_class`` neighbouring rows for each class.

    The base for a loss of one's own: a subclass names its ``function(embeddings, labels, proxies, *, proxy_labels=None,
    ignore_index=-100, backend="auto", ...)``, whose keyword arguments become the module's options.

    Args:
        num_classes: number of classes, at least 1.
        embedding_size: dimension of the embeddings.
        proxies_per_class: how many rows each class has.
        proxy_init: "random" for normally distributed directions of unit length; "class_mean" to wait for
            ``init_proxies_from``, without which forward raises; or a (num_classes * proxies_per_class,
            embedding_size) tensor to copy.
        generator: for the random directions.
        device, dtype: of the proxies.
        device_mesh: shard the proxies over the ranks of this mesh from the start, as ``shard_proxies`` does later. No
            rank makes all of them, and the random directions do not depend on the number of ranks.
        process_group: ranks that each have a part of one batch; None for this rank's samples alone, or with sharded
            proxies those of all ranks of the mesh.
        options: keyword arguments of ``function``, checked here and shown in ``repr``.

    Example:
        >>> import torch
        >>> from dmlkernels import ProxyLoss, pd_loss
        >>> def squared(embeddings, labels, proxies, *, proxy_labels=None, ignore_index=-100, backend="auto"):
        ...     options = {"proxy_labels": proxy_labels, "ignore_index": ignore_index, "backend": backend}
        ...     return pd_loss(embeddings, labels, proxies, **options) ** 2
        >>> class SquaredPDLoss(ProxyLoss):
        ...     function = staticmethod(squared)
        >>> loss_fn = SquaredPDLoss(num_classes=3, embedding_size=8)
        >>> loss_fn(torch.randn(4, 8), torch.tensor([0, 1, 2, 0])).backward()
        >>> loss_fn
        SquaredPDLoss(num_classes=3, embedding_size=8, ignore_index=-100, backend='auto')
    """

    proxies: nn.Parameter
    foreign_names: ClassVar[tuple[str, ...]] = ("proxies", "W", "fc")  # of the proxies in pytorch-metric-learning

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        proxies_per_class: int = 1,
        proxy_init: str | Tensor = "random",
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        device_mesh: DeviceMesh | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        sizes = {
            "num_classes": num_classes,
            "embedding_size": embedding_size,
            "proxies_per_class": proxies_per_class,
        }
        for name, size in sizes.items():
            check_integer(name, size, at_least=1)
        self.num_classes, self.embedding_size, self.proxies_per_class = sizes.values()
        shape = (num_classes * proxies_per_class, embedding_size)
        if device_mesh is not None:
            check_mesh("device_mesh", device_mesh)
        if not isinstance(proxy_init, str | Tensor):
            raise TypeError(f"proxy_init: got {type(proxy_init).__name__}, expected 'random', 'class_mean' or a tensor")
        if dtype is not None and not dtype.is_floating_point:
            raise TypeError(f"dtype: got {dtype}, expected a floating type")
        if isinstance(proxy_init, Tensor):
            if proxy_init.shape != shape:
                raise ValueError(f"proxy_init: got shape {tuple(proxy_init.shape)}, expected {shape}")
            if not (proxy_init.dtype if dtype is None else dtype).is_floating_point:
                raise TypeError(f"proxy_init: got {proxy_init.dtype}, expected a floating type")
            whole = proxy_init.detach()
            part = whole if device_mesh is None else whole[own_slice(shape[0], device_mesh)]
            start = part.to(device=device, dtype=dtype, copy=True)
            start = start if device_mesh is None else from_rows(start, shape[0], device_mesh)
        elif proxy_init not in ("random", "class_mean"):
            raise ValueError(f"proxy_init: got {proxy_init!r}, expected 'random', 'class_mean' or a tensor")
        elif device_mesh is not None:
            start = random_proxies(shape, device_mesh, generator, device, dtype)
        else:
            drawn = torch.randn(shape, generator=generator, device=device, dtype=dtype)
            start = unit_rows(drawn).to(drawn.dtype)
        self.proxies = nn.Parameter(start)
        self._awaits_class_means = isinstance(proxy_init, str) and proxy_init == "class_mean"
        self._watch: Watch | None = Watch()
        self._try_options()

    @property
    def proxy_labels(self) -> Tensor | None:  # (num_classes * proxies_per_class,)
        """Return the class of each proxy; None when proxy j has class j."""
        if self.proxies_per_class == 1:
            return None
        if is_dtensor(self.proxies):
            rows = self._rows()
            local = torch.arange(rows.start, rows.stop, device=self.proxies.device) // self.proxies_per_class
            return from_rows(local, self.proxies.shape[0], mesh_of(self.proxies))
        return torch.arange(self.num_classes, device=self.proxies.device).repeat_interleave(self.proxies_per_class)

    @torch.no_grad()
    def init_proxies_from(
        self, embeddings: Tensor | Iterable[tuple[Tensor, Tensor]], labels: Tensor | None = None
    ) -> None:
        """Set the proxies to the mean direction of each class.

        Several proxies of a class start around its mean, at a tenth of its length (ours). A class without an embedding
        keeps its proxies.

        Args:
            embeddings: (N, D) embeddings of any scale, or an iterable of (embeddings, labels) batches.
            labels: (N,) their classes, 0 to num_classes - 1; left out for an iterable.

        Raises:
            ValueError: no embedding at all; embeddings that are not finite; shapes or labels that do not fit.
            TypeError: a wrong dtype.
            RuntimeError: the proxies are computed from other parameters by something that has no inverse.

        Warns:
            UserWarning: with ``proxy_init="class_mean"``, classes without an embedding start from random directions.
        """
        batches = self._batches(embeddings, labels)
        directions, found = self._class_directions(self._checked_batches(batches))
        self._set_proxies(torch.where(found, directions.to(self.proxies.dtype), local_tensor(self.proxies)))
        self._awaits_class_means = False

    @before_agreement
    def _batches(
        self, embeddings: Tensor | Iterable[tuple[Tensor, Tensor]], labels: Tensor | None
    ) -> Iterable[tuple[Tensor, Tensor]]:
        """What ``init_proxies_from`` was given, as batches."""
        if isinstance(embeddings, Tensor):
            if labels is None:
                raise ValueError("labels: got None, expected (N,) classes of the embeddings")
            return [(embeddings, labels)]
        if labels is not None or not isinstance(embeddings, Iterable):
            raise TypeError(f"embeddings: got {type(embeddings).__name__}, expected a tensor, or batches and no labels")
        return embeddings

    def _class_directions(self, batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Compute the mean direction of the class of each proxy of this rank, or one near it, and whether it exists."""
        local, per_class, ranks = local_tensor(self.proxies), self.proxies_per_class, self._ranks()
        rows = self._rows()
        classes = range(rows.start // per_class, -(-rows.stop // per_class))
        dtype = torch.promote_types(local.dtype, torch.float32)
        total = local.new_zeros(len(classes), self.embedding_size, dtype=dtype)
        seen = torch.zeros(len(classes), 1, dtype=torch.bool, device=total.device)
        if ranks is not None:
            sizes = {"num_classes": self.num_classes, "proxies_per_class": per_class}
            batches = joined_batches(batches, ranks, total[:0], sizes)
        number = 0
        for units, labels in batches:
            number += labels.shape[0]
            if len(classes) < self.num_classes:
                here = (labels >= classes.start) & (labels < classes.stop)
                units, labels = units[here], labels[here] - classes.start
            total.index_add_(0, labels, units)
            seen[labels] = True
        if not number:
            raise ValueError("embeddings: got none, expected at least one to take a class mean of")
        missing = int((~seen).sum())
        if missing and self._awaits_class_means:
            warnings.warn(
                f"embeddings: {missing} of {len(classes)} classes have none, so their proxies stay random",
                stacklevel=4,
            )
        chosen = slice(rows.start - classes.start * per_class, rows.stop - classes.start * per_class)
        means = unit_rows(total).repeat_interleave(per_class, dim=0)[chosen]
        if per_class > 1:
            aside = torch.randn_like(means) if ranks is None else random_rows(rows, means, common_seed(ranks))
            means = unit_rows(means + 0.1 * unit_rows(aside))
        return means, (seen & total.any(1, keepdim=True)).repeat_interleave(per_class, dim=0)[chosen]

    def _checked_batches(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Unit rows and classes, where and as the means are computed."""
        device, dtype = self.proxies.device, torch.promote_types(self.proxies.dtype, torch.float32)
        for batch, labels in batches:
            classes = self._checked_classes(batch, labels).to(device)
            yield unit_rows(batch.to(device)).to(dtype), classes

    def _ranks(self) -> Ranks | None:
        """The ranks of a call."""
        if is_dtensor(self.proxies):
            return ranks_of_mesh(mesh_of(self.proxies))
        return super()._ranks()

    def _rows(self) -> range:
        """Those of the proxies that this rank has."""
        if not is_dtensor(self.proxies):
            return range(self.proxies.shape[0])
        return rows_of(self.proxies.shape[0], mesh_of(self.proxies))

    def _set_proxies(self, values: Tensor) -> None:
        """Set the proxies from values of this rank's rows, or of all rows."""
        if is_dtensor(self.proxies):
            whole = values.shape[0] == self.proxies.shape[0]
            part = values[own_slice(values.shape[0], mesh_of(self.proxies))] if whole else values
            local_tensor(self.proxies).copy_(part)
        elif is_parametrized(self, "proxies"):
            self.proxies = values  # type: ignore[assignment]  # through the right inverses of the parametrizations
        elif self.proxies.is_leaf:
            self.proxies.copy_(values)
        else:
            raise RuntimeError("proxies: are computed from other parameters, which init_proxies_from cannot set")

    def _checked_classes(self, embeddings: Tensor, labels: Tensor) -> Tensor:  # (N,) int64
        """Check embeddings and labels for class means; return the labels in int64."""
        check_vectors("embeddings", embeddings, allow_empty=True)
        check_labels("labels", labels, embeddings, "embeddings")
        if embeddings.shape[1] != self.embedding_size:
            raise ValueError(f"embeddings: got {embeddings.shape[1]} dimensions, expected {self.embedding_size}")
        if not embeddings.isfinite().all():
            raise ValueError("embeddings: got NaN or infinity, expected finite numbers")
        classes = labels.long()
        unknown = classes[(classes < 0) | (classes >= self.num_classes)]
        if unknown.numel():
            raise ValueError(f"labels: got {int(unknown[0])}, expected classes 0 to {self.num_classes - 1}")
        return classes

    def load_pytorch_metric_learning(self, state: Mapping[str, Tensor], prefix: str = "") -> None:
        """Copy the proxies from the state dict of pytorch-metric-learning's loss of the same kind.

        Args:
            state: holds ``proxies`` (C, D), ``W`` (D, C) or ``fc`` (D, C * K), by the kind of loss.
            prefix: what comes before that name, such as "loss_fn." in the state dict of a Lightning module.

        Raises:
            ValueError: ``state`` is of another kind of loss, or its proxies have another shape.
        """
        name = next((name for name in self.foreign_names if f"{prefix}{name}" in state), None)
        if name is None:
            wanted = " or ".join(repr(f"{prefix}{name}") for name in self.foreign_names)
            raise ValueError(f"state: got keys {sorted(state)}, expected {wanted} for {type(self).__name__}")
        found = state[f"{prefix}{name}"]
        found = found if name == "proxies" else found.T
        if found.shape != self.proxies.shape:
            raise ValueError(
                f"state[{prefix + name!r}]: holds {tuple(found.shape)} proxies, expected {tuple(self.proxies.shape)}"
            )
        with torch.no_grad():
            self._set_proxies(found)
        self._awaits_class_means = False

    def get_logits(self, embeddings: Tensor) -> Tensor:  # (B, num_classes)
        """Compute the cosine of embeddings (B, D) with the nearest proxy of each class, for inference and metrics.

        Float32 or wider, also under autocast. The result is a dense B x C matrix. With sharded proxies it is a
        DTensor: the rows are the embeddings of all ranks, the columns stay where their classes are.
        """
        if is_dtensor(self.proxies):
            return sharded_scores(embeddings, self.proxies, self.proxies_per_class, self._class_scores)
        check_vectors("embeddings", embeddings, allow_empty=True)
        check_same_space("proxies", self.proxies, embeddings)
        grouped = cosines(embeddings, self.proxies).unflatten(1, (self.num_classes, self.proxies_per_class))
        return self._class_scores(grouped)

    def _class_scores(self, cosines: Tensor) -> Tensor:  # (B, classes, proxies_per_class) -> (B, classes)
        """Scores from the cosines with the proxies of each class."""
        return cosines.amax(2)

    @torch.no_grad()
    def extend_classes(
        self,
        num_new: int,
        *,
        optimizer: Optimizer | Sequence[Optimizer] = (),
        generator: torch.Generator | None = None,
    ) -> None:
        """Append classes whose proxies start in random directions.

        The parameter stays the same object, so optimisers keep it. DistributedDataParallel and torch.compile remember
        its old shape: wrap or compile again.

        Args:
            num_new: how many, at least 1. They become classes num_classes to num_classes + num_new - 1.
            optimizer: one or several that hold the proxies. Their state (momentum, ...) is kept, with zeros for the new
                proxies. An optimiser that has state and is not given here fails in its next step.
            generator: for the random directions.

        Raises:
            RuntimeError: the proxies are parametrised or sharded.
        """
        check_integer("num_new", num_new, at_least=1)
        if is_parametrized(self, "proxies") or not self.proxies.is_leaf or type(self.proxies.data) is not Tensor:
            raise RuntimeError("proxies: are parametrised or sharded, expected a plain parameter to extend")
        old = self.proxies.data
        shape = (num_new * self.proxies_per_class, self.embedding_size)
        drawn = torch.randn(shape, generator=generator, device=old.device, dtype=old.dtype)
        extend(self.proxies, unit_rows(drawn).to(old.dtype), optimizer)
        self.num_classes += num_new
        self._watch = None

    def param_groups(self, lr: float, proxy_lr_factor: float = 100.0) -> list[dict[str, Any]]:
        """Return optimiser groups for the proxies, or for what they are computed from: ``proxy_lr_factor`` times the
        base rate, no weight decay."""
        params = [self.proxies]
        if is_parametrized(self, "proxies"):
            params = list(self.get_submodule("parametrizations.proxies").parameters())
        elif not self.proxies.is_leaf:
            raise RuntimeError("proxies: are computed from other parameters, give those to the optimiser")
        return [{"params": params, "lr": lr * proxy_lr_factor, "weight_decay": 0.0}]

    def extra_repr(self) -> str:
        """Show sizes and options."""
        sizes = f"num_classes={self.num_classes}, embedding_size={self.embedding_size}"
        if self.proxies_per_class > 1:
            sizes += f", proxies_per_class={self.proxies_per_class}"
        return f"{sizes}, {show_options(self.options)}"

    @before_agreement
    def _ready_proxies(self) -> Tensor:
        """Return the proxies for a forward pass."""
        if self._awaits_class_means:
            raise RuntimeError("proxy_init='class_mean': call init_proxies_from(embeddings, labels) before training")
        proxies = self.proxies
        watch = self._active_watch()
        if watch is not None and watch.settled(proxies):
            self._watch = None
        return proxies

    def _active_watch(self) -> Watch | None:
        """Not within a backward pass, where torch.utils.checkpoint wants the same operations again."""
        if torch.compiler.is_compiling() or not self.training or torch._C._current_graph_task_id() != -1:
            return None
        return self._watch

    def _watched(self, loss: Tensor, proxies: Tensor) -> Tensor:
        """Return the loss of these proxies, whose backward pass will be seen."""
        watch = self._active_watch()
        if watch is not None and proxies.is_leaf and proxies.requires_grad and loss.requires_grad:
            watch.see_backward(loss)
        return loss

    def _evaluate(
        self, embeddings: Tensor, labels: Tensor, options: dict[str, Any]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        proxies = self._ready_proxies()
        loss: Tensor = self._call(embeddings, labels, proxies, self.proxy_labels, options)
        return self._watched(loss, proxies), {"loss": loss.detach()}

    def _call(
        self, embeddings: Tensor, labels: Tensor, proxies: Tensor, proxy_labels: Tensor | None, options: dict[str, Any]
    ) -> Any:
        """What ``function`` says; a subclass whose function takes other arguments overrides this."""
        return type(self).function(embeddings, labels, proxies, proxy_labels=proxy_labels, **options)

    def _try_options(self) -> None:
        """Evaluate a few samples, so that a wrong option raises at construction."""
        resolve(self.options["backend"], self.proxies.device.type)
        labels = torch.tensor([0, 1, 0])
        proxies = torch.eye(2).repeat_interleave(self.proxies_per_class, dim=0)
        several = self.proxies_per_class > 1
        proxy_labels = torch.tensor([0, 1]).repeat_interleave(self.proxies_per_class) if several else None
        self._call(torch.eye(2)[labels], labels, proxies, proxy_labels, {**self.options, "backend": "torch"})

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        key = f"{prefix}proxies"
        if any(name.startswith(f"{prefix}parametrizations.proxies.") for name in state_dict):
            self._awaits_class_means = False
        if key in state_dict:
            found = state_dict[key]
            if found.shape == self.proxies.shape:
                self._awaits_class_means = False
            if is_dtensor(self.proxies) and not is_dtensor(found) and found.shape == self.proxies.shape:
                state_dict = {**state_dict, key: rows_like(found, self.proxies)}
            elif is_dtensor(found) and not is_dtensor(self.proxies):
                state_dict = {**state_dict, key: found.full_tensor()}
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
