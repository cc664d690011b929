"""Train and test on a paper's data set as a TOML file says, and write a report.

    python examples/retrieval/train.py examples/retrieval/configs/pfml_cub.toml --data ~/data/CUB_200_2011
    python examples/retrieval/train.py CONFIG --resume          go on after an interruption, bit for bit
    torchrun --nproc-per-node 4 examples/retrieval/train.py CONFIG     one run on several processes

Ctrl-C and SIGTERM save and stop. examples/retrieval/README.md has the commands for every data set.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from retrieval_lib.checkpoint import checkpoints
from retrieval_lib.config import Config, check
from retrieval_lib.config_file import read_config
from retrieval_lib.data import read_task
from retrieval_lib.data.dataset import damaged_images
from retrieval_lib.data.task import Task
from retrieval_lib.engine.trainer import Trainer
from retrieval_lib.errors import CheckpointError, DataError, UserError, message_of
from retrieval_lib.evaluation.embedding import InterruptionError
from retrieval_lib.job import Job, jobs_of
from retrieval_lib.report import write_report
from retrieval_lib.result import result_of, save_network
from retrieval_lib.signals import StoppedError, StopRequest, stop_requests
from retrieval_lib.world import World, start_world


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and return the exit status: 0, 1 for an error, 128 + the signal that stopped it."""
    options = parse(arguments)
    try:
        config = configured(options)
        with stop_requests() as stop, start_world(options.device) as world:
            task = read_task(config.data)
            if options.check_data:
                return check_images(task)
            if config.train.deterministic and world.device.type == "cuda":
                os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
                torch.use_deterministic_algorithms(True, warn_only=True)
                torch.backends.cudnn.benchmark = False
            results = [run(job, task, world, stop, options) for job in jobs_of(config, options.out)]
            if world.is_main:
                print(f"report: {write_report(options.out, results)}")
    except UserError as error:
        print(f"error: {message_of(error)}", file=sys.stderr)
        return 1
    except StoppedError as stopped:
        if os.environ.get("RANK", "0") == "0":
            print(f"stopped by {stopped}; the same command with --resume goes on", file=sys.stderr)
        return stopped.exit_code
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path, help="TOML file, such as one of configs/")
    parser.add_argument("--data", help="folder of the data set, instead of data.root")
    parser.add_argument("--out", type=Path, help="folder for runs and report (runs/NAME OF THE TOML FILE)")
    parser.add_argument("--resume", action="store_true", help="go on from the latest checkpoints")
    parser.add_argument("--seeds", type=int, help="runs from different seeds, instead of sweep.seeds")
    parser.add_argument("--batch-sizes", type=int, nargs="+", help="sweep, instead of sweep.batch_sizes")
    parser.add_argument("--set", nargs="+", default=[], action="extend", metavar="SECTION.NAME=VALUE", help="settings")
    parser.add_argument("--device", default="", help="cpu or cuda (cuda where there is one)")
    parser.add_argument("--check-data", action="store_true", help="decode every image, list damaged ones, and stop")
    options = parser.parse_args(arguments)
    options.out = options.out or Path("runs") / options.config.stem
    return options


def configured(options: argparse.Namespace) -> Config:
    """The file, with what the command line overrides."""
    config = read_config(options.config, options.set)
    if options.data:
        config.data.root = options.data
    if options.seeds is not None:
        config.sweep.seeds = options.seeds
    if options.batch_sizes is not None:
        config.sweep.batch_sizes = options.batch_sizes
    return check(config)


def run(job: Job, task: Task, world: World, stop: StopRequest, options: argparse.Namespace) -> dict[str, Any]:
    """Train and test one job, or take what it left if it was finished before."""
    finished = world.from_main(job.result())
    if not options.resume and world.from_main(finished is not None or bool(checkpoints(job.checkpoints))):
        raise CheckpointError(f"{job.folder}: holds a run; --resume goes on with it, --out names another folder")
    if finished is not None:
        job.check_identity(finished["identity"], job.folder)
        return finished
    if world.is_main:
        print(f"{job.config.title}: {task.name}, seed {job.seed}, batch size {job.batch_size}, into {job.folder}")
    trainer = Trainer(job, task, world, stop, resume=options.resume)
    trainer.run()
    try:
        result = result_of(trainer)
    except InterruptionError:
        raise StoppedError(world.highest(stop.number)) from None
    if world.is_main:
        save_network(trainer)
        job.write_result(result)
    return result


def check_images(task: Task) -> int:
    """Report every image that cannot be decoded."""
    problems = [line for part in (task.train, task.test, task.gallery) if part for line in damaged_images(part)]
    if problems:
        raise DataError("\n".join(problems))
    print(f"{task.name}: {sum(task.sizes[:2])} training and test images, all can be decoded")
    return 0


if __name__ == "__main__":
    sys.exit(main())
