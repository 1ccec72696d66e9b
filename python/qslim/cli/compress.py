# SPDX-License-Identifier: Apache-2.0
"""``qslim compress``, the tutorial's compress.py: a classifier trained and compressed by a YAML file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from qslim.cli.command import Result, command
from qslim.cli.data import DataSettings, open_data
from qslim.cli.settings import setting

__all__ = ["COMMAND"]

_FOLDER = "data/ILSVRC2012"


@dataclass(frozen=True)
class TrainSettings(DataSettings):
    """Images and labels to train on."""

    path: str = setting("Training data.", _FOLDER, flag="--train_data")
    list_file: Optional[str] = setting("Their list of 'path label'.", None, flag="--train_list")
    batch_size: int = setting("Samples a batch.", 256, flag="--batch_size")
    batch_nums: Optional[int] = setting("At most so many batches.", None)


@dataclass(frozen=True)
class EvalSettings(DataSettings):
    """Images and labels to evaluate on."""

    path: Optional[str] = setting(  # type: ignore[assignment]
        "Evaluation data.", None, flag="--eval_data"
    )
    list_file: Optional[str] = setting("Their list of 'path label'.", None, flag="--eval_list")
    batch_size: int = setting("Samples a batch.", 256)
    batch_nums: Optional[int] = setting("At most so many batches.", None)


@dataclass(frozen=True)
class Settings:
    """Settings of ``qslim compress``, by the names of compress.py."""

    Train: TrainSettings = field()
    Eval: EvalSettings = field()
    compress_config: str = setting("YAML file of strategies.", flag="--compress_config")
    model: str = setting("A classifier of qslim.models.", "MobileNet", flag="--model")
    class_dim: int = setting("Classes.", 1000, flag="--class_dim")
    image_shape: str = setting("C,H,W.", "3,224,224", flag="--image_shape")
    pretrained_model: Optional[str] = setting("A file for each parameter.", None, flag="--pretrained_model")
    learning_rate: float = setting("Of Momentum.", 0.1, flag="--learning_rate")
    use_gpu: str = setting("true or false.", "false", flag="--use_gpu")
    quant_only: str = setting("Accepted; the YAML file says what is done.", "false", flag="--quant_only")


def _run(settings: Settings) -> Result:
    for name in ("use_gpu", "quant_only"):
        if getattr(settings, name).lower() not in ("true", "false"):
            raise ValueError(f"{name}: expected true or false, got {getattr(settings, name)!r}")
    extents = settings.image_shape.split(",")
    if len(extents) != 3 or not all(extent.strip().isdigit() for extent in extents):
        raise ValueError(f"image_shape: expected C,H,W, got {settings.image_shape!r}")
    train = open_data(settings.Train)
    test = None if settings.Eval.path is None else open_data(settings.Eval)
    from qslim.compressor.classifier import compress_classifier

    results = compress_classifier(
        settings.model,
        settings.compress_config,
        train,
        test,
        class_dim=settings.class_dim,
        image_shape=[int(extent) for extent in extents],
        pretrained_model=settings.pretrained_model,
        learning_rate=settings.learning_rate,
        use_gpu=settings.use_gpu.lower() == "true",
    )
    lines = [f"{name}: {', '.join(f'{value:.4f}' for value in values)}" for name, values in results.items()]
    return Result("\n".join(lines), results)


COMMAND = command("compress", Settings, _run, "Train and compress a classifier by a YAML file (compress.py).")
