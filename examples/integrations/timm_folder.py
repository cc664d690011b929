"""A timm backbone on a folder of class sub-folders: ``python timm_folder.py FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

import timm
import torch
from timm.data import ImageDataset, create_transform, resolve_model_data_config
from torch.utils.data import DataLoader

import dmlkernels as dml


def main(folder: str | Path, model: str = "resnet18", epochs: int = 5, pretrained: bool = True) -> dict[str, float]:
    """Train on the images of ``folder/<class>/``; the intervention of CouCE goes behind the third stage.

    Returns:
        The first and the last loss of training.
    """
    torch.manual_seed(0)
    backbone = timm.create_model(model, pretrained=pretrained, num_classes=0)
    transform = create_transform(**resolve_model_data_config(backbone), is_training=True)
    train = ImageDataset(str(folder), transform=transform)
    num_classes = len(train.reader.class_to_idx)
    loss_fn = dml.CouCE(dml.ProxyAnchorLoss(num_classes, backbone.num_features), odba_weight=0.0, ramp_epochs=2)
    groups = [{"params": backbone.parameters()}, *loss_fn.param_groups(lr=1e-4)]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, weight_decay=1e-4)
    losses = []
    for epoch in range(epochs):
        loss_fn.set_epoch(epoch)
        for images, labels in DataLoader(train, batch_size=16, shuffle=True):
            embeddings, intervened = dml.intervened_forward(
                backbone, images, after="layer3", intervention=dml.FourierIntervention()
            )
            loss = loss_fn(embeddings, labels, intervened)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    print(f"{model} on {len(train)} images of {num_classes} classes: loss {losses[0]:.3f} -> {losses[-1]:.3f}")
    return {"first": losses[0], "last": losses[-1]}


if __name__ == "__main__":
    main(*sys.argv[1:2])
