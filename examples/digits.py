"""Train on 200 handwritten digit images, each a class of its own, then retrieve views of 200 unseen ones.

    python examples/digits.py                 three minutes on two CPU cores; tables and pictures go to digits_output/
    python examples/digits.py --help          parts, seeds, epochs, output folder

Five questions: how do the losses compare; what do flipped labels cost; what do small batches cost; what do many
classes cost; and does CouCE-style training remove a confounder? Equal seeds start from equal networks and see equal
views. All losses share one optimiser setting, and the numbers are those after the last epoch.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import torch
from tqdm import tqdm

from digits_lib import growth
from digits_lib.data import AGREEMENT, TEST_CLASSES, TEXTURES, TRAIN_CLASSES, VIEWS
from digits_lib.pictures import draw_batches, draw_confounder, draw_growth, draw_images, draw_losses, draw_scores
from digits_lib.pictures_field import draw_field
from digits_lib.report import batch_table, growth_table, noise_table, table, title_of, write_json
from digits_lib.training import BATCH, Job, Run, run

NOISE = 0.2
BATCHES = (50, BATCH, 200)
FIRST_SEED = 10  # the field's radius was chosen with seed 0
LOSSES = ("softmax", "anchor", "pd", "d", "field", "fused")
OTHER_DECAY = "field-slow"
UNDER_NOISE = ("softmax", "anchor", "pd", "d", OTHER_DECAY, "field")
BY_BATCH = ("pd", "d")
CONFOUNDED = (
    ("anchor", "confounded"),
    ("anchor+odba", "confounded"),
    ("anchor+msrci", "confounded"),
    ("anchor+msrci50", "confounded"),
    ("anchor", "shuffled"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    use_one_thread()
    started = time.perf_counter()
    runs = run_all(jobs(options), options.workers)
    grown = growth.measure(growth.CLASSES[:1] if options.quick else growth.CLASSES)
    options.out.mkdir(parents=True, exist_ok=True)
    draw_images(options.out / "images.png")
    draw_losses(runs["losses"], runs["noise"], options.out / "losses.png")
    draw_scores(runs["losses"], options.out / "scores.png")
    draw_batches(runs["batches"], options.out / "batches.png")
    draw_growth(grown, options.out / "classes.png")
    draw_confounder(runs["confounder"], options.out / "confounder.png")
    draw_field(options.out / "field.png", epochs=options.epochs)
    report = describe(runs, grown, options)
    (options.out / "results.md").write_text(report)
    settings = {name: value for name, value in vars(options).items() if name != "out"}
    write_json(options.out / "results.json", runs, grown, settings)
    spent = f"{time.perf_counter() - started:.0f} s, {sum(os.times()[:4]):.0f} s of CPU"
    print(f"\n{report}\n{spent}; pictures and numbers are in {options.out}/")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=count, help="runs of each loss (3)")
    parser.add_argument("--epochs", type=count, help="length of a run (15)")
    parser.add_argument("--workers", type=count, help="processes (2, or 1 on one core)")
    parser.add_argument("--out", type=Path, default=Path("digits_output"), help="folder for tables and pictures")
    parser.add_argument("--quick", action="store_true", help="seconds: one seed, 2 epochs, one process")
    options = parser.parse_args(arguments)
    quick = options.quick
    options.seeds = options.seeds or (1 if quick else 3)
    options.epochs = options.epochs or (2 if quick else 15)
    options.workers = options.workers or (1 if quick else min(2, os.cpu_count() or 1))
    return options


def count(text: str) -> int:
    if int(text) < 1:
        raise ValueError  # argparse says the rest
    return int(text)


def jobs(options: argparse.Namespace) -> dict[str, list[Job]]:
    """The runs of each part. Runs that serve two parts stand in both, and are trained once."""
    epochs, seeds = options.epochs, range(FIRST_SEED, FIRST_SEED + options.seeds)
    return {
        "losses": [Job(loss, seed, epochs) for loss in LOSSES for seed in seeds],
        "clean": [Job(loss, seed, epochs) for loss in (*LOSSES, OTHER_DECAY) for seed in seeds],
        "noise": [Job(loss, seed, epochs, noise=NOISE) for loss in UNDER_NOISE for seed in seeds],
        "batches": [Job(loss, seed, epochs, batch=size) for loss in BY_BATCH for size in BATCHES for seed in seeds],
        "confounder": [
            Job(loss, seed, epochs, background=background) for loss, background in CONFOUNDED for seed in seeds
        ],
    }


def run_all(parts: dict[str, list[Job]], workers: int) -> dict[str, list[Run]]:
    """The runs of each part, in the order of its jobs."""
    todo = sorted(dict.fromkeys(job for part in parts.values() for job in part), key=views_of)
    done: dict[Job, Run] = {}
    with tqdm(total=len(todo), unit="run") as progress:

        def show(found: Run) -> None:
            done[found.job] = found
            before, after = found.before["recall_at_1"], found.after["recall_at_1"]
            progress.set_postfix_str(f"{title_of(found)}: Recall@1 {before:.3f} to {after:.3f}")
            progress.update()

        if workers == 1:
            for job in todo:
                show(run(job))
        else:
            with ProcessPoolExecutor(workers, get_context("spawn"), use_one_thread) as pool:
                for future in as_completed([pool.submit(run, job) for job in todo]):
                    show(future.result())
    return {name: [done[job] for job in part] for name, part in parts.items()}


def views_of(job: Job) -> tuple[str, int]:
    """What the views of a job depend on: drawn once for the jobs that follow each other and share them."""
    return job.background, job.seed


def use_one_thread() -> None:
    """The network is too small for more, and a fixed order of sums makes runs repeatable."""
    torch.set_num_threads(1)


def describe(runs: dict[str, list[Run]], grown: list[growth.Growth], options: argparse.Namespace) -> str:
    """All tables as one Markdown text."""
    return f"""# Views of unseen images

{TRAIN_CLASSES} digit images to train on, each a class of its own; {VIEWS} random warps of each of {TEST_CLASSES} others
to retrieve. {options.seeds} seed(s), {options.epochs} epochs; mean ± standard deviation over the seeds.

{table(runs["losses"])}

# {100 * NOISE:.0f}% of the training labels flipped

{noise_table(runs["clean"], runs["noise"])}

# By batch size

{batch_table(runs["batches"])}

# By number of classes

One step at {growth.BATCH} x C x {growth.DIM}, float32, one thread. Speed relative to plain PyTorch, interleaved in this
run.

{growth_table(grown)}

# With a background confounder

Every digit stands before stripes of one of {TEXTURES} orientations. In training {100 * AGREEMENT:.0f}% of them follow
the class, at test none does; in the last row none does in training either. Same background@1: how often the nearest
neighbour has the same stripes; {100 // TEXTURES}% is chance, less is better.

{table(runs["confounder"])}
"""


if __name__ == "__main__":
    main()
