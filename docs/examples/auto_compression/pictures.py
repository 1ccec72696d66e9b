# SPDX-License-Identifier: Apache-2.0
"""Pictures of a list file (``path label``, one a line) as arrays, prepared as ImageNet's are."""

import os

import numpy as np
import paddle
from PIL import Image

__all__ = ["Pictures"]

_MEAN = np.float32([0.485, 0.456, 0.406])
_SPREAD = np.float32([0.229, 0.224, 0.225])


class Pictures(paddle.io.Dataset):
    """The pictures of ``<data_dir>/<part>_list.txt``: (float32 [3, size, size], int64 [1])."""

    def __init__(self, data_dir, part, size):
        with open(os.path.join(data_dir, f"{part}_list.txt")) as file:
            self.samples = [line.split() for line in file if line.strip()]
        self.data_dir, self.size = data_dir, size

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        path, label = self.samples[index]
        with Image.open(os.path.join(self.data_dir, path)) as picture:
            resized = picture.convert("RGB").resize((self.size, self.size), Image.BILINEAR)
        values = (np.asarray(resized, np.float32) / 255 - _MEAN) / _SPREAD
        return values.transpose(2, 0, 1), np.int64([int(label)])
