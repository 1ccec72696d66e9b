# SPDX-License-Identifier: Apache-2.0
"""The user's own functions in a legacy program: preprocessing (PACT) and quantizers, with their gradients.

A function takes a Variable and returns one. It is called in a program of its own, a fragment, whose operators
are then copied in front of what is quantized:

    x -> fragment -> fake quantizer -> conv2d

In a program that has gradients already, those of the fragment's operators follow the gradient of conv2d,
which is that of the fragment's output, and parameters that the function creates get optimizer operators from
``optimizer_func``. In one that has none yet, ``minimize`` sees the fragment as it sees everything else.

The Variable is called <tensor>_tmp_input, so that functions written for PaddleSlim find what they look for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional

import numpy as np

from qslim.paddle import framework

__all__ = ["Fragment", "OptimizerFunction", "QuantFunctions", "TensorFunction"]

TensorFunction = Callable[[Any], Any]
OptimizerFunction = Callable[[], Any]

_INPUT = "_tmp_input"
_OUTPUT_GRADIENT = "_tmp_output@GRAD"


@dataclass(frozen=True)
class QuantFunctions:
    """The functions that ``quant_aware`` was given.

    Attributes
    ----------
    weight_preprocess, activation_preprocess : before the tensor is quantized
    weight_quantize, activation_quantize : in place of our quantizers; they return dequantized values
    optimizer : returns the optimizer of the parameters that these functions create
    """

    weight_preprocess: Optional[TensorFunction] = None
    activation_preprocess: Optional[TensorFunction] = None
    weight_quantize: Optional[TensorFunction] = None
    activation_quantize: Optional[TensorFunction] = None
    optimizer: Optional[OptimizerFunction] = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not callable(value):
                raise ValueError(f"quant_aware: {name} must be a function or None, got {value!r}")

    @property
    def is_empty(self) -> bool:
        return all(value is None for name, value in vars(self).items() if name != "optimizer")

    def quantizes(self, is_weight: bool) -> bool:
        """Return True if one of the functions takes the place of our quantizer."""
        return (self.weight_quantize if is_weight else self.activation_quantize) is not None

    def of(self, is_weight: bool) -> Optional[TensorFunction]:
        """Return the function in front of our quantizer or in its place; None if there is none."""
        if is_weight:
            steps = [self.weight_preprocess, self.weight_quantize]
        else:
            steps = [self.activation_preprocess, self.activation_quantize]
        chosen = [step for step in steps if step is not None]
        if not chosen:
            return None

        def function(x: Any) -> Any:
            for step in chosen:
                x = step(x)
            return x

        return function


class Fragment:
    """One function applied to one tensor of a program.

    Parameters
    ----------
    block : paddle.base.framework.Block
        Of the program that it goes into.
    name : str
        The tensor.
    scope, executor : where its parameters live, and what runs their initializers.
    """

    def __init__(self, block: Any, name: str, function: TensorFunction, scope: Any, executor: Any) -> None:
        self._paddle = framework.paddle_module()
        self._block = block
        self._name = name
        self._function = function
        self._scope = scope
        self._executor = executor
        self._program, self._startup = self._paddle.static.Program(), self._paddle.static.Program()
        with self._guards():
            variable = block.var(name)
            self._x = self._paddle.static.data(name + _INPUT, variable.shape, variable.dtype)
            self._x.stop_gradient = False
            self._y = function(self._x)
        if not hasattr(self._y, "name") or self._y is self._x:
            raise ValueError(
                f"quant_aware: the function for {name!r} must return a new Variable, got {self._y!r}"
            )
        self._forward = len(self._program.global_block().ops)

    @property
    def result(self) -> str:
        """The name of its output in the block."""
        return self._own(self._y.name)

    def _own(self, name: str) -> str:
        """Return the name, in the block, of the fragment's `name`; their temporaries are named alike."""
        variable = self._program.global_block().var(name)
        return name if variable.persistable else f"{self._name}.fragment.{name}"

    def insert(self, position: int) -> None:
        """Put its operators at `position` of the block."""
        self._copy(self._program.global_block().ops, {self._x.name: self._name}, position)
        self._initialize()

    def differentiate(
        self, gradients: Sequence[tuple[Any, str]], optimizer: Optional[OptimizerFunction]
    ) -> None:
        """Put the gradients of its operators behind those of its readers.

        Parameters
        ----------
        gradients : list of (operator, slot)
            The gradient operators of what reads its output, and the slot that they read it in.
        optimizer : callable, needed if the function has parameters
        """
        block, name = self._block, self._name
        incoming, outgoing = [], []
        for index, (op, slot) in enumerate(gradients):
            incoming.append(f"{name}.quantized@GRAD@{index}")
            self._variable(incoming[-1])
            slot += "@GRAD"
            outgoing += [old for old in (op.output(slot) if slot in op.output_names else ()) if old]
            op.desc.set_output(slot, [incoming[-1]])
        position = 1 + max(block.ops.index(op) for op, _ in gradients)
        total = incoming[0]
        if len(incoming) > 1:
            total = self._variable(f"{name}.quantized@GRAD")
            block._insert_op(
                position, type="sum", inputs={"X": incoming}, outputs={"Out": [total]}, attrs=_BACKWARD
            )
            position += 1
        parameters = [p for p in self._program.all_parameters() if p.trainable]
        with self._guards():
            target = self._paddle.static.data(name + _OUTPUT_GRADIENT, self._y.shape, self._y.dtype)
            found = self._paddle.static.gradients([self._y], [self._x, *parameters], [target])
        x_gradient, *parameter_gradients = found
        backward = self._program.global_block().ops[self._forward :]
        renamed = {self._x.name: name, target.name: total}
        zeros_like = outgoing
        if x_gradient is not None and outgoing:
            # All of them are added up later: the first one takes the whole gradient.
            renamed[x_gradient.name], zeros_like = outgoing[0], outgoing[1:]
        position = self._copy(backward, renamed, position)
        for zero in zeros_like:
            block._insert_op(
                position,
                type="fill_any_like",
                inputs={"X": [total]},
                outputs={"Out": [zero]},
                attrs={"value": 0.0, **_BACKWARD},
            )
            position += 1
        pairs = [(p, g) for p, g in zip(parameters, parameter_gradients) if g is not None]
        if pairs:
            self._optimize(pairs, optimizer)

    def _optimize(self, pairs: list[tuple[Any, Any]], optimizer: Optional[OptimizerFunction]) -> None:
        if optimizer is None:
            raise ValueError(
                f"quant_aware: the function for {self._name!r} creates parameters "
                f"({', '.join(parameter.name for parameter, _ in pairs)}) in a program that is minimized "
                "already; say with optimizer_func how they are trained, or call quant_aware before minimize"
            )
        before = len(self._program.global_block().ops)
        with self._guards():
            chosen = optimizer()
            if isinstance(getattr(chosen, "_learning_rate", None), self._paddle.optimizer.lr.LRScheduler):
                raise ValueError(
                    "quant_aware: optimizer_func must return an optimizer with a fixed learning rate; a "
                    "program has room for one scheduler, which is the network's"
                )
            chosen.apply_gradients(pairs)
        ops = self._program.global_block().ops[before:]
        self._copy(ops, {self._x.name: self._name}, len(self._block.ops))
        self._initialize()

    def _guards(self) -> Any:
        """Enter the fragment's program, with names that are unique and the same every time."""
        return _Guards(self._paddle, self._program, self._startup, f"{self._name}.fragment.")

    def _copy(self, ops: Sequence[Any], renamed: dict[str, str], position: int) -> int:
        for op in ops:
            # Gradient operators exist as descriptions only, so descriptions are what is copied.
            copied = self._block.desc._insert_op(position)
            copied.copy_from(op.desc)
            for slots, names, rename in (
                (op.input_names, op.input, copied.set_input),
                (op.output_names, op.output, copied.set_output),
            ):
                for slot in slots:
                    rename(slot, [renamed.get(name) or self._variable_for(name) for name in names(slot)])
            self._block.ops.insert(position, framework.legacy_operator(self._block, copied))
            position += 1
        return position

    def _variable_for(self, name: str) -> str:
        """Return the block's variable for `name` of the fragment, made if it is missing."""
        own = self._own(name)
        if self._block.has_var(own):
            return own
        source = self._program.global_block().var(name)
        if isinstance(source, framework.parameter_class()):
            self._block.create_parameter(
                name=own,
                shape=source.shape,
                dtype=source.dtype,
                trainable=source.trainable,
                regularizer=source.regularizer,
                optimize_attr=source.optimize_attr,
            )
        else:
            self._block.create_var(
                name=own,
                shape=source.shape,
                dtype=source.dtype,
                persistable=source.persistable,
                stop_gradient=source.stop_gradient,
            )
        return own

    def _variable(self, name: str) -> str:
        like = self._block.var(self._name)
        self._block.create_var(name=name, shape=like.shape, dtype=like.dtype)
        return name

    def _initialize(self) -> None:
        """Run the initializers of what the scope does not hold yet."""
        outputs = {name for op in self._startup.global_block().ops for name in op.output_arg_names}
        missing = [name for name in outputs if not _is_initialized(self._scope, name)]
        if not missing:
            return
        own = self._paddle.static.Scope()
        with self._paddle.static.scope_guard(own):
            self._executor.run(self._startup)
        for name in missing:
            value = np.array(own.find_var(name).get_tensor())
            self._scope.var(name).get_tensor().set(value, self._executor.place)


_BACKWARD = {"op_role": 1}


class _Guards:
    """``program_guard`` and ``unique_name.guard`` as one."""

    def __init__(self, paddle: Any, program: Any, startup: Any, prefix: str) -> None:
        self._parts = (
            paddle.static.program_guard(program, startup),
            paddle.utils.unique_name.guard(prefix),
        )

    def __enter__(self) -> None:
        for part in self._parts:
            part.__enter__()

    def __exit__(self, *error: Any) -> None:
        for part in reversed(self._parts):
            part.__exit__(*error)


def _is_initialized(scope: Any, name: str) -> bool:
    variable = scope.find_var(name)
    return variable is not None and bool(variable.get_tensor()._is_initialized())
