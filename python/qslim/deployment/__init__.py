# SPDX-License-Identifier: Apache-2.0
"""Finished models: written for the engine, listed, run, timed and compared with each other and with peers."""

from qslim.deployment.comparison import Comparison, compare_models
from qslim.deployment.export import export_model
from qslim.deployment.inspection import ModelContents, OperatorRow, inspect_model
from qslim.deployment.layer_times import LayerTimes, time_layers
from qslim.deployment.machine import MachineReport, examine_machine
from qslim.deployment.models import read_graph
from qslim.deployment.optimize import OptimizedModel, model_operators, optimize
from qslim.deployment.running import ModelOutputs, run_batches

__all__ = [
    "Comparison",
    "LayerTimes",
    "MachineReport",
    "ModelContents",
    "ModelOutputs",
    "OperatorRow",
    "OptimizedModel",
    "compare_models",
    "examine_machine",
    "export_model",
    "inspect_model",
    "model_operators",
    "optimize",
    "read_graph",
    "run_batches",
    "time_layers",
]
