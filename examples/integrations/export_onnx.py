"""A trained backbone with nearest-proxy inference as an ONNX file: ``python export_onnx.py``."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from digits_task import EMBEDDING_SIZE, TRAIN_CLASSES, classes_of, digits, network
from torch import Tensor, nn
from torch.utils.data import DataLoader

import dmlkernels as dml


class NearestProxy(nn.Module):
    """A backbone, and the class scores of its embeddings; nothing of it is needed but torch."""

    def __init__(self, backbone: nn.Module, loss_fn: dml.ProxyLoss) -> None:
        super().__init__()
        self.backbone, self.loss_fn = backbone, loss_fn

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:  # (B, D), (B, C)
        """Embeddings of unit length and class scores."""
        embeddings = nn.functional.normalize(self.backbone(images))
        return embeddings, self.loss_fn.get_logits(embeddings)


def main(path: str = "digits.onnx", epochs: int = 5) -> dict[str, float]:
    """Train, export, and compare what ONNX Runtime computes."""
    torch.manual_seed(0)
    train, _ = digits()
    backbone, loss_fn = network(), dml.PDLoss(TRAIN_CLASSES, EMBEDDING_SIZE)
    groups = [{"params": backbone.parameters()}, *loss_fn.param_groups(lr=1e-3, proxy_lr_factor=10)]
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    for _ in range(epochs):
        for images, labels in DataLoader(train, batch_size=64, shuffle=True):
            optimizer.zero_grad()
            loss_fn(backbone(images), labels).backward()
            optimizer.step()
    model, images = NearestProxy(backbone, loss_fn).eval(), train.tensors[0]
    batch = torch.export.Dim("batch")
    torch.onnx.export(
        model,
        (images[:8],),
        path,
        dynamo=True,
        dynamic_shapes=({0: batch},),
        output_names=["embeddings", "scores"],
        verbose=False,
    )
    session = onnxruntime.InferenceSession(path)
    embeddings, scores = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    with torch.no_grad():
        expected = model(images)
    error = max(float(np.abs(a - b.numpy()).max()) for a, b in zip((embeddings, scores), expected, strict=True))
    accuracy = float((scores.argmax(1) == classes_of(train).numpy()).mean())
    print(f"{Path(path).name}: {len(images)} images, largest difference {error:.1e}, accuracy {100 * accuracy:.1f}%")
    return {"error": error, "accuracy": accuracy}


if __name__ == "__main__":
    main(*sys.argv[1:2])
