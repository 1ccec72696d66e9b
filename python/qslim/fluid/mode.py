# SPDX-License-Identifier: Apache-2.0
"""The mode that fluid programs need: static, in the legacy IR."""

from __future__ import annotations

from typing import Any

from qslim.paddle import framework

__all__ = ["static_paddle"]


def static_paddle() -> Any:
    """Return ``paddle`` in static mode, which was fluid's only one.

    Raises
    ------
    RuntimeError : the process builds PIR programs, in which fluid's tensors have no names.
    """
    paddle = framework.paddle_module()
    if paddle.get_flags("FLAGS_enable_pir_api")["FLAGS_enable_pir_api"]:
        raise RuntimeError(
            "fluid: programs of this era need Paddle's legacy IR: start the process with "
            "FLAGS_enable_pir_api=0, or with python -m qslim.paddleslim script.py, which sets it"
        )
    if paddle.in_dynamic_mode():
        paddle.enable_static()
    return paddle
