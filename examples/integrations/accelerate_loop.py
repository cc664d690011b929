"""A loss of dmlkernels under Accelerate, in bfloat16 with accumulated gradients: ``python accelerate_loop.py``."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from digits_task import EMBEDDING_SIZE, TRAIN_CLASSES, decidability_of, digits, network, report
from torch.utils.data import DataLoader

import dmlkernels as dml


def main(epochs: int = 5) -> dict[str, float]:
    """Train."""
    torch.manual_seed(0)
    accelerator = Accelerator(mixed_precision="bf16", gradient_accumulation_steps=2, cpu=True)
    train, test = digits()
    backbone, loss_fn = network(), dml.PDLoss(TRAIN_CLASSES, EMBEDDING_SIZE)
    before = decidability_of(backbone, test)
    groups = [{"params": backbone.parameters()}, *loss_fn.param_groups(lr=1e-3, proxy_lr_factor=10)]
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    loader = DataLoader(train, batch_size=64, shuffle=True)
    backbone, loss_fn, optimizer, loader = accelerator.prepare(backbone, loss_fn, optimizer, loader)
    for _ in range(epochs):
        for images, labels in loader:
            with accelerator.accumulate(backbone, loss_fn):
                loss = loss_fn(backbone(images), labels)
                accelerator.backward(loss)
                accelerator.clip_grad_norm_([*backbone.parameters(), *loss_fn.parameters()], 10.0)
                optimizer.step()
                optimizer.zero_grad()
    proxies = accelerator.unwrap_model(loss_fn).proxies
    print(f"the proxies stayed {proxies.dtype}")
    return report(before, decidability_of(accelerator.unwrap_model(backbone, keep_fp32_wrapper=False), test))


if __name__ == "__main__":
    main()
