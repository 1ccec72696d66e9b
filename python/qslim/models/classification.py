# SPDX-License-Identifier: Apache-2.0
"""What the classifiers share: one object that builds a static program or a Layer; and image_classification.

PIR has neither ``Program.clone(for_test=True)`` nor names to fetch by. There the evaluation program is built
a second time, in evaluation mode, on the same parameters, and values stand where legacy programs have names.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import paddle

__all__ = ["ImageClassifier", "ProgramOutputs", "image_classification", "training_parameters"]


def training_parameters(epochs: Sequence[int]) -> dict[str, Any]:
    """PaddleSlim's ``model.params``: input preparation and the ImageNet schedule, which steps at `epochs`."""
    return {
        "input_size": [3, 224, 224],
        "input_mean": [0.485, 0.456, 0.406],
        "input_std": [0.229, 0.224, 0.225],
        "learning_strategy": {
            "name": "piecewise_decay",
            "batch_size": 256,
            "epochs": list(epochs),
            "steps": [0.1, 0.01, 0.001, 0.0001],
        },
    }


class ImageClassifier:
    """A network by its hyper-parameters. It owns no weights: each ``net`` or ``layer`` call makes them.

    Parameters have fixed names, as in PaddleSlim, so two ``net`` calls in one scope share weights, as an
    evaluation program should. In dygraph every Layer owns its weights, and names used before get a number.

    Attributes
    ----------
    params : dict
        input_size, input_mean, input_std and learning_strategy, as PaddleSlim gives them; yours to change.
    """

    params: dict[str, Any]

    def layer(self, class_dim: int = 1000, *, in_channels: int = 3) -> Any:
        """The network as a ``paddle.nn.Layer``: images [N, C, H, W] to probabilities [N, class_dim]."""
        raise NotImplementedError

    def net(self, input: Any, class_dim: int = 1000) -> Any:
        """Build into the current static program; return probabilities [N, class_dim] for images `input`."""
        return self.layer(class_dim, in_channels=input_channels(input))(input)


def input_channels(image: Any) -> int:
    """C of images [N, C, H, W]; a ValueError that says what was expected where there is none."""
    shape = list(image.shape)
    if len(shape) != 4 or shape[1] is None or shape[1] < 1:
        raise ValueError(f"input: expected images [N, C, H, W] with a known C, got shape {shape}")
    return int(shape[1])


def check_class_dim(class_dim: int) -> int:
    """`class_dim` as given, or a ValueError."""
    if class_dim < 1:
        raise ValueError(f"class_dim: expected at least 1, got {class_dim}")
    return class_dim


class ProgramOutputs(tuple[Any, ...]):
    """(top-1, top-5, mean loss, probabilities): what to fetch.

    Attributes
    ----------
    for_test : tuple
        The same four in the evaluation program. Legacy programs share names, so there it equals the tuple
        itself; PIR values belong to one program, so there it holds the evaluation program's own.
    """

    for_test: tuple[Any, ...]

    def __new__(cls, outputs: Iterable[Any], for_test: Iterable[Any]) -> ProgramOutputs:
        self = super().__new__(cls, tuple(outputs))
        self.for_test = tuple(for_test)
        return self


def image_classification(
    model: str, image_shape: Sequence[int], class_num: int, use_gpu: bool = False
) -> tuple[Any, Any, Any, tuple[Any, Any], ProgramOutputs]:
    """A classifier ready to train in a static program: Momentum(0.1, 0.9) on the mean cross entropy.

    Parameters
    ----------
    model : str
        A name in this package: "MobileNet", "MobileNetV2", "ResNet18", "ResNet34", "ResNet50", ...
    image_shape : sequence of int
        (C, H, W), without the batch.
    class_num : int
    use_gpu : bool, default=False

    Returns
    -------
    (executor, train_program, val_program, (image, label), outputs)
        The startup program has been run. ``outputs`` is (top-1, top-5, mean loss, probabilities), names in
        the legacy IR and values in PIR; fetch ``outputs.for_test`` from ``val_program``.

    Raises
    ------
    ValueError : an unknown model, with the nearest names; an image_shape that is not (C, H, W).
    RuntimeError : in dygraph mode.

    References
    ----------
    paddleslim 2.4.0, models/util.py (signature and returned values).
    """
    classifier = _find(model)
    shape = list(image_shape)
    if len(shape) != 3 or any(extent < 1 for extent in shape):
        raise ValueError(f"image_shape: expected (C, H, W), got {shape}")
    if paddle.in_dynamic_mode():
        raise RuntimeError("image_classification builds a static program: call paddle.enable_static() first")

    train_program = paddle.static.Program()
    startup_program = paddle.static.Program()
    # Names count from zero in each program, so that both name the ResNets' classifier fc_0.
    new_names = paddle.utils.unique_name.guard
    with new_names(), paddle.static.program_guard(train_program, startup_program):
        is_pir = paddle.framework.in_pir_mode()
        feeds, outputs = _build(classifier, shape, class_num, is_test=False)
        val_program = None if is_pir else train_program.clone(for_test=True)
        paddle.optimizer.Momentum(learning_rate=0.1, momentum=0.9).minimize(outputs[2])
    for_test = outputs
    if is_pir:
        val_program = paddle.static.Program()
        with new_names(), paddle.static.program_guard(val_program, paddle.static.Program()):
            _, for_test = _build(classifier, shape, class_num, is_test=True)
    else:
        outputs = for_test = tuple(output.name for output in outputs)

    executor = paddle.static.Executor(paddle.CUDAPlace(0) if use_gpu else paddle.CPUPlace())
    executor.run(startup_program)
    return executor, train_program, val_program, feeds, ProgramOutputs(outputs, for_test)


def _find(name: str) -> ImageClassifier:
    from qslim import models

    names = [n for n in models.__all__ if n.startswith(("EfficientNet", "MobileNet", "PPLCNet", "ResNet"))]
    if name not in names:
        nearest = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or sorted(names)
        raise ValueError(f"model: {name!r} is unknown; the nearest are {', '.join(map(repr, nearest))}")
    classifier = getattr(models, name)()
    assert isinstance(classifier, ImageClassifier)
    return classifier


def _build(
    classifier: ImageClassifier, image_shape: Sequence[int], class_num: int, is_test: bool
) -> tuple[tuple[Any, Any], tuple[Any, ...]]:
    """Feeds and outputs of one program: (image, label), (top-1, top-5, mean loss, probabilities)."""
    image = paddle.static.data(name="image", shape=[None, *image_shape], dtype="float32")
    label = paddle.static.data(name="label", shape=[None, 1], dtype="int64")
    layer = classifier.layer(class_num, in_channels=image_shape[0])
    if is_test:
        layer.eval()
    probabilities = layer(image)
    target = paddle.reshape(label, [-1, 1])
    # Cross entropy applies softmax to the probabilities once more, as PaddleSlim did and its tutorials print.
    mean_loss = paddle.mean(paddle.nn.functional.cross_entropy(input=probabilities, label=target))
    top1, top5 = (paddle.metric.accuracy(probabilities, target, k=min(k, class_num)) for k in (1, 5))
    return (image, label), (top1, top5, mean_loss, probabilities)
