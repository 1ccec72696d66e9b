# SPDX-License-Identifier: Apache-2.0
"""``qslim opt``, Paddle Lite's model_optimize_tool: the engine's file of a saved model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from qslim.cli.command import Result, command
from qslim.cli.settings import setting

__all__ = ["COMMAND"]

_TYPES = ("naive_buffer", "protobuf")


@dataclass(frozen=True)
class Settings:
    """Settings of ``qslim opt``, by the names of Paddle Lite's flags."""

    model_dir: Optional[str] = setting("Directory of the model.", None, flag="--model_dir")
    model_file: Optional[str] = setting("Program of the model.", None, flag="--model_file")
    param_file: Optional[str] = setting("Parameters of the model.", None, flag="--param_file")
    optimize_out_type: str = setting("naive_buffer.", "naive_buffer", flag="--optimize_out_type")
    optimize_out: Optional[str] = setting(
        "Output: a path ending in .qslim, or a directory that gets model.qslim.", None, flag="--optimize_out"
    )
    valid_targets: str = setting("Targets, between commas or spaces: x86.", "x86", flag="--valid_targets")
    prefer_int8_kernel: str = setting(
        "Accepted: what is quantized runs in int8.", "true", flag="--prefer_int8_kernel"
    )
    print_supported_ops: str = setting(
        "List the engine's operators and end.", "false", flag="--print_supported_ops"
    )


def _run(settings: Settings) -> Result:
    for name in ("prefer_int8_kernel", "print_supported_ops"):
        if getattr(settings, name).lower() not in ("true", "false", "1", "0"):
            raise ValueError(f"{name}: expected true or false, got {getattr(settings, name)!r}")
    if settings.print_supported_ops.lower() in ("true", "1"):
        from qslim._core import operator_names

        names = sorted(operator_names())
        return Result("\n".join(names), {"operators": names})
    if settings.optimize_out_type not in _TYPES:
        raise ValueError(
            f"Unsupported Model type :{settings.optimize_out_type}; expected optimize_out_type=naive_buffer"
        )
    if settings.optimize_out_type == "protobuf":
        raise ValueError(
            "optimize_out_type=protobuf is not written: Paddle runs the quantized model as it is, and the "
            "engine runs the .qslim file of optimize_out_type=naive_buffer"
        )
    if settings.optimize_out is None:
        raise ValueError("optimize_out is missing: give --optimize_out=, the path of the output")
    from qslim.deployment import optimize

    lines = []
    if settings.model_dir and settings.model_file and settings.param_file:
        lines.append("WARNING: Load combined-param model. Option model_dir will be ignored")
    written = optimize(
        settings.model_dir,
        settings.optimize_out,
        model_file=settings.model_file,
        param_file=settings.param_file,
        valid_targets=settings.valid_targets,
    )
    lines += [
        "1. Model is successfully loaded!",
        f"2. Model is optimized and saved into {written.path} successfully",
        f"   {written.bytes_before:,} -> {written.bytes:,} bytes; {written.int8_products} of "
        f"{written.products} convolutions and matrix products run in int8",
        *(f"   note: {note}" for note in written.notes),
    ]
    return Result("\n".join(lines), written.to_dict())


COMMAND = command("opt", Settings, _run, "Write the engine's file of a saved model (model_optimize_tool).")
