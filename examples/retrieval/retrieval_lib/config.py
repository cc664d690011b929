"""The settings of a recipe: what a TOML file may say, with defaults."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from retrieval_lib.errors import ConfigError

LAYOUTS = ("cub", "cars", "sop", "inshop", "lfw", "folders")
LOSSES = ("pd", "d", "field", "anchor", "nca", "softmax", "cosface", "arcface", "soft_triple")


@dataclass
class Data:
    layout: str = "folders"  # one of LAYOUTS
    root: str = "data"  # folder of the data set
    train_root: str = ""  # lfw only: other faces to train on, a folder of class sub-folders
    resize: int = 256  # shorter side of a test image
    crop: int = 224  # side of what the network sees
    sampler: str = "random"  # "random", or "per_class" for images_per_class of each class in a batch
    images_per_class: int = 4
    label_noise: float = 0.0  # share of training labels to flip
    validation_share: float = 0.0  # of the training classes, held out to choose the epoch
    workers: int = 4  # processes that read images; the numbers do not depend on it


@dataclass
class Model:
    backbone: str = "resnet50"  # a name of timm or torchvision, or "builtin"
    weights: str = ""  # file with pretrained weights of the backbone; nothing is downloaded
    embedding_size: int = 512
    pooling: str = "avg+max"  # "avg", "max" or "avg+max", of backbones that end in a feature map
    freeze_batchnorm: bool = True


@dataclass
class Loss:
    name: str = "pd"  # one of LOSSES
    proxy_init: str = "random"  # or "class_mean": of the embeddings before training
    options: dict[str, Any] = field(default_factory=dict)  # keyword arguments of the loss


@dataclass
class CouCE:
    enabled: bool = False
    after: str = ""  # submodule of the network whose output the second view changes; "" for the last but one stage
    atoms: int = 64
    odba_weight: float = 1.0
    invariance_weight: float = 1.0
    temperature: float = 0.1
    ramp_epochs: float = 5.0
    eta: list[float] = field(default_factory=lambda: [0.5, 1.0, 1.0])


@dataclass
class Train:
    epochs: int = 50
    batch_size: int = 100  # of all ranks together
    lr: float = 1e-4
    weight_decay: float = 1e-4
    proxy_lr_factor: float = 100.0
    warmup_epochs: int = 1  # in which head and proxies alone learn; BatchNorm's statistics move unless frozen
    schedule: str = "constant"  # "constant", "cosine" or "step"
    step_epochs: int = 10
    step_factor: float = 0.5
    clip_norm: float = 0.0  # 0: not
    clip_value: float = 0.0
    precision: str = "float32"  # "bfloat16" or "float16" for mixed precision
    compile: bool = False
    deterministic: bool = True  # on a GPU: repeatable bit for bit, somewhat slower
    keep_checkpoints: int = 2


@dataclass
class Evaluation:
    every: int = 10  # epochs between points of the curve
    choose: str = "last"  # the epoch to report: "last", or the best one of the "validation" split
    recall_at: list[int] = field(default_factory=lambda: [1, 2, 4, 8])
    nmi: bool = True  # k-means over the test set: slow with many classes


@dataclass
class Sweep:
    seeds: int = 1
    batch_sizes: list[int] = field(default_factory=list)  # instead of train.batch_size


@dataclass
class Distributed:
    global_batch: bool = True  # the loss sees the samples of all ranks
    shard_proxies: bool = False  # each rank keeps a part of the classes


@dataclass
class Config:
    title: str = "Untitled"
    paper: str = ""  # key of published.toml
    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    loss: Loss = field(default_factory=Loss)
    couce: CouCE = field(default_factory=CouCE)
    train: Train = field(default_factory=Train)
    evaluation: Evaluation = field(default_factory=Evaluation)
    sweep: Sweep = field(default_factory=Sweep)
    distributed: Distributed = field(default_factory=Distributed)


def as_dict(config: Config) -> dict[str, Any]:
    """For JSON and for comparing two runs."""
    return dataclasses.asdict(config)


def check(config: Config) -> Config:
    """Refuse what no run could do."""
    data, train, evaluation = config.data, config.train, config.evaluation
    choices = {
        "data.layout": (data.layout, LAYOUTS),
        "data.sampler": (data.sampler, ("random", "per_class")),
        "model.pooling": (config.model.pooling, ("avg", "max", "avg+max")),
        "loss.name": (config.loss.name, LOSSES),
        "loss.proxy_init": (config.loss.proxy_init, ("random", "class_mean")),
        "train.schedule": (train.schedule, ("constant", "cosine", "step")),
        "train.precision": (train.precision, ("float32", "bfloat16", "float16")),
        "evaluation.choose": (evaluation.choose, ("last", "validation")),
    }
    for name, (given, allowed) in choices.items():
        if given not in allowed:
            raise ConfigError(f"{name}: got {given!r}, expected one of {', '.join(allowed)}")
    positive = {
        "data.crop": data.crop,
        "data.images_per_class": data.images_per_class,
        "couce.atoms": config.couce.atoms,
        "couce.temperature": config.couce.temperature,
        "train.epochs": train.epochs,
        "train.lr": train.lr,
        "train.step_epochs": train.step_epochs,
        "train.keep_checkpoints": train.keep_checkpoints,
        "evaluation.every": evaluation.every,
        "sweep.seeds": config.sweep.seeds,
        **{f"evaluation.recall_at[{i}]": k for i, k in enumerate(evaluation.recall_at)},
        **{f"batch size {i}": size for i, size in enumerate([train.batch_size, *config.sweep.batch_sizes])},
    }
    for name, number in positive.items():
        if not 0 < number < math.inf:
            raise ConfigError(f"{name}: got {number}, expected a positive number")
    not_negative = {
        "data.workers": data.workers,
        **{
            f"couce.{name}": getattr(config.couce, name) for name in ("odba_weight", "invariance_weight", "ramp_epochs")
        },
        **{
            f"train.{name}": getattr(train, name)
            for name in ("weight_decay", "proxy_lr_factor", "step_factor", "clip_norm", "clip_value")
        },
    }
    for name, number in not_negative.items():
        if not 0 <= number < math.inf:
            raise ConfigError(f"{name}: got {number}, expected a number of at least 0")
    if config.model.embedding_size < 2:
        raise ConfigError(f"model.embedding_size: got {config.model.embedding_size}, expected at least 2")
    for name, share in (("data.label_noise", data.label_noise), ("data.validation_share", data.validation_share)):
        if not 0 <= share < 1:
            raise ConfigError(f"{name}: got {share}, expected a share in [0, 1)")
    if data.resize < data.crop:
        raise ConfigError(f"data.resize: got {data.resize}, expected at least data.crop = {data.crop}")
    if not 0 <= train.warmup_epochs <= train.epochs:
        raise ConfigError(f"train.warmup_epochs: got {train.warmup_epochs}, expected 0 to train.epochs")
    if not evaluation.recall_at:
        raise ConfigError("evaluation.recall_at: got an empty list, expected numbers such as [1, 2, 4, 8]")
    if (evaluation.choose == "validation") != (data.validation_share > 0):
        raise ConfigError(
            f"evaluation.choose = {evaluation.choose!r} with data.validation_share = {data.validation_share}: "
            "expected 'validation' with a share above 0, or 'last' with 0"
        )
    if config.couce.enabled and train.compile:
        raise ConfigError(
            "train.compile: a compiled network cannot be looked into, and the second view of couce has to"
        )
    return config
