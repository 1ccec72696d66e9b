# SPDX-License-Identifier: Apache-2.0
"""The group of commands. A command's module is imported when it is named, Paddle when it works.

Shell completion is click's: ``eval "$(_QSLIM_COMPLETE=bash_source qslim)"``; also ``zsh_source`` and
``fish_source``.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import warnings
from typing import Any, Optional

import click

from qslim import __version__
from qslim.cli.command import INTERRUPTED

__all__ = ["main", "optimize_tool", "qslim"]

# Command to its module, which holds a click command named COMMAND, and the line in the group's help.
_COMMANDS = {
    "quantize": ("qslim.cli.quantize", "Quantize a saved model with a few batches of data."),
    "prune": ("qslim.cli.prune", "Cut filters out of a saved model."),
    "compress": ("qslim.cli.compress", "Train and compress a classifier by a YAML file (compress.py)."),
    "export": ("qslim.cli.export", "Write a model as ONNX or as the engine's file."),
    "opt": ("qslim.cli.opt", "Write the engine's file of a quantized model (model_optimize_tool)."),
    "run": ("qslim.cli.run", "Run a model in the engine and print its outputs."),
    "inspect": ("qslim.cli.inspect_model", "List a model's inputs, outputs, operators and sizes."),
    "bench": ("qslim.cli.bench", "Time a model layer by layer, beside float and its peers."),
    "eval": ("qslim.cli.evaluate", "Compare models on the same data: accuracy, agreement, latency."),
    "analyze": ("qslim.cli.analyze", "Rank the layers by the harm that their quantization does."),
    "doctor": ("qslim.cli.doctor", "Say what this CPU can do and measure what int8 gains."),
}


class _Commands(click.Group):
    """The commands, imported one by one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> Optional[click.Command]:
        if cmd_name not in _COMMANDS:
            return None
        found: click.Command = importlib.import_module(_COMMANDS[cmd_name][0]).COMMAND
        return found

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        name = args[0]
        if name not in _COMMANDS and not name.startswith("-"):
            near = difflib.get_close_matches(name, _COMMANDS, 1, 0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(_COMMANDS)}"
            raise click.UsageError(f"unknown command {name!r}: {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help) for name, (_, help) in _COMMANDS.items()])


@click.command(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="qslim")
def qslim() -> None:
    """Quantize, prune, measure and run PaddlePaddle's networks.

    Exit codes: 0 good, 2 an input will not do (one sentence on standard error), 130 Ctrl-C.
    """


def main() -> None:
    """Run the command line and exit."""
    _start(qslim, "qslim")


def optimize_tool() -> None:
    """Run ``qslim opt`` under the name that Paddle Lite's tutorials use."""
    _start(importlib.import_module("qslim.cli.opt").COMMAND, "model_optimize_tool")


def _start(command: Any, name: str) -> None:
    # Paddle greets with warnings and log lines of its own; ours are told by qslim's logger.
    os.environ.setdefault("GLOG_minloglevel", "2")
    warnings.filterwarnings("ignore")
    try:
        command.main(prog_name=name)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
