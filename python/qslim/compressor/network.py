# SPDX-License-Identifier: Apache-2.0
"""A static program of either IR with what is fed and fetched, by keys.

A legacy program knows its tensors by name. In PIR the values themselves are given: names of its values belong
to the Graph of the program ("softmax_0"), and a clone has values of its own, which take the old ones' places.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.importers.paddle.pir_walk import walk_program
from qslim.paddle import framework
from qslim.paddle.program import FeedSpec, is_persistable
from qslim.quant.options import choose
from qslim.quant.post_training.data_source import Feed
from qslim.quant.programs.initial import feed_spec

__all__ = ["Network", "active"]

# Optimizers name their state after the parameters, behind this; it is the same in every process.
_NAMES = "compressor_"


@contextlib.contextmanager
def active(is_pir: bool, scope: Any) -> Iterator[None]:
    """Enter static mode with an IR and a scope; restore the process afterwards."""
    paddle = framework.paddle_module()
    ir = framework.pir_ir if is_pir else framework.legacy_ir
    with framework.static_mode(), ir(), framework.quiet(), paddle.static.scope_guard(scope):
        yield


@dataclass
class Network:
    """A program with its feeds and fetches.

    Attributes
    ----------
    program : paddle.static.Program of either IR
    feeds : list of FeedSpec
    fetches : dict of key to a name (legacy) or value (PIR)
    """

    program: Any
    feeds: list[FeedSpec]
    fetches: dict[str, Any]

    @classmethod
    def create(
        cls, program: Any, feed_list: Optional[Sequence[Any]], fetch_list: Optional[Sequence[Any]], what: str
    ) -> Network:
        """Return the network of the user's `program` and lists of (key, name or value).

        Raises
        ------
        ValueError : no program, lists of another form, or names that the program does not have; begins with
            `what` ("train", "eval").
        """
        if not (framework.is_pir_program(program) or framework.is_legacy_program(program)):
            raise ValueError(
                f"Compressor: {what}_program: expected a paddle.static.Program, got {type(program).__name__}"
            )
        network = cls(program, [], {})
        for _, target in _pairs(feed_list, f"{what}_feed_list"):
            network.feeds.append(network._feed(target, f"{what}_feed_list"))
        for key, target in _pairs(fetch_list, f"{what}_fetch_list"):
            network.fetches[key] = network.find(target, f"{what}_fetch_list")
        return network

    @property
    def is_pir(self) -> bool:
        return framework.is_pir_program(self.program)

    @property
    def scheduler(self) -> Any:
        """The scheduler of the learning rate that the program was minimized with, or None."""
        return getattr(self.program, "lr_scheduler", None)

    @property
    def has_gradients(self) -> bool:
        kinds = (op.name() if self.is_pir else op.type for op in self.program.global_block().ops)
        return any(kind.rstrip("_").endswith("_grad") for kind in kinds)

    def clone(self, for_test: bool = False) -> Network:
        """Return a copy, of a legacy program in its form for evaluation with `for_test`."""
        if not self.is_pir:
            with framework.static_mode():  # outside of it a legacy program cannot be copied
                program = self.program.clone(for_test=for_test)
            return Network(program, list(self.feeds), dict(self.fetches))
        if for_test:
            self._check_is_for_test()
        mapping = framework.ir_mapping()
        program = self.program.clone(mapping)
        fetches = {key: mapping.look_up(value) for key, value in self.fetches.items()}
        return Network(program, list(self.feeds), fetches)

    def with_fetches(self, targets: Sequence[Any]) -> Network:
        """Return the same network with `targets` as its fetches, by their numbers."""
        return Network(self.program, self.feeds, {str(i): target for i, target in enumerate(targets)})

    def _check_is_for_test(self) -> None:
        for op in self.program.global_block().ops:
            if op.attrs().get("is_test") is False:
                raise ValueError(
                    f"Compressor: eval_program: {op.name()} is in the form for training; build the network "
                    "for evaluation with layer.eval(), under paddle.utils.unique_name.guard() so that its "
                    "parameters have the names of training"
                )

    def find(self, target: Any, argument: str) -> Any:
        """Return what stands for `target`, a name or a value, in ``fetches``.

        Raises
        ------
        ValueError : there is no such tensor; names the nearest.
        """
        if not isinstance(target, str):
            if self.is_pir and framework.is_pir_value(target):
                return target
            if not self.is_pir and hasattr(target, "name"):
                return self.find(target.name, argument)
            raise ValueError(
                f"Compressor: {argument}: expected a name or a value, got {type(target).__name__}"
            )
        if target in self.fetches:
            return self.fetches[target]
        if self.is_pir:
            values = self._values()
            return values[choose(f"Compressor: {argument}", target, values)]
        names = [name for name in self.program.global_block().vars if name not in ("feed", "fetch")]
        return choose(f"Compressor: {argument}", target, names)

    def _values(self) -> dict[str, Any]:
        """Return the values of a PIR program by the names of its Graph; parameters are zeros there."""
        parameters = {
            op.attrs()["parameter_name"]: op.result(0)
            for op in self.program.global_block().ops
            if op.name() == "builtin.parameter"
        }

        def zeros(name: str) -> NDArray[Any]:
            return np.broadcast_to(np.float32(0), tuple(parameters[name].shape))

        with framework.pir_ir(), framework.quiet():
            return dict(walk_program(self.program, {}, zeros).values)

    def variable(self, target: Any) -> Any:
        """Return the Variable or value of an entry of ``fetches``."""
        return target if self.is_pir else self.program.global_block().var(target)

    def feed_variable(self, name: str) -> Any:
        """Return the Variable or value that is fed as `name`."""
        if not self.is_pir:
            return self.program.global_block().var(name)
        return _fed_values(self.program)[name]

    def fed_like(self, feeds: Sequence[FeedSpec]) -> list[FeedSpec]:
        """Return those of `feeds` that the program takes, too."""
        known = _fed_values(self.program) if self.is_pir else self.program.global_block().vars
        return [spec for spec in feeds if spec.name in known]

    def in_copy(self, program: Any) -> Network:
        """Return the network of `program`, a copy of this one's: in PIR values have the same places in it."""
        if not self.is_pir:
            return Network(program, self.feeds, self.fetches)
        own, copied = self.program.global_block().ops, program.global_block().ops
        fetches = {}
        for key, value in self.fetches.items():
            for op, other in zip(own, copied):
                for index in range(op.num_results()):
                    if op.result(index).is_same(value):
                        fetches[key] = other.result(index)
        return Network(program, self.feeds, fetches)

    def _feed(self, target: Any, argument: str) -> FeedSpec:
        name = target if isinstance(target, str) else target.name
        if self.is_pir:
            fed = _fed_values(self.program)
        else:
            fed = {v.name: v for v in self.program.list_vars() if not v.persistable}
        return feed_spec(fed[choose(f"Compressor: {argument}", name, fed)], name)

    def minimize(self, optimizer: Any, key: str, scope: Any, executor: Any) -> None:
        """Add gradients of the fetch `key` and the steps of a copy of `optimizer`, and start its state."""
        paddle = framework.paddle_module()
        scheduler = getattr(optimizer, "_learning_rate", None)
        own = copy.deepcopy(optimizer, {id(scheduler): scheduler})
        startup = paddle.static.Program()
        with (
            active(self.is_pir, scope),
            paddle.static.program_guard(self.program, startup),
            paddle.utils.unique_name.guard(_NAMES),
        ):
            own.minimize(self.variable(self.fetches[key]))
            executor.run(startup)

    def run(self, executor: Any, feed: Feed) -> dict[str, NDArray[Any]]:
        """Run one batch in the current scope; return the fetches by their keys."""
        results = executor.run(self.program, feed=feed, fetch_list=list(self.fetches.values()))
        return dict(zip(self.fetches, results))

    def state_names(self) -> list[str]:
        """Return the names of what the program keeps in its scope."""
        if self.is_pir:
            ops = self.program.global_block().ops
            parameters = [op for op in ops if op.name() == "builtin.parameter" and is_persistable(op)]
            # An optimizer's state is fed from the scope.
            state = [op for op in ops if op.name() == "pd_op.data" and op.result(0).persistable]
            return [op.attrs()["parameter_name"] for op in parameters] + [op.attrs()["name"] for op in state]
        return [v.name for v in self.program.list_vars() if v.persistable and v.name not in ("feed", "fetch")]


def _fed_values(program: Any) -> dict[str, Any]:
    return {
        op.attrs()["name"]: op.result(0)
        for op in program.global_block().ops
        if op.name() in ("pd_op.data", "pd_op.feed") and not op.result(0).persistable
    }


def _pairs(given: Optional[Sequence[Any]], argument: str) -> list[tuple[str, Any]]:
    """Return a list or dict of the user's as pairs of key and target."""
    items = list(given.items()) if isinstance(given, Mapping) else list(given or ())
    for item in items:
        if not (isinstance(item, (tuple, list)) and len(item) == 2 and isinstance(item[0], str)):
            raise ValueError(
                f"Compressor: {argument}: expected pairs of a key and a variable's name, such as "
                f"('image', image.name), got {item!r}"
            )
    return [(key, target) for key, target in items]
