# SPDX-License-Identifier: Apache-2.0
"""``paddle.inference.Config`` for the engine: every public name, so that pipelines run as they are.

What chooses Paddle's own kernels, passes or caches is accepted and does nothing (it is logged at debug
level). What asks for a device or an engine that is not there raises one sentence. Questions are answered as
Paddle answers them, with what was set before.
Source: the Python API reference of Paddle Inference 3; the names are those of Paddle 3.3.1.
"""

from __future__ import annotations

import enum
import os
from typing import Any, Callable, Optional, Union

from qslim.importers.qslim_file import check_beside
from qslim.logger import logger

__all__ = ["Config", "DataType", "PlaceType", "PrecisionType", "XpuConfig"]

_Path = Union[str, os.PathLike[str]]


class PrecisionType(enum.Enum):
    """Precisions of Paddle Inference. The engine computes as the model says."""

    Float32 = 0
    Int8 = 1
    Half = 2
    Bfloat16 = 3


class PlaceType(enum.Enum):
    """Places of tensors; the engine's are on the CPU."""

    UNK = -1
    CPU = 0
    GPU = 1
    XPU = 2
    CUSTOM = 3


class DataType(enum.Enum):
    """The type of a tensor's elements; ``numpy`` gives NumPy's name."""

    FLOAT64 = "float64"
    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    INT64 = "int64"
    INT32 = "int32"
    UINT8 = "uint8"
    INT8 = "int8"
    BOOL = "bool"

    @property
    def numpy(self) -> str:
        return self.value


class XpuConfig:
    """Settings of a device that this engine does not have; they may be made, and are not looked at."""


class Config:
    """The model to run, and settings of the run.

    ``Config(program, params)``, ``Config(directory)``, ``Config("model.qslim")``; ``set_model``,
    ``set_prog_file``, ``set_params_file`` and ``set_model_buffer`` say it later.

    Parameters
    ----------
    model : str, optional
        A ``.pdmodel`` or ``.json`` file, the directory of a model, or a ``.qslim`` file. Where a ``.qslim``
        file made of that model lies beside it, that is run; Paddle reads the model otherwise.
    params : str, optional
        The file of its parameters.

    Raises
    ------
    ValueError : the ``.qslim`` file beside the model belongs to another one.

    Examples
    --------
    >>> config = Config("model.json", "model.pdiparams")
    >>> config.delete_pass("conv_bn_fuse_pass")  # Paddle's; there is nothing to do
    >>> config.use_gpu()
    False
    >>> config.enable_use_gpu(100, 0)
    Traceback (most recent call last):
        ...
    ValueError: Config.enable_use_gpu: this engine runs on the CPU; leave the call out
    """

    Precision = PrecisionType
    Float32 = PrecisionType.Float32
    Int8 = PrecisionType.Int8
    Half = PrecisionType.Half
    Bfloat16 = PrecisionType.Bfloat16

    def __init__(self, model: Optional[_Path] = None, params: Optional[_Path] = None) -> None:
        self._directory = self._program = self._params = ""
        self._buffers: Optional[tuple[bytes, bytes]] = None
        self._threads = 1
        self._answers: dict[str, Any] = {}
        if model is not None:
            self.set_model(model, params)

    # ---- which model ----

    def set_model(self, model: _Path, params: Optional[_Path] = None) -> None:
        """Set a program and its parameters, or the directory of a model."""
        path = os.fspath(model)
        self._directory = self._program = self._params = ""
        self._buffers = None
        if os.path.isdir(path):
            self._directory = path
        else:
            self.set_prog_file(path)
        if params is not None:
            self.set_params_file(params)

    def set_prog_file(self, program: _Path) -> None:
        self._program = os.fspath(program)
        beside = self._engine_file()
        if beside is not None and os.path.exists(self._program):
            check_beside(beside)

    def set_params_file(self, params: _Path) -> None:
        self._params = os.fspath(params)

    def set_model_buffer(
        self, program: bytes, program_size: int, params: bytes = b"", params_size: int = 0
    ) -> None:
        """Set a model from memory: the bytes of a ``.pdmodel`` or ``.json`` file and of its parameters."""
        self._directory = self._program = self._params = ""
        self._buffers = (bytes(program[:program_size]), bytes(params[:params_size]))

    def model_dir(self) -> str:
        return self._directory

    def prog_file(self) -> str:
        return self._program

    def params_file(self) -> str:
        return self._params

    def model_from_memory(self) -> bool:
        return self._buffers is not None

    def model_buffers(self) -> Optional[tuple[bytes, bytes]]:
        """Return the arguments of ``set_model_buffer``."""
        return self._buffers

    def model_source(self) -> tuple[str, Optional[str]]:
        """Return the path to open, and that of the parameters where Paddle has to read them.

        Raises
        ------
        ValueError : no model was named.
        """
        beside = self._engine_file()
        if beside is not None:
            return beside, None
        if self._program:
            return self._program, self._params or None
        if self._directory:
            return self._directory, self._params or None
        raise ValueError(
            "create_predictor: the config names no model; Config('model.json', 'model.pdiparams')"
        )

    def _engine_file(self) -> Optional[str]:
        stem, ending = os.path.splitext(self._program)
        path = stem + ".qslim"
        return path if ending in (".pdmodel", ".json") and os.path.exists(path) else None

    # ---- what changes how it runs ----

    def set_cpu_math_library_num_threads(self, threads: int) -> None:
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            raise ValueError(
                f"Config.set_cpu_math_library_num_threads: expected a number of at least 1, got {threads!r}"
            )
        self._threads = threads

    def cpu_math_library_num_threads(self) -> int:
        return self._threads

    def pass_builder(self) -> _PassBuilder:
        return _PassBuilder()

    def to_native_config(self) -> Config:
        return self

    def xpu_config(self) -> XpuConfig:
        return XpuConfig()

    def summary(self) -> str:
        """Return a table of the settings that matter here."""
        rows = {
            "model": self._program or self._directory or ("from memory" if self._buffers else "none"),
            "params": self._params or "none",
            "cpu_math_thread": str(self._threads),
            "use_gpu": "false",
        }
        width = max(map(len, rows))
        return "\n".join(f"{name:{width}}  {value}" for name, value in rows.items())


class _PassBuilder:
    """Paddle's list of passes, which is empty here and stays so."""

    def all_passes(self) -> list[str]:
        return []

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *_, **__: None


# Settings of Paddle's own kernels, passes and caches. Those that a question asks for name what it answers.
_ACCEPTED: dict[str, dict[str, Any]] = {
    "collect_shape_range_info": {},
    "delete_pass": {},
    "disable_glog_info": {"glog_info_disabled": True},
    "disable_gpu": {},
    "disable_mkldnn": {"mkldnn_enabled": False, "onednn_enabled": False},
    "disable_mkldnn_fc_passes": {},
    "disable_onednn": {"mkldnn_enabled": False, "onednn_enabled": False},
    "disable_onednn_fc_passes": {},
    "disable_onnxruntime": {},
    "enable_cinn": {},
    "enable_custom_passes": {},
    "enable_memory_optim": {},
    "enable_mkldnn": {"mkldnn_enabled": True, "onednn_enabled": True},
    "enable_mkldnn_bfloat16": {},
    "enable_mkldnn_int8": {"mkldnn_int8_enabled": True, "onednn_int8_enabled": True},
    "enable_new_executor": {},
    "enable_new_ir": {"new_ir_enabled": True},
    "enable_onednn": {"mkldnn_enabled": True, "onednn_enabled": True},
    "enable_onednn_bfloat16": {},
    "enable_onednn_int8": {"mkldnn_int8_enabled": True, "onednn_int8_enabled": True},
    "enable_ort_optimization": {},
    "enable_profile": {},
    "enable_save_optim_model": {},
    "enable_tensorrt_explicit_quantization": {},
    "enable_tensorrt_inspector": {},
    "enable_tensorrt_memory_optim": {},
    "enable_tensorrt_varseqlen": {},
    "enable_tuned_tensorrt_dynamic_shape": {},
    "exp_disable_mixed_precision_ops": {},
    "exp_disable_tensorrt_dynamic_shape_ops": {},
    "exp_disable_tensorrt_ops": {},
    "exp_disable_tensorrt_subgraph": {},
    "exp_enable_mixed_precision_ops": {},
    "exp_enable_use_cutlass": {},
    "exp_sparse_conv_using_buffer": {},
    "exp_specify_tensorrt_subgraph_precision": {},
    "mark_trt_engine_outputs": {},
    "set_bfloat16_op": {},
    "set_mkldnn_cache_capacity": {},
    "set_mkldnn_op": {},
    "set_onednn_cache_capacity": {},
    "set_onednn_op": {},
    "set_optim_cache_dir": {},
    "set_optimization_level": {},
    "set_tensorrt_optimization_level": {},
    "set_trt_dynamic_shape_info": {},
    "set_xpu_config": {},
    "switch_ir_debug": {},
    "switch_ir_optim": {"ir_optim": "x"},
    "switch_specify_input_names": {"specify_input_name": "x"},
    "switch_use_feed_fetch_ops": {"use_feed_fetch_ops_enabled": "x"},
    "use_optimized_model": {},
}

# Questions, and what Paddle answers before anything is set.
_QUESTIONS: dict[str, Any] = {
    "fraction_of_gpu_memory_for_pool": 0.0,
    "glog_info_disabled": False,
    "gpu_device_id": 0,
    "ir_optim": True,
    "memory_pool_init_size_mb": 0,
    "mkldnn_enabled": False,
    "mkldnn_int8_enabled": False,
    "new_ir_enabled": True,
    "onednn_enabled": False,
    "onednn_int8_enabled": False,
    "onnxruntime_enabled": False,
    "openvino_engine_enabled": False,
    "shape_range_info_collected": False,
    "shape_range_info_path": "",
    "specify_input_name": False,
    "tensorrt_dla_enabled": False,
    "tensorrt_dynamic_shape_enabled": False,
    "tensorrt_engine_enabled": False,
    "tensorrt_explicit_quantization_enabled": False,
    "tensorrt_inspector_enabled": False,
    "tensorrt_optimization_level": 0,
    "tensorrt_precision_mode": PrecisionType.Float32,
    "tensorrt_varseqlen_enabled": False,
    "trt_allow_build_at_runtime": False,
    "tuned_tensorrt_dynamic_shape": False,
    "use_feed_fetch_ops_enabled": False,
    "use_gpu": False,
    "use_xpu": False,
    "xpu_device_id": 0,
}

# Devices and engines that are not there.
_REFUSED: dict[str, str] = {
    "enable_custom_device": "runs on the CPU",
    "enable_ipu": "runs on the CPU",
    "enable_low_precision_io": "takes and gives float32",
    "enable_onnxruntime": "runs the model itself, without ONNX Runtime",
    "enable_openvino_engine": "runs the model itself, without OpenVINO",
    "enable_tensorrt_dla": "runs on the CPU, without TensorRT",
    "enable_tensorrt_engine": "runs on the CPU, without TensorRT",
    "enable_use_gpu": "runs on the CPU",
    "enable_xpu": "runs on the CPU",
    "load_ipu_config": "runs on the CPU",
    "set_ipu_config": "runs on the CPU",
    "set_ipu_custom_info": "runs on the CPU",
    "set_xpu_device_id": "runs on the CPU",
}


def _accepting(name: str, answers: dict[str, Any]) -> Callable[..., None]:
    def accept(self: Config, *args: Any, **kwargs: Any) -> None:
        logger.debug("Config.%s changes nothing here", name)
        given = next(iter([*args, *kwargs.values()]), True)
        for question, answer in answers.items():
            self._answers[question] = bool(given) if answer == "x" else answer

    accept.__doc__ = "Accepted; it concerns Paddle's own kernels, passes or caches."
    return accept


def _answering(name: str, default: Any) -> Callable[..., Any]:
    def answer(self: Config) -> Any:
        return self._answers.get(name, default)

    answer.__doc__ = "What was set before, as Paddle answers."
    return answer


def _refusing(name: str, reason: str) -> Callable[..., None]:
    def refuse(self: Config, *args: Any, **kwargs: Any) -> None:
        raise ValueError(f"Config.{name}: this engine {reason}; leave the call out")

    refuse.__doc__ = "An error: this engine has no such device or engine."
    return refuse


def _add_methods(make: Callable[[str, Any], Callable[..., Any]], table: dict[str, Any]) -> None:
    for name, value in table.items():
        method = make(name, value)
        method.__name__, method.__qualname__ = name, f"Config.{name}"
        setattr(Config, name, method)


_add_methods(_accepting, _ACCEPTED)
_add_methods(_answering, _QUESTIONS)
_add_methods(_refusing, _REFUSED)
