"""A loss of dmlkernels in pytorch-metric-learning's trainer and tester: ``python metric_learning_trainer.py``."""

from __future__ import annotations

import torch
from digits_task import EMBEDDING_SIZE, TRAIN_CLASSES, classes_of, decidability_of, digits, network, report
from pytorch_metric_learning import samplers, testers, trainers
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN

import dmlkernels as dml


def main(epochs: int = 5) -> dict[str, float]:
    """Train and test."""
    torch.manual_seed(0)
    train, test = digits()
    backbone, loss_fn = network(), dml.ProxyAnchorLoss(TRAIN_CLASSES, EMBEDDING_SIZE)
    before = decidability_of(backbone, test)
    trainer = trainers.MetricLossOnly(
        models={"trunk": backbone},
        optimizers={
            "trunk_optimizer": torch.optim.AdamW(backbone.parameters(), lr=1e-3),
            # The trainer has no parameter groups: the proxies get an optimiser of their own.
            "metric_loss_optimizer": torch.optim.AdamW(loss_fn.param_groups(lr=1e-3, proxy_lr_factor=10)),
        },
        batch_size=64,
        loss_funcs={"metric_loss": loss_fn},
        dataset=train,
        sampler=samplers.MPerClassSampler(classes_of(train), m=8, length_before_new_iter=len(train)),
        dataloader_num_workers=0,
        data_device="cpu",
    )
    trainer.train(num_epochs=epochs)
    search = CustomKNN(CosineSimilarity())  # the default would need faiss
    tester = testers.GlobalEmbeddingSpaceTester(
        dataloader_num_workers=0,
        data_device=torch.device("cpu"),
        accuracy_calculator=AccuracyCalculator(include=("precision_at_1",), k=1, knn_func=search),
    )
    found = tester.test({"val": test}, epochs, trunk_model=backbone)
    recall = next(value for name, value in found["val"].items() if name.startswith("precision_at_1"))
    print(f"Recall@1 of unseen digits: {100 * recall:.1f}%")
    return {**report(before, decidability_of(backbone, test)), "recall_at_1": recall}


if __name__ == "__main__":
    main()
