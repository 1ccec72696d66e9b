# SPDX-License-Identifier: Apache-2.0
"""image_classification: a static program with a classifier of this package, ready to train.

PIR has neither ``Program.clone(for_test=True)`` nor names to fetch by. There the evaluation program is built
a second time, in evaluation mode, on the same parameters, and values stand where legacy programs have names.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, Callable

import paddle

from qslim.models import efficientnet_lite, mobilenet, mobilenet_v2, pplcnet, resnet
from qslim.models.classification import ImageClassifier, ProgramOutputs

__all__ = ["find_classifier", "image_classification"]

# By the names that the modules make public.
_CLASSIFIERS: dict[str, Callable[[], Any]] = {
    name: getattr(module, name)
    for module in (efficientnet_lite, mobilenet, mobilenet_v2, pplcnet, resnet)
    for name in module.__all__
    if name.startswith(("EfficientNet", "MobileNet", "PPLCNet", "ResNet"))
}


def image_classification(
    model: str, image_shape: Sequence[int], class_num: int, use_gpu: bool = False
) -> tuple[Any, Any, Any, tuple[Any, Any], ProgramOutputs]:
    """Build a classifier in a static program, with Momentum(0.1, 0.9) on the mean cross entropy.

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
    classifier = find_classifier(model)
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


def find_classifier(name: str) -> ImageClassifier:
    """Return the classifier of this package that is called `name`.

    Raises
    ------
    ValueError : there is none; gives the nearest names.
    """
    names = list(_CLASSIFIERS)
    if name not in names:
        nearest = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or sorted(names)
        raise ValueError(f"model: {name!r} is unknown; the nearest are {', '.join(map(repr, nearest))}")
    classifier = _CLASSIFIERS[name]()
    assert isinstance(classifier, ImageClassifier)
    return classifier


def _build(
    classifier: ImageClassifier, image_shape: Sequence[int], class_num: int, is_test: bool
) -> tuple[tuple[Any, Any], tuple[Any, ...]]:
    """Build one program; return its (image, label) and its (top-1, top-5, mean loss, probabilities)."""
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
