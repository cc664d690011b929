"""Train on the handwritten digits 0-4 with each loss, then retrieve the unseen digits 5-9.

    python examples/digits.py                 two minutes on two CPU cores; tables and pictures go to digits_output/
    python examples/digits.py --noise 0.2     the same with 20% of the training labels flipped
    python examples/digits.py --help          losses, seeds, epochs, output folder

Equal seeds start from equal networks and see equal batches. All losses share one optimiser setting, tuned for none of
them, and the numbers are those after the last epoch.
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

from digits_lib.data import AGREEMENT, TEXTURES
from digits_lib.objectives import CATALOGUE
from digits_lib.pictures import draw_confounder, draw_curves, draw_images, draw_scores
from digits_lib.pictures_field import draw_field
from digits_lib.report import table, title_of, write_json
from digits_lib.training import Job, Run, run

LOSSES = ("pd", "d", "field", "pd+odba", "fused", "anchor", "anchor+couce")
CONFOUNDED = (
    ("anchor", "confounded"),
    ("anchor+odba", "confounded"),
    ("anchor+msrci", "confounded"),
    ("anchor+couce", "confounded"),
    ("anchor", "shuffled"),
)
ABOUT_CONFOUNDER = (
    f"Every digit stands before stripes of one of {TEXTURES} orientations. In training {100 * AGREEMENT:.0f}% of them "
    "follow the class, at test none does; in the last row none does in training either.\nSame background@1: how often "
    f"the nearest neighbour has the same stripes; {100 // TEXTURES}% is chance, less is better."
)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    use_one_thread()
    started = time.perf_counter()
    plain, confounded = jobs(options)
    runs = run_all(plain + confounded, options.workers)
    plain_runs, confounded_runs = runs[: len(plain)], runs[len(plain) :]

    options.out.mkdir(parents=True, exist_ok=True)
    noise = f", {100 * options.noise:g}% of the training labels flipped" if options.noise else ""
    heading = f"{options.seeds} seed(s), {options.epochs} epochs{noise}; mean ± standard deviation over the seeds"
    report = f"# Unseen digits 5-9 after training on 0-4\n\n{heading}.\n\n{table(plain_runs)}\n"
    draw_images(options.out / "images.png")
    draw_scores(plain_runs, options.out / "scores.png")
    draw_curves(plain_runs, options.out / "curves.png")
    draw_field(options.out / "field.png", epochs=options.epochs)
    if confounded_runs:
        report += f"\n# The same with a background confounder\n\n{ABOUT_CONFOUNDER}\n\n{table(confounded_runs)}\n"
        draw_confounder(confounded_runs, options.out / "confounder.png")
    (options.out / "results.md").write_text(report)
    settings = {name: value for name, value in vars(options).items() if name != "out"}
    write_json(options.out / "results.json", runs, settings)
    print(f"\n{report}\n{time.perf_counter() - started:.0f} s; pictures and numbers are in {options.out}/")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--losses", nargs="+", choices=CATALOGUE, default=LOSSES, metavar="LOSS", help=", ".join(CATALOGUE)
    )
    parser.add_argument("--seeds", type=count, help="runs of each loss (3)")
    parser.add_argument("--epochs", type=count, help="length of a run (24)")
    parser.add_argument("--noise", type=share, default=0.0, help="share of training labels to flip (0)")
    parser.add_argument("--confounder", action=argparse.BooleanOptionalAction, default=True, help="second table")
    parser.add_argument("--workers", type=count, help="processes (2, or 1 on one core)")
    parser.add_argument("--out", type=Path, default=Path("digits_output"), help="folder for tables and pictures")
    parser.add_argument("--quick", action="store_true", help="a few seconds: one seed, 4 epochs, one process")
    options = parser.parse_args(arguments)
    quick = options.quick
    options.seeds = options.seeds or (1 if quick else 3)
    options.epochs = options.epochs or (4 if quick else 24)
    options.workers = options.workers or (1 if quick else min(2, os.cpu_count() or 1))
    return options


def count(text: str) -> int:
    if int(text) < 1:
        raise ValueError  # argparse says the rest
    return int(text)


def share(text: str) -> float:
    if not 0 <= float(text) <= 1:
        raise ValueError
    return float(text)


def jobs(options: argparse.Namespace) -> tuple[list[Job], list[Job]]:
    """The runs without and with a confounder."""
    epochs, noise, seeds = options.epochs, options.noise, range(options.seeds)
    plain = [Job(loss, seed, epochs, max(2, epochs // 6), noise) for loss in options.losses for seed in seeds]
    confounded = [
        Job(loss, seed, epochs, epochs, noise, background) for loss, background in CONFOUNDED for seed in seeds
    ]
    return plain, confounded if options.confounder else []


def run_all(todo: list[Job], workers: int) -> list[Run]:
    """The runs in the order of their jobs."""
    with tqdm(total=len(todo), unit="run") as progress:

        def show(done: Run) -> None:
            progress.set_postfix_str(
                f"{title_of(done)}: MAP@R {done.before['map_at_r']:.3f} to {done.after['map_at_r']:.3f}"
            )
            progress.update()

        if workers == 1:
            runs = []
            for job in todo:
                runs.append(run(job))
                show(runs[-1])
            return runs
        with ProcessPoolExecutor(workers, get_context("spawn"), use_one_thread) as pool:
            futures = [pool.submit(run, job) for job in todo]
            for future in as_completed(futures):
                show(future.result())
            return [future.result() for future in futures]


def use_one_thread() -> None:
    """The network is too small for more, and a fixed order of sums makes runs repeatable."""
    torch.set_num_threads(1)


if __name__ == "__main__":
    main()
