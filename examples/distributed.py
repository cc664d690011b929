"""Train on several processes what one process would train: DDP around the network, proxies sharded by class.

    torchrun --nproc-per-node 2 examples/distributed.py             train, and save a checkpoint half way
    torchrun --nproc-per-node 3 examples/distributed.py --resume    go on from there, on another number of processes
    torchrun --nproc-per-node 2 examples/distributed.py --help      losses, steps, folder

Handwritten digits 0-4, in float64 with gloo on CPUs, in float32 with NCCL on GPUs. It ends with a table beside a run of
one process on the same batches, and with an error if the two differ by more than rounding.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as checkpoint
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, distributed, nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.nn.parallel import DistributedDataParallel
from torch.optim import AdamW

import dmlkernels as dml

TRAIN_CLASSES = 5
EMBEDDING_SIZE = 32
LEARNING_RATE = 3e-3
BATCH = 97  # of all processes together; it need not divide evenly
LOSSES: dict[str, Any] = {
    "pd": dml.PDLoss,
    "softmax": dml.NormalizedSoftmaxLoss,
    "anchor": dml.ProxyAnchorLoss,
    "field": dml.PotentialFieldLoss,
}
TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-2}  # after all steps
History = dict[int, float]  # loss of each step


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    device = start()
    dtype = torch.float64 if device.type == "cpu" else torch.float32
    world, rank = distributed.get_world_size(), distributed.get_rank()

    network = new_network().to(device, dtype)
    # Every process has a part of the classes from the start. The batch of the loss is then that of all of them.
    loss_fn = LOSSES[options.loss](
        TRAIN_CLASSES, EMBEDDING_SIZE, device_mesh=init_device_mesh(device.type, (world,)),
        generator=torch.Generator(device).manual_seed(0), device=device, dtype=dtype,
    )  # fmt: skip
    initial = loss_fn.proxies.detach().full_tensor().clone()  # few enough to have in one place, for the comparison
    parallel = DistributedDataParallel(network)
    optimizer = new_optimizer(parallel, loss_fn)
    model = nn.ModuleDict({"network": parallel, "loss": loss_fn})

    first = load(model, optimizer, options.folder) if options.resume else 0
    history: History = {}
    for step, images, labels in batches(options.steps, device, dtype):
        if step == options.steps // 2 and not options.resume:
            save(model, optimizer, step, options.folder)
        if step >= first:
            mine = images.tensor_split(world)[rank], labels.tensor_split(world)[rank]
            history[step] = train_step(parallel, loss_fn, optimizer, *mine)
    proxies = loss_fn.proxies.detach().full_tensor()

    equal = True
    if rank == 0:
        network_alone, proxies_alone, history_alone = train_alone(options, initial)
        differences = {
            "weights of the network": largest_difference(network.parameters(), network_alone.parameters()),
            "proxies": largest_difference([proxies], [proxies_alone]),
        }
        print(table(world, first, history, history_alone, differences, network, network_alone), flush=True)
        differences["losses"] = max(abs(loss - history_alone[step]) for step, loss in history.items())
        equal = max(differences.values()) <= TOLERANCE[dtype]
    distributed.barrier()
    distributed.destroy_process_group()
    if not equal:
        raise SystemExit("not equal to one process")


def start() -> torch.device:
    """Join the other processes; the device of this one."""
    if not torch.cuda.is_available():
        torch.set_num_threads(1)
        distributed.init_process_group("gloo")
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    distributed.init_process_group("nccl", device_id=device)
    return device


def train_step(network: nn.Module, loss_fn: Any, optimizer: AdamW, images: Tensor, labels: Tensor) -> float:
    """One step on this process's samples. The loss, and so the gradients, are those of the samples of all."""
    loss = loss_fn(network(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def train_alone(options: argparse.Namespace, initial: Tensor) -> tuple[nn.Module, Tensor, History]:
    """The same from the start in this process alone, with whole batches and plain proxies."""
    network = new_network().to(initial)
    loss_fn = LOSSES[options.loss](TRAIN_CLASSES, EMBEDDING_SIZE, proxy_init=initial)
    optimizer = new_optimizer(network, loss_fn)
    history = {
        step: train_step(network, loss_fn, optimizer, images, labels)
        for step, images, labels in batches(options.steps, initial.device, initial.dtype)
    }
    return network, loss_fn.proxies.detach(), history


def save(model: nn.Module, optimizer: AdamW, step: int, folder: Path) -> None:
    """Each process writes its shards."""
    states = get_state_dict(model, optimizer)
    checkpoint.save({"model": states[0], "optimizer": states[1], "step": torch.tensor(step)}, checkpoint_id=folder)


def load(model: nn.Module, optimizer: AdamW, folder: Path) -> int:
    """Each process reads its shards, which may be others than those that were written; the steps done by then."""
    states = get_state_dict(model, optimizer)
    state = {"model": states[0], "optimizer": states[1], "step": torch.tensor(0)}
    checkpoint.load(state, checkpoint_id=folder)
    set_state_dict(model, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
    return int(state["step"])


def new_network() -> nn.Module:
    """Equal on every process. It normalises within a sample: a batch norm would see a part of the batch only."""
    torch.manual_seed(0)
    stages = [
        layer
        for inputs, outputs in ((1, 16), (16, 32))
        for layer in (nn.Conv2d(inputs, outputs, 3, padding=1), nn.GroupNorm(4, outputs), nn.ReLU(), nn.AvgPool2d(2))
    ]
    return nn.Sequential(*stages, nn.Flatten(), nn.Linear(32 * 16, EMBEDDING_SIZE))


def new_optimizer(network: nn.Module, loss_fn: Any) -> AdamW:
    """To an optimiser sharded proxies are parameters like any other."""
    groups = [{"params": list(network.parameters())}, *loss_fn.param_groups(LEARNING_RATE, proxy_lr_factor=10)]
    return AdamW(groups, lr=LEARNING_RATE)


def digits(*, unseen: bool) -> tuple[Tensor, Tensor]:  # (N, 1, 16, 16), (N,)
    """Images of the digits 0-4, or of the unseen ones, 5-9."""
    found = load_digits()
    images, labels = torch.tensor(found.images / 16, dtype=torch.float32), torch.tensor(found.target)
    chosen = (labels >= TRAIN_CLASSES) == unseen
    return F.interpolate(images[chosen, None], scale_factor=2), labels[chosen]


def batches(steps: int, device: torch.device, dtype: torch.dtype) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Every step's whole batch, equal on every process, under pixel noise."""
    images, labels = digits(unseen=False)
    draws = torch.Generator().manual_seed(0)
    for step in range(steps):
        chosen = torch.randint(len(labels), (BATCH,), generator=draws)
        batch = images[chosen] + 0.1 * torch.randn(BATCH, *images.shape[1:], generator=draws)
        yield step, batch.to(device, dtype), labels[chosen].to(device)


@torch.no_grad()
def recall_at_1(network: nn.Module) -> float:
    """How often the nearest neighbour of an image of an unseen digit shows the same digit."""
    images, labels = digits(unseen=True)
    units = F.normalize(network(images.to(next(network.parameters()))))
    nearest = (units @ units.T).fill_diagonal_(-torch.inf).argmax(1).cpu()
    return float((labels[nearest] == labels).double().mean())


def largest_difference(found: Any, expected: Any) -> float:
    """Of any two numbers of two lists of tensors."""
    return max(float((one - other).detach().abs().max()) for one, other in zip(found, expected, strict=True))


def table(
    world: int, first: int, history: History, alone: History, differences: dict[str, float],
    network: nn.Module, network_alone: nn.Module,
) -> str:  # fmt: skip
    """What came out, beside one process."""
    start = f"from the checkpoint at step {first}" if first else "from the start"
    these = "1 process" if world == 1 else f"{world} processes"
    lines = [f"| {these}, {start} | {these} | one process | difference |"]
    lines.append("| --- | ---: | ---: | ---: |")
    for step in sorted({first, (first + max(history)) // 2, max(history)}):
        loss, expected = history[step], alone[step]
        lines.append(f"| loss of step {step} | {loss:.10f} | {expected:.10f} | {abs(loss - expected):.1e} |")
    lines += [f"| {name}, largest | | | {difference:.1e} |" for name, difference in differences.items()]
    before, found, expected = (
        recall_at_1(net) for net in (new_network().to(next(network.parameters())), network, network_alone)
    )
    lines.append(f"| recall@1 of the unseen digits, {before:.4f} before | {found:.4f} | {expected:.4f} | |")
    return "\n".join(lines)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loss", choices=LOSSES, default="pd")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=Path("runs/distributed"), help="of the checkpoint")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
