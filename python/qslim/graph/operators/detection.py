# SPDX-License-Identifier: Apache-2.0
"""The operators that end detectors, by Paddle's names; how many rows most of them give depends on the data.

ONNX has none of them in this form, so they keep Paddle's attributes, in the domain "paddle". Boxes are
(x1, y1, x2, y2). Comparisons and overlaps are computed in float32, in the order of Paddle's CPU kernels, so
that the same boxes are kept.
Sources: paddle/phi/kernels/cpu: multiclass_nms3_kernel.cc, matrix_nms_kernel.cc, yolo_box_kernel.cc
(formulas); Wang et al. 2020 (arXiv:2003.10152, matrix NMS).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qslim.graph.operators.operator import Array, Attributes, OperatorFunction, input_or_none

__all__ = ["DETECTION"]

_F = np.float32


def _areas(boxes: Array, is_normalized: bool) -> Array:
    offset = _F(0 if is_normalized else 1)
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    area = (width + offset) * (height + offset)
    return np.asarray(np.where((width < 0) | (height < 0), _F(0), area), _F)


def _overlaps(box: Array, boxes: Array, area: Any, areas: Array, is_normalized: bool) -> Array:
    """Return the intersection over union of `box` with each of `boxes`."""
    offset = _F(0 if is_normalized else 1)
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[2:], boxes[:, 2:])
    is_apart = ((boxes[:, :2] > box[2:]) | (boxes[:, 2:] < box[:2])).any(axis=1)
    sides = high - low + offset
    inner = sides[:, 0] * sides[:, 1]
    with np.errstate(all="ignore"):
        return np.asarray(np.where(is_apart, _F(0), inner / (area + areas - inner)), _F)


def _suppress(boxes: Array, scores: Array, attributes: Attributes) -> list[int]:
    """Return the indices of the boxes that no better one overlaps too much, best first."""
    is_normalized = bool(attributes["normalized"])
    threshold, eta = _F(attributes["nms_threshold"]), float(attributes["nms_eta"])
    candidates = np.flatnonzero(scores > _F(attributes["score_threshold"]))
    order = candidates[np.argsort(-scores[candidates], kind="stable")]
    most = int(attributes["nms_top_k"])
    if most > -1:
        order = order[:most]
    areas = _areas(boxes, is_normalized)
    kept: list[int] = []
    adaptive = threshold
    while order.size:
        best, order = int(order[0]), order[1:]
        kept.append(best)
        if eta < 1 and adaptive > 0.5:
            adaptive = _F(adaptive * eta)
            # What is compared with the boxes kept before uses the threshold of its own turn.
            order = _still_apart(order, kept, boxes, areas, adaptive, is_normalized)
        elif order.size:
            overlaps = _overlaps(boxes[best], boxes[order], areas[best], areas[order], is_normalized)
            order = order[overlaps <= adaptive]
    return kept


def _still_apart(
    order: Array, kept: list[int], boxes: Array, areas: Array, threshold: Any, is_normalized: bool
) -> Array:
    for best in kept:
        overlaps = _overlaps(boxes[best], boxes[order], areas[best], areas[order], is_normalized)
        order = order[overlaps <= threshold]
    return order


def _multiclass_nms(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    """Suppress boxes [N, M, 4] with scores [N, C, M]; return rows, places in N * M, and counts per image."""
    boxes, scores = inputs[0], inputs[1]
    if boxes.ndim != 3 or scores.ndim != 3 or boxes.shape[2] != 4 or input_or_none(inputs, 2) is not None:
        raise NotImplementedError(
            "multiclass_nms3: boxes [N, M, 4] and scores [N, C, M] of whole images only"
        )
    rows, places, counts = [], [], []
    for image, (image_boxes, image_scores) in enumerate(zip(boxes, scores)):
        found = [
            (label, index)
            for label, of_class in enumerate(image_scores)
            if label != attributes["background_label"]
            for index in _suppress(image_boxes, of_class, attributes)
        ]
        most = int(attributes["keep_top_k"])
        if -1 < most < len(found):
            ranked = sorted(found, key=lambda pair: -float(image_scores[pair]))[:most]
            found = sorted(ranked, key=lambda pair: pair[0])
        rows += [(label, image_scores[label, index], *image_boxes[index]) for label, index in found]
        places += [image * boxes.shape[1] + index for _, index in found]
        counts.append(len(found))
    return _detections(rows, places, counts)


def _matrix_nms(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    """Keep boxes by scores that decay with overlap, each image's rows ordered by score."""
    boxes, scores = inputs
    rows: list[Any] = []
    places, counts = [], []
    for image, (image_boxes, image_scores) in enumerate(zip(boxes, scores)):
        found: list[tuple[Any, int, int]] = []
        for label, of_class in enumerate(image_scores):
            if label != attributes["background_label"]:
                kept = _decayed(image_boxes, of_class, attributes)
                found += [(score, label, index) for index, score in kept]
        found.sort(key=lambda each: -float(each[0]))
        most = int(attributes["keep_top_k"])
        found = found[:most] if most > -1 else found
        rows += [(label, score, *image_boxes[index]) for score, label, index in found]
        places += [image * boxes.shape[1] + index for *_, index in found]
        counts.append(len(found))
    return _detections(rows, places, counts)


def _decayed(boxes: Array, scores: Array, attributes: Attributes) -> list[tuple[int, Any]]:
    """Lower the score of each box by how much better boxes overlap it."""
    candidates = np.flatnonzero(scores > _F(attributes["score_threshold"]))
    order = candidates[np.argsort(-scores[candidates], kind="stable")]
    if int(attributes["nms_top_k"]) > -1:
        order = order[: int(attributes["nms_top_k"])]
    if not order.size:
        return []
    chosen, is_normalized = boxes[order], bool(attributes["normalized"])
    areas = _areas(chosen, is_normalized)
    overlap = np.zeros((order.size, order.size), _F)
    for row in range(1, order.size):
        overlap[row, :row] = _overlaps(chosen[row], chosen[:row], areas[row], areas[:row], is_normalized)
    largest = overlap.max(axis=1)
    with np.errstate(all="ignore"):
        if attributes["use_gaussian"]:
            sigma = _F(attributes["gaussian_sigma"])
            decay = np.exp((largest[None, :] * largest[None, :] - overlap * overlap) * sigma)
        else:
            decay = (_F(1) - overlap) / (_F(1) - largest[None, :])
    decay = np.where(np.tril(np.ones_like(overlap, bool), -1), decay, _F(1)).astype(_F)
    lowered = np.minimum(decay.min(axis=1), _F(1)) * scores[order]
    limit = _F(attributes["post_threshold"])
    return [(int(index), score) for index, score in zip(order, lowered) if score > limit]


def _detections(rows: list[Any], places: list[int], counts: list[int]) -> list[Array]:
    return [
        np.asarray(rows, _F).reshape(-1, 6),
        np.asarray(places, np.int32).reshape(-1, 1),
        np.asarray(counts, np.int32),
    ]


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x.astype(np.float64))))


def _yolo_box(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    """Compute boxes [N, A * H * W, 4] and scores [N, A * H * W, C] of a head and image sizes [N, 2]."""
    x, sizes = inputs
    anchors = np.asarray(attributes["anchors"], np.float64).reshape(-1, 2)
    count, classes = len(anchors), int(attributes["class_num"])
    n, _, height, width = x.shape
    down, scale = int(attributes["downsample_ratio"]), float(attributes["scale_x_y"])
    if attributes["iou_aware"]:
        ious, x = x[:, :count], x[:, count:]
    head = x.reshape(n, count, 5 + classes, height, width).astype(np.float64)
    confidence = _sigmoid(head[:, :, 4])
    if attributes["iou_aware"]:
        factor = float(attributes["iou_aware_factor"])
        confidence = confidence ** (1 - factor) * _sigmoid(ious) ** factor
    confidence = confidence.astype(_F)
    rows, columns = np.arange(height).reshape(-1, 1), np.arange(width)
    image_h, image_w = (sizes[:, at].astype(np.float64).reshape(-1, 1, 1, 1) for at in (0, 1))
    bias = -0.5 * (scale - 1)
    centre_x = (columns + _sigmoid(head[:, :, 0]) * scale + bias) * image_w / width
    centre_y = (rows + _sigmoid(head[:, :, 1]) * scale + bias) * image_h / height
    wide = np.exp(head[:, :, 2]) * anchors[:, 0].reshape(1, -1, 1, 1) * image_w / (down * width)
    high = np.exp(head[:, :, 3]) * anchors[:, 1].reshape(1, -1, 1, 1) * image_h / (down * height)
    sides = [centre_x - wide / 2, centre_y - high / 2, centre_x + wide / 2, centre_y + high / 2]
    if attributes["clip_bbox"]:
        sides[0], sides[1] = np.maximum(sides[0], 0), np.maximum(sides[1], 0)
        sides[2], sides[3] = np.minimum(sides[2], image_w - 1), np.minimum(sides[3], image_h - 1)
    is_kept = (confidence >= _F(attributes["conf_thresh"]))[..., None]
    boxes = np.where(is_kept, np.stack(sides, -1), 0).reshape(n, -1, 4)
    scores = confidence[:, :, None] * _sigmoid(head[:, :, 5:]).astype(_F)
    scores = np.where(is_kept, np.moveaxis(scores, 2, -1), 0).reshape(n, -1, classes)
    return [boxes.astype(_F), scores.astype(_F)]


def _nonzero(_: Attributes, inputs: list[Array]) -> list[Array]:
    return [np.argwhere(inputs[0]).astype(np.int64)]


def _masked_select(_: Attributes, inputs: list[Array]) -> list[Array]:
    x, mask = np.broadcast_arrays(*inputs)
    return [x[mask]]


DETECTION: dict[str, OperatorFunction] = {
    "masked_select": _masked_select,
    "matrix_nms": _matrix_nms,
    "multiclass_nms3": _multiclass_nms,
    "nonzero": _nonzero,
    "yolo_box": _yolo_box,
}
