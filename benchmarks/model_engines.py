# SPDX-License-Identifier: Apache-2.0
"""One engine with one model in a process of its own, timed on request; bench_models.py drives it.

    python benchmarks/model_engines.py '{"engine": "qslim int8", "directory": ..., "threads": 1, ...}'

It writes one line of JSON when it is ready: {"load_ms": [...], "note": ...}. Then for each number that it
reads it writes a list of that many times in ms, after one run more that is not timed. End of input ends it.

A process for each engine, because Paddle, OpenVINO and ONNX Runtime each bring thread pools and libraries
that disturb the others in one process; they take turns, so that what else the machine does hits them alike.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any, Callable

import numpy as np

Run = Callable[[], Any]

FILES = {
    "qslim int8": "int8.qslim",
    "qslim fp32": "float.qslim",
    "ONNX Runtime int8": "qdq.onnx",
    "OpenVINO int8 (NNCF)": "nncf.xml",
    "OpenVINO int8 (QDQ)": "qdq.onnx",
    "ONNX Runtime fp32": "float.onnx",
    "OpenVINO fp32": "float.onnx",
    "Paddle fp32": "about.json",
}
ENGINES = tuple(FILES)
PEERS_INT8 = ("ONNX Runtime int8", "OpenVINO int8 (NNCF)", "OpenVINO int8 (QDQ)")


def load(task: dict[str, Any], image: np.ndarray) -> tuple[Run, str]:
    """Return a function that runs the engine of `task` once on `image`, and what there is to say about it."""
    engine, threads = task["engine"], task["threads"]
    file = os.path.join(task["directory"], FILES[engine])
    if engine.startswith("qslim"):
        return _load_qslim(file, threads, task.get("isa"), image)
    if engine.startswith("ONNX Runtime"):
        return _load_onnxruntime(file, threads, image)
    if engine.startswith("OpenVINO"):
        return _load_openvino(file, threads, image)
    return _load_paddle(file, threads, image)


def _load_qslim(file: str, threads: int, isa: str | None, image: np.ndarray) -> tuple[Run, str]:
    from qslim.runtime import Session

    session = Session(file, num_threads=threads, isa=isa)
    feeds = {session.inputs[0].name: image}
    return lambda: session.run(feeds), session.isa


def _load_onnxruntime(file: str, threads: int, image: np.ndarray) -> tuple[Run, str]:
    import onnxruntime

    from qslim.deployment.peers import onnxruntime_session

    session = onnxruntime_session(file, threads)
    feeds = {session.get_inputs()[0].name: image}
    return lambda: session.run(None, feeds), onnxruntime.__version__


def _load_openvino(file: str, threads: int, image: np.ndarray) -> tuple[Run, str]:
    import openvino

    from qslim.deployment.peers import openvino_request

    request = openvino_request(file, [image.shape], threads)
    return lambda: request.infer({0: image}), openvino.__version__.split("-")[0]


def _load_paddle(file: str, threads: int, image: np.ndarray) -> tuple[Run, str]:
    """Load Paddle Inference, with oneDNN if that works and is faster here."""
    import paddle

    with open(file, encoding="utf-8") as about:
        files = json.load(about)
    found = []
    for with_onednn in (True, False):
        try:
            run = _paddle_predictor(files["program"], files["params"], threads, with_onednn, image)
            run()
            times = time_runs(run, 3)
        except (RuntimeError, ValueError, OSError):
            continue
        found.append((min(times), run, with_onednn))
    if not found:
        raise RuntimeError("Paddle Inference runs this model neither with oneDNN nor without")
    _, run, with_onednn = min(found, key=lambda entry: entry[0])
    how = "oneDNN" if with_onednn else "without oneDNN" + (", which is slower" if len(found) == 2 else "")
    return run, f"{paddle.__version__}, {how}"


def _paddle_predictor(program: str, params: str, threads: int, with_onednn: bool, image: np.ndarray) -> Run:
    from paddle.inference import Config, create_predictor

    config = Config(program, params)
    config.disable_glog_info()
    config.disable_gpu()
    config.set_cpu_math_library_num_threads(threads)
    if with_onednn:
        config.enable_mkldnn()
    else:
        config.disable_mkldnn()
    predictor = create_predictor(config)
    source = predictor.get_input_handle(predictor.get_input_names()[0])
    results = [predictor.get_output_handle(name) for name in predictor.get_output_names()]

    def run() -> Any:
        source.copy_from_cpu(image)
        predictor.run()
        return [result.copy_to_cpu() for result in results]

    return run


def time_runs(run: Run, count: int) -> list[float]:
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        run()
        times.append((time.perf_counter() - begin) * 1e3)
    return times


def main() -> None:
    # Libraries that print must not disturb the answers: those go to a copy of standard output.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    task = json.loads(sys.argv[1])
    image = np.random.default_rng(1).standard_normal(task["shape"], dtype=np.float32)
    load_ms = []
    for _ in range(task.get("loads", 1)):
        begin = time.perf_counter()
        run, note = load(task, image)
        load_ms.append((time.perf_counter() - begin) * 1e3)
    run()
    print(json.dumps({"load_ms": load_ms, "note": note}), file=answers, flush=True)
    for line in sys.stdin:
        run()
        print(json.dumps(time_runs(run, int(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
