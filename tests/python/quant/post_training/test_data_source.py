# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import paddle
import pytest

from qslim.paddle.program import FeedSpec
from qslim.quant.post_training.data_source import calibration_batches, expected_batches

IMAGE = FeedSpec("image", np.dtype(np.float32), (None, 1, 4, 4))
LABEL = FeedSpec("label", np.dtype(np.int64), (None, 1))


def _batches(feeds: list[FeedSpec], **source: Any) -> list[dict[str, np.ndarray]]:
    return list(calibration_batches(feeds, **source))


def _flat_samples(count: int) -> Any:
    def generator() -> Iterator[tuple[np.ndarray, int]]:
        for i in range(count):
            yield np.full(16, i, np.float32), i

    return generator


def test_flat_samples_are_reshaped_and_batched() -> None:
    batches = _batches([IMAGE, LABEL], sample_generator=_flat_samples(5), batch_size=2)
    assert [batch["image"].shape for batch in batches] == [(2, 1, 4, 4), (2, 1, 4, 4), (1, 1, 4, 4)]
    assert batches[1]["image"][1, 0, 3, 3] == 3
    np.testing.assert_array_equal(batches[1]["label"], [[2], [3]])
    assert batches[0]["label"].dtype == np.int64


def test_batch_nums_reads_no_further_than_it_must() -> None:
    read = []

    def generator() -> Iterator[Any]:
        for i in range(100):
            read.append(i)
            yield (np.zeros(16, np.float32), 0)

    assert len(_batches([IMAGE, LABEL], sample_generator=generator, batch_size=3, batch_nums=2)) == 2
    assert len(read) == 6


def test_a_fixed_batch_size_drops_the_rest() -> None:
    fixed = FeedSpec("image", np.dtype(np.float32), (2, 1, 4, 4))
    assert len(_batches([fixed], sample_generator=_flat_samples(5), batch_size=2)) == 2


@pytest.mark.parametrize(
    "source",
    [
        [np.zeros((2, 1, 4, 4), np.float32)],
        [[np.zeros((2, 1, 4, 4), np.float32)]],
        [(np.zeros((2, 1, 4, 4), np.float32), np.zeros(2, np.int64))],
        [{"image": np.zeros((2, 1, 4, 4), np.float32), "other": None}],
        [[{"image": np.zeros((2, 1, 4, 4), np.float32)}]],
        np.zeros((2, 1, 4, 4), np.float32),
        {"image": np.zeros((2, 1, 4, 4), np.float32)},
        [np.zeros((2, 16), np.float32)],
        [np.zeros((2, 4, 4), np.float64)],
        lambda: iter([np.zeros((2, 1, 4, 4), np.float32)]),
        (batch for batch in [np.zeros((2, 1, 4, 4), np.float32)]),
        [paddle.zeros([2, 1, 4, 4])],
    ],
    ids=lambda value: type(value).__name__,
)
def test_forms_of_batches(source: Any) -> None:
    batches = _batches([IMAGE], data_loader=source, batch_size=2)
    assert [batch["image"].shape for batch in batches] == [(2, 1, 4, 4)]
    assert batches[0]["image"].dtype == np.float32
    assert list(batches[0]) == ["image"]


def test_paddle_data_loader() -> None:
    class Digits(paddle.io.Dataset):
        def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
            return np.full((1, 4, 4), index, np.float32), np.array([index])

        def __len__(self) -> int:
            return 6

    loader = paddle.io.DataLoader(Digits(), batch_size=4)
    batches = _batches([IMAGE, LABEL], data_loader=loader)
    assert [len(batch["image"]) for batch in batches] == [4, 2]
    np.testing.assert_array_equal(batches[1]["label"], [[4], [5]])
    assert expected_batches(loader, None) == 2
    assert expected_batches(loader, 1) == 1
    assert expected_batches(lambda: iter([]), 3) == 3


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([], "yielded no batch"),
        (lambda: iter(()), "yielded no batch"),
        (lambda: 3, "returned int"),
        (3, "got int"),
        ([np.zeros((2, 4, 4, 1), np.uint8)], r"expected float32, got uint8"),
        ([np.zeros((2, 4, 4, 3), np.float32)], r"expected shape \[any, 1, 4, 4\], got \[2, 4, 4, 3\]"),
        ([np.zeros((2, 2, 8, 1), np.float32)], r"expected shape .* got \[2, 2, 8, 1\]"),
        ([np.zeros((0, 1, 4, 4), np.float32)], "is empty"),
        ([np.full((1, 1, 4, 4), np.nan, np.float32)], "16 of 16 values are NaN"),
        ([{"img": 0}], r"lacks feed 'image'; it has 'img'"),
        ([["text"]], "got <U4"),
    ],
    ids=str,
)
def test_bad_batches(source: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _batches([IMAGE], data_loader=source)


def test_the_message_names_batch_and_feed() -> None:
    good, bad = np.zeros((1, 1, 4, 4), np.float32), np.zeros((1, 3), np.float32)
    with pytest.raises(ValueError, match=r"data_loader: batch 1, feed 'image'"):
        _batches([IMAGE], data_loader=[good, bad])


def test_exactly_one_source() -> None:
    with pytest.raises(ValueError, match="none of them"):
        _batches([IMAGE])
    with pytest.raises(ValueError, match="sample_generator and data_loader"):
        _batches([IMAGE], sample_generator=_flat_samples(1), data_loader=[])


def test_too_few_values_for_the_feeds() -> None:
    with pytest.raises(ValueError, match=r"has 1 values, but the model feeds 'image', 'label'"):
        _batches([IMAGE, LABEL], data_loader=[[np.zeros((1, 1, 4, 4), np.float32)]])


def test_samples_of_different_shapes() -> None:
    def generator() -> Iterator[np.ndarray]:
        yield np.zeros(16, np.float32)
        yield np.zeros(9, np.float32)

    with pytest.raises(ValueError, match="differ in shape"):
        _batches([IMAGE], sample_generator=generator, batch_size=2)
