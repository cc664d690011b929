"""The network that is trained: backbone, pooling, linear head."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from retrieval_lib.backbones import Backbone


class Pool(nn.Module):
    """Average, maximum or their sum over the positions of a feature map; features (B, C) pass unchanged."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, features: Tensor) -> Tensor:  # (B, C, H, W) or (B, C) -> (B, C)
        if features.dim() == 2:
            return features
        if self.kind == "avg":
            return features.mean((2, 3))
        return features.amax((2, 3)) + (features.mean((2, 3)) if self.kind == "avg+max" else 0)

    def extra_repr(self) -> str:
        return self.kind


class Embedder(nn.Module):
    """Images to embeddings, which are not normalised: the losses do that."""

    def __init__(self, backbone: Backbone, pooling: str, embedding_size: int, *, freeze_batchnorm: bool) -> None:
        super().__init__()
        self.backbone, self.pool = backbone, Pool(pooling)
        self.head = nn.Linear(backbone.width, embedding_size)
        nn.init.kaiming_normal_(self.head.weight, mode="fan_out")
        nn.init.zeros_(self.head.bias)
        self.freeze_batchnorm = freeze_batchnorm

    def forward(self, images: Tensor) -> Tensor:  # (B, 3, H, W) -> (B, D)
        return self.head(self.pool(self.backbone(images)))

    def train(self, mode: bool = True) -> Embedder:
        """Frozen BatchNorm stays in evaluation mode."""
        super().train(mode)
        if self.freeze_batchnorm:
            for layer in self._batchnorms():
                layer.eval()
        return self

    def train_backbone(self, wanted: bool) -> None:
        """Whether the backbone gets gradients; frozen BatchNorm never does."""
        self.backbone.requires_grad_(wanted)
        if self.freeze_batchnorm:
            for layer in self._batchnorms():
                layer.requires_grad_(False)

    def _batchnorms(self) -> list[nn.Module]:
        return [layer for layer in self.backbone.modules() if isinstance(layer, _BatchNorm)]
