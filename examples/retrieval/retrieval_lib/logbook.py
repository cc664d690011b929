"""TensorBoard when installed, and lines on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tqdm import tqdm

try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError:
    SummaryWriter = None


class Logbook:
    """Where the main process writes what happens; the other ranks write nothing.

    Args:
        folder: of the run.
        active: whether this is the main process.
        first_epoch: what TensorBoard holds from here on was written before an interruption and is dropped.
    """

    def __init__(self, folder: Path, *, active: bool, first_epoch: int) -> None:
        self.active, self.board = active, None
        if active and SummaryWriter is not None:
            self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=first_epoch)

    def say(self, text: str) -> None:
        """A line that does not tear a progress bar."""
        if self.active:
            tqdm.write(text)

    def record(self, epoch: int, numbers: dict[str, Any]) -> None:
        """The numbers of an epoch."""
        shown = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items() if name != "epoch")
        self.say(f"epoch {epoch}: {shown}")
        if self.board is not None:
            for name, value in numbers.items():
                self.board.add_scalar(name, value, epoch)

    def close(self) -> None:
        if self.board is not None:
            self.board.close()
