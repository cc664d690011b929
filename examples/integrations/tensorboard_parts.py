"""Log the terms of a joint objective: ``python tensorboard_parts.py``, then ``tensorboard --logdir runs``."""

from __future__ import annotations

import sys

import torch
from digits_task import EMBEDDING_SIZE, TRAIN_CLASSES, decidability_of, digits, network, report
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

import dmlkernels as dml


def main(folder: str = "runs", epochs: int = 5) -> dict[str, float]:
    """Train and log ``loss_fn.parts`` at every step."""
    torch.manual_seed(0)
    train, test = digits()
    backbone = network()
    loss_fn = dml.FusedObjective(TRAIN_CLASSES, EMBEDDING_SIZE, pd_weight=1.0, field_weight=0.5)
    before = decidability_of(backbone, test)
    groups = [{"params": backbone.parameters()}, *loss_fn.param_groups(lr=1e-3, proxy_lr_factor=10)]
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    step = 0
    with SummaryWriter(folder) as writer:
        for _ in range(epochs):
            for images, labels in DataLoader(train, batch_size=64, shuffle=True):
                loss = loss_fn(backbone(images), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                writer.add_scalars("loss", {"total": loss.detach(), **loss_fn.parts}, step)
                step += 1
    return report(before, decidability_of(backbone, test))


if __name__ == "__main__":
    main(*sys.argv[1:2])
