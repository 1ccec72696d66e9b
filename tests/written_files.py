# SPDX-License-Identifier: Apache-2.0
"""Compare every file that qslim writes for a dozen networks with those of another state of the code.

    python tests/written_files.py --save before.json       # on the old state
    python tests/written_files.py --against before.json    # on the new one; ends with 1 if a byte differs

Each network is written in a process of its own: as a float .qslim file, and quantized as a Paddle model of
either IR with its .qslim file. Seeds are fixed: what only moves or renames code changes no byte.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable

IRS = ("pir", "legacy")


def convolutional(kind: str) -> tuple[Any, tuple[int, ...]]:
    import paddle

    nets = {
        "mobilenet_v1": lambda: paddle.vision.models.mobilenet_v1(scale=0.25, num_classes=10),
        "mobilenet_v3": lambda: paddle.vision.models.mobilenet_v3_small(scale=0.5, num_classes=10),
        "resnet18": lambda: paddle.vision.models.resnet18(num_classes=10),
        "shufflenet": lambda: paddle.vision.models.shufflenet_v2_x0_25(num_classes=10),
    }
    return nets[kind](), (3, 64, 64)


def windows() -> tuple[Any, tuple[int, ...]]:
    """Build a network of transposed convolutions, resizes, pads and a pixel shuffle behind a ReLU."""
    import paddle
    from paddle import nn
    from paddle.nn import functional

    class Net(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2D(3, 16, 3, stride=2, padding=1)
            self.up = nn.Conv2DTranspose(16, 16, 2, stride=2)
            self.after_shuffle = nn.Conv2D(4, 8, 3, padding=1)
            self.after_cubic = nn.Conv2D(8, 8, 3)

        def forward(self, x: Any) -> Any:
            x = functional.relu(self.up(functional.relu(self.stem(x))))
            x = functional.relu(self.after_shuffle(functional.pixel_shuffle(x, 2)))
            near = functional.interpolate(x, scale_factor=0.5, mode="nearest")
            cubic = functional.interpolate(x, size=[near.shape[2], near.shape[3]], mode="bicubic")
            x = self.after_cubic(functional.pad(cubic + near, [1, 1, 1, 1], mode="reflect"))
            return paddle.mean(functional.avg_pool2d(x, 3, 2, 1), axis=[2, 3])

    return Net(), (3, 16, 16)


def transformer() -> tuple[Any, tuple[int, ...]]:
    import paddle
    from paddle import nn

    class Net(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, activation="gelu")
            self.head = nn.Linear(32, 5)

        def forward(self, x: Any) -> Any:
            return nn.functional.softmax(self.head(paddle.mean(self.block(x), axis=1)))

    return Net(), (12, 32)


def recurrent() -> tuple[Any, tuple[int, ...]]:
    from paddle import nn

    class Net(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Linear(8, 16)
            self.lstm, self.gru = nn.LSTM(16, 12), nn.GRU(12, 8, direction="bidirect")
            self.head = nn.Linear(16, 4)

        def forward(self, x: Any) -> Any:
            y, _ = self.lstm(nn.functional.relu(self.embed(x)))
            return self.head(self.gru(y)[0][:, -1])

    return Net(), (10, 8)


def other_ranks() -> tuple[Any, tuple[int, ...]]:
    """Build a network of one- and three-dimensional convolutions, channels last among them."""
    import paddle
    from paddle import nn

    class Net(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.volume = nn.Conv3D(2, 4, 3, padding=1)
            self.last = nn.Conv2D(4, 6, 3, data_format="NHWC")
            self.line = nn.Conv1D(6, 8, 3)

        def forward(self, x: Any) -> Any:
            x = nn.functional.max_pool3d(nn.functional.relu(self.volume(x)), 2)
            x = nn.functional.relu(self.last(paddle.transpose(paddle.mean(x, axis=2), [0, 2, 3, 1])))
            return paddle.mean(self.line(paddle.transpose(paddle.max(x, axis=1), [0, 2, 1])), axis=2)

    return Net(), (2, 4, 12, 12)


def selections() -> tuple[Any, tuple[int, ...]]:
    """Build a network of gathers, slices, splits, a top-k, comparisons and a cumulated sum."""
    import paddle
    from paddle import nn

    class Net(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2D(3, 8, 3, padding=1), nn.Conv2D(8, 8, 1)
            self.head = nn.Linear(8, 6)

        def forward(self, x: Any) -> Any:
            left, right = paddle.split(nn.functional.relu(self.a(x)), 2, axis=1)
            x = self.b(paddle.concat([right, paddle.tile(left[:, :1], [1, 4, 1, 1])], axis=1))
            x = paddle.where(x > 0.1, x, 0.5 * nn.functional.mish(x))
            best, _ = paddle.topk(paddle.flatten(x, 2), 8, axis=2)
            x = paddle.gather(paddle.cumsum(best, axis=2), paddle.to_tensor([7, 3, 1]), axis=2)
            return self.head(paddle.transpose(paddle.squeeze(x[:, :, :1], 2), [0, 1]))

    return Net(), (3, 8, 8)


NETWORKS: dict[str, Callable[[], tuple[Any, tuple[int, ...]]]] = {
    **{
        kind: lambda kind=kind: convolutional(kind)  # type: ignore[misc]
        for kind in ("mobilenet_v1", "mobilenet_v3", "resnet18", "shufflenet")
    },
    "windows": windows,
    "transformer": transformer,
    "recurrent": recurrent,
    "other_ranks": other_ranks,
    "selections": selections,
}


def seeded(name: str) -> tuple[Any, tuple[int, ...]]:
    """Build network `name` with the weights that it always has, for evaluation."""
    import numpy as np

    net, shape = NETWORKS[name]()
    rng = np.random.default_rng(1)
    for parameter in [*net.parameters(), *net.buffers()]:
        if str(parameter.dtype) != "paddle.float32":
            continue
        spread = 0.5 * rng.standard_normal(parameter.shape) / max(1, np.prod(parameter.shape[1:])) ** 0.5
        is_positive = "norm" in parameter.name
        parameter.set_value(np.asarray(np.abs(spread) + 0.5 if is_positive else spread, "float32"))
    net.eval()
    return net, shape


def write(name: str, ir: str, directory: str) -> None:
    """Write every file of network `name` in a process of intermediate representation `ir`."""
    import numpy as np
    import paddle

    import qslim as slim
    from qslim.exporters import save_qslim
    from qslim.graph.passes import prepare_for_runtime
    from qslim.importers.paddle import import_layer

    rng = np.random.default_rng(0)
    paddle.seed(0)  # MobileNetV3 drops elements in training
    net, shape = seeded(name)
    spec = [paddle.static.InputSpec([None, *shape], "float32", "x")]
    data = [rng.standard_normal((4, *shape)).astype("float32") for _ in range(3)]
    os.makedirs(f"{directory}/float")
    save_qslim(prepare_for_runtime(import_layer(net, spec).graph), f"{directory}/float/model.qslim")
    net, _ = seeded(name)
    paddle.jit.save(net, f"{directory}/source/model", input_spec=spec)
    paddle.enable_static()
    slim.quant.quant_post_static(
        paddle.static.Executor(paddle.CPUPlace()),
        f"{directory}/source",
        f"{directory}/static",
        data_loader=data,
        algo="hist",
    )
    paddle.disable_static()
    net, _ = seeded(name)
    quanter = slim.QAT(config={"activation_preprocess_type": "PACT"} if name == "mobilenet_v1" else {})
    quanter.quantize(net)
    net.train()
    for batch in data:
        net(paddle.to_tensor(batch))
    net.eval()
    quanter.save_quantized_model(net, f"{directory}/qat/model", input_spec=spec)


def digests(directory: Path) -> dict[str, str]:
    """Return the digest of every written file below `directory`, by its path there.

    Of a .pdmodel that is a digest of what it computes: its bytes also hold a table in any order.
    """
    from qslim.files.digests import file_digests

    found = sorted(path for path in directory.rglob("*") if path.is_file() and "source" not in path.parts)
    return {str(path.relative_to(directory)): file_digests([str(path)])[path.name] for path in found}


def written(keep: str) -> dict[str, str]:
    """Write all networks below `keep` and return the files' digests."""
    # With one thread Paddle, too, always sums in the same order.
    fixed = {
        "GLOG_minloglevel": "3",
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": "1",
        "QSLIM_NUM_THREADS": "1",
    }
    only_pir = ("transformer", "recurrent")  # Paddle cannot trace them in a process of the legacy IR
    for name in NETWORKS:
        for ir in IRS[: 1 if name in only_pir else 2]:
            environment = {**os.environ, **fixed, "FLAGS_enable_pir_api": str(int(ir == "pir"))}
            command = [sys.executable, __file__, "--network", name, ir, f"{keep}/{name}/{ir}"]
            subprocess.run(command, env=environment, check=True)
    return digests(Path(keep))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--save", help="write the digests of all files to this file")
    parser.add_argument("--against", help="compare with this file's digests")
    parser.add_argument("--keep", help="leave the written files in this directory")
    parser.add_argument("--network", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.network:
        write(*arguments.network)
        return
    with tempfile.TemporaryDirectory() as directory:
        now = written(arguments.keep or directory)
    if arguments.save:
        Path(arguments.save).write_text(json.dumps(now, indent=1))
    if arguments.against:
        before = json.loads(Path(arguments.against).read_text())
        different = sorted(name for name in {*now, *before} if now.get(name) != before.get(name))
        print("\n".join([*different, f"{len(different)} of {len({*now, *before})} files differ"]))
        sys.exit(bool(different))


if __name__ == "__main__":
    main()
