# SPDX-License-Identifier: Apache-2.0
"""``qslim opt``, Paddle Lite's model_optimize_tool: the engine's file of a saved model."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import Optional

import click

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
    valid_targets: str = setting(
        "Targets, between commas or spaces: x86, arm.", "x86,arm", flag="--valid_targets"
    )
    model_filename: Optional[str] = setting(
        "Name of the program in model_dir.", None, flag="--model_filename"
    )
    param_filename: Optional[str] = setting(
        "Name of the parameters in model_dir.", None, flag="--param_filename"
    )
    prefer_int8_kernel: str = setting(
        "Accepted: what is quantized runs in int8.", "true", flag="--prefer_int8_kernel"
    )
    record_tailoring_info: str = setting(
        "Accepted: the engine is one library, with all kernels.", "false", flag="--record_tailoring_info"
    )
    display_kernels: str = setting(
        "List the kernel of each step on this machine.", "false", flag="--display_kernels"
    )
    print_supported_ops: str = setting(
        "List the engine's operators and end.", "false", flag="--print_supported_ops"
    )
    print_all_ops: str = setting("The same.", "false", flag="--print_all_ops")
    print_model_ops: str = setting(
        "List the model's operators, those that the engine lacks marked, and end.",
        "false",
        flag="--print_model_ops",
    )
    model_set_dir: Optional[str] = setting("Refused: give models one by one.", None, flag="--model_set_dir")
    quant_model: str = setting("Refused: qslim quantize does it.", "false", flag="--quant_model")
    enable_fp16: str = setting(
        "Refused: the engine computes in float32 and int8.", "false", flag="--enable_fp16"
    )
    sparse_model: str = setting("Refused: the engine has no sparse kernels.", "false", flag="--sparse_model")


_FLAGS = [each.name for each in fields(Settings) if each.default in ("true", "false")]
# Flags of Paddle Lite whose work is done elsewhere, or not at all.
_REFUSED = {
    "model_set_dir": "expected one model; call qslim opt for each directory",
    "quant_model": "opt does not quantize; call 'qslim quantize' with data, or with --weight_only and none",
    "enable_fp16": "the engine computes in float32 and int8; leave it out",
    "sparse_model": "the engine has no kernels for sparse weights; leave it out",
}


def _run(settings: Settings) -> Result:
    is_set = {name: _is_true(name, getattr(settings, name)) for name in _FLAGS}
    for name, reason in _REFUSED.items():
        if is_set.get(name, getattr(settings, name) is not None):
            raise ValueError(f"{name}: {reason}")
    if is_set["print_supported_ops"] or is_set["print_all_ops"]:
        from qslim._core import operator_names

        names = sorted(operator_names())
        return Result("\n".join(names), {"operators": names})
    if is_set["print_model_ops"]:
        return _model_operators(settings)
    if not any((settings.model_dir, settings.model_file, settings.param_file, settings.optimize_out)):
        return Result(click.get_current_context().get_help(), {})
    return _optimize(settings, is_set["display_kernels"])


def _is_true(name: str, value: str) -> bool:
    if value.lower() not in ("true", "false", "1", "0"):
        raise ValueError(f"{name}: expected true or false, got {value!r}")
    return value.lower() in ("true", "1")


def _model_files(settings: Settings) -> dict[str, Optional[str]]:
    """Return model_file and param_file, also where they are named in model_dir."""
    files = {"model_file": settings.model_file, "param_file": settings.param_file}
    if not any(files.values()) and settings.model_dir is not None:
        names = {"model_file": settings.model_filename, "param_file": settings.param_filename}
        files = {key: name and os.path.join(settings.model_dir, name) for key, name in names.items()}
    return files


def _model_operators(settings: Settings) -> Result:
    from qslim.deployment import model_operators

    counts = model_operators(settings.model_dir, **_model_files(settings))
    width = max(map(len, counts), default=0)
    lines = [
        f"{name:<{width}}  {count}{'' if is_there else '  not in the engine'}"
        for name, (count, is_there) in counts.items()
    ]
    missing = sum(not is_there for _, is_there in counts.values())
    if missing:
        lines.append(
            f"Error: This model is not supported, because {missing} ops are not supported on "
            f"'{settings.valid_targets}'."
        )
    return Result(
        "\n".join(lines),
        {name: {"count": count, "supported": is_there} for name, (count, is_there) in counts.items()},
    )


def _optimize(settings: Settings, displays_kernels: bool) -> Result:
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
    from qslim.deployment import inspect_model, optimize

    lines = []
    if settings.model_dir and settings.model_file and settings.param_file:
        lines.append("WARNING: Load combined-param model. Option model_dir will be ignored")
    written = optimize(
        settings.model_dir,
        settings.optimize_out,
        valid_targets=settings.valid_targets,
        **_model_files(settings),
    )
    lines += [
        "1. Model is successfully loaded!",
        f"2. Model is optimized and saved into {written.path} successfully",
        f"   {written.bytes_before:,} -> {written.bytes:,} bytes; {written.int8_products} of "
        f"{written.products} convolutions and matrix products run in int8",
        *(f"   note: {note}" for note in written.notes),
    ]
    values = written.to_dict()
    if displays_kernels:
        rows = inspect_model(written.path).operators
        values["kernels"] = [{"step": row.name, "kernel": row.kernel} for row in rows]
        lines += [f"   {each['step']}: {each['kernel']}" for each in values["kernels"]]
    return Result("\n".join(lines), values)


COMMAND = command("opt", Settings, _run, "Write the engine's file of a saved model (model_optimize_tool).")
