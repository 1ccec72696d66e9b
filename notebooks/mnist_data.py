# SPDX-License-Identifier: Apache-2.0
"""MNIST for the notebooks, or something of the same kind where there is none.

Paddle's own copy (``~/.cache/paddle/dataset/mnist``) is used if it is there and downloaded if it can be.
Without a network the notebooks still run, on the 1797 handwritten digits of 8 x 8 pixels that come with
scikit-learn: scaled to 28 x 28, grey levels 0 to 255, every fifth image kept for the test.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import io
import os
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any, Callable, Optional

import numpy as np
import paddle

__all__ = ["Digits", "digits_test", "have_mnist", "images_and_labels"]

_CONNECT_SECONDS = 5.0


@functools.cache
def have_mnist() -> bool:
    """Return True if Paddle has MNIST, after a chance to download it; print which data is used."""
    try:
        _fetch_mnist()
    except (OSError, RuntimeError) as error:
        print(f"data: no MNIST in Paddle's cache, and no download of it ({error})")
        print("data: scikit-learn's 8x8 handwritten digits instead, scaled to 28x28: 1437 train, 360 test")
        return False
    print("data: MNIST from Paddle's cache, 60000 images to train, 10000 to test")
    return True


def _fetch_mnist() -> None:
    """Fill Paddle's cache with the four files; OSError or RuntimeError where that cannot be done."""
    from paddle.dataset import common, mnist  # imported here: deprecated, but it names the files

    for part in ("TRAIN_IMAGE", "TRAIN_LABEL", "TEST_IMAGE", "TEST_LABEL"):
        url, md5 = getattr(mnist, f"{part}_URL"), getattr(mnist, f"{part}_MD5")
        file = os.path.join(common.DATA_HOME, "mnist", os.path.basename(url))
        if os.path.exists(file) and common.md5file(file) == md5:
            continue
        # Paddle's downloader has no timeout: see first that somebody answers (a proxy is taken at its word).
        address = urllib.parse.urlparse(url)
        if address.scheme not in urllib.request.getproxies():
            socket.create_connection((address.hostname, 443), timeout=_CONNECT_SECONDS).close()
        print(f"data: downloading {url}")
        with contextlib.redirect_stderr(io.StringIO()):
            common.download(url, "mnist", md5)


def _mnist(mode: str) -> tuple[Any, Any]:
    """Load MNIST at once, as `_digits` does; ``paddle.vision.datasets.MNIST`` reads int by int."""
    from paddle.dataset import common, mnist

    part = mode.upper()
    contents = []
    for url, header in ((getattr(mnist, f"{part}_IMAGE_URL"), 16), (getattr(mnist, f"{part}_LABEL_URL"), 8)):
        with gzip.open(os.path.join(common.DATA_HOME, "mnist", os.path.basename(url))) as file:
            contents.append(np.frombuffer(file.read(), np.uint8, offset=header))
    return contents[0].reshape(-1, 28, 28).astype(np.float32), contents[1].astype(np.int64)


@functools.cache
def _digits(mode: str) -> tuple[Any, Any]:
    """Load images [N, 28, 28], float32 from 0 to 255, and labels [N], int64."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    is_test = np.arange(len(labels)) % 5 == 0
    chosen = is_test if mode == "test" else ~is_test
    # Bilinear: the same 28 x 8 interpolation matrix from the left and from the right.
    positions = np.linspace(0.0, 7.0, 28)
    matrix = np.maximum(0.0, 1.0 - np.abs(positions[:, None] - np.arange(8)[None, :]))
    scaled = matrix @ (images[chosen].reshape(-1, 8, 8) * (255.0 / 16.0)) @ matrix.T
    return scaled.astype(np.float32), labels[chosen].astype(np.int64)


class Digits(paddle.io.Dataset):
    """Items like those of ``paddle.vision.datasets.MNIST(mode, backend="cv2", transform=transform)``."""

    def __init__(self, mode: str = "train", transform: Optional[Callable[[Any], Any]] = None) -> None:
        super().__init__()
        self.images, self.labels = _digits(mode)
        self.transform = transform

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image = self.images[index]
        if self.transform is not None:
            image = self.transform(image)
        return image.astype(np.float32), self.labels[index : index + 1]

    def __len__(self) -> int:
        return len(self.labels)


def digits_test() -> Callable[[], Iterator[tuple[Any, int]]]:
    """Return samples like those of ``paddle.dataset.mnist.test()``: 784 floats in [-1, 1] and an int."""

    def reader() -> Iterator[tuple[Any, int]]:
        for image, label in zip(*_digits("test")):
            yield (image.reshape(784) / 127.5 - 1.0).astype(np.float32), int(label)

    return reader


def images_and_labels(mode: str) -> tuple[Any, Any]:
    """Return all images, [N, 1, 28, 28] in [-1, 1], and labels, [N], of ``mode`` "train" or "test"."""
    if have_mnist():
        images, labels = _mnist(mode)
    else:
        images, labels = _digits(mode)
    images = images.reshape(-1, 1, 28, 28) / np.float32(127.5) - np.float32(1)
    return images, labels
