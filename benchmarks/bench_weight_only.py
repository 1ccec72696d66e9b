# SPDX-License-Identifier: Apache-2.0
"""An encoder of the shape of ERNIE 3.0 with integer weights beside fp32: file, latency and error.

    python benchmarks/bench_weight_only.py [--layers 6] [--width 768] [--tokens 1 32] [--runs 40]

The weights are random, with outliers as trained ones have (Student's t, 4 degrees of freedom), so the error
says how forms compare and nothing about a task. All forms take turns in one process; the figures are medians
of one thread, and the ratio to fp32 of the same turn.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from typing import Any

import numpy as np
import paddle
from paddle import nn

import qslim as slim
from qslim.exporters import save_qslim
from qslim.graph.passes import prepare_for_runtime
from qslim.importers.paddle import find_model_files, load_program
from qslim.runtime import Session

FORMS: dict[str, dict[str, Any]] = {
    "int8, per channel": {},
    "int8, groups of 64": {"group_size": 64},
    "int4, groups of 32": {"weight_bits": 4, "group_size": 32},
    "int4, groups of 64": {"weight_bits": 4, "group_size": 64},
    "int4, groups of 128": {"weight_bits": 4, "group_size": 128},
    "int8, data per token": {"activation": "per_token"},
    "int8, data per tensor": {"activation": "per_tensor"},
}


class Block(nn.Layer):
    """Attention and a feed-forward layer, each with its shortcut and layer norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm_a, self.norm_b = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Any) -> Any:
        count, width = x.shape[1], x.shape[2]
        heads = self.qkv(x).reshape([-1, count, 3 * self.heads, width // self.heads]).transpose([0, 2, 1, 3])
        q, k, v = paddle.split(heads, 3, axis=1)
        scores = paddle.matmul(q, k, transpose_y=True) * (width // self.heads) ** -0.5
        mixed = paddle.matmul(nn.functional.softmax(scores), v)
        x = self.norm_a(x + self.out(mixed.transpose([0, 2, 1, 3]).reshape([-1, count, width])))
        return self.norm_b(x + self.down(nn.functional.gelu(self.up(x))))


class Encoder(nn.Layer):
    """Words, blocks and a classifier of the first word."""

    def __init__(self, words: int, width: int, layers: int) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.blocks = nn.LayerList([Block(width, max(width // 64, 1)) for _ in range(layers)])
        self.head = nn.Linear(width, 15)

    def forward(self, ids: Any) -> Any:
        x = self.words(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(x[:, 0])


def random_encoder(words: int, width: int, layers: int) -> Encoder:
    """Return an encoder with weights that have outliers."""
    rng = np.random.default_rng(0)
    net = Encoder(words, width, layers)
    for parameter in net.parameters():
        if len(parameter.shape) == 2:
            scale = 1.0 if parameter.shape[0] == words else parameter.shape[0] ** -0.5
            values = rng.standard_t(4, parameter.shape) * scale * 0.5**0.5
            parameter.set_value(values.astype(np.float32))
    return net.eval()


def measure(sessions: dict[str, Session], feeds: dict[str, np.ndarray], runs: int) -> dict[str, list[float]]:
    """Return the seconds of each run of each session; they take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in sessions}
    for turn in range(runs + 2):
        for name, session in sessions.items():
            start = time.perf_counter()
            session.run(feeds)
            if turn >= 2:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--words", type=int, default=40000)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--tokens", type=int, nargs="+", default=[1, 32, 128])
    parser.add_argument("--runs", type=int, default=40)
    options = parser.parse_args()
    net = random_encoder(options.words, options.width, options.layers)
    with tempfile.TemporaryDirectory() as work:
        spec = [paddle.static.InputSpec([None, None], "int64", "ids")]
        paddle.jit.save(net, os.path.join(work, "fp32", "model"), input_spec=spec)
        directory = os.path.join(work, "fp32")
        files = {"fp32": os.path.join(work, "fp32.qslim")}
        save_qslim(prepare_for_runtime(load_program(find_model_files(directory)).graph), files["fp32"])
        for name, form in FORMS.items():
            out = os.path.join(work, name)
            slim.quant.quant_post_dynamic(directory, out, quantizable_op_type=["mul", "embedding"], **form)
            files[name] = os.path.join(out, "quantized_model", "model.qslim")
        sessions = {name: Session(file, num_threads=1) for name, file in files.items()}
        print(f"{platform.processor() or platform.machine()}, {sessions['fp32'].isa}, one thread")
        header = "".join(f" {count:>5} tokens    of fp32" for count in options.tokens)
        print(f"{'form':<22} {'MB':>6} {'of fp32':>8} {'error':>7}{header}")
        rng = np.random.default_rng(1)
        all_ids = {count: rng.integers(0, options.words, (1, count)) for count in options.tokens}
        times = {count: measure(sessions, {"ids": ids}, options.runs) for count, ids in all_ids.items()}
        judged = {"ids": rng.integers(0, options.words, (16, 16))}
        [expected] = sessions["fp32"].run(judged)
        for name, session in sessions.items():
            size, ratio = (
                os.path.getsize(files[name]),
                os.path.getsize(files[name]) / os.path.getsize(files["fp32"]),
            )
            error = np.sqrt(((session.run(judged)[0] - expected) ** 2).mean() / (expected**2).mean())
            row = f"{name:<22} {size / 1e6:6.1f} {ratio:8.3f} {error:7.4f}"
            for count in options.tokens:
                own, floats = np.array(times[count][name]), np.array(times[count]["fp32"])
                row += f" {np.median(own) * 1e3:9.2f} ms {np.median(own / floats):10.2f}"
            print(row)


if __name__ == "__main__":
    main()
