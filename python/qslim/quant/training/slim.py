# SPDX-License-Identifier: Apache-2.0
"""SlimQuantConfig and SlimQAT: a QuantConfig with constraints on how groups of layers are quantized."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional, Union

import paddle
from paddle.quantization import QuantConfig

from qslim.quant.constraints import Constraint
from qslim.quant.training.qat import QAT

__all__ = ["SlimQAT", "SlimQuantConfig"]


class SlimQuantConfig(QuantConfig):  # type: ignore[misc]
    """A ``paddle.quantization.QuantConfig`` that also holds constraints.

    Parameters
    ----------
    activation, weight : factories or None
        As for QuantConfig.
    """

    def __init__(self, activation: Optional[Any], weight: Optional[Any]) -> None:
        super().__init__(activation, weight)
        self._constraints: list[Constraint] = []

    def add_constraints(self, constraints: Union[Constraint, Sequence[Constraint]]) -> None:
        """Add one constraint or several, which apply in this order.

        Raises
        ------
        ValueError : something that is not a Constraint.
        """
        added: list[Any] = list(constraints) if isinstance(constraints, (list, tuple)) else [constraints]
        for constraint in added:
            if not isinstance(constraint, Constraint):
                raise ValueError(
                    "add_constraints: expected constraints such as FreezedConvBNConstraint(), got "
                    f"{constraint!r}"
                )
        self._constraints += added

    @property
    def constraints(self) -> list[Constraint]:
        """The constraints added so far."""
        return self._constraints


class SlimQAT(QAT):
    """``QAT(q_config)`` that applies the constraints of a SlimQuantConfig.

    Parameters
    ----------
    q_config : SlimQuantConfig or paddle.quantization.QuantConfig

    Raises
    ------
    ValueError : another type of configuration.

    Examples
    --------
    >>> import paddle
    >>> from qslim.quant import SlimQAT, SlimQuantConfig
    >>> from qslim.quant.constraints import FreezedConvBNConstraint
    >>> from qslim.quant.quanters import FakeQuanterChannelWiseAbsMaxObserver, FakeQuanterWithAbsMaxObserver
    >>> config = SlimQuantConfig(FakeQuanterWithAbsMaxObserver(), FakeQuanterChannelWiseAbsMaxObserver())
    >>> config.add_constraints(FreezedConvBNConstraint(freeze_bn_delay=1000))
    >>> net = paddle.nn.Sequential(paddle.nn.Conv2D(3, 8, 3), paddle.nn.BatchNorm2D(8))
    >>> quantized = SlimQAT(config).quantize(net, inputs=paddle.randn([1, 3, 8, 8]))
    """

    def __init__(self, q_config: QuantConfig) -> None:
        if not isinstance(q_config, QuantConfig):
            raise ValueError(
                f"{type(self).__name__}: expected a paddle.quantization.QuantConfig, "
                f"got {type(q_config).__name__}"
            )
        super().__init__(q_config)

    def quantize(self, model: Any, inplace: Optional[bool] = None, inputs: Optional[Any] = None) -> Any:
        """Quantize as ``QAT(q_config).quantize`` does, with the constraints.

        Parameters
        ----------
        model, inplace : as there
        inputs : Tensor or sequence of Tensors, optional
            For one forward pass, in evaluation mode, that shows which layers feed which; without it the first
            training batch does.
        """
        model = super().quantize(model, inplace)
        for constraint in getattr(self.q_config, "constraints", ()):
            constraint.apply(model)
        if inputs is not None:
            model.eval()
            try:
                with paddle.no_grad():
                    model(*(inputs if isinstance(inputs, (list, tuple)) else (inputs,)))
            finally:
                model.train()
        return model
