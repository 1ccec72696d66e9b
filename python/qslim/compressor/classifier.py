# SPDX-License-Identifier: Apache-2.0
"""The tutorial's compress.py: a classifier of ``qslim.models`` under a Compressor.

Source: PaddlePaddle/models, PaddleSlim/compress.py (arguments, optimizer, schedule).
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np

from qslim.compressor.compressor import Compressor
from qslim.errors import MissingFileError
from qslim.paddle import framework
from qslim.paddle.params_file import read_records

__all__ = ["compress_classifier"]

_STEPS, _DECAY, _L2 = (30, 60, 90), 0.1, 4e-5
_PROBABILITIES = "fc_0.tmp_2"


def compress_classifier(
    model: str,
    compress_config: Any,
    train_reader: Any,
    eval_reader: Any = None,
    *,
    class_dim: int = 1000,
    image_shape: Sequence[int] = (3, 224, 224),
    pretrained_model: Optional[str] = None,
    learning_rate: float = 0.1,
    steps_per_epoch: int = 5000,
    use_gpu: bool = False,
) -> dict[str, list[float]]:
    """Train and compress a classifier as a YAML file says; return what was evaluated after each epoch.

    The programs feed "image" and "label" and fetch the mean cross entropy, "acc_top1", "acc_top5" and the
    probabilities, as "fc_0.tmp_2" for the tutorial's ``save_out_nodes``;
    momentum is 0.9, and the learning rate falls to a tenth after 30, 60 and 90 epochs.

    Parameters
    ----------
    model : str
        A name of ``qslim.models``: "MobileNet", "ResNet50", ...
    compress_config : path of a YAML file, or a mapping, as for ``Compressor.config``
    train_reader, eval_reader : batches of images and labels, as for ``Compressor``
    class_dim : int
    image_shape : (C, H, W)
    pretrained_model : str, optional
        A directory with a file for each parameter, as fluid saved them; parameters without a file keep their
        initial values.
    learning_rate : float
    steps_per_epoch : int; what an epoch of the schedule means
    use_gpu : bool

    Raises
    ------
    ValueError : an unknown model, a configuration that will not do, a directory without a parameter of it.
    """
    paddle = framework.paddle_module()
    from qslim.models.ready_to_train import find_classifier

    classifier = find_classifier(model)
    shape = list(image_shape)
    if len(shape) != 3 or any(extent < 1 for extent in shape):
        raise ValueError(f"image_shape: expected (C, H, W), got {shape}")
    with framework.static_mode() as scope:
        startup = paddle.static.Program()
        train, train_fetches = _program(paddle, classifier, shape, class_dim, startup, is_test=False)
        test, test_fetches = _program(
            paddle, classifier, shape, class_dim, paddle.static.Program(), is_test=True
        )
        place = paddle.CUDAPlace(0) if use_gpu else paddle.CPUPlace()
        framework.executor(place).run(startup)
        feeds = [("image", "image"), ("label", "label")]
        rates = [learning_rate * _DECAY**count for count in range(len(_STEPS) + 1)]
        schedule = paddle.optimizer.lr.PiecewiseDecay([steps_per_epoch * step for step in _STEPS], rates)
        compressor = Compressor(
            place,
            scope,
            train,
            train_reader,
            feeds,
            [("loss", train_fetches["loss"])],
            test,
            eval_reader,
            feeds,
            [(name, value) for name, value in test_fetches.items() if name != "loss"],
            train_optimizer=paddle.optimizer.Momentum(
                schedule, 0.9, weight_decay=paddle.regularizer.L2Decay(_L2)
            ),
        )
        if pretrained_model is not None:
            _load(pretrained_model, scope, place)
        compressor.config(compress_config)
        compressor.run()
        return {name: values for name, values in compressor.results.items() if name != _PROBABILITIES}


def _program(
    paddle: Any, classifier: Any, shape: list[int], class_dim: int, startup: Any, *, is_test: bool
) -> tuple[Any, dict[str, Any]]:
    """Build one program; return it and its fetches: names in the legacy IR, values in PIR."""
    program = paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(program, startup):
        image = paddle.static.data("image", [None, *shape], "float32")
        label = paddle.static.data("label", [None, 1], "int64")
        layer = classifier.layer(class_dim, in_channels=shape[0])
        if is_test and paddle.framework.in_pir_mode():
            layer.eval()
        probabilities = layer(image)
        cross_entropy = paddle.nn.functional.cross_entropy
        found = {"loss": paddle.mean(cross_entropy(probabilities, label, use_softmax=False))}
        for k in (1, 5):
            found[f"acc_top{k}"] = paddle.metric.accuracy(probabilities, label, k=min(k, class_dim))
        found[_PROBABILITIES] = probabilities
        is_pir = paddle.framework.in_pir_mode()
    return program, {name: value if is_pir else value.name for name, value in found.items()}


def _load(directory: str, scope: Any, place: Any) -> None:
    """Put the files of `directory` into the parameters of their names."""
    if not os.path.isdir(directory):
        raise MissingFileError(
            f"pretrained_model: expected a directory with a file for each parameter, got {directory!r}"
        )
    found = 0
    for name in sorted(os.listdir(directory)):
        variable, path = scope.find_var(name), os.path.join(directory, name)
        if variable is None or not os.path.isfile(path):
            continue
        records = read_records(path)
        tensor = variable.get_tensor()
        shape = tuple(tensor.shape())
        if len(records) != 1 or records[0].dims != shape or records[0].nbytes != 4 * math.prod(shape):
            dims = [list(record.dims) for record in records]
            raise ValueError(f"pretrained_model: {path!r} holds {dims}, expected float32 {list(shape)}")
        values = np.fromfile(path, np.float32, math.prod(shape), offset=records[0].offset)
        tensor.set(values.reshape(shape), place)
        found += 1
    if not found:
        raise ValueError(f"pretrained_model: {directory!r} has no file with the name of a parameter")
