# SPDX-License-Identifier: Apache-2.0
"""Networks quantized by qslim, ONNX Runtime, NNCF and PaddleSlim, side by side in one run.

    python benchmarks/compare.py [--networks MobileNetV1] [--rounds 12] [--save_dir build/compare]
        [--paddleslim .venv-qat/bin/python]

Each network is trained for a moment on scikit-learn's digits, enlarged to 32 x 32; every tool then gets
the same float network and the same 128 images, with its own defaults, in a process of its own for each
task. Accuracy and agreement are of 397 other images, agreement with the float network in ONNX Runtime:
the share of equal answers, and the largest difference of a probability. Memory is the peak of the
quantizing process over what it had after its imports. Latency is one image on one thread, of rounds in
which the tools take turns; medians. PaddleSlim runs in Paddle's executor, which simulates int8. A tool
that is not installed is left out, with its reason.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np
from compare_tool import FILES, NETWORKS, TOOLS

WORKER = Path(__file__).with_name("compare_tool.py")


@dataclass
class Row:
    """The results of one tool on one network; a field that does not apply is None."""

    network: str
    tool: str
    accuracy: float
    agreement: float
    difference: float
    seconds: Optional[float]
    peak_mb: Optional[float]
    bytes: int
    ms: float


class Process:
    """A worker that answers lines with lines."""

    def __init__(self, python: str, *task: str) -> None:
        env = {
            **os.environ,
            "GLOG_minloglevel": "2",
            "FLAGS_enable_pir_api": "0" if "PaddleSlim" in task else "1",
        }
        self._process = subprocess.Popen(
            [python, "-W", "ignore", str(WORKER), *task],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env,
        )  # fmt: skip

    def answer(self) -> Any:
        """Return the next line's value; RuntimeError with the last line of its errors where there is none."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            _, errors = self._process.communicate()
            raise RuntimeError((errors.strip().splitlines() or ["it ended without a word"])[-1])
        return json.loads(line)

    def ask(self, count: int) -> list[float]:
        """Return `count` times in ms."""
        assert self._process.stdin is not None
        print(count, file=self._process.stdin, flush=True)
        times: list[float] = self.answer()
        return times

    def end(self) -> None:
        """Let the worker end, whatever it still has to say."""
        self._process.communicate()


def once(python: str, *task: str) -> dict[str, Any]:
    """Return the only answer of a worker."""
    process = Process(python, *task)
    answer: dict[str, Any] = process.answer()
    process.end()
    return answer


def compare(network: str, folder: Path, rounds: int, pythons: dict[str, str]) -> list[Row]:
    """Train, quantize by every tool, run all in turns; print why a tool is left out."""
    folder.mkdir(parents=True, exist_ok=True)
    once(sys.executable, "train", str(folder), network)
    made: dict[str, dict[str, Any]] = {}
    for tool in TOOLS:
        try:
            made[tool] = once(pythons.get(tool, sys.executable), "quantize", str(folder), tool)
        except (RuntimeError, OSError) as error:
            print(f"{network}: {tool} is left out: {error}", file=sys.stderr)
    running = {}
    for tool in [*made, *(tool for tool in FILES if tool not in TOOLS)]:
        process = Process(pythons.get(tool, sys.executable), "run", str(folder), tool)
        running[tool] = process, process.answer()["accuracy"]
    times: dict[str, list[float]] = {tool: [] for tool in running}
    for _ in range(rounds):
        for tool, (process, _) in running.items():
            times[tool] += process.ask(5)
    for process, _ in running.values():
        process.end()
    wanted = np.load(folder / "scores float, ONNX Runtime.npy")
    rows = []
    for tool, (_, accuracy) in running.items():
        scores = np.load(folder / f"scores {tool}.npy")
        rows.append(
            Row(
                network, tool, accuracy,
                float((scores.argmax(1) == wanted.argmax(1)).mean()), float(np.abs(scores - wanted).max()),
                made.get(tool, {}).get("seconds"), made.get(tool, {}).get("peak_mb"),
                size_of(folder / FILES[tool]), statistics.median(times[tool]),
            )
        )  # fmt: skip
    return rows


def size_of(path: Path) -> int:
    """Return the bytes of a model, its file of weights included."""
    weights = {".xml": ".bin", ".pdmodel": ".pdiparams"}.get(path.suffix)
    return path.stat().st_size + (path.with_suffix(weights).stat().st_size if weights else 0)


def table(rows: list[Row]) -> str:
    """Return the rows as Markdown."""
    lines = [
        "| network | quantized by | accuracy, % | agreement, % | largest difference | time, s "
        "| peak memory, MB | MB | ms |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cost = ["" if value is None else f"{value:.1f}" for value in (row.seconds, row.peak_mb)]
        figures = [f"{100 * row.accuracy:.2f}", f"{100 * row.agreement:.2f}", f"{row.difference:.3f}", *cost]
        lines.append(
            f"| {' | '.join([row.network, row.tool, *figures, f'{row.bytes / 1e6:.2f}', f'{row.ms:.2f}'])} |"
        )
    return "\n".join(lines).replace("|  |", "| |").replace("|  |", "| |")


def plot(rows: list[Row], path: Path) -> None:
    """Draw accuracy over latency, a panel for each network."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    networks = list(dict.fromkeys(row.network for row in rows))
    figure, panels = plt.subplots(1, len(networks), figsize=(4.5 * len(networks), 3.5), squeeze=False)
    for panel, network in zip(panels[0], networks):
        for row in (row for row in rows if row.network == network):
            panel.scatter(row.ms, 100 * row.agreement, marker="s" if row.seconds is None else "o")
            panel.annotate(row.tool, (row.ms, 100 * row.agreement), fontsize=7)
        panel.set(title=network, xlabel="ms, one image", ylabel="agreement with float, %")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--save_dir", type=Path, default=Path("build/compare"))
    parser.add_argument("--paddleslim", default=".venv-qat/bin/python", help="the Python that has PaddleSlim")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for network in arguments.networks.split(","):
        rows += compare(
            network, arguments.save_dir / network, arguments.rounds, {"PaddleSlim": arguments.paddleslim}
        )
    (arguments.save_dir / "comparison.json").write_text(
        json.dumps({"machine": platform.platform(), "rows": [asdict(row) for row in rows]}, indent=1)
    )
    plot(rows, arguments.save_dir / "comparison.png")
    print(table(rows))


if __name__ == "__main__":
    main()
