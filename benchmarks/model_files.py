# SPDX-License-Identifier: Apache-2.0
"""The files of one network that the engines of bench_models.py run.

    float.json, float.pdiparams  Paddle's, from paddle.jit.save; weights are random with a fixed seed
    float.qslim, int8.qslim      ours; int8 is what quant_post_static writes with the operators below
    float.onnx                   the same float Graph, the peers' source
    qdq.onnx                     ONNX Runtime's: QDQ, uint8 activations (so that it can absorb ReLU), int8
                                 weights per channel; OpenVINO reads it too and is often faster with it
    nncf.xml, nncf.bin           OpenVINO's by NNCF, preset PERFORMANCE

Calibration data are random normal: speed does not depend on them, accuracy does, so nothing here tells one.

    python benchmarks/model_files.py network directory [--ocr-dir DIR]     needs Paddle
    python benchmarks/model_files.py peers directory --shape 1,3,224,224   needs onnxruntime, openvino, nncf
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

NETWORKS = ("MobileNetV1", "MobileNetV2", "EfficientNet-Lite0", "MobileNetV3-large", "ResNet50")
OCR = "PP-OCRv4 det"
# Everything whose input a convolution can write in int8. With ReLU and batch normalization among them
# (is_full_quantize) every step of conv, normalization, ReLU would be quantized and none could be fused.
_OP_TYPES = (
    "conv2d", "depthwise_conv2d", "conv2d_transpose", "mul", "elementwise_add", "elementwise_mul", "pool2d",
    "concat", "hard_swish", "hard_sigmoid", "swish", "nearest_interp_v2", "bilinear_interp_v2",
)  # fmt: skip
_PEER_FILES = ("qdq.onnx", "nncf.xml", "nncf.bin", "prepared.onnx")


def image_shape(network: str) -> tuple[int, int, int]:
    return (3, 640, 640) if network == OCR else (3, 224, 224)


def random_images(count: int, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield rng.standard_normal((1, *shape), dtype=np.float32)


def write_network(network: str, directory: str, ocr_dir: str | None) -> None:
    """Write all files that are ours or Paddle's, and float.onnx; remove the peers' of another float.onnx."""
    import paddle

    import qslim as slim
    from qslim.exporters import export_onnx, save_qslim
    from qslim.graph.passes import prepare_for_runtime
    from qslim.importers.paddle import find_model_files, load_program

    if ocr_dir is None:
        source = directory
        _save_random(network, os.path.join(directory, "float"))
        model, params = "float.json", "float.pdiparams"
    else:
        source, model, params = ocr_dir, None, None
    files = find_model_files(source, model, params)
    program = load_program(files)
    graph = prepare_for_runtime(program.graph)
    save_qslim(graph, os.path.join(directory, "float.qslim"))
    new = os.path.join(directory, "new.onnx")
    export_onnx(graph, new)
    _keep_if_same(new, os.path.join(directory, "float.onnx"))
    paddle.enable_static()
    report = slim.quant.quant_post_static(
        paddle.static.Executor(paddle.CPUPlace()),
        source,
        os.path.join(directory, "quantized"),
        data_loader=list(random_images(2, image_shape(network))),
        model_filename=model,
        params_filename=params,
        algo="abs_max",
        quantizable_op_type=_OP_TYPES,
        skip_tensor_list=_biases(program.graph),
    )
    if report.engine_file is None:
        raise SystemExit(f"{network}: {'; '.join(report.notes)}")
    os.replace(report.engine_file, os.path.join(directory, "int8.qslim"))
    float_bytes = sum(t.value.nbytes for t in graph.tensors.values() if t.value is not None)
    about = {"program": files.program, "params": files.params, "float_bytes": float_bytes}
    with open(os.path.join(directory, "about.json"), "w", encoding="utf-8") as file:
        json.dump(about, file)


def _biases(graph: Any) -> list[str]:
    """Return parameters that an Add adds: biases belong to the convolution, whose result stays in float."""
    names: dict[str, None] = {}
    for node in graph.nodes:
        for name in node.inputs if node.op_type == "Add" else ():
            producer = graph.producer(name)
            source = producer.inputs[0] if producer is not None and producer.op_type == "Reshape" else name
            if source and graph.tensors[source].is_constant:
                names[source] = None
    return list(names)


def _save_random(network: str, prefix: str) -> None:
    import paddle

    from qslim.models import EfficientNetLite0

    constructors = {
        "MobileNetV1": paddle.vision.models.mobilenet_v1,
        "MobileNetV2": paddle.vision.models.mobilenet_v2,
        "EfficientNet-Lite0": lambda: EfficientNetLite0().layer(),
        "MobileNetV3-large": paddle.vision.models.mobilenet_v3_large,
        "ResNet50": paddle.vision.models.resnet50,
    }
    paddle.seed(0)
    net = constructors[network]()
    # Statistics of one batch in place of mean 0 and variance 1: with those, activations of random weights
    # shrink or grow from layer to layer, and denormals would slow the float rows down.
    for layer in net.sublayers():
        if isinstance(layer, paddle.nn.BatchNorm2D):
            layer._momentum = 0.0
    net.train()
    batch = np.concatenate(list(random_images(4, image_shape(network))))
    with paddle.no_grad():
        net(paddle.to_tensor(batch))
    net.eval()
    spec = paddle.static.InputSpec([None, *image_shape(network)], "float32", "image")
    paddle.jit.save(net, prefix, input_spec=[spec])


def _keep_if_same(new: str, path: str) -> None:
    """Move `new` to `path`, and remove what was made of another file there."""
    if os.path.exists(path):
        with open(new, "rb") as first, open(path, "rb") as second:
            if first.read() == second.read():
                os.remove(new)
                return
    for name in _PEER_FILES:
        stale = os.path.join(os.path.dirname(path), name)
        if os.path.exists(stale):
            os.remove(stale)
    os.replace(new, path)


def write_peers(directory: str, shape: tuple[int, ...]) -> None:
    """Write the peers' own int8 models of float.onnx, unless they are there."""
    source, qdq, prepared, nncf_file = (
        os.path.join(directory, name) for name in ("float.onnx", "qdq.onnx", "prepared.onnx", "nncf.xml")
    )
    if not os.path.exists(qdq):
        quantize_for_onnxruntime(source, prepared, qdq, random_images(8, shape[1:]))
    if not os.path.exists(nncf_file):
        import nncf
        import openvino

        quantized = nncf.quantize(
            openvino.Core().read_model(source),
            nncf.Dataset(list(random_images(8, shape[1:]))),
            subset_size=8,
            preset=nncf.QuantizationPreset.PERFORMANCE,
        )
        openvino.save_model(quantized, nncf_file)


def quantize_for_onnxruntime(source: str, prepared: str, target: str, images: Iterator[np.ndarray]) -> None:
    """Write ONNX Runtime's own QDQ form, in the types that it runs fastest."""
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    name = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"]).get_inputs()[0].name

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> Any:
            image = next(images, None)
            return None if image is None else {name: image}

    quant_pre_process(source, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared,
        target,
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", help="'peers', or a network: " + ", ".join([*NETWORKS, OCR]))
    parser.add_argument("directory")
    parser.add_argument("--ocr-dir")
    parser.add_argument("--shape", default="1,3,224,224")
    arguments = parser.parse_args()
    os.makedirs(arguments.directory, exist_ok=True)
    if arguments.what == "peers":
        write_peers(arguments.directory, tuple(map(int, arguments.shape.split(","))))
    else:
        write_network(arguments.what, arguments.directory, arguments.ocr_dir)


if __name__ == "__main__":
    main()
