# SPDX-License-Identifier: Apache-2.0
"""MNIST as readers: functions that return a generator of (784 floats in [-1, 1], label)."""

import itertools

import paddle

__all__ = ["train", "val"]


def train(count=None):
    return lambda: itertools.islice(paddle.dataset.mnist.train()(), count)


def val(count=None):
    return lambda: itertools.islice(paddle.dataset.mnist.test()(), count)
