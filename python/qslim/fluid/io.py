# SPDX-License-Identifier: Apache-2.0
"""Files of variables and models by fluid's names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Optional

from qslim.files.staging import staged_directory
from qslim.fluid.mode import static_paddle
from qslim.fluid.running import default_main_program
from qslim.paddle import framework
from qslim.paddle.model_files import find_model_files

__all__ = [
    "load_inference_model",
    "load_params",
    "load_persistables",
    "load_vars",
    "save_inference_model",
    "save_params",
    "save_persistables",
    "save_vars",
]


def load_vars(
    executor: Any,
    dirname: str,
    main_program: Any = None,
    vars: Any = None,
    predicate: Any = None,
    filename: Optional[str] = None,
) -> None:
    """Load variables from a directory with a file for each, or from one file; see ``paddle.static``."""
    static_paddle()
    framework.load_vars(
        _plain(executor), dirname, main_program or default_main_program(), vars, predicate, filename
    )


def save_vars(
    executor: Any,
    dirname: str,
    main_program: Any = None,
    vars: Any = None,
    predicate: Any = None,
    filename: Optional[str] = None,
) -> None:
    """Save variables to a directory, a file for each, or to one file."""
    static_paddle()
    framework.save_vars(
        _plain(executor), dirname, main_program or default_main_program(), vars, predicate, filename
    )


def _is_state(variable: Any) -> bool:
    return bool(variable.persistable) and variable.name not in ("feed", "fetch")


def _is_parameter(variable: Any) -> bool:
    return isinstance(variable, framework.parameter_class())


def save_persistables(
    executor: Any, dirname: str, main_program: Any = None, filename: Optional[str] = None
) -> None:
    """Save all that a program keeps."""
    save_vars(executor, dirname, main_program, None, _is_state, filename)


def load_persistables(
    executor: Any, dirname: str, main_program: Any = None, filename: Optional[str] = None
) -> None:
    """Load what ``save_persistables`` saved."""
    load_vars(executor, dirname, main_program, None, _is_state, filename)


def save_params(
    executor: Any, dirname: str, main_program: Any = None, filename: Optional[str] = None
) -> None:
    """Save the parameters of a program."""
    save_vars(executor, dirname, main_program, None, _is_parameter, filename)


def load_params(
    executor: Any, dirname: str, main_program: Any = None, filename: Optional[str] = None
) -> None:
    """Load what ``save_params`` saved."""
    load_vars(executor, dirname, main_program, None, _is_parameter, filename)


def save_inference_model(
    dirname: str,
    feeded_var_names: Sequence[str],
    target_vars: Sequence[Any],
    executor: Any,
    main_program: Any = None,
    model_filename: Optional[str] = None,
    params_filename: Optional[str] = None,
) -> list[str]:
    """Write an inference model to the directory `dirname`, whole or not at all.

    Without `params_filename` all parameters go to one file, ``__params__``, and not to a file for each.

    Returns
    -------
    list of the names of `target_vars`
    """
    paddle = static_paddle()
    program = main_program or default_main_program()
    names = [feeded_var_names] if isinstance(feeded_var_names, str) else feeded_var_names
    model, params = model_filename or "__model__", params_filename or "__params__"
    with staged_directory(dirname) as staging:
        paddle.static.save_inference_model(
            os.path.join(staging, "model"),
            [program.global_block().var(name) for name in names],
            list(target_vars),
            _plain(executor),
            program=program,
        )
        os.replace(os.path.join(staging, "model.pdmodel"), os.path.join(staging, model))
        os.replace(os.path.join(staging, "model.pdiparams"), os.path.join(staging, params))
    return [variable.name for variable in target_vars]


def load_inference_model(
    dirname: str, executor: Any, model_filename: Optional[str] = None, params_filename: Optional[str] = None
) -> Any:
    """Return (program, names of feeds, fetch targets) of the model in `dirname`."""
    paddle = static_paddle()
    model = model_filename or "__model__"
    if params_filename is None and os.path.isfile(os.path.join(dirname, "__params__")):
        params_filename = "__params__"
    find_model_files(dirname, model, params_filename)  # says what is missing
    return paddle.static.load_inference_model(
        dirname, _plain(executor), model_filename=model, params_filename=params_filename
    )


def _plain(executor: Any) -> Any:
    """Return Paddle's executor of a fluid one."""
    return getattr(executor, "_executor", executor)
