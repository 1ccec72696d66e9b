# SPDX-License-Identifier: Apache-2.0
"""Batches from folders of pictures, from arrays and from functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from qslim.cli.data import DataSettings, open_data

# Of ImageNet, as PaddleClas has them.
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with three pictures: rows of the first are 0 to 9, columns of the second."""
    (tmp_path / "inner").mkdir()
    ramp = np.arange(10, dtype=np.uint8)[:, None].repeat(8, 1)
    Image.fromarray(np.stack([ramp, 2 * ramp, 3 * ramp], 2)).save(tmp_path / "a.png")
    Image.fromarray(np.stack([ramp.T, 2 * ramp.T, 3 * ramp.T], 2)).save(tmp_path / "inner" / "b.png")
    Image.fromarray(ramp + 100).save(tmp_path / "c d.png")
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def batches(path: Any, **settings: Any) -> list[Any]:
    return list(open_data(DataSettings(path=str(path), **settings)))


def test_pictures_are_cropped_and_normalized(folder: Path) -> None:
    ((first,), (second,), (gray,)) = batches(folder, resize=None, crop=4)
    ramp = np.arange(3, 7, dtype=np.float32)[:, None].repeat(4, 1)
    expected = (np.stack([ramp, 2 * ramp, 3 * ramp]) / 255 - MEAN[:, None, None]) / STD[:, None, None]
    np.testing.assert_allclose(first, expected[None], rtol=1e-5)
    ramp = (np.arange(4, dtype=np.float32) + 2 + 100)[:, None].repeat(4, 1)
    assert second.shape == gray.shape == (1, 3, 4, 4)  # a.png, c d.png, inner/b.png
    np.testing.assert_allclose(second[0, 0] * STD[0] + MEAN[0], (ramp + 1) / 255, rtol=1e-5)


def test_bgr_and_gray(folder: Path) -> None:
    rgb = batches(folder, resize=None, crop=4, mean=[0.0, 0.0, 0.0], std=[1.0, 1.0, 1.0])[0][0]
    bgr = batches(folder, resize=None, crop=4, mean=[0.0, 0.0, 0.0], std=[1.0, 1.0, 1.0], channels="bgr")[0][
        0
    ]
    np.testing.assert_array_equal(bgr, rgb[:, ::-1])
    normalized = batches(folder, resize=None, crop=4)[0][0]
    np.testing.assert_array_equal(
        batches(folder, resize=None, crop=4, channels="bgr")[0][0], normalized[:, ::-1]
    )
    gray = batches(folder, resize=None, crop=4, channels="gray", mean=[0.5], std=[0.5])[1][0]
    np.testing.assert_allclose(gray[0, 0, :, 0], (np.arange(103, 107) / 255 - 0.5) / 0.5, rtol=1e-5)


def test_the_shorter_side_is_resized(folder: Path) -> None:
    (image,) = batches(folder, resize=16, crop=None, batch_nums=1)[0]
    assert image.shape == (1, 3, 20, 16)


def test_a_list_file_gives_labels(folder: Path) -> None:
    (folder / "list.txt").write_text("inner/b.png 3\nc d.png 1\n\na.png 0\n")
    (first, second) = batches(folder, list_file="list.txt", resize=None, crop=4, batch_size=2)
    assert first[1].tolist() == [3, 1]
    assert second[1].tolist() == [0]
    assert second[0].shape == (1, 3, 4, 4)


def test_arrays_come_in_batches_from_the_start_each_time(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(5))
    np.savez(tmp_path / "xy.npz", x=np.arange(5), label=np.arange(5) % 2)
    data = open_data(DataSettings(path=str(tmp_path / "x.npy"), batch_size=2))
    assert len(data) == 3
    for _ in range(2):
        assert [batch[0].tolist() for batch in data] == [[0, 1], [2, 3], [4]]
    (batch,) = batches(tmp_path / "xy.npz", batch_size=4, batch_nums=1)
    assert {name: array.tolist() for name, array in batch.items()} == {
        "x": [0, 1, 2, 3],
        "label": [0, 1, 0, 1],
    }


def test_a_function_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_data.py").write_text("def batches():\n    yield [1]\n    yield [2]\n\nNUMBER = 3\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert batches("my_data:batches", batch_nums=1) == [[1]]
    with pytest.raises(ValueError, match="has no function 'batch'"):
        batches("my_data:batch")
    with pytest.raises(ValueError, match="my_data:NUMBER is no function, but int"):
        batches("my_data:NUMBER")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png zero\n", "line 1: expected 'path label', a whole number, got 'a.png zero'"),
        ("a.png 1\ne.png 1\n", "line 2: there is no file"),
        ("a.png 1\na.png\n", "some lines have a label and others have none"),
    ],
)
def test_bad_list_files(folder: Path, text: str, message: str) -> None:
    (folder / "list.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        batches(folder, list_file="list.txt")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop": 30, "resize": 16}, "Data.crop: .* is 16 x 20 after Data.resize, smaller than 30"),
        ({"crop": None, "resize": None, "batch_size": 3}, "differ in size; set Data.crop"),
        ({"channels": "gray"}, "gray pictures need both"),
        ({"channels": "yuv"}, "channels: expected one of rgb, bgr, gray, got 'yuv'"),
        ({"mean": [0.5]}, "mean: expected 3 numbers for rgb"),
        ({"std": [0.0, 1.0, 1.0]}, "std: expected numbers > 0"),
        ({"batch_size": 0}, "batch_size: expected a number of at least 1, got 0"),
        ({"list_file": "none.txt"}, "Data.list_file: there is no file 'none.txt'"),
    ],
)
def test_bad_settings(folder: Path, settings: dict[str, Any], message: str) -> None:
    (folder / "inner" / "e.png").write_bytes((folder / "a.png").read_bytes())
    with pytest.raises(ValueError, match=message):
        batches(folder, **settings)


def test_damaged_files(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(b"no array")
    (tmp_path / "x.txt").write_text("no array")
    np.savez(tmp_path / "x.npz", a=np.zeros(3), b=np.zeros(4))
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"no picture")
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("x.npy", "is no array file of NumPy"),
        ("x.txt", "expected a folder of pictures"),
        ("x.npz", "expected arrays with equally many samples, got {'a': 3, 'b': 4}"),
        ("pictures", "is no picture that Pillow reads"),
        ("empty", "holds no picture"),
        ("nothing.npy", "there is no file or folder"),
    ):
        with pytest.raises(ValueError, match=message):
            batches(tmp_path / name)
