# SPDX-License-Identifier: Apache-2.0
"""Compressor: a YAML file's strategies applied to static programs, with checkpoints that a run goes on from.

Source: the interface of paddle.fluid 1.6, contrib/slim/core/compressor.py.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Optional, Union

import numpy as np
from numpy.typing import NDArray

from qslim.compressor.checkpoints import newest_checkpoint, read_arrays, write_checkpoint
from qslim.compressor.configuration import Configuration, read_configuration
from qslim.compressor.context import Context, EvalFunction
from qslim.compressor.network import Network
from qslim.logger import logger
from qslim.paddle import framework
from qslim.quant.options import check_int

__all__ = ["Compressor"]


class Compressor:
    """Compress a network as a YAML file says.

    Parameters
    ----------
    place : paddle.CPUPlace, paddle.CUDAPlace, ...
    scope : paddle.static.Scope
        Holds the parameters: the startup program has been run in it.
    train_program : paddle.static.Program of either IR
        The forward part with its loss, or a program that is minimized already. A legacy program stays as it
        is; a PIR program that is minimized is changed in place.
    train_reader : DataLoader, iterable, or a function that returns an iterator
        Batches: lists of samples as ``paddle.batch`` makes them, arrays in feed order, or dicts by feed name.
    train_feed_list, train_fetch_list : list of (key, name)
        What a batch feeds, in its order, and what is logged; "loss" must be fetched. PIR values have no
        names: give the value, ('loss', loss).
    eval_program : paddle.static.Program, optional
        With the same parameter names. The saved models are made of it. In PIR it is built in evaluation mode;
        a legacy program is cloned with ``for_test=True``.
    eval_reader, eval_feed_list, eval_fetch_list : the same for evaluation
    teacher_programs : list of paddle.static.Program
        For distillation, their parameters in `scope`.
    checkpoint_path : str, default='./checkpoints'
        Used where the YAML file names none. Checkpoints hold float weights.
    train_optimizer : optimizer, or None if `train_program` is minimized already
        A scheduler of its learning rate steps after every batch.
    distiller_optimizer : optimizer
    log_period : int, default=20; batches between lines of the log
    eval_func : dict of a metric's name to ``f(program, scope) -> float``, optional
        Evaluates a legacy program in place of the means of ``eval_fetch_list``, with data of its own.

    Raises
    ------
    ValueError : a program, list or reader that is none, no "loss", names that a program does not have.

    Examples
    --------
    ``docs/compressor.md`` has whole programs.

    >>> import numpy as np, paddle, tempfile
    >>> import qslim as slim
    >>> paddle.enable_static()
    >>> def build(program, startup):
    ...     with paddle.utils.unique_name.guard(), paddle.static.program_guard(program, startup):
    ...         x = paddle.static.data("x", [None, 4])
    ...         return x, paddle.mean(paddle.nn.Linear(4, 2)(x))
    >>> train, test, startup = paddle.static.Program(), paddle.static.Program(), paddle.static.Program()
    >>> x, loss = build(train, startup)
    >>> test_x, out = build(test, paddle.static.Program())
    >>> _ = paddle.static.Executor(paddle.CPUPlace()).run(startup)
    >>> batches = [[np.ones((2, 4), "float32")]]
    >>> compressor = slim.Compressor(
    ...     paddle.CPUPlace(), paddle.static.global_scope(), train, batches, [("x", "x")], [("loss", loss)],
    ...     test, batches, [("x", "x")], [("out", out)], train_optimizer=paddle.optimizer.SGD(0.1),
    ...     checkpoint_path=tempfile.mkdtemp(),
    ... )
    >>> compressor.config({
    ...     "strategies": {"quant": {"class": "QuantizationStrategy"}},
    ...     "compressor": {"epoch": 2, "strategies": ["quant"]},
    ... })
    >>> _ = compressor.run()
    >>> len(compressor.results["out"])
    2
    >>> paddle.disable_static()
    """

    def __init__(
        self,
        place: Any,
        scope: Any,
        train_program: Any,
        train_reader: Any = None,
        train_feed_list: Optional[Sequence[Any]] = None,
        train_fetch_list: Optional[Sequence[Any]] = None,
        eval_program: Any = None,
        eval_reader: Any = None,
        eval_feed_list: Optional[Sequence[Any]] = None,
        eval_fetch_list: Optional[Sequence[Any]] = None,
        teacher_programs: Sequence[Any] = (),
        checkpoint_path: str = "./checkpoints",
        train_optimizer: Any = None,
        distiller_optimizer: Any = None,
        *,
        log_period: int = 20,
        eval_func: Optional[Mapping[str, EvalFunction]] = None,
    ) -> None:
        check_int("log_period", log_period, 1)
        self._eval_func = _checked_functions(eval_func)
        if self._eval_func and not framework.is_legacy_program(eval_program):
            raise ValueError(
                "Compressor: eval_func fetches by the names of a legacy eval_program, got "
                f"{type(eval_program).__name__}; in PIR let eval_fetch_list hold the metric"
            )
        self._place, self._scope = place, scope
        self._forward = Network.create(train_program, train_feed_list, train_fetch_list, "train")
        if "loss" not in self._forward.fetches:
            raise ValueError(
                "Compressor: train_fetch_list: expected an entry ('loss', avg_cost.name), got "
                f"{sorted(self._forward.fetches)}"
            )
        if (train_optimizer is None) != self._forward.has_gradients:
            raise ValueError(
                "Compressor: train_optimizer: expected None, as train_program is minimized already"
                if self._forward.has_gradients
                else "Compressor: train_optimizer is missing: train_program has no gradients"
            )
        if train_reader is None:
            raise ValueError("Compressor: train_reader is missing")
        self._evaluation: Optional[Network] = None
        if eval_program is not None:
            evaluation = Network.create(eval_program, eval_feed_list, eval_fetch_list, "eval")
            self._evaluation = evaluation.clone(for_test=True)
        self._readers = (train_reader, eval_reader)
        self._teachers = list(teacher_programs)
        self._checkpoint_path = checkpoint_path
        self._optimizers = (train_optimizer, distiller_optimizer)
        self._log_period = log_period
        self._configuration: Optional[Configuration] = None
        self.results: dict[str, list[float]] = {}

    def config(self, config_file: Union[str, os.PathLike[str], Mapping[str, Any]]) -> None:
        """Read the YAML file `config_file`, or take a mapping of its form.

        Raises
        ------
        ValueError : no YAML; an unknown section, class or key, with the nearest match; a bad value.
        """
        self._configuration = read_configuration(config_file)

    def run(self) -> Network:
        """Train the epochs that no checkpoint holds yet, and return the network for evaluation.

        ``results`` of the compressor has what was evaluated after each epoch.

        Returns
        -------
        Network with ``program`` and ``fetches``, quantized if a strategy quantizes; without an
        ``eval_program`` the network that was trained.

        Raises
        ------
        ValueError : ``config`` was not called; a strategy cannot act on these programs; the training
            diverges; a checkpoint belongs to another configuration.
        """
        config = self._configuration
        if config is None:
            raise ValueError("Compressor.run: call config(...) with a YAML file before")
        directory = config.checkpoint_path or self._checkpoint_path
        found = newest_checkpoint(directory)
        if found is not None:
            _check_configuration(found[0], found[1], config)
        if found is None and config.init_model is not None:
            self._load_init_model(config.init_model)
        context = self._context()
        for strategy in config.strategies.values():
            strategy.check(context)
        if found is not None:
            self._restore(context, config, *found)
        self.results = context.results
        for epoch in range(context.epoch_id, config.epoch):
            context.epoch_id = epoch
            for strategy in config.strategies.values():
                strategy.on_epoch_begin(context)
            context.train()
            if (
                context.evaluated is not None
                and (self._readers[1] is not None or self._eval_func)
                and epoch % config.eval_epoch == 0
            ):
                context.evaluate_epoch()
            for strategy in config.strategies.values():
                strategy.on_epoch_end(context)
            self._write(context, config, directory)
        return context.optimized if context.evaluated is None else context.evaluated

    def _context(self) -> Context:
        forward = self._forward if self._optimizers[0] is None else self._forward.clone()
        return Context(
            self._place,
            self._scope,
            forward,
            None if self._evaluation is None else self._evaluation.clone(),
            *self._readers,
            *self._optimizers,
            self._teachers,
            self._log_period,
            self._eval_func,
        )

    def _write(self, context: Context, config: Configuration, directory: str) -> None:
        names = dict.fromkeys(context.optimized.state_names())
        if context.evaluated is not None:
            names.update(dict.fromkeys(context.evaluated.state_names()))
        arrays = {}
        for name in names:
            variable = self._scope.find_var(name)
            if variable is not None and variable.get_tensor()._is_initialized():
                arrays[name] = np.array(variable.get_tensor())
        scheduler = context.optimized.scheduler
        record = {
            "configuration": config.text,
            "strategies": {name: strategy.state() for name, strategy in config.strategies.items()},
            "scheduler": None if scheduler is None else scheduler.state_dict(),
            "results": context.results,
        }
        write_checkpoint(directory, context.epoch_id, arrays, record)

    def _restore(self, context: Context, config: Configuration, path: str, record: dict[str, Any]) -> None:
        """Put networks and scope into the state of a checkpoint."""
        context.epoch_id = int(record["epoch"]) + 1
        arrays = read_arrays(path)
        for name, strategy in config.strategies.items():
            strategy.restore(context, record["strategies"].get(name, {}))
        missing = [name for name in context.optimized.state_names() if name not in arrays]
        if missing:
            raise ValueError(
                f"Compressor: the checkpoint {path!r} belongs to another network: it lacks {missing[0]!r}; "
                "set another checkpoint_path"
            )
        self._set(arrays)
        scheduler = context.optimized.scheduler
        if scheduler is not None and record.get("scheduler"):
            scheduler.set_state_dict(record["scheduler"])
        context.results.update(record.get("results", {}))
        logger.info("Compressor: goes on from the checkpoint %s, with epoch %d", path, context.epoch_id)

    def _load_init_model(self, directory: str) -> None:
        """Load the parameters of a checkpoint's directory."""
        arrays = read_arrays(directory)
        names = [name for name in self._forward.state_names() if name in arrays]
        if not names:
            raise ValueError(f"compressor.init_model: {directory!r} has no parameter of train_program")
        self._set({name: arrays[name] for name in names})

    def _set(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        for name, value in arrays.items():
            self._scope.var(name).get_tensor().set(np.ascontiguousarray(value), self._place)


def _checked_functions(given: Any) -> dict[str, EvalFunction]:
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(callable(function) for function in given.values()):
        raise ValueError(
            f"Compressor: eval_func: expected a dict of a metric's name to a function of (program, "
            f"scope), got {given!r}"
        )
    return dict(given)


def _check_configuration(path: str, record: Mapping[str, Any], config: Configuration) -> None:
    if record["configuration"] != config.text:
        raise ValueError(
            f"Compressor: the checkpoint {path!r} was made with other strategies than the configuration has; "
            "set another checkpoint_path, or remove the checkpoints to start again"
        )
