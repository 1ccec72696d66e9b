# SPDX-License-Identifier: Apache-2.0
"""Data of the command line: pictures of a folder, ``.npy`` and ``.npz`` files, or a function of the user's.

    folder            pictures; with a list file, lines of ``path label``, those and their labels
    x.npy             one array, samples along its first axis, for a model of one input
    x.npz             arrays by the names of the model's inputs, and "label" or "labels"
    module:function   what the function returns is iterated: batches, as ``quant_post_static`` takes them

Every one gives batches, from the start each time it is iterated.
"""

from __future__ import annotations

import importlib
import itertools
import os
import sys
import typing
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Callable, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.cli.settings import setting
from qslim.errors import MissingFileError

__all__ = ["Batches", "DataSettings", "OptionalDataSettings", "open_data"]

_IMAGENET_MEAN, _IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
_CHANNELS = {"rgb": 3, "bgr": 3, "gray": 1}


@dataclass(frozen=True)
class DataSettings:
    """Where data come from; `channels` to `std` are for pictures."""

    path: str = setting("Folder of pictures, .npy, .npz or module:function.", flag="--data")
    list_file: Optional[str] = setting(
        "Lines of 'path label', paths below the folder.", None, flag="--list_file"
    )
    batch_size: int = setting("Samples a batch.", 1, flag="--batch_size")
    batch_nums: Optional[int] = setting("At most so many batches.", None, flag="--batch_nums")
    channels: str = setting("rgb, bgr or gray.", "rgb")
    resize: Optional[int] = setting("Length of the shorter side, before the crop.", 256)
    crop: Optional[int] = setting("Side of the square that is cut from the middle.", 224)
    mean: Optional[list[float]] = setting("Taken from values in [0, 1], one for each channel.", None)
    std: Optional[list[float]] = setting("Divides the rest, one for each channel.", None)

    def __post_init__(self) -> None:
        if self.channels not in _CHANNELS:
            raise ValueError(f"channels: expected one of {', '.join(_CHANNELS)}, got {self.channels!r}")
        for name in ("batch_size", "batch_nums", "resize", "crop"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: expected a number of at least 1, got {value}")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if values is not None and len(values) != _CHANNELS[self.channels]:
                wanted = f"{_CHANNELS[self.channels]} numbers for {self.channels}"
                raise ValueError(f"{name}: expected {wanted}, got {values}")
        if self.std is not None and not all(value > 0 for value in self.std):
            raise ValueError(f"std: expected numbers > 0, got {self.std}")


@dataclass(frozen=True)
class OptionalDataSettings(DataSettings):
    """The settings of data, for commands that make up data where none are given."""

    path: Optional[str] = setting(  # type: ignore[assignment]
        "Folder of pictures, .npy, .npz or module:function.", None, flag="--data"
    )


class Batches:
    """Batches of a source, iterated from its start each time.

    A batch is a tuple in the order of the model's inputs, labels behind them, or a dict of arrays by name.
    """

    def __init__(
        self,
        make: Callable[[], Iterable[Any]],
        most: Optional[int],
        length: Optional[int],
        is_labelled: bool = False,
    ) -> None:
        self._make = make
        self._most = most
        self._length = length
        self._is_labelled = is_labelled

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(iter(self._make()), self._most)

    @property
    def has_labels(self) -> bool:
        """True if the first batch names its labels, or comes from a list of pictures with labels."""
        if self._is_labelled:
            return True
        first = next(iter(self), None)
        return isinstance(first, dict) and bool({"label", "labels"} & set(first))

    def __len__(self) -> int:
        if self._length is None:
            raise TypeError("the source does not tell its number of batches")
        return self._length if self._most is None else min(self._length, self._most)


def open_data(settings: DataSettings) -> Batches:
    """Return the batches that `settings` describe; the source is looked at, not read.

    Raises
    ------
    ValueError : no such file, folder or function; a list file with no line or a bad one.
    """
    path = settings.path
    if os.path.isdir(path):
        return _pictures(settings)
    if os.path.isfile(path):
        if path.endswith((".npy", ".npz")):
            return _arrays(settings)
        raise ValueError(
            f"Data.path: expected a folder of pictures, .npy, .npz or module:function, got {path!r}"
        )
    module, colon, function = path.rpartition(":")
    if colon and module and function.isidentifier() and os.sep not in module:
        return Batches(_function(module, function), settings.batch_nums, None)
    raise MissingFileError(f"Data.path: there is no file or folder {path!r}, and it is no module:function")


def _function(module: str, name: str) -> Callable[[], Iterable[Any]]:
    if os.getcwd() not in sys.path:  # an installed command does not look there
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ValueError(f"Data.path: cannot import {module!r}: {error}") from error
    except AttributeError as error:
        raise ValueError(f"Data.path: module {module!r} has no function {name!r}") from error
    if not callable(found):
        raise ValueError(f"Data.path: {module}:{name} is no function, but {type(found).__name__}")

    def make() -> Iterable[Any]:
        produced = found()
        if not hasattr(produced, "__iter__"):
            raise ValueError(
                f"Data.path: {module}:{name} returned {type(produced).__name__}, which has no batches"
            )
        return typing.cast(Iterable[Any], produced)

    return make


# ---- arrays ------------------------------------------------------------------------------------------


def _arrays(settings: DataSettings) -> Batches:
    path, size = settings.path, settings.batch_size
    try:
        loaded = np.load(path, mmap_mode="r" if path.endswith(".npy") else None, allow_pickle=False)
        columns = dict(loaded) if path.endswith(".npz") else {"": loaded}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"Data.path: {path!r} is no array file of NumPy: {error}") from error
    lengths = {name: len(array) if array.ndim else 0 for name, array in columns.items()}
    if not columns or len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise ValueError(f"Data.path: {path!r}: expected arrays with equally many samples, got {lengths}")
    count = next(iter(lengths.values()))

    def make() -> Iterator[Any]:
        for begin in range(0, count, size):
            batch = {name: np.asarray(array[begin : begin + size]) for name, array in columns.items()}
            yield (batch[""],) if "" in batch else batch

    return Batches(make, settings.batch_nums, -(-count // size))


# ---- pictures ----------------------------------------------------------------------------------------


def _pictures(settings: DataSettings) -> Batches:
    files = (
        _listed(settings) if settings.list_file else [(path, None) for path in _files_below(settings.path)]
    )
    if not files:
        raise ValueError(f"Data.path: folder {settings.path!r} holds no picture ({', '.join(_PICTURES)})")
    _pillow()
    size = settings.batch_size

    def make() -> Iterator[Any]:
        for begin in range(0, len(files), size):
            part = files[begin : begin + size]
            pixels = [read_picture(path, settings) for path, _ in part]
            if len({each.shape for each in pixels}) > 1:
                raise ValueError(
                    f"Data.path: pictures {part[0][0]!r} to {part[-1][0]!r} differ in size; set Data.crop"
                )
            images = np.stack(pixels)
            labels = [label for _, label in part if label is not None]
            yield (images, np.array(labels, np.int64)) if labels else (images,)

    is_labelled = all(label is not None for _, label in files)
    return Batches(make, settings.batch_nums, -(-len(files) // size), is_labelled)


def _files_below(folder: str) -> list[str]:
    found = []
    for directory, folders, names in os.walk(folder):
        folders.sort()
        found += [os.path.join(directory, name) for name in sorted(names) if name.lower().endswith(_PICTURES)]
    return found


def _listed(settings: DataSettings) -> list[tuple[str, Optional[int]]]:
    """Return paths and labels of a list file, which lies in the folder or anywhere."""
    name = str(settings.list_file)
    path = name if os.path.isfile(name) else os.path.join(settings.path, name)
    if not os.path.isfile(path):
        raise MissingFileError(f"Data.list_file: there is no file {name!r}, in {settings.path!r} neither")
    found: list[tuple[str, Optional[int]]] = []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            picture, _, label = (
                line.rstrip().rpartition(" ") if " " in line.strip() else (line.strip(), "", "")
            )
            where = os.path.join(settings.path, picture)
            if label and not label.lstrip("-").isdigit():
                raise ValueError(
                    f"{path}, line {number}: expected 'path label', a whole number, got {line.strip()!r}"
                )
            if not os.path.isfile(where):
                raise MissingFileError(f"{path}, line {number}: there is no file {where!r}")
            found.append((where, int(label) if label else None))
    if len({label is None for _, label in found}) > 1:
        raise ValueError(f"{path}: some lines have a label and others have none")
    return found


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("pictures are read by Pillow: pip install 'qslim[images]'") from error
    return Image


def read_picture(path: str, settings: DataSettings) -> NDArray[np.float32]:
    """Return a picture as a normalized array [channels, height, width]."""
    image_module = _pillow()
    try:
        with image_module.open(path) as opened:
            picture = opened.convert("L" if settings.channels == "gray" else "RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise ValueError(f"Data.path: {path!r} is no picture that Pillow reads: {error}") from error
    width, height = picture.size
    if settings.resize is not None:
        factor = settings.resize / min(width, height)
        width, height = (
            max(settings.resize, round(width * factor)),
            max(settings.resize, round(height * factor)),
        )
        picture = picture.resize((width, height), image_module.Resampling.BILINEAR)
    if settings.crop is not None:
        if min(width, height) < settings.crop:
            raise ValueError(
                f"Data.crop: {path!r} is {width} x {height} after Data.resize, smaller than {settings.crop}"
            )
        left, top = (width - settings.crop) // 2, (height - settings.crop) // 2
        picture = picture.crop((left, top, left + settings.crop, top + settings.crop))
    pixels = np.asarray(picture, np.float32).reshape(picture.size[1], picture.size[0], -1) / np.float32(255)
    if settings.channels == "bgr":
        pixels = pixels[:, :, ::-1]
    mean, std = normalization(settings)
    return np.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1), np.float32)


def normalization(settings: DataSettings) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and standard deviation by channel, those of ImageNet where none are given for colours."""
    order = -1 if settings.channels == "bgr" else 1
    known = settings.channels != "gray"
    if (settings.mean is None or settings.std is None) and not known:
        raise ValueError("Data.mean, Data.std: gray pictures need both, for example [0.5] and [0.5]")
    mean = np.array(_IMAGENET_MEAN[::order] if settings.mean is None else settings.mean, np.float32)
    std = np.array(_IMAGENET_STD[::order] if settings.std is None else settings.std, np.float32)
    return mean, std
