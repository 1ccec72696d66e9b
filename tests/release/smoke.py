# SPDX-License-Identifier: Apache-2.0
"""Try an installed wheel without Paddle: kernels, a file, a session, the command.

python tests/release/smoke.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib.metadata import version

import numpy as np

import qslim
from qslim import functional
from qslim.exporters import save_qslim
from qslim.graph import Graph, Node, QuantParams, Tensor, evaluate
from qslim.importers import load_qslim
from qslim.runtime import Session


def small_network() -> Graph:
    """Return an int8 convolution with ReLU on uint8 data, 8 x 8 pixels."""
    grid = QuantParams(np.float32(1 / 255), 0, 0, 255)
    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype("float32")
    scale = np.abs(weight).max(axis=(1, 2, 3)) / 127
    graph = Graph(inputs=["x"], outputs=["y"])
    graph.add_tensor(Tensor("x", "float32", (None, 3, 8, 8), quantization=grid))
    steps = QuantParams(scale, 0, -127, 127, quant_axis=0)
    graph.add_tensor(Tensor("w", "float32", weight.shape, value=weight, quantization=steps))
    graph.add_tensor(Tensor("sums", "float32", (None, 4, 6, 6)))
    graph.add_tensor(Tensor("y", "float32", (None, 4, 6, 6)))
    graph.add_node(Node("Conv", ["x", "w"], ["sums"]))
    graph.add_node(Node("Relu", ["sums"], ["y"]))
    return graph


def main() -> None:
    """Raise AssertionError where the installed package does anything wrong."""
    assert qslim.__version__ == version("qslim"), (qslim.__version__, version("qslim"))
    array = np.linspace(-1, 1, 17, dtype="float32")
    rounded = functional.fake_quant(array, 1.0)
    np.testing.assert_array_equal(rounded, np.rint(array * np.float32(127)) * np.float32(1 / 127))
    x = np.random.default_rng(1).random((2, 3, 8, 8), dtype="float32")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "small.qslim")
        save_qslim(small_network(), path)
        (expected,) = evaluate(load_qslim(path), {"x": x}).values()
        for threads in (1, 2):
            session = Session(path, num_threads=threads)
            np.testing.assert_allclose(session.run({"x": x})[0], expected, rtol=1e-6, atol=1e-6)
        kinds = {layer.type for layer in session.profile({"x": x}, runs=1)}
        assert "int8" in kinds, kinds
        command = [sys.executable, "-m", "qslim", "inspect", path, "-q"]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert "Conv+Relu" in out, out
        del session
    print(
        f"qslim {qslim.__version__} on Python {sys.version.split()[0]}: kernels, session and command are good"
    )


if __name__ == "__main__":
    main()
