"""Backbones by name: timm's, torchvision's, or the small one built in."""

from __future__ import annotations

from collections import OrderedDict
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType

import torch
from torch import Tensor, nn

from retrieval_lib.errors import ConfigError

BUILTIN = "builtin"
WIDTHS = (32, 64, 128, 256)


class Backbone(nn.Module):
    """Images to a feature map (B, C, H, W), or to features (B, C) where a model pools itself.

    Args:
        body: the model.
        width: C.
        stage: submodule of ``body`` before the last stage, where a second view may start; "" if there is none.
        origin: what it is and where it is from, for the report.
    """

    def __init__(self, body: nn.Module, width: int, stage: str, origin: str) -> None:
        super().__init__()
        self.body, self.width, self.stage, self.origin = body, width, stage, origin

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images)


def make_backbone(name: str, weights: str = "") -> tuple[Backbone, str]:
    """The backbone, and a warning if another one has to stand in for it."""
    if name == BUILTIN:
        return _loaded(_builtin(), weights), ""
    timm, torchvision = _optional("timm"), _optional("torchvision")
    if timm is not None and timm.is_model(name):
        return _loaded(_from_timm(timm, name), weights), ""
    if torchvision is not None and name in torchvision.models.list_models():
        return _loaded(_from_torchvision(torchvision, name), weights), ""
    if timm is not None or torchvision is not None:
        installed = " and ".join(one.__name__ for one in (timm, torchvision) if one is not None)
        raise ConfigError(f"model.backbone: {name!r} is no model of {installed}; {BUILTIN!r} is the small one")
    if weights:
        raise ConfigError(f"model.weights: {name!r} needs timm or torchvision, and neither can be imported")
    warning = (
        f"neither timm nor torchvision can be imported, so the small built-in network stands in for {name}: "
        "its numbers say nothing about the paper's"
    )
    return _builtin(), warning


def _optional(name: str) -> ModuleType | None:
    try:
        return import_module(name)
    except (ImportError, RuntimeError):  # RuntimeError: built for another torch
        return None


def _builtin() -> Backbone:
    stages = OrderedDict()
    for number, (before, after) in enumerate(zip((3, *WIDTHS[:-1]), WIDTHS, strict=True), start=1):
        stages[f"stage{number}"] = nn.Sequential(
            nn.Conv2d(before, after, 3, stride=1 if number == 1 else 2, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        )
    return Backbone(nn.Sequential(stages), WIDTHS[-1], "stage3", "built-in network of four convolutions")


class _Timm(nn.Module):
    """The feature map of a timm model, or its own pooling where it has none of the shape (B, C, H, W)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        features = self.model.forward_features(images)
        if features.dim() == 4 and str(getattr(self.model, "output_fmt", "NCHW")) == "NCHW":
            return features
        return self.model.forward_head(features, pre_logits=True)


def _from_timm(timm: ModuleType, name: str) -> Backbone:
    body = _Timm(timm.create_model(name, pretrained=False, num_classes=0))
    stage = "model.layer3" if hasattr(body.model, "layer3") else ""
    return Backbone(body, body.model.num_features, stage, f"{name} of timm {timm.__version__}")


def _from_torchvision(torchvision: ModuleType, name: str) -> Backbone:
    model = torchvision.models.get_model(name, weights=None)
    origin = f"{name} of torchvision {torchvision.__version__}"
    if isinstance(model, torchvision.models.ResNet):
        parts = OrderedDict((key, part) for key, part in model.named_children() if key not in ("avgpool", "fc"))
        return Backbone(nn.Sequential(parts), model.fc.in_features, "layer3", origin)
    if isinstance(model, torchvision.models.VisionTransformer):
        model.heads = nn.Identity()
        return Backbone(model, model.hidden_dim, "", origin)
    raise ConfigError(f"model.backbone: of torchvision, ResNets and ViTs are supported; install timm for {name!r}")


def _loaded(backbone: Backbone, weights: str) -> Backbone:
    """With the weights of a file in the model's own state-dict format; those of a classifier are left out."""
    if not weights:
        return backbone
    state = _read_weights(Path(weights).expanduser())
    target = backbone.body.model if isinstance(backbone.body, _Timm) else backbone.body
    state = state.get("state_dict", state)
    wanted = target.state_dict()
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    wrong = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    if missing or wrong:
        raise ConfigError(
            f"model.weights: {weights} does not fit {backbone.origin}: {len(missing)} parameters missing "
            f"(such as {missing[:1]}), {len(wrong)} of another shape (such as {wrong[:1]})"
        )
    target.load_state_dict({key: state[key] for key in wanted if key in state}, strict=False)
    backbone.origin += f", weights of {Path(weights).name}"
    return backbone


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except ImportError as error:
        raise ConfigError(f"model.weights: {path} needs the package safetensors") from error
    except (OSError, RuntimeError, ValueError, EOFError, UnpicklingError) as error:
        raise ConfigError(f"model.weights: {path} cannot be read ({error})") from error
