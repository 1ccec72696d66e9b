# SPDX-License-Identifier: Apache-2.0
"""Finished models: written for the engine, listed, run, timed and compared with each other and with peers."""

from qslim.deployment.inspection import ModelContents, OperatorRow, inspect_model
from qslim.deployment.machine import MachineReport, examine_machine
from qslim.deployment.models import read_graph
from qslim.deployment.optimize import OptimizedModel, optimize
from qslim.deployment.running import ModelOutputs, run_batches

__all__ = [
    "MachineReport",
    "ModelContents",
    "ModelOutputs",
    "OperatorRow",
    "OptimizedModel",
    "examine_machine",
    "inspect_model",
    "optimize",
    "read_graph",
    "run_batches",
]
