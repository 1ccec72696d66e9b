# SPDX-License-Identifier: Apache-2.0
"""Calibration data: whatever the user has, as batches that the model can be fed.

Three sources, as in PaddleSlim: ``sample_generator`` yields samples, ``batch_generator`` and ``data_loader``
yield batches. A batch may be a dict by feed name, a list or tuple in feed order, or one array for a model of
one feed; values may be NumPy arrays or Paddle or Torch tensors. What comes behind the model's feeds (a
label) is left out. Data is read once, one batch at a time, so a one-shot generator will do.

In a world of several ranks, rank r takes the batches r, r + world, r + 2 * world, ... of what must be the
same batches on every rank. A DataLoader with a DistributedBatchSampler gives each rank its own already.
"""

from __future__ import annotations

import itertools
import os
import pickle
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Callable, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.paddle.program import FeedSpec
from qslim.quant import distributed

__all__ = [
    "Feed",
    "KeptBatches",
    "calibration_batches",
    "expected_batches",
    "named_batch",
    "training_batches",
]

Feed = dict[str, NDArray[Any]]


class KeptBatches:
    """Batches in a temporary file, to read again: memory does not grow with their number.

    Examples
    --------
    >>> import numpy as np
    >>> kept = KeptBatches()
    >>> len(list(kept.taking([{"x": np.ones(2)}, {"x": np.zeros(2)}])))
    2
    >>> [batch["x"].tolist() for batch in kept]
    [[1.0, 1.0], [0.0, 0.0]]
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="qslim-")  # noqa: SIM115, closed with the object
        weakref.finalize(self, self._file.close)
        self._count = 0

    def taking(self, batches: Iterable[Feed]) -> Iterator[Feed]:
        """Yield `batches`, and keep each one."""
        for batch in batches:
            self.append(batch)
            yield batch

    def append(self, batch: Feed) -> None:
        """Keep one batch more."""
        self._file.seek(0, os.SEEK_END)
        pickle.dump(batch, self._file, protocol=5)
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Feed]:
        place = 0
        for _ in range(self._count):
            self._file.seek(place)
            batch: Feed = pickle.load(self._file)
            place = self._file.tell()
            yield batch


def calibration_batches(
    feeds: Sequence[FeedSpec],
    *,
    sample_generator: Optional[Callable[[], Iterable[Any]]] = None,
    batch_generator: Optional[Callable[[], Iterable[Any]]] = None,
    data_loader: Any = None,
    batch_size: int = 1,
    batch_nums: Optional[int] = None,
) -> Iterator[Feed]:
    """Yield feeds that fit `feeds`: at most `batch_nums`, of all ranks together.

    Raises
    ------
    ValueError : no source or more than one; a source that yields nothing; a batch whose feeds are missing,
        of another shape or dtype, or not finite. Each names the batch and the feed.
    """
    given = {
        "sample_generator": sample_generator,
        "batch_generator": batch_generator,
        "data_loader": data_loader,
    }
    named = [name for name, source in given.items() if source is not None]
    if len(named) != 1:
        raise ValueError(
            "calibration data: give one of sample_generator, batch_generator and data_loader; "
            f"got {' and '.join(named) if named else 'none of them'}"
        )
    source = given[named[0]]
    raw = _raw_batches(feeds, named[0], source, batch_size)
    return _checked(raw, feeds, named[0], source, batch_nums)


def training_batches(feeds: Sequence[FeedSpec], reader: Any, name: str) -> Iterator[Feed]:
    """Yield one pass over `reader` as feeds that fit `feeds`.

    Parameters
    ----------
    feeds : sequence of FeedSpec
    reader : DataLoader, iterable, or a function that returns one
        It yields batches: a dict by feed name, arrays in feed order, or a list of samples, each a tuple in
        feed order, as ``paddle.batch`` makes them.
    name : str
        The argument that errors name.

    Raises
    ------
    ValueError : it yields nothing, or a batch that does not fit; names the batch and the feed.

    Examples
    --------
    >>> feeds = [FeedSpec("x", np.dtype("float32"), (None, 2)), FeedSpec("y", np.dtype("int64"), (None, 1))]
    >>> batch = [(np.float32([1, 2]), 0), (np.float32([3, 4]), 1)]
    >>> [feed] = training_batches(feeds, [batch], "train_reader")
    >>> feed["x"].shape, feed["y"].tolist()
    ((2, 2), [[0], [1]])
    """
    number = None
    for number, batch in enumerate(_iterate(reader, name)):
        is_samples = isinstance(batch, (list, tuple)) and all(
            isinstance(item, (list, tuple)) for item in batch
        )
        columns = _stack(batch, feeds) if batch and is_samples else batch
        yield {
            spec.name: _fit(value, spec, name, number) for spec, value in _match(columns, feeds, name, number)
        }
    if number is None:
        raise ValueError(
            f"{name}: yielded no batch; give a function that returns a new iterator for each pass, as "
            "paddle.batch does"
        )


def named_batch(batch: Any, names: Sequence[str], source: str, number: int) -> Feed:
    """Return a batch, in any of the forms of a batch, as a dict of the feeds `names`."""
    feeds = [FeedSpec(name, np.dtype("float32"), ()) for name in names]
    return {spec.name: _to_array(value) for spec, value in _match(batch, feeds, source, number)}


def expected_batches(data_loader: Any, batch_nums: Optional[int]) -> Optional[int]:
    """Return the number of batches that this rank will take, for a progress bar; None if it is unknown."""
    ranks = distributed.world_size()
    try:
        length = len(data_loader) * (ranks if _is_sharded(data_loader) else 1)
        total: Optional[int] = length if batch_nums is None else min(length, batch_nums)
    except TypeError:
        total = batch_nums
    return None if total is None else len(range(distributed.rank(), total, ranks))


def _checked(
    raw: Iterator[Any], feeds: Sequence[FeedSpec], name: str, source: Any, batch_nums: Optional[int]
) -> Iterator[Feed]:
    ranks, rank = distributed.world_size(), distributed.rank()
    first, stride = (rank, ranks) if _is_sharded(source) else (0, 1)
    numbers = itertools.count(first, stride) if batch_nums is None else range(first, batch_nums, stride)
    number = None
    for number, batch in zip(numbers, raw):
        if number % ranks == rank:
            yield {
                spec.name: _fit(value, spec, name, number)
                for spec, value in _match(batch, feeds, name, number)
            }
    if number is None and first == 0:
        raise ValueError(f"{name}: yielded no batch; at least one is needed to calibrate")


def _is_sharded(source: Any) -> bool:
    """Return True if `source` is a DataLoader that gives every rank batches of its own."""
    ranks = getattr(getattr(source, "batch_sampler", None), "nranks", 1)
    return bool(ranks > 1 and ranks == distributed.world_size())


def _raw_batches(feeds: Sequence[FeedSpec], name: str, source: Any, batch_size: int) -> Iterator[Any]:
    if name == "data_loader" and _is_arrays(source):
        yield from _sliced(source, batch_size)
        return
    iterator = _iterate(source, name)
    if name != "sample_generator":
        yield from iterator
        return
    samples: list[Any] = []
    for sample in iterator:
        samples.append(sample)
        if len(samples) == batch_size:
            yield _stack(samples, feeds)
            samples = []
    # A last, smaller batch is calibration data like any other unless the model's batch size is fixed.
    if samples and all(spec.shape and spec.shape[0] is None for spec in feeds):
        yield _stack(samples, feeds)


def _iterate(source: Any, name: str) -> Iterator[Any]:
    if hasattr(source, "__iter__"):
        return iter(source)
    if not callable(source):
        raise ValueError(
            f"{name}: expected an iterable, or a function that returns one, got {type(source).__name__}"
        )
    produced = source()
    if not hasattr(produced, "__iter__"):
        raise ValueError(f"{name}: the function returned {type(produced).__name__}, which yields no batches")
    return iter(produced)


def _is_arrays(source: Any) -> bool:
    """Return True if `source` is a whole data set: an array, or a dict of arrays by feed name."""
    if isinstance(source, Mapping):
        return all(_is_array(value) for value in source.values())
    return _is_array(source)


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and (isinstance(value, np.ndarray) or hasattr(value, "numpy"))


def _sliced(source: Any, batch_size: int) -> Iterator[Any]:
    columns = {k: _to_array(v) for k, v in source.items()} if isinstance(source, Mapping) else None
    array = _to_array(source) if columns is None else next(iter(columns.values()))
    for begin in range(0, len(array), batch_size):
        stop = begin + batch_size
        yield array[begin:stop] if columns is None else {k: v[begin:stop] for k, v in columns.items()}


def _stack(samples: Sequence[Any], feeds: Sequence[FeedSpec]) -> Any:
    """Return one batch of several samples, each a dict, a tuple in feed order, or one array."""
    first = samples[0]
    if isinstance(first, Mapping):
        return {name: _stack_column([sample[name] for sample in samples]) for name in first}
    if isinstance(first, (list, tuple)):
        return [_stack_column(column) for column in zip(*samples)]
    return [_stack_column(samples)]


def _stack_column(values: Sequence[Any]) -> NDArray[Any]:
    arrays = [_to_array(value) for value in values]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise ValueError(
            f"the samples of one batch differ in shape ({sorted(shapes)}); use batch_size=1 or make "
            "them equal"
        )
    return np.stack(arrays)


def _match(batch: Any, feeds: Sequence[FeedSpec], source: str, count: int) -> list[tuple[FeedSpec, Any]]:
    """Pair the values of `batch` with the model's feeds."""
    if isinstance(batch, (list, tuple)) and len(batch) == 1 and isinstance(batch[0], Mapping):
        batch = batch[0]  # what a DataLoader with return_list=False yields
    if isinstance(batch, Mapping):
        missing = [spec.name for spec in feeds if spec.name not in batch]
        if missing:
            raise ValueError(
                f"{source}: batch {count} lacks feed {', '.join(map(repr, missing))}; "
                f"it has {', '.join(map(repr, batch))}"
            )
        return [(spec, batch[spec.name]) for spec in feeds]
    values = list(batch) if isinstance(batch, (list, tuple)) else [batch]
    if len(values) < len(feeds):
        names = ", ".join(repr(spec.name) for spec in feeds)
        raise ValueError(f"{source}: batch {count} has {len(values)} values, but the model feeds {names}")
    return list(zip(feeds, values))


def _fit(value: Any, spec: FeedSpec, source: str, count: int) -> NDArray[Any]:
    """Return `value` as an array of the feed's dtype and shape, reshaped where only the shape was flat."""
    array = _to_array(value)
    where = f"{source}: batch {count}, feed {spec.name!r}"
    if array.dtype != spec.dtype:
        if array.dtype.kind != spec.dtype.kind:
            raise ValueError(
                f"{where}: expected {spec.dtype}, got {array.dtype}; convert the data as it was in training"
            )
        array = array.astype(spec.dtype)
    if array.size == 0:
        raise ValueError(f"{where}: the array is empty (shape {list(array.shape)})")
    array = np.ascontiguousarray(_fit_shape(array, spec, where))
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int(array.size - np.count_nonzero(np.isfinite(array)))
        raise ValueError(f"{where}: {bad} of {array.size} values are NaN or infinite")
    return array


def _fit_shape(array: NDArray[Any], spec: FeedSpec, where: str) -> NDArray[Any]:
    shape = spec.shape
    if array.ndim == len(shape) and all(e is None or e == a for e, a in zip(shape, array.shape)):
        return array
    rest = shape[1:]
    if shape and array.ndim >= 1 and all(extent is not None for extent in rest):
        target = (array.shape[0], *rest)
        if np.prod(target, dtype=np.int64) == array.size and shape[0] in (None, array.shape[0]):
            # Flat samples, as paddle.dataset.mnist yields them. Anything else of equal size would be a guess:
            # (N, H, W, C) reshaped to (N, C, H, W) is a scrambled image.
            squeezed = tuple(e for e in array.shape[1:] if e != 1)
            if len(squeezed) <= 1 or squeezed == tuple(e for e in rest if e != 1):
                return array.reshape(target)
    expected = "[" + ", ".join("any" if extent is None else str(extent) for extent in shape) + "]"
    raise ValueError(f"{where}: expected shape {expected}, got {list(array.shape)}")


def _to_array(value: Any) -> NDArray[Any]:
    if hasattr(value, "numpy") and callable(value.numpy):
        return np.asarray(value.numpy())
    array = np.asarray(value)
    if array.dtype == object:
        raise ValueError(f"data: expected numbers, got {type(value).__name__}")
    return array
