# SPDX-License-Identifier: Apache-2.0
"""Quantization-aware training of legacy programs: fake-quantize operators in front of what is quantized.

    x -> [update of the threshold] -> fake_quantize_dequantize(threshold) -> conv2d

Forward and gradient operators read the fake-quantized operands and everything else stays as it was. The
gradient of a fake quantizer is taken as the identity (Bengio et al. 2013, arXiv:1308.3432), so the operators
behind a gradient need not change and a program may be rewritten after ``minimize``.

    moving_average_abs_max  accum = rate * accum + max |x|; state = rate * state + 1; threshold = their ratio
    range_abs_max           threshold = the largest max |x| of the window
    abs_max                 threshold of training = max |x|; the largest one seen is kept for evaluation
    weights                 threshold = max |w| of the tensor or of each output channel, in every forward pass

Values are rounded half to even to [-qmax - 1, qmax], weights to [-qmax, qmax]. A tensor that cannot be
negative gets one bit more, of which it uses the upper half: the unsigned range of deployment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
from numpy.typing import ArrayLike

from qslim.importers.paddle.operators.source_op import dtype_name
from qslim.paddle import framework
from qslim.quant.op_types import CONVOLUTIONS, MATRIX_PRODUCTS
from qslim.quant.programs.config import StaticQATConfig
from qslim.quant.programs.functions import Fragment, QuantFunctions
from qslim.quant.programs.operator_rules import PIR_NAMES, never_negative, skips

__all__ = ["LegacyState", "quantize_legacy"]

# Slots of the operands, the weight's last; elsewhere every float operand of these slots is an activation.
_SLOTS = {**dict.fromkeys(CONVOLUTIONS, ("Input", "Filter")), **dict.fromkeys(MATRIX_PRODUCTS, ("X", "Y"))}
_OTHER_SLOTS = ("X", "Y")
_RESULTS = ("Output", "Out", "Y")
_FORWARD = (0, 256)  # of op_role: Forward, and Forward that computes the loss
_FAKE = "fake_"


class LegacyState:
    """Variables of quantizers in a program and its scope; what the scope has already is kept."""

    def __init__(self, block: Any, scope: Any, place: Any) -> None:
        self._block = block
        self._scope = scope
        self._place = place

    def add(self, name: str, value: ArrayLike, dtype: str = "float32") -> str:
        """Add a persistable variable that starts from `value`."""
        array = np.atleast_1d(np.asarray(value, dtype))
        self._block.create_var(
            name=name, shape=list(array.shape), dtype=dtype, persistable=True, stop_gradient=True
        )
        variable = self._scope.find_var(name)
        if variable is None or not variable.get_tensor()._is_initialized():
            self.set(name, array)
        return name

    def set(self, name: str, value: ArrayLike) -> None:
        self._scope.var(name).get_tensor().set(np.ascontiguousarray(value), self._place)


@dataclass(frozen=True)
class _Operand:
    """One slot of an operator to quantize. ``axis`` is that of a weight's output channels."""

    slot: str
    name: str
    is_weight: bool
    axis: int


def quantize_legacy(
    program: Any,
    config: StaticQATConfig,
    scope: Any,
    executor: Any,
    for_test: bool,
    functions: QuantFunctions,
    thresholds: dict[str, float],
) -> Any:
    """Return a copy of `program` with fake quantizers.

    Parameters
    ----------
    thresholds : dict of tensor name to threshold
        Where activations start from.

    Raises
    ------
    ValueError : the program is quantized already, holds nothing to quantize, or is not what `for_test` says.
    """
    kinds = [op.type for op in program.global_block().ops]
    if any(kind.startswith(_FAKE) or kind.endswith("quantize_linear") for kind in kinds):
        raise ValueError("quant_aware: the program is quantized already")
    if for_test and any(kind.endswith("_grad") for kind in kinds):
        raise ValueError(
            "quant_aware: for_test=True expects a program for evaluation, but this one holds gradients; make "
            "it with program.clone(for_test=True) before minimize"
        )
    with framework.legacy_ir(), framework.quiet():
        unsigned = never_negative(program) if config.uses_unsigned_grid else set()
        quantized = program.clone()
        _Rewriter(quantized, config, scope, executor, for_test, functions, unsigned, thresholds).run()
    return quantized


class _Rewriter:
    def __init__(
        self,
        program: Any,
        config: StaticQATConfig,
        scope: Any,
        executor: Any,
        for_test: bool,
        functions: QuantFunctions,
        unsigned: set[str],
        thresholds: dict[str, float],
    ) -> None:
        self._program = program
        self._block = program.global_block()
        self._config = config
        self._scope = scope
        self._executor = executor
        self._state = LegacyState(self._block, scope, executor.place)
        self._for_test = for_test
        self._functions = functions
        self._unsigned = unsigned
        self._thresholds = thresholds
        # Tensors that depend on parameters alone: a bias that was reshaped, say.
        self._constants = {variable.name for variable in program.list_vars() if variable.persistable}
        self._done: dict[tuple[str, int], str] = {}
        # The functions' fragments, and the gradients of the operators that read what they give.
        self._fragments: dict[tuple[str, int], tuple[Fragment, list[tuple[Any, str]]]] = {}
        self._gradients = {
            op.input(slot)[0].split("@GRAD")[0]: op
            for op in self._block.ops
            if op.type.endswith("_grad")
            for slot in (name + "@GRAD" for name in _RESULTS)
            if slot in op.input_names and op.input(slot)
        }

    def run(self) -> None:
        patterns = self._config.not_quant_pattern
        count = 0
        for op in list(self._block.ops):
            if op.type != "feed" and self._constants.issuperset(op.input_arg_names):
                self._constants.update(op.output_arg_names)
            if op.attr("op_role") not in _FORWARD or not self._is_chosen(op):
                continue
            if skips(patterns, str(op.attr("op_namescope") or ""), op.input_arg_names):
                continue
            operands = self._operands(op)
            for operand in operands:
                self._quantize(op, operand)
            count += bool(operands)
        if not count:
            raise ValueError(
                "quant_aware: the program holds no operator to quantize: none is among quantize_op_types "
                f"({', '.join(self._config.quantize_op_types)}), or all are skipped"
            )
        for fragment, gradients in self._fragments.values():
            if gradients:
                fragment.differentiate(gradients, self._functions.optimizer)

    def _is_chosen(self, op: Any) -> bool:
        return PIR_NAMES.get(op.type, op.type) in self._config.op_types

    def _operands(self, op: Any) -> list[_Operand]:
        kind = PIR_NAMES.get(op.type, op.type)
        slots = _SLOTS.get(kind, _OTHER_SLOTS)
        found = []
        for slot in slots:
            for name in op.input(slot) if slot in op.input_names else ():
                variable = self._block.var(name)
                if dtype_name(variable.dtype) not in ("float32", "fp32"):
                    continue
                if name not in self._constants:
                    found.append(_Operand(slot, name, False, -1))
                elif variable.persistable and kind in _SLOTS and slot == slots[1]:
                    found.append(_Operand(slot, name, True, _channel_axis(op, kind)))
        if kind in CONVOLUTIONS and len(found) < 2:
            return []  # its weight is computed at run time
        return found

    def _quantize(self, op: Any, operand: _Operand) -> None:
        key = (operand.name, operand.axis)
        gradient = self._gradients.get(_result(op))
        if key not in self._done:
            source, function = operand.name, self._functions.of(operand.is_weight)
            if function is not None:
                fragment = Fragment(self._block, operand.name, function, self._scope, self._executor)
                fragment.insert(self._block.ops.index(op))
                self._fragments[key] = fragment, []
                source = fragment.result
            position = self._block.ops.index(op)
            if self._functions.quantizes(operand.is_weight):
                self._done[key] = source
            elif operand.is_weight:
                self._done[key] = self._fake_quantize_weight(source, operand, position)
            else:
                self._done[key] = self._fake_quantize_activation(source, operand.name, position)
        quantized = self._done[key]
        _replace_input(op, operand.slot, operand.name, quantized)
        if gradient is not None:
            _replace_input(gradient, operand.slot, operand.name, quantized)
            if key in self._fragments:
                self._fragments[key][1].append((gradient, operand.slot))

    def _variable_like(self, source: str, name: str) -> str:
        like = self._block.var(source)
        self._block.create_var(
            name=name, shape=like.shape, dtype=like.dtype, stop_gradient=like.stop_gradient
        )
        return name

    def _insert(
        self, position: int, kind: str, inputs: dict[str, Any], outputs: dict[str, Any], **attributes: Any
    ) -> int:
        self._block._insert_op(
            position, type=kind, inputs=_slots(inputs), outputs=_slots(outputs), attrs=attributes
        )
        return position + 1

    def _fake_quantize_weight(self, source: str, operand: _Operand, position: int) -> str:
        per_channel = self._config.weight_quantize_type == "channel_wise_abs_max"
        result = self._variable_like(source, f"{operand.name}.quantized.dequantized")
        variable = self._block.var(operand.name)
        threshold = np.ones(variable.shape[operand.axis] if per_channel else 1, np.float32)
        scale = self._state.add(result + "@scale", threshold)
        kind = "channel_wise_quantize_dequantize_abs_max" if per_channel else "quantize_dequantize_abs_max"
        self._insert(
            position,
            _FAKE + kind,
            {"X": source},
            {"Out": result, "OutScale": scale},
            bit_length=self._config.weight_bits,
            round_type=0,
            **({"quant_axis": operand.axis} if per_channel else {}),
        )
        return result

    def _fake_quantize_activation(self, source: str, name: str, position: int) -> str:
        config = self._config
        result = self._variable_like(source, f"{name}.quantized.dequantized")
        known = self._thresholds.get(name)
        if known is not None:
            # It stands for as many batches as the average ever remembers.
            remembered = 1 / (1 - config.moving_rate)
            for part, value in (("scale", known), ("state", remembered), ("accum", known * remembered)):
                self._state.set(f"{result}@{part}", np.full(1, value, np.float32))
        scale = self._state.add(result + "@scale", 0.001)
        bits = config.activation_bits + (name in self._unsigned)
        rounding = {"bit_length": bits, "round_type": 0}
        kind = _FAKE + "quantize_dequantize_moving_average_abs_max"
        is_learning = not self._for_test and config.scale_trainable
        if is_learning and config.activation_quantize_type == "moving_average_abs_max":
            state = self._state.add(result + "@state", 1.0)
            accum = self._state.add(result + "@accum", 1.0)
            self._insert(
                position,
                kind,
                {"X": source, "InScale": scale, "InAccum": accum, "InState": state},
                {"Out": result, "OutScale": scale, "OutAccum": accum, "OutState": state},
                is_test=False,
                moving_rate=config.moving_rate,
                **rounding,
            )
            return result
        current = scale
        if is_learning and config.activation_quantize_type == "range_abs_max":
            position = self._track_range(source, result, scale, position)
        elif is_learning:
            current = result + "@batch_scale"
            position = self._track_largest(source, result, scale, current, position)
        self._insert(
            position,
            kind,
            {"X": source, "InScale": current},
            {"Out": result, "OutScale": current},
            is_test=True,
            **rounding,
        )
        return result

    def _track_range(self, source: str, result: str, scale: str, position: int) -> int:
        config = self._config
        count = self._state.add(result + "@iter", 0, "int64")
        window = self._state.add(result + "@window", np.zeros(config.window_size, np.float32))
        position = self._insert(
            position,
            _FAKE + "quantize_range_abs_max",
            {"X": source, "InScale": scale, "Iter": count},
            {"Out": self._variable_like(source, result + "@unused"), "OutScale": scale, "OutScales": window},
            window_size=config.window_size,
            bit_length=config.activation_bits,
            is_test=False,
        )
        return self._insert(position, "increment", {"X": count}, {"Out": count}, step=1.0)

    def _track_largest(self, source: str, result: str, scale: str, current: str, position: int) -> int:
        self._block.create_var(name=current, shape=[1], dtype="float32", stop_gradient=True)
        unused = self._variable_like(source, result + "@unused")
        position = self._insert(
            position,
            _FAKE + "quantize_dequantize_abs_max",
            {"X": source},
            {"Out": unused, "OutScale": current},
            bit_length=self._config.activation_bits,
        )
        return self._insert(position, "elementwise_max", {"X": scale, "Y": current}, {"Out": scale}, axis=-1)


def _channel_axis(op: Any, kind: str) -> int:
    if kind in MATRIX_PRODUCTS:
        return 0 if any(op.has_attr(name) and op.attr(name) for name in ("trans_y", "transpose_Y")) else 1
    return 1 if kind.endswith("transpose") else 0


def _result(op: Any) -> str:
    """Return the first result of a forward operator."""
    names = (name for slot in _RESULTS if slot in op.output_names for name in op.output(slot))
    return next(names, "")


def _replace_input(op: Any, slot: str, old: str, new: str) -> None:
    if slot not in op.input_names:  # a gradient that needs the result only
        return
    op.desc.set_input(slot, [new if name == old else name for name in op.input(slot)])


def _slots(names: dict[str, Optional[str]]) -> dict[str, list[str]]:
    return {slot: [name] for slot, name in names.items() if name is not None}
