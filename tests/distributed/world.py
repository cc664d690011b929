"""Four gloo processes that wait for work: started once, they run the cases of many tests on 1, 2, 3 or 4 ranks.

Nothing can hang: collectives time out, an answer that does not come ends the processes, and so does an error.
"""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

SIZE = 4
COLLECTIVE_TIMEOUT = 30  # seconds that a rank waits in a collective
ANSWER_TIMEOUT = 60  # seconds that a test waits for the ranks


@dataclass(frozen=True)
class Place:
    """The rank, group and meshes that a function runs with."""

    rank: int
    size: int
    group: Any  # ProcessGroup of the first ``size`` ranks
    mesh: Any  # DeviceMesh of them, one dimension
    table: Any  # DeviceMesh (2, 2) if there are four of them: data, class


class World:
    """The processes, as the test sees them."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._meetings = folder, 0
        self._processes: list[Any] = []
        self._pipes: list[Connection] = []

    def run(self, size: int, function: Callable[..., Any], *args: Any) -> list[Any]:
        """Run ``function(place, *args)`` on each of the first ``size`` ranks. Returns their results, in rank order."""
        if not self._processes:
            self._start()
        for pipe in self._pipes:
            pipe.send((size, function, args))
        answers = []
        for rank, pipe in enumerate(self._pipes):
            if not pipe.poll(ANSWER_TIMEOUT):
                self.stop()
                raise TimeoutError(f"rank {rank} did not answer in {ANSWER_TIMEOUT} s")
            try:
                answers.append(pipe.recv())
            except EOFError:
                answers.append((False, f"rank {rank} died"))
        failures = [f"rank {rank}: {found}" for rank, (good, found) in enumerate(answers) if not good]
        if failures:
            self.stop()
            raise AssertionError("\n".join(failures))
        return [found for _, found in answers[:size]]

    def stop(self) -> None:
        """End the processes; the next run starts others."""
        for process in self._processes:
            process.kill()
            process.join()
        for pipe in self._pipes:
            pipe.close()
        self._processes, self._pipes = [], []

    def _start(self) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["dmlkernels", "torch.distributed.tensor", "torch.distributed.checkpoint"])
        self._meetings += 1
        meeting = str(self._folder / f"meeting{self._meetings}")
        for rank in range(SIZE):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(rank, meeting, theirs), daemon=True)
            process.start()
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)


def _serve(rank: int, meeting: str, pipe: Connection) -> None:
    import torch
    from torch import distributed
    from torch.distributed.device_mesh import DeviceMesh

    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{meeting}",
        rank=rank,
        world_size=SIZE,
        timeout=timedelta(seconds=COLLECTIVE_TIMEOUT),
    )
    places = {}
    for size in range(1, SIZE + 1):
        members = list(range(size))
        group = distributed.new_group(members)
        mesh = DeviceMesh("cpu", members, mesh_dim_names=("class",))
        table = DeviceMesh("cpu", [[0, 1], [2, 3]], mesh_dim_names=("data", "class")) if size == SIZE else None
        places[size] = Place(rank, size, group, mesh, table)
    while True:
        try:
            size, function, args = pipe.recv()
        except EOFError:
            return
        try:
            answer = True, function(places[size], *args) if rank < size else None
        except Exception:
            answer = False, traceback.format_exc()
        pipe.send(answer)
