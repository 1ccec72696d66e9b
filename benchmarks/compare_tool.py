# SPDX-License-Identifier: Apache-2.0
"""One tool on one network in a process of its own; compare.py drives it.

    python benchmarks/compare_tool.py train DIRECTORY NETWORK      needs Paddle and scikit-learn
    python benchmarks/compare_tool.py quantize DIRECTORY TOOL
    python benchmarks/compare_tool.py run DIRECTORY TOOL

Each prints a line of JSON. ``run`` then answers each number on standard input with so many times in ms, of
one image and one thread.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from model_engines import time_runs

SIZE = 32
STEPS = 100
NETWORKS = ("MobileNetV1", "MobileNetV3-small", "EfficientNet-Lite0")
# What each tool makes of float.onnx, or PaddleSlim of the same network in float/.
FILES = {
    "qslim": "qslim/model.qslim",
    "qslim, auto": "qslim_auto/model.qslim",
    "ONNX Runtime": "onnxruntime.onnx",
    "NNCF": "nncf.xml",
    "PaddleSlim": "paddleslim/model.pdmodel",
    "float, qslim": "float.onnx",
    "float, ONNX Runtime": "float.onnx",
}
TOOLS = tuple(tool for tool in FILES if not tool.startswith("float"))


def train(directory: str, network: str) -> dict[str, Any]:
    """Train `network` on scikit-learn's digits, enlarged; write it, and the data that all tools share."""
    import paddle
    from sklearn.datasets import load_digits

    import qslim as slim
    from qslim.exporters import export_onnx
    from qslim.graph.passes import prepare_for_runtime
    from qslim.importers.paddle import import_layer

    digits = load_digits()
    pixels = (digits.images / 8 - 1).astype("float32").repeat(SIZE // 8, 1).repeat(SIZE // 8, 2)
    images = np.repeat(pixels[:, None], 3, axis=1)
    labels = digits.target.astype("int64")
    order = np.random.default_rng(0).permutation(len(images))
    train_set, test_set = order[:1400], order[1400:]
    paddle.seed(0)
    if network == "MobileNetV3-small":
        net = paddle.nn.Sequential(
            paddle.vision.models.mobilenet_v3_small(num_classes=10), paddle.nn.Softmax()
        )
    else:
        kinds = {"MobileNetV1": slim.models.MobileNet, "EfficientNet-Lite0": slim.models.EfficientNetLite0}
        net = kinds[network]().layer(class_dim=10)
    optimizer = paddle.optimizer.Adam(1e-3, parameters=net.parameters())
    batches = np.random.default_rng(1)
    for _ in range(STEPS):
        chosen = batches.choice(train_set, 32, replace=False)
        scores = net(paddle.to_tensor(images[chosen]))
        loss = paddle.nn.functional.cross_entropy(scores, paddle.to_tensor(labels[chosen]), use_softmax=False)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
    for layer in net.sublayers():  # so few steps leave the running statistics far from the data's
        if isinstance(layer, paddle.nn.BatchNorm2D):
            layer._momentum = 0.0
    with paddle.no_grad():
        net(paddle.to_tensor(images[train_set[:700]]))
    net.eval()
    spec = paddle.static.InputSpec([None, 3, SIZE, SIZE], "float32", "image")
    export_onnx(prepare_for_runtime(import_layer(net, [spec]).graph), os.path.join(directory, "float.onnx"))
    with paddle.pir_utils.OldIrGuard():  # PaddleSlim reads the legacy form alone
        paddle.jit.save(net, os.path.join(directory, "float", "model"), input_spec=[spec])
    np.save(os.path.join(directory, "calibration.npy"), images[train_set[:128]])
    np.savez(os.path.join(directory, "test.npz"), images=images[test_set], labels=labels[test_set])
    return {"loss": float(loss)}


def quantize(directory: str, tool: str) -> dict[str, Any]:
    """Quantize by `tool`, by its own defaults; seconds, and MB over what there was after the imports."""
    images = np.load(os.path.join(directory, "calibration.npy"))
    work = {
        "qslim": _quantizer_qslim,
        "qslim, auto": _quantizer_qslim,
        "ONNX Runtime": _quantizer_onnxruntime,
        "NNCF": _quantizer_nncf,
        "PaddleSlim": _quantizer_paddleslim,
    }[tool](directory, images, tool)
    before = _resident_mb()
    begin = time.perf_counter()
    work()
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "peak_mb": max(0.0, peak - before)}


def _resident_mb() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def _quantizer_qslim(directory: str, images: np.ndarray, tool: str) -> Callable[[], Any]:
    import onnx  # noqa: F401  imported before memory is looked at, as all that the tools need

    import qslim as slim

    batches = [images[start : start + 8] for start in range(0, len(images), 8)]
    target = os.path.join(directory, os.path.dirname(FILES[tool]))
    algo: Any = "auto" if tool == "qslim, auto" else "hist"
    source = os.path.join(directory, "float.onnx")
    return lambda: slim.quant.quant_post_static(None, source, target, data_loader=batches, algo=algo)


def _quantizer_onnxruntime(directory: str, images: np.ndarray, tool: str) -> Callable[[], Any]:
    from model_files import quantize_for_onnxruntime
    from onnxruntime.quantization import quantize_static  # noqa: F401

    paths = [os.path.join(directory, name) for name in ("float.onnx", "prepared.onnx", FILES[tool])]
    return lambda: quantize_for_onnxruntime(*paths, (image[None] for image in images))


def _quantizer_nncf(directory: str, images: np.ndarray, tool: str) -> Callable[[], Any]:
    import nncf
    import openvino

    def work() -> None:
        model = openvino.Core().read_model(os.path.join(directory, "float.onnx"))
        data = nncf.Dataset([image[None] for image in images])
        openvino.save_model(
            nncf.quantize(model, data, subset_size=len(images)), os.path.join(directory, FILES[tool])
        )

    return work


def _quantizer_paddleslim(directory: str, images: np.ndarray, tool: str) -> Callable[[], Any]:
    import paddle
    from paddleslim.quant import quant_post_static

    paddle.enable_static()
    executor = paddle.static.Executor(paddle.CPUPlace())
    batches = [{"image": images[start : start + 8]} for start in range(0, len(images), 8)]
    return lambda: quant_post_static(
        executor,
        os.path.join(directory, "float"),
        os.path.join(directory, os.path.dirname(FILES[tool])),
        data_loader=lambda: iter(batches),
        model_filename="model.pdmodel",
        params_filename="model.pdiparams",
        batch_nums=len(batches),
    )


def runner(directory: str, tool: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that runs the model of `tool` on images, on one thread."""
    path = os.path.join(directory, FILES[tool])
    if "qslim" in tool:
        from qslim.runtime import Session

        ours = Session(path, num_threads=1)
        return lambda x: ours.run({ours.inputs[0].name: x})[0]
    if "ONNX Runtime" in tool:
        from qslim.deployment.peers import onnxruntime_session

        theirs = onnxruntime_session(path, 1)
        return lambda x: theirs.run(None, {theirs.get_inputs()[0].name: x})[0]
    if tool == "NNCF":
        from qslim.deployment.peers import openvino_request

        request = openvino_request(path, [(1, 3, SIZE, SIZE)], 1)
        return lambda x: np.concatenate(
            [np.array(next(iter(request.infer({0: image[None]}).values()))) for image in x]
        )
    import paddle

    paddle.enable_static()
    executor = paddle.static.Executor(paddle.CPUPlace())
    program, feeds, fetches = paddle.static.load_inference_model(path.removesuffix(".pdmodel"), executor)
    return lambda x: executor.run(program, feed={feeds[0]: x}, fetch_list=fetches)[0]


def main() -> None:
    # Libraries that print must not disturb the answers: those go to a copy of standard output.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    what, directory, name = sys.argv[1:]
    if what != "run":
        result = (train if what == "train" else quantize)(directory, name)
        print(json.dumps(result), file=answers, flush=True)
        return
    run = runner(directory, name)
    with np.load(os.path.join(directory, "test.npz")) as data:
        images, labels = data["images"], data["labels"]
    scores = np.concatenate([run(images[start : start + 16]) for start in range(0, len(images), 16)])
    np.save(os.path.join(directory, f"scores {name}.npy"), scores)
    print(json.dumps({"accuracy": float((scores.argmax(1) == labels).mean())}), file=answers, flush=True)
    for line in sys.stdin:
        run(images[:1])
        print(json.dumps(time_runs(lambda: run(images[:1]), int(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
