"""Runs train.py several times in one process of two, as torchrun starts them: two_ranks.py PLAN.json.

The plan is a list of runs: the arguments, and the step in which rank 1 alone gets SIGTERM, or null. Writes the exit
status of each run, of each rank, beside the plan.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import torch
from torch import Tensor


def main(plan: Path, rank: int) -> None:
    sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "retrieval"))
    import train
    from retrieval_lib.engine.parts import Parts

    original = Parts.step
    steps, stop_in = 0, None

    def step(parts: Parts, images: Tensor, labels: Tensor) -> Tensor:
        nonlocal steps
        steps += 1
        if steps == stop_in and rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(parts, images, labels)

    Parts.step = step
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")  # once: a store of torchrun's does not take a second group
    statuses = []
    for arguments, stop in json.loads(plan.read_text()):
        steps, stop_in = 0, stop
        statuses.append(train.main(arguments))
    plan.with_suffix(f".rank{rank}.json").write_text(json.dumps(statuses))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(os.environ["RANK"]))
