"""Data sets in their original layouts, transforms, samplers, loaders."""

from __future__ import annotations

from pathlib import Path

from retrieval_lib.config import Data
from retrieval_lib.data.cars import read_cars
from retrieval_lib.data.cub import read_cub
from retrieval_lib.data.folders import read_folders
from retrieval_lib.data.inshop import read_inshop
from retrieval_lib.data.lfw import read_lfw
from retrieval_lib.data.sop import read_sop
from retrieval_lib.data.task import Task

READERS = {
    "cub": read_cub,
    "cars": read_cars,
    "sop": read_sop,
    "inshop": read_inshop,
    "folders": read_folders,
}


def read_task(data: Data) -> Task:
    """What to train on and what to retrieve, as the data set's own files say."""
    root = Path(data.root).expanduser()
    if data.layout == "lfw":
        return read_lfw(root, Path(data.train_root).expanduser() if data.train_root else None)
    return READERS[data.layout](root)
