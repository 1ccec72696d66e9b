# SPDX-License-Identifier: Apache-2.0
"""``paddleslim.common``: what training scripts take from there."""

from __future__ import annotations

import logging
from typing import Optional, Union

from qslim.auto_compression.loading import (
    export_onnx,
    get_feed_vars,
    get_model_dir,
    load_config,
    load_inference_model,
    save_config,
    wrap_dataloader,
)

__all__ = [
    "AvgrageMeter",
    "export_onnx",
    "get_feed_vars",
    "get_logger",
    "get_model_dir",
    "load_config",
    "load_inference_model",
    "save_config",
    "wrap_dataloader",
]


def get_logger(
    name: str, level: Union[int, str], fmt: Optional[str] = "%(asctime)s-%(levelname)s: %(message)s"
) -> logging.Logger:
    """Return the logger `name` at `level`, writing to standard error in the form `fmt`.

    Asked for twice it writes once. Its messages do not go on to the root logger.

    Examples
    --------
    >>> import logging
    >>> from qslim.paddleslim.common import get_logger
    >>> get_logger("quant", logging.INFO) is get_logger("quant", logging.INFO)
    True
    """
    logger = logging.getLogger(name)
    logger.setLevel(level)
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.StreamHandler())
    for handler in logger.handlers:
        handler.setFormatter(logging.Formatter(fmt))
    return logger


class AvgrageMeter:
    """Mean of the values seen so far, each weighed by its `n`. The spelling is PaddleSlim's.

    Examples
    --------
    >>> from qslim.paddleslim.common import AvgrageMeter
    >>> top1 = AvgrageMeter()
    >>> top1.update(0.5, n=32)
    >>> top1.update(1.0, n=96)
    >>> top1.avg, top1.cnt
    (0.875, 128)
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.avg: float = 0.0
        self.sum: float = 0.0
        self.cnt: int = 0

    def update(self, val: float, n: int = 1) -> None:
        """Take in `val`, the mean of `n` samples."""
        self.sum += val * n
        self.cnt += n
        self.avg = self.sum / self.cnt if self.cnt else 0.0
