# SPDX-License-Identifier: Apache-2.0
"""``qslim quantize``: post-training quantization of a saved model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from qslim.cli.command import Result, command
from qslim.cli.data import OptionalDataSettings, open_data
from qslim.cli.models import PaddleModelSettings
from qslim.cli.settings import arguments_of, setting

__all__ = ["COMMAND", "quantized"]

_GIVEN = (
    *("executor", "model_dir", "model_filename", "params_filename", "quantize_model_path", "batch_generator"),
    *("sample_generator", "data_loader", "batch_size", "batch_nums", "scope", "eval_function"),
)
_GIVEN_DYNAMIC = ("model_dir", "save_model_dir", "model_filename", "params_filename")


@dataclass(frozen=True)
class Settings:
    """Settings of ``qslim quantize``."""

    Model: PaddleModelSettings = field()
    Data: OptionalDataSettings = field()
    save_dir: str = setting("Directory of the quantized model.", flag="--save_dir")
    weight_only: bool = setting("Store weights as integers; needs no data.", False, flag="--weight_only")
    algo: Optional[str] = setting("Calibration: hist, KL, avg, mse, emd, ... auto.", None, flag="--algo")
    Quantization: dict[str, Any] = arguments_of("qslim.quant:quant_post_static", _GIVEN)
    WeightOnly: dict[str, Any] = arguments_of("qslim.quant:quant_post_dynamic", _GIVEN_DYNAMIC)


def quantized(settings: Any, save_dir: str, options: Mapping[str, Any]) -> Any:
    """Quantize the Model of `settings` with their Data and return the report."""
    from qslim.deployment.running import top1_of
    from qslim.paddle import framework
    from qslim.quant import quant_post_static
    from qslim.quant.source_models import is_onnx

    model, data = settings.Model, open_data(settings.Data)
    arguments = {
        "data_loader": data,
        "model_filename": model.model_filename,
        "params_filename": model.params_filename,
        **options,
    }
    if options.get("accuracy_drop") is not None and data.has_labels:
        arguments["eval_function"] = top1_of(data)
    if is_onnx(model.model_dir, model.model_filename):
        return quant_post_static(None, model.model_dir, save_dir, **arguments)
    with framework.static_mode():
        return quant_post_static(framework.executor(), model.model_dir, save_dir, **arguments)


def _run(settings: Settings) -> Result:
    if settings.weight_only:
        from qslim.quant import quant_post_dynamic

        model = settings.Model
        report = quant_post_dynamic(
            model.model_dir,
            settings.save_dir,
            model.model_filename,
            model.params_filename,
            **settings.WeightOnly,
        )
    elif settings.Data.path is None:
        raise ValueError("Data.path is missing: give --data, a few batches to calibrate on, or --weight_only")
    else:
        algo = {} if settings.algo is None else {"algo": settings.algo}
        report = quantized(settings, settings.save_dir, {**settings.Quantization, **algo})
    return Result(str(report), report.to_dict())


COMMAND = command("quantize", Settings, _run, "Quantize a saved model with a few batches of data.")
