# SPDX-License-Identifier: Apache-2.0
"""Where an AutoCompression keeps what is done until all is done.

    <save_dir>/unfinished-<digest>/started.json    the digest's parts, and the metric of the model
    <save_dir>/unfinished-<digest>/<i>/            the model of strategy i, and finished.json
    <save_dir>/unfinished-<digest>/training-<i>/   the state of a training that goes on

The digest is of the model's files, the teachers' and the configuration: a run with others starts anew and
leaves this one's work alone. Each directory is written whole or not at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from typing import Any, Optional

from qslim.auto_compression.plan import Plan
from qslim.auto_compression.report import StrategyReport
from qslim.auto_compression.teachers import teacher_files
from qslim.files.digests import file_digests
from qslim.files.staging import staged_directory, staged_file
from qslim.logger import logger
from qslim.paddle.model_files import ModelFiles, find_model_files
from qslim.quant import distributed

__all__ = ["FINISHED", "Workspace"]

FINISHED = "finished.json"
_PREFIX = "unfinished-"


class Workspace:
    """The directory of the work of one plan on one model.

    Parameters
    ----------
    save_dir : str
    files : ModelFiles
    plan : Plan
    """

    def __init__(self, save_dir: str, files: ModelFiles, plan: Plan) -> None:
        self._save_dir = save_dir
        self._name = f"{_PREFIX}{_digest(files, plan)}"
        # Each rank has a directory of its own: none removes what another one writes to.
        own = f"{self._name}-{distributed.rank()}" if distributed.rank() else self._name
        self._path = os.path.join(save_dir, own)
        self._started = os.path.join(self._path, "started.json")

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Make the directory, which shows at once if it cannot be written; remove it if it stays empty."""
        is_new = not os.path.isdir(self._save_dir)
        with staged_directory(self._path):
            pass
        try:
            yield
        finally:
            # Nothing was finished: no trace is left.
            names = os.listdir(self._path) if os.path.isdir(self._path) else None
            if names is not None and not any(os.path.isdir(os.path.join(self._path, name)) for name in names):
                shutil.rmtree(self._path, ignore_errors=True)
                if is_new:
                    with contextlib.suppress(OSError):
                        os.rmdir(self._save_dir)

    def remember(self, metric: Optional[float]) -> None:
        """Keep the metric of the model that was given."""
        with staged_file(self._started) as path, open(path, "w", encoding="utf-8") as file:
            json.dump({"metric": metric}, file)

    @property
    def remembered(self) -> Optional[dict[str, Any]]:
        """The dict with "metric" of a run before, None if there was none."""
        return _read(self._started)

    def model_directory(self, number: int) -> str:
        """Return the directory of the model of strategy `number`."""
        return os.path.join(self._path, str(number))

    def training_directory(self, number: int) -> str:
        """Return the directory of the state of the training of strategy `number`."""
        return os.path.join(self._path, f"training-{number}")

    def finished(self, number: int) -> Optional[tuple[ModelFiles, StrategyReport]]:
        """Return the model and the report of strategy `number`, if a run before has finished it."""
        directory = self.model_directory(number)
        record = _read(os.path.join(directory, FINISHED))
        if record is None:
            return None
        logger.info("AutoCompression: %s is done already", record["name"])
        return find_model_files(directory, record.pop("program")), StrategyReport.from_dict(record)

    def clear(self) -> None:
        """Remove the directory: all is done."""
        shutil.rmtree(self._path, ignore_errors=True)
        with contextlib.suppress(OSError):
            found = (name for name in os.listdir(self._save_dir) if name.startswith(_PREFIX))
            others = [name for name in found if not name.startswith(self._name)]
            if others:
                logger.info(
                    "AutoCompression: %s also holds the work of unfinished runs with other settings: %s",
                    self._save_dir,
                    ", ".join(others),
                )


def _read(path: str) -> Optional[dict[str, Any]]:
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        loaded: dict[str, Any] = json.load(file)
    return loaded


def _digest(files: ModelFiles, plan: Plan) -> str:
    parts: list[Any] = [sorted(file_digests(files.paths).items())]
    for strategy in plan.strategies:
        parts.append([strategy.name, [_plain(part) for part in vars(strategy).values()]])
        for term in strategy.distillation.terms if strategy.distillation is not None else ():
            if term.teacher is not None:
                parts.append(sorted(file_digests(teacher_files(term).paths).items()))
    return hashlib.sha256(json.dumps(parts, default=_plain, sort_keys=True).encode()).hexdigest()[:12]


def _plain(value: Any) -> Any:
    """Return a section as a dict, a function as its name: its address is another one in each process."""
    if hasattr(value, "__dataclass_fields__"):
        return [type(value).__name__, {key: _plain(each) for key, each in vars(value).items()}]
    if callable(value):
        return getattr(value, "__qualname__", type(value).__name__)
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)
