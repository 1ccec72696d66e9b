# SPDX-License-Identifier: Apache-2.0
"""``qslim analyze``: which layers the quantization harms."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional

from qslim.cli.command import Result, command
from qslim.cli.data import DataSettings, open_data
from qslim.cli.models import PaddleModelSettings
from qslim.cli.settings import arguments_of, setting

__all__ = ["COMMAND"]


@dataclass(frozen=True)
class Settings:
    """Settings of ``qslim analyze``."""

    Model: PaddleModelSettings = field()
    Data: DataSettings = field()
    save_dir: str = setting("Directory of the reports, analysis.html among them.", flag="--save_dir")
    quant_model_dir: Optional[str] = setting(
        "A quantized model of the network, in place of Quantization.", None, flag="--quant_model_dir"
    )
    Quantization: dict[str, Any] = arguments_of(
        "qslim.quant.options:PostTrainingOptions", ("batch_size", "batch_nums", "quantizable_op_type")
    )


def _run(settings: Settings) -> Result:
    from qslim.quant.analysis import Analysis

    model = settings.Model
    analysis = Analysis(
        model.model_dir,
        settings.quant_model_dir,
        model.model_filename,
        model.params_filename,
        data_loader=open_data(settings.Data),
        save_dir=settings.save_dir,
        quant_config=settings.Quantization,
    )
    report = analysis.analysis()
    values = {
        "layers": [layer.to_dict() for layer in report.layers],
        "skipped": list(report.skip_tensor_list),
    }
    return Result(
        f"{report}\nwrote {settings.save_dir}/analysis.html", {**values, "save_dir": settings.save_dir}
    )


COMMAND = command("analyze", Settings, _run, "Rank the layers by the harm that their quantization does.")
