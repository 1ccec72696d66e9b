# SPDX-License-Identifier: Apache-2.0
"""fluid: the names of Paddle 1.x that its compression tutorials use, on ``paddle.static`` of today.

    import qslim.fluid as fluid

    image = fluid.layers.data(name="image", shape=[1, 28, 28], dtype="float32")
    ...
    executor = fluid.Executor(fluid.CPUPlace())
    executor.run(fluid.default_startup_program())

Programs are legacy programs: the process starts with FLAGS_enable_pir_api=0, which
``python -m qslim.paddleslim`` sets for scripts that import ``paddle.fluid``. The first call enters static
mode, fluid's only one.
"""

from __future__ import annotations

import importlib
from typing import Any

from qslim.fluid import contrib, initializer, io, layers, optimizer, regularizer
from qslim.fluid.mode import static_paddle
from qslim.fluid.running import (
    CPUPlace,
    CUDAPlace,
    DataFeeder,
    Executor,
    ParamAttr,
    Program,
    Scope,
    data,
    default_main_program,
    default_startup_program,
    global_scope,
    is_compiled_with_cuda,
    name_scope,
    program_guard,
    scope_guard,
)
from qslim.quant.options import choose

__all__ = [
    "CPUPlace",
    "CUDAPlace",
    "DataFeeder",
    "Executor",
    "ParamAttr",
    "Program",
    "Scope",
    "contrib",
    "data",
    "default_main_program",
    "default_startup_program",
    "global_scope",
    "initializer",
    "io",
    "is_compiled_with_cuda",
    "layers",
    "name_scope",
    "optimizer",
    "program_guard",
    "regularizer",
    "scope_guard",
]

# Names of paddle.static that are what they were.
_STATIC = ("BuildStrategy", "CompiledProgram", "ExecutionStrategy", "Variable", "WeightNormParamAttr")


def __getattr__(name: str) -> Any:
    if name in _STATIC:
        return getattr(static_paddle().static, name)
    if name == "unique_name":
        return importlib.import_module("paddle.utils.unique_name")
    if name == "dygraph":
        raise AttributeError(
            "fluid.dygraph: write the network as a paddle.nn.Layer, and train it with qslim.QAT"
        )
    if name.startswith("_"):
        raise AttributeError(f"module 'qslim.fluid' has no attribute {name!r}")
    try:
        choose("fluid", name, __all__)
    except ValueError as error:
        raise AttributeError(str(error)) from None
    raise AssertionError(name)
