# SPDX-License-Identifier: Apache-2.0
"""Run the notebooks from the command line and show what they print while they run.

    python notebooks/run_demo.py [--steps 300] [--output notebooks/output] [notebook ...]

Each notebook runs in a folder of its own under the output folder: its models, plots and table land there, and
the notebook itself with its outputs. The tables of all are printed at the end.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any, Optional

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
NOTEBOOKS = ("mnist_mobilenetv1_ptq.ipynb", "mnist_mobilenetv1_ptq_pir.ipynb")


class StreamingClient(NotebookClient):
    """A client that passes on what cells print as they print it, progress bars included."""

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        if self.is_live and msg["msg_type"] == "stream":
            stream = sys.stderr if msg["content"]["name"] == "stderr" else sys.stdout
            stream.write(msg["content"]["text"])
            stream.flush()
        return super().process_message(msg, cell, cell_index)

    is_live = True


def execute(
    notebook: Path, directory: Path, *, live: bool = True, env: Optional[dict[str, str]] = None
) -> Any:
    """Run `notebook` with `directory` as its current folder; save it there, executed, and return it.

    Raises
    ------
    nbclient.exceptions.CellExecutionError : a cell failed; what ran until then is saved all the same.
    """
    directory.mkdir(parents=True, exist_ok=True)
    content = nbformat.read(notebook, as_version=4)

    def announce(cell: Any, cell_index: int) -> None:
        before = content.cells[cell_index - 1] if cell_index else None
        if live and before is not None and before.cell_type == "markdown":
            for line in before.source.splitlines():
                if line.startswith("#"):
                    print(f"\n{line.lstrip('# ')}", flush=True)

    client = StreamingClient(
        content,
        timeout=None,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(directory)}},
        on_cell_execute=announce,
    )
    client.is_live = live
    path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    try:
        client.execute(env={**os.environ, "PYTHONPATH": path, "GLOG_minloglevel": "2", **(env or {})})
    finally:
        for cell in content.cells:
            if cell.cell_type == "code":
                cell.outputs = _joined(cell.outputs)
        nbformat.write(content, directory / notebook.name)
    return content


def _joined(outputs: list[Any]) -> list[Any]:
    """Return `outputs` with what was printed piece by piece to one stream in one piece."""
    joined: list[Any] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if (
            last is not None
            and output.output_type == last.output_type == "stream"
            and output.name == last.name
        ):
            last.text += output.text
        else:
            joined.append(output)
    for output in joined:
        if output.output_type == "stream":
            output.text = _as_a_terminal_shows(output.text)
    return joined


def _as_a_terminal_shows(text: str) -> str:
    """Return `text` with each line as its last carriage return left it: a progress bar is one line."""
    return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n"))


def main() -> int:
    from comparison import Comparison

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("notebooks", nargs="*", type=Path, default=[HERE / name for name in NOTEBOOKS])
    parser.add_argument("--steps", type=int, default=int(os.environ.get("QSLIM_DEMO_STEPS", "300")))
    parser.add_argument("--output", type=Path, default=HERE / "output")
    arguments = parser.parse_args()
    if arguments.steps < 3:
        parser.error(f"--steps: expected at least 3, got {arguments.steps}")

    # The kernel of this environment, not one that a user has installed under the same name.
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    print(
        f"Training {arguments.steps} steps (QSLIM_DEMO_STEPS or --steps changes that). "
        "A step of MobileNetV1 takes 1 to 2 s, one of qat_pact.ipynb a tenth of a second."
    )
    tables = {}
    for notebook in arguments.notebooks:
        directory = (arguments.output / notebook.stem).resolve()
        begin = time.monotonic()
        print(f"\n==== {notebook.name}")
        execute(notebook, directory, env={"QSLIM_DEMO_STEPS": str(arguments.steps)})
        print(f"\n{notebook.name}: {time.monotonic() - begin:.0f} s")
        tables[notebook.name] = directory

    for name, directory in tables.items():
        print(f"\n==== {name}")
        table = Comparison.load(directory / "comparison.json")
        print(table)
        print(table.summary())
        print(f"executed notebook  {_short(directory / name)}")
        for plot in sorted((directory / "plots").glob("*.png")):
            print(f"plot               {_short(plot)}")
        for model in sorted(directory.glob("*_model")):
            print(f"model              {_short(model)}")
    return 0


def _short(path: Path) -> str:
    return os.path.relpath(path)


if __name__ == "__main__":
    sys.exit(main())
