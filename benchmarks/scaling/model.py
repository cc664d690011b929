"""Memory, compute and network time of a training step's loss on many GPUs, from sizes and stated assumptions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from benchmarks.harness.traffic import Call
from benchmarks.scaling.traffic import EXCHANGE, FLOAT, PAIRS, REDUCE, SEND, Step, calls

PER_GPU_BATCH = 128
DIM = 128
CLASSES = (10**6, 10**7, 10**8)
GPUS = (8, 64, 256, 1024)


@dataclass(frozen=True)
class Machine:
    """What the model assumes of the hardware. No number of it was measured here."""

    tile_flops: float = 200e12  # of the products of a tile with its epilogue, TF32 or bfloat16, sustained
    memory_bytes: float = 2.5e12  # a second, of streams through a GPU's own memory
    capacity: float = 60e9  # bytes of a GPU with 80 GB that are left beside backbone and activations
    inside: float = 300e9  # bytes a second each way between GPUs of one node, sustained
    across: float = 40e9  # the same between nodes, for each GPU
    node: int = 8  # GPUs of a node
    latency: float = 15e-6  # seconds of a message, launch included
    acting: float = 0.1  # of a field's pairs, what is in tiles with a gradient; tiles without are skipped backward
    optimiser_copies: int = 2  # Adam: two moments beside each proxy and its gradient

    def rate(self, ranks: int) -> float:
        """Bytes a second that each GPU passes on in a ring of these."""
        return self.inside if ranks <= self.node else self.across


class Kind(Enum):
    """Losses with the same arithmetic."""

    SOFTMAX = "normalized_softmax_loss"
    PD = "pd_loss"
    ANCHOR = "proxy_anchor_loss"
    DECIDABILITY = "decidability_loss"
    FIELD = "potential_field_loss"


@dataclass(frozen=True)
class Estimate:
    """Seconds and bytes of one GPU for one step."""

    memory: float
    compute: float
    update: float  # of the proxies, by the optimiser
    network: float

    @property
    def seconds(self) -> float:
        """As if nothing overlapped but the blocks of a ring: ``network`` has only what compute does not hide."""
        return self.compute + self.update + self.network


def estimate(kind: Kind, step: Step, machine: Machine, *, replicas: int = 1, sample_classes: float = 1.0) -> Estimate:
    """What a step costs; with ``replicas`` of the mesh's lines, each of which ``step`` then describes."""
    has_proxies = kind is not Kind.DECIDABILITY
    rows_held = step.own_columns if step.sharded else step.columns
    proxies = rows_held * step.dim * FLOAT if has_proxies else 0
    memory = proxies * (2 + machine.optimiser_copies) + _beside(kind, step)
    compute = sample_classes * _flops(kind, step, machine) / machine.tile_flops
    update = proxies * (3 + 2 * machine.optimiser_copies) / machine.memory_bytes  # gradient read; the rest both ways
    made = calls(kind.value, step)
    network = sum(seconds_of(call, machine) for call in made if call.operation != SEND)
    # A block, a block again, its gradient: three times a message of several tensors, while tiles are computed.
    travelling = sum(call.num_bytes for call in made if call.operation == SEND) / machine.rate(step.ranks)
    travelling += 3 * (step.ranks // 2) * machine.latency if kind.value in PAIRS else 0
    network += max(0.0, travelling - compute)
    if has_proxies and not step.sharded:  # DDP's own: the gradient of replicated proxies
        network += seconds_of(Call(REDUCE, proxies, step.ranks), machine)
    if replicas > 1:
        network += seconds_of(Call(REDUCE, proxies, replicas), machine, machine.across)
    return Estimate(memory, compute, update, network)


def seconds_of(call: Call, machine: Machine, rate: float | None = None) -> float:
    """Seconds of a collective, as rings and trees do it."""
    ranks = call.ranks
    rate = machine.rate(ranks) if rate is None else rate
    if ranks == 1:
        return 0.0
    hops = math.ceil(math.log2(ranks))
    if call.operation == REDUCE:
        return 2 * hops * machine.latency + 2 * call.num_bytes * (ranks - 1) / ranks / rate
    if call.operation == EXCHANGE:
        return hops * machine.latency + call.num_bytes * (ranks - 1) / ranks / rate
    return hops * machine.latency + call.num_bytes * (ranks - 1) / rate  # gathered: to every other rank


def _flops(kind: Kind, step: Step, machine: Machine) -> float:
    """Products of a rank: 2 D for a score, again in each of the two backward kernels, and 2 D for each gradient."""
    rows = step.rows if step.sharded else step.own_rows
    columns = step.own_columns if step.sharded else step.columns
    if kind.value in PAIRS:
        points = step.rows + (step.columns if kind is Kind.FIELD else 0)
        pairs = points * (points - 1) / 2 / step.ranks
        acting = machine.acting if kind is Kind.FIELD else 1.0
        return pairs * step.dim * (2 + 8 * acting)
    tiles = 10.0 * rows * columns * step.dim
    if kind is Kind.PD:  # D x D matrices of both sides, there and back, in float64 at a third of the rate
        return min(tiles, 3 * 6.0 * (rows + columns) * step.dim**2)
    return tiles


def _beside(kind: Kind, step: Step) -> float:
    """Bytes beside proxies, gradient and optimiser: the batch, or the blocks of a ring."""
    row = step.dim * FLOAT
    if kind.value in PAIRS:
        block = step.own_rows + (step.own_columns if step.sharded and kind is Kind.FIELD else 0)
        return block * row * 6  # two blocks of others, three gradients on their way, and its own
    return 2 * row * (step.rows if step.sharded else step.own_rows)


def largest(kind: Kind, ranks: int, machine: Machine, sharded: bool, seconds: float) -> int:
    """The most classes whose step fits a GPU's memory and such a time."""
    low, high = 1, 10**11
    while high - low > low // 1000:
        middle = (low + high) // 2
        found = estimate(kind, Step(ranks, PER_GPU_BATCH * ranks, middle, DIM, sharded), machine)
        good = found.memory <= machine.capacity and found.seconds <= seconds
        low, high = (middle, high) if good else (low, middle)
    return low
