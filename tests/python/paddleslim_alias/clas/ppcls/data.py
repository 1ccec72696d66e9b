# SPDX-License-Identifier: Apache-2.0
"""Four classes: a pattern each, under noise."""

from __future__ import annotations

import numpy as np
import paddle

CLASSES = 4


class Patterns(paddle.io.Dataset):
    """`count` images [3, size, size] float32 and labels int64, the same for the same `seed`."""

    def __init__(self, count, size, seed):
        super().__init__()
        patterns = np.random.default_rng(0).standard_normal((CLASSES, 3, size, size))
        rng = np.random.default_rng(seed)
        self.labels = rng.integers(0, CLASSES, count)
        noise = rng.standard_normal((count, 3, size, size))
        self.images = (patterns[self.labels] + 2 * noise).astype(np.float32)

    def __getitem__(self, index):
        return self.images[index], self.labels[index]

    def __len__(self):
        return len(self.labels)


def build_dataloader(mode, image_shape, batch_size, num_workers=0):
    """Train: shuffled, each rank its share. Eval: all of it, in order."""
    is_train = mode == "Train"
    dataset = Patterns(256 if is_train else 96, image_shape[-1], seed=1 if is_train else 2)
    if is_train:
        sampler = paddle.io.DistributedBatchSampler(dataset, batch_size, shuffle=True, drop_last=True)
    else:
        sampler = paddle.io.BatchSampler(dataset, batch_size=batch_size)
    return paddle.io.DataLoader(dataset, batch_sampler=sampler, num_workers=num_workers)
