"""Everything that a run trains and that its checkpoints hold."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import dmlkernels as dml
from retrieval_lib.backbones import make_backbone
from retrieval_lib.config import Config
from retrieval_lib.errors import ConfigError
from retrieval_lib.network import Embedder
from retrieval_lib.objective import Objective, TwoViews
from retrieval_lib.optimiser import clip, make_optimisers
from retrieval_lib.sharding import load_local_module, load_local_optimiser, local_parts
from retrieval_lib.world import World

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Parts:
    """Network, objective, optimiser and gradient scaler, and the step that uses them."""

    def __init__(self, config: Config, num_classes: int, world: World) -> None:
        self.config, self.world = config, world
        backbone, self.warning = make_backbone(config.model.backbone, config.model.weights)
        network = Embedder(
            backbone,
            config.model.pooling,
            config.model.embedding_size,
            freeze_batchnorm=config.model.freeze_batchnorm,
        )
        self.network = network.to(world.device)
        self.views = TwoViews(self.network, config)
        if config.train.compile:
            self.network.compile()
        shared = config.distributed.global_batch and not config.distributed.shard_proxies
        self.objective = Objective(config, num_classes, world.group if shared else None).to(world.device)
        if config.distributed.shard_proxies:
            self._shard()
        self.optimisers = make_optimisers(self.network, self.objective, config.train)
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=config.train.precision == "float16")
        self._wrapped: tuple[Callable[..., Any], Callable[..., Any]] = (self.views, self.objective)

    def _shard(self) -> None:
        if self.world.size == 1:
            raise ConfigError("distributed.shard_proxies: one process has nothing to shard over; start it by torchrun")
        mesh = torch.distributed.init_device_mesh(self.world.device.type, (self.world.size,))
        dml.shard_proxies(self.objective.base, mesh)

    def start_phase(self, *, warming_up: bool) -> None:
        """Let the backbone learn or stand still, and have gradients averaged over the ranks."""
        self.network.train_backbone(not warming_up)
        self.network.train()
        self.objective.train()
        if self.world.size > 1:
            self._wrapped = (self._averaged(self.views), self._averaged(self.objective))

    def _averaged(self, module: nn.Module) -> nn.Module:
        trained = [one for one in module.parameters() if one.requires_grad]
        if not trained or (module is self.objective and self.config.distributed.shard_proxies):
            return module
        return DistributedDataParallel(module)

    def share_buffers(self) -> None:
        """Running statistics are those of rank 0 for everyone, who will evaluate a part of the images each."""
        if self.world.size > 1:
            for buffer in self.network.buffers():
                torch.distributed.broadcast(buffer, 0)

    def autocast(self) -> AbstractContextManager:
        """Mixed precision, if the configuration asks for it."""
        precision = self.config.train.precision
        if precision == "float32":
            return nullcontext()
        return torch.autocast(self.world.device.type, DTYPES[precision])

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """Train on a batch, and return its loss, detached."""
        views, objective = self._wrapped
        with self.autocast():
            embeddings, intervened, maps = views(images)
            self.objective.learn_background(maps, self.network.head)
            loss = objective(embeddings, labels, intervened)
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        for optimiser in self.optimisers:
            self.scaler.unscale_(optimiser)
        clip(self.network, self.objective, self.config.train)
        for optimiser in self.optimisers:
            self.scaler.step(optimiser)
        self.scaler.update()
        return loss.detach()

    def state(self) -> dict[str, Any]:
        """This rank's, for a checkpoint."""
        return {
            "network": self.network.state_dict(),
            "objective": local_parts(self.objective.state_dict()),
            "optimisers": [local_parts(one.state_dict()) for one in self.optimisers],
            "scaler": self.scaler.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        load_local_module(self.objective, state["objective"])
        for optimiser, stored in zip(self.optimisers, state["optimisers"], strict=True):
            load_local_optimiser(optimiser, stored)
        self.scaler.load_state_dict(state["scaler"])
