"""A loss of dmlkernels in Hugging Face's Trainer: ``python hf_trainer.py``.

The Trainer sorts parameters by weight decay alone and gives the proxies the rate of the backbone; ``ProxyGroups`` adds
the groups of the loss.
"""

from __future__ import annotations

from tempfile import TemporaryDirectory
from typing import Any

import torch
from digits_task import EMBEDDING_SIZE, TRAIN_CLASSES, decidability_of, digits, network, report
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

import dmlkernels as dml


class ProxyGroups:
    """A mix-in for ``Trainer``: losses inside the model bring their own optimiser groups."""

    proxy_lr_factor = 10.0

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """Take the parameters of the losses out of the Trainer's groups, and add theirs."""
        if self.optimizer is not None:  # type: ignore[has-type]
            return self.optimizer
        optimizer: torch.optim.Optimizer = super().create_optimizer(*args, **kwargs)  # type: ignore[misc]
        lr = self.args.learning_rate  # type: ignore[attr-defined]
        losses = [part for part in self.model.modules() if isinstance(part, dml.LossModule)]  # type: ignore[attr-defined]
        added = [group for loss in losses for group in loss.param_groups(lr, self.proxy_lr_factor)]
        taken = {id(parameter) for group in added for parameter in group["params"]}
        for group in optimizer.param_groups:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in taken]
        for group in added:
            optimizer.add_param_group(group)
        return optimizer


class ProxyTrainer(ProxyGroups, Trainer):
    """The Trainer for a model that returns its loss."""


class Model(nn.Module):
    """A backbone with its loss, called as the Trainer calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.loss_fn = network(), dml.NormalizedSoftmaxLoss(TRAIN_CLASSES, EMBEDDING_SIZE)

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Loss and embeddings."""
        embeddings = self.backbone(images)
        return {"loss": self.loss_fn(embeddings, labels), "logits": embeddings}


def main(epochs: int = 5) -> dict[str, float]:
    """Train."""
    torch.manual_seed(0)
    train, test = digits()
    model = Model()
    before = decidability_of(model.backbone, test)
    with TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            num_train_epochs=epochs,
            per_device_train_batch_size=64,
            learning_rate=1e-3,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        )
        collate = lambda rows: dict(zip(("images", "labels"), map(torch.stack, zip(*rows, strict=True)), strict=True))  # noqa: E731
        trainer = ProxyTrainer(model, arguments, train_dataset=train, eval_dataset=train, data_collator=collate)
        trainer.train()
        evaluated = trainer.evaluate()["eval_loss"]
    rates = [group["initial_lr"] for group in trainer.optimizer.param_groups]
    print(f"initial learning rates by group: {rates}; evaluation loss on the training classes {evaluated:.3f}")
    return {**report(before, decidability_of(model.backbone, test)), "eval_loss": evaluated, "proxy_lr": rates[-1]}


if __name__ == "__main__":
    main()
