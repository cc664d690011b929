"""The small network that every run trains."""

from __future__ import annotations

from torch import Tensor, nn


class ConvNet(nn.Module):
    """Three convolutional stages, a global average pool and a linear head: 28,000 parameters at 64 dimensions."""

    def __init__(self, embedding_size: int) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(*convolution(1, 16), nn.MaxPool2d(2))
        self.stage2 = nn.Sequential(*convolution(16, 32), nn.MaxPool2d(2))
        self.stage3 = nn.Sequential(*convolution(32, 64))
        self.head = nn.Linear(64, embedding_size)

    def forward(self, images: Tensor) -> Tensor:  # (B, 1, H, W) -> (B, D)
        return self.head(self.stage3(self.stage2(self.stage1(images))).mean((2, 3)))


def convolution(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
