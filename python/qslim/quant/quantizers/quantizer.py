# SPDX-License-Identifier: Apache-2.0
"""The base of all quantizers: state that is saved with the model, and messages that name the layer.

State lives in persistable buffers and parameters only, so that ``state_dict`` holds all of it and a run that
was stopped goes on with the same bits. All of it is float32, counters too: scripts that average checkpoints
(exponential moving averages, federated training) treat every entry alike. Arithmetic on it is float32 NumPy
on the host, the same on any device.
"""

from __future__ import annotations

import math
from typing import Any, Optional

import numpy as np
import paddle
from numpy.typing import ArrayLike, NDArray
from paddle import nn

from qslim.graph import QuantParams
from qslim.paddle import framework
from qslim.quant.quantizers.tensors import array_of

__all__ = ["Quantizer"]


class Quantizer(nn.Layer):  # type: ignore[misc]
    """Fake-quantizes one tensor of one layer.

    Attributes
    ----------
    layer_name : str
        The quantized layer's place in the model, for messages.
    """

    role = "input"

    def __init__(self, quant_bits: int) -> None:
        object.__setattr__(self, "_is_frozen", False)
        super().__init__()
        self.quant_bits = quant_bits
        self.layer_name = ""
        self._state_buffer("_batches", [0])

    @property
    def training(self) -> bool:
        """True in training mode, unless the quantizer is frozen."""
        return self.__dict__.get("_is_training", True) and not self._is_frozen

    @training.setter
    def training(self, value: bool) -> None:
        self.__dict__["_is_training"] = value

    def freeze(self, frozen: bool) -> None:
        """Keep the quantization parameters as they are, or release them; a weight's abs_max follows it."""
        object.__setattr__(self, "_is_frozen", frozen)
        for parameter in self._parameters.values():
            if parameter is not None:
                parameter.stop_gradient = frozen

    # ---- state -------------------------------------------------------------------------------------------

    def _state_buffer(self, name: str, value: ArrayLike) -> None:
        tensor = paddle.to_tensor(np.asarray(value), dtype="float32")
        tensor.stop_gradient = True
        self.register_buffer(name, tensor, persistable=True)

    def _read(self, name: str) -> NDArray[Any]:
        return array_of(getattr(self, name))

    def _write(self, name: str, value: ArrayLike) -> None:
        buffer = getattr(self, name)
        array = np.asarray(value)
        if buffer.place.is_cpu_place() and list(buffer.shape) == list(array.shape):
            framework.memory_of(buffer)[...] = array
        else:
            buffer.set_value(paddle.to_tensor(array, dtype=buffer.dtype))

    @property
    def batches(self) -> int:
        """Training batches seen."""
        return self._counted("_batches")

    def _counted(self, name: str) -> int:
        """Return a counter's value, rounded up where averaging over checkpoints has left a fraction."""
        return math.ceil(float(self._read(name)[0]))

    def _apply(self, func: Any, device: Any, dtype: Any, *args: Any, **kwargs: Any) -> None:
        """Move the state for ``to`` and ``astype``; it stays float32, whatever the weights become."""
        super()._apply(func, device, None, *args, **kwargs)
        self._dtype = "float32"

    def _count_batch(self) -> None:
        self._write("_batches", self._read("_batches") + 1)

    def take_over(self, threshold: float, is_signed: bool) -> None:
        """Start from the threshold that another kind of quantizer was trained to."""
        self._write("_scale", [threshold])
        self._write("_batches", [1])
        if hasattr(self, "_window"):
            window = np.zeros_like(self._read("_window"))
            window[0] = threshold
            self._write("_window", window)
        if hasattr(self, "_accum"):
            state = 1 / (1 - self._rate)  # what many batches lead to
            self._write("_state", [state])
            self._write("_accum", [threshold * state])

    # ---- messages ----------------------------------------------------------------------------------------

    def check_finite(self, is_finite: bool, what: str) -> None:
        if not is_finite:
            raise FloatingPointError(
                f"QAT: {what} of layer {self.layer_name!r} holds NaN or infinite values in training batch "
                f"{self.batches + 1}: the training has diverged. Lower the learning rate, clip the "
                f"gradients, or look at what this layer is fed"
            )

    # ---- parameters --------------------------------------------------------------------------------------

    def quant_params(self) -> Optional[QuantParams]:
        """Return the current quantization parameters; None while nothing is known of the tensor."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        return f"quant_bits={self.quant_bits}"
