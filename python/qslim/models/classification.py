# SPDX-License-Identifier: Apache-2.0
"""The base of the classifiers: one object that builds a static program or a Layer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["ImageClassifier", "ProgramOutputs", "training_parameters"]


def training_parameters(epochs: Sequence[int]) -> dict[str, Any]:
    """Return PaddleSlim's ``model.params``: input preparation and ImageNet's schedule, steps at `epochs`."""
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
        """Return the network as a ``paddle.nn.Layer``: from images [N, C, H, W] to [N, class_dim]."""
        raise NotImplementedError

    def net(self, input: Any, class_dim: int = 1000) -> Any:
        """Build into the current static program; return probabilities [N, class_dim] for images `input`."""
        return self.layer(class_dim, in_channels=input_channels(input))(input)


def input_channels(image: Any) -> int:
    """Return C of images [N, C, H, W]; raise ValueError if they have another shape."""
    shape = list(image.shape)
    if len(shape) != 4 or shape[1] is None or shape[1] < 1:
        raise ValueError(f"input: expected images [N, C, H, W] with a known C, got shape {shape}")
    return int(shape[1])


def check_class_dim(class_dim: int) -> int:
    """Return `class_dim`; raise ValueError unless it is a positive int."""
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
