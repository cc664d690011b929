"""Data sets are read from their original layouts, and what is wrong with them is said where it is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import train
from retrieval_lib.config import Data
from retrieval_lib.data import read_task
from retrieval_lib.data.dataset import load_rgb
from retrieval_lib.data.task import Images
from retrieval_lib.errors import DataError
from tests.retrieval.running import run
from tests.retrieval.tiny import EACH, MAKERS, cars_devkit

Folder = Callable[[str], Path]


@pytest.mark.parametrize(
    ("layout", "train_classes", "test_classes", "sizes"),
    [
        ("cub", [1, 2, 3, 4], [101, 102, 103], (4 * EACH, 3 * EACH)),
        ("cars", [1, 2, 3, 98], [99, 100, 196], (4 * EACH, 3 * EACH)),
        ("sop", [1, 2, 3, 4], [11319, 11320, 11321], (4 * EACH, 3 * EACH)),
        ("inshop", [1, 2, 3, 4], [11, 12, 13], (4 * EACH, 3 * EACH // 2, 3 * EACH // 2)),
        ("folders", list(range(6)), list(range(6, 12)), (6 * EACH, 6 * EACH)),
    ],
)
def test_reads_the_original_layout(
    data: Folder, layout: str, train_classes: list[int], test_classes: list[int], sizes: tuple[int, ...]
) -> None:
    task = read_task(Data(layout=layout, root=str(data(layout))))
    assert task.train.classes == train_classes
    assert task.test.classes == test_classes
    assert task.sizes == sizes
    assert not task.is_official
    if task.gallery:
        assert task.gallery.classes == test_classes


def test_the_folder_around_the_data_set_will_do(tmp_path: Path) -> None:
    MAKERS["cub"](tmp_path / "CUB_200_2011")
    assert len(read_task(Data(layout="cub", root=str(tmp_path))).train) == 4 * EACH


def test_both_forms_of_cars_hold_the_same(data: Folder, tmp_path: Path) -> None:
    one, two = (read_task(Data(layout="cars", root=str(root))) for root in (data("cars"), cars_devkit(tmp_path)))
    for part in ("train", "test"):
        first, second = getattr(one, part), getattr(two, part)
        assert sorted(first.labels) == sorted(second.labels)
        assert pictures(first) == pictures(second)


def pictures(images: Images) -> list[tuple[int, bytes]]:
    return sorted((label, path.read_bytes()) for label, path in zip(images.labels, images.paths, strict=True))


def test_folders_may_come_as_train_and_test(data: Folder, tmp_path: Path) -> None:
    for part, names in (("train", "ant bee cat"), ("test", "dog eel")):
        for name in names.split():
            shutil.copytree(data("folders") / name, tmp_path / part / name)
    task = read_task(Data(layout="folders", root=str(tmp_path)))
    assert (len(task.train.classes), len(task.test.classes)) == (3, 2)


def test_lfw_trains_on_people_who_are_in_no_pair(data: Folder, tmp_path: Path) -> None:
    task = read_task(Data(layout="lfw", root=str(data("lfw"))))
    assert task.pairs is not None
    assert {path.parent.name for path in task.train.paths} == {f"Person_{letter}" for letter in "EFGH"}
    assert {path.parent.name for path in task.test.paths} == {f"Person_{letter}" for letter in "ABCD"}
    assert task.pairs.fold == [fold for fold in range(10) for _ in range(4)]
    for first, second, same in zip(task.pairs.first, task.pairs.second, task.pairs.same, strict=True):
        assert (task.test.labels[first] == task.test.labels[second]) == same
    for name in ("Person_A", "Someone_Else", "Another_One"):
        shutil.copytree(data("lfw") / "lfw" / "Person_A", tmp_path / name)
    task = read_task(Data(layout="lfw", root=str(data("lfw")), train_root=str(tmp_path)))
    assert {path.parent.name for path in task.train.paths} == {"Someone_Else", "Another_One"}


@pytest.mark.parametrize(
    ("layout", "looked_for", "expected"),
    [
        ("cub", "CUB_200_2011/images.txt", "001.Black_footed_Albatross"),
        ("cars", "devkit/cars_train_annos.mat", "cars_test_annos_withlabels.mat"),
        ("sop", "Ebay_train.txt", "image_id class_id super_class_id path"),
        ("inshop", "Eval/list_eval_partition.txt", "img/WOMEN/Dresses"),
        ("lfw", "lfw/pairs.txt", "Aaron_Eckhart_0001.jpg"),
        ("folders", "nowhere", "one_class/any_name.jpg"),
    ],
)
def test_missing_files_show_the_layout_and_the_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: str, looked_for: str, expected: str
) -> None:
    config = "folders" if layout == "folders" else f"pd_{layout}"
    assert run(config, tmp_path / "nowhere", tmp_path / "out") == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert str(tmp_path / "nowhere") in message
    assert looked_for in message
    assert expected in message
    assert "Nothing is downloaded" in message
    assert "Traceback" not in message
    assert not (tmp_path / "out").exists()


def replaced(file: str, line: int, text: str | None) -> Callable[[Path], None]:
    """Change or remove a line of a split file."""

    def change(root: Path) -> None:
        lines = (root / file).read_text().splitlines()
        lines[line - 1 : line] = [] if text is None else [text]
        (root / file).write_text("\n".join(lines) + "\n")

    return change


TABLE = "Eval/list_eval_partition.txt"


@pytest.mark.parametrize(
    ("layout", "change", "where", "what"),
    [
        ("cub", replaced("images.txt", 3, "3"), "images.txt, line 3", "got '3', expected 'image_id path'"),
        ("cub", replaced("images.txt", 3, "3 no.jpg"), "images.txt, line 3", "no.jpg, which is no file"),
        ("cub", replaced("images.txt", 3, "2 001.Bird/Bird_0002.jpg"), "images.txt, line 3", "image_id 2 was there"),
        ("cub", replaced("image_class_labels.txt", 5, "5 201"), "image_class_labels.txt, line 5", "expected 1 to 200"),
        ("cub", replaced("image_class_labels.txt", 5, "5 one"), "image_class_labels.txt, line 5", "an integer"),
        ("cub", replaced("image_class_labels.txt", 5, None), "images.txt, line 5", "image_id 5 has no class"),
        ("sop", replaced("Ebay_test.txt", 4, "27 11319 1"), "Ebay_test.txt, line 4", "super_class_id path"),
        ("sop", replaced("Ebay_test.txt", 4, "27 x 1 a.JPG"), "Ebay_test.txt, line 4", "class_id is 'x'"),
        ("sop", replaced("Ebay_test.txt", 4, "27 4 1 bicycle_final/4_0.JPG"), "", "class 4 is both a training and a"),
        ("inshop", replaced(TABLE, 4, "img/a.jpg id_00000001 test"), f"{TABLE}, line 4", "status is 'test'"),
        ("inshop", replaced(TABLE, 4, "img/a.jpg 1 train"), f"{TABLE}, line 4", "item_id is '1'"),
        ("inshop", replaced(TABLE, 44, None), f"{TABLE}, line 1", "announces 42 images, but 41 follow"),
        ("lfw", replaced("pairs.txt", 2, "Person_A 1"), "pairs.txt, line 2", "expected 'name number number'"),
        ("lfw", replaced("pairs.txt", 2, "Person_A 1 99"), "pairs.txt, line 2", "Person_A_0099.jpg, which is no file"),
        ("lfw", replaced("pairs.txt", 41, None), "pairs.txt, line 1", "announces 40 pairs, but 39 lines follow"),
        ("lfw", replaced("pairs.txt", 1, "300"), "pairs.txt, line 1", "expected 'folds pairs'"),
    ],
)
def test_a_wrong_split_file_is_named_with_its_line(
    tmp_path: Path, layout: str, change: Callable[[Path], None], where: str, what: str
) -> None:
    root = MAKERS[layout](tmp_path)
    change(root)
    with pytest.raises(DataError) as caught:
        read_task(Data(layout=layout, root=str(root)))
    assert where in str(caught.value)
    assert what in str(caught.value)


def test_a_file_that_is_no_matlab_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "cars_annos.mat").write_bytes(b"\x00\xff" * 300)
    with pytest.raises(DataError, match=r"cars_annos\.mat: not a MATLAB file with 'annotations'"):
        read_task(Data(layout="cars", root=str(tmp_path)))


def test_a_wrong_class_of_cars_is_named_with_its_entry(tmp_path: Path) -> None:
    from scipy.io import savemat

    entries = np.zeros((1, 1), dtype=[("relative_im_path", object), ("class", object)])
    entries[0, 0] = ("car_ims/000001.jpg", 197)
    savemat(tmp_path / "cars_annos.mat", {"annotations": entries})
    with pytest.raises(DataError, match=r"cars_annos\.mat, entry 1: class is 197, expected 1 to 196"):
        read_task(Data(layout="cars", root=str(tmp_path)))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("content", [b"no image at all", None], ids=["foreign", "cut off"])
def test_a_corrupt_image_is_named_with_the_line_that_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: int, content: bytes | None
) -> None:
    root = MAKERS["cub"](tmp_path / "data")
    path = root / "images" / "002.Bird" / "Bird_0003.jpg"
    path.write_bytes(path.read_bytes()[:400] if content is None else content)
    assert run("pfml_cub", root, tmp_path / "out", settings=[f"data.workers={workers}"]) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"error: {path}: cannot be read as an image")
    assert f"{root / 'images.txt'}, line 10" in message
    assert "Traceback" not in message


def test_check_data_lists_every_corrupt_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = MAKERS["folders"](tmp_path)
    arguments = [str(train.Path(__file__).parents[2] / "examples/retrieval/configs/folders.toml"), "--data", str(root)]
    assert train.main([*arguments, "--check-data"]) == 0
    assert "72 training and test images, all can be decoded" in capsys.readouterr().out
    for name in ("ant/0.png", "lark/5.png"):
        (root / name).write_bytes(b"")
    assert train.main([*arguments, "--check-data"]) == 1
    message = capsys.readouterr().err
    assert str(root / "ant" / "0.png") in message and str(root / "lark" / "5.png") in message


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_pixels_of_more_than_8_bits_are_refused(tmp_path: Path, mode: str) -> None:
    """Pillow would cut them off at 255."""
    path = tmp_path / "deep.tiff"
    kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
    Image.fromarray(np.linspace(0, 1000, 64).reshape(8, 8).astype(kind)).save(path)
    with pytest.raises(DataError, match=r"deep\.tiff: has pixels of .*, expected 8 bits a channel; it is named"):
        load_rgb(path, "a list")


def test_images_are_turned_as_their_camera_says(tmp_path: Path) -> None:
    exif, path = Image.Exif(), tmp_path / "turned.jpg"
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (40, 20)).save(path, exif=exif)
    assert load_rgb(path, "a list").size == (20, 40)
