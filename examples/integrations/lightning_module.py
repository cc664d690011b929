"""A loss in Lightning: parameter groups, a schedule by epoch, checkpoints: ``python lightning_module.py``."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning
import torch
from digits_task import EMBEDDING_SIZE, TRAIN_CLASSES, decidability_of, digits, network, report
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader

import dmlkernels as dml


class MetricLearner(lightning.LightningModule):
    """A backbone and a loss whose proxies train, are saved and resume with it."""

    def __init__(self, lr: float = 1e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.backbone = network()
        dictionary = dml.BackgroundDictionary(4, EMBEDDING_SIZE)
        self.loss_fn = dml.CouCE(dml.PDLoss(TRAIN_CLASSES, EMBEDDING_SIZE), dictionary=dictionary, ramp_epochs=3)

    def on_train_epoch_start(self) -> None:
        """Move the ramp of the CouCE-style terms."""
        self.loss_fn.set_epoch(self.current_epoch)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """One step: the dictionary learns from the feature maps behind the second convolution."""
        images, labels = batch
        with dml.captured(self.backbone, "6") as feature_maps:
            embeddings = self.backbone(images)
        self.loss_fn.dictionary.update(feature_maps[0].detach(), lambda pooled: self.backbone[9](pooled))
        loss = self.loss_fn(embeddings, labels)
        self.log_dict({f"train/{name}": part for name, part in self.loss_fn.parts.items()}, on_epoch=True)
        return loss

    def configure_optimizers(self) -> Any:
        """Put the proxies in a group of their own."""
        lr = self.hparams["lr"]
        groups = [{"params": self.backbone.parameters()}, *self.loss_fn.param_groups(lr, proxy_lr_factor=10)]
        return torch.optim.AdamW(groups, lr=lr)


def main(epochs: int = 4) -> dict[str, float]:
    """Train half of the epochs, stop, resume from the checkpoint and train the rest."""
    lightning.seed_everything(0, verbose=False)
    train, test = digits()
    learner = MetricLearner()
    before = decidability_of(learner.backbone, test)
    with TemporaryDirectory() as folder:
        fit(learner, train, epochs // 2, folder)
        checkpoint = Path(folder) / "last.ckpt"
        resumed = MetricLearner()
        trainer = fit(resumed, train, epochs, folder, checkpoint)
    if trainer.current_epoch != epochs or float(resumed.loss_fn.epoch) != epochs - 1:
        raise RuntimeError(f"resumed to epoch {trainer.current_epoch}, expected {epochs}")
    factor = {group["lr"] for group in trainer.optimizers[0].param_groups}
    print(f"learning rates {sorted(factor)}; resumed at epoch {epochs // 2}")
    return report(before, decidability_of(resumed.backbone, test))


def fit(
    learner: MetricLearner, train: Any, epochs: int, folder: str, checkpoint: Path | None = None
) -> lightning.Trainer:
    """Train up to ``epochs``, with a checkpoint after each."""
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ModelCheckpoint(folder, save_last=True, save_top_k=0)],
    )
    trainer.fit(learner, DataLoader(train, batch_size=64, shuffle=True), ckpt_path=checkpoint)
    return trainer


if __name__ == "__main__":
    main()
