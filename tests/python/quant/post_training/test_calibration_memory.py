# SPDX-License-Identifier: Apache-2.0
"""Calibration sees the same tensors as ever, and holds no more of them than inference does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_networks import IRS, images, save_network, small_network

from qslim.exporters.engine_file import observing
from qslim.functional import TensorStatistics
from qslim.graph import QuantParams
from qslim.importers.paddle import find_model_files, load_program
from qslim.quant.op_types import DEFAULT_OP_TYPES, pir_names
from qslim.quant.post_training.calibration import collect_statistics
from qslim.quant.post_training.calibration_runs import EngineRunner, digests_of, last_of
from qslim.quant.post_training.data_source import KeptBatches
from qslim.quant.post_training.layer_samples import layer_samples
from qslim.quant.post_training.operator_selection import select
from qslim.quant.post_training.quantized_prefix import QuantizedPrefix
from qslim.quant.post_training.rounding_stages import _stages
from qslim.runtime import Session


@pytest.mark.parametrize("ir", IRS)
def test_statistics_are_those_of_whole_batches(tmp_path: Path, ir: str) -> None:
    program = load_program(find_model_files(save_network(small_network(), str(tmp_path), ir)))
    graph = program.graph
    selection = select(graph, pir_names(DEFAULT_OP_TYPES))
    floats = [n for node in graph.nodes for n in node.outputs if graph.tensors[n].dtype == "float32"]
    names = [*dict.fromkeys([*selection.activations, *floats, *graph.inputs])]
    batches = [{program.feeds[0].name: images(count, seed=count)} for count in (4, 1, 3)]
    layers = layer_samples(graph, selection)
    seen = collect_statistics(program, names, batches, None, layers)

    computed = [name for name in names if name not in graph.inputs]
    part = observing(graph, computed)
    assert part is not None
    session = Session(part)
    statistics = {name: TensorStatistics() for name in names}
    other_layers = layer_samples(graph, selection)
    for feed in batches:
        values = dict(zip(computed, session.run(feed)), **feed)
        for name in names:
            statistics[name].update(values[name])
        for layer in other_layers:
            layer.update(values[layer.tensor], digests_of(feed))
    assert seen.statistics == statistics
    for mine, theirs in zip(seen.layers, other_layers):
        np.testing.assert_array_equal(mine.patches, theirs.patches)


@pytest.mark.parametrize("ir", IRS)
def test_samples_of_the_quantized_network_are_of_the_same_places(tmp_path: Path, ir: str) -> None:
    program = load_program(find_model_files(save_network(small_network(), str(tmp_path), ir)))
    graph = program.graph
    selection = select(graph, pir_names(DEFAULT_OP_TYPES))
    batches = [{program.feeds[0].name: images(count, seed=count)} for count in (4, 1, 3)]
    kept = KeptBatches()
    seen = collect_statistics(
        program, selection.activations, batches, None, layer_samples(graph, selection), kept
    )
    same = QuantizedPrefix(graph, kept).samples(seen.layers)
    assert same is not None
    for float_layer, layer in zip(seen.layers, same):
        np.testing.assert_allclose(layer.patches, float_layer.patches, rtol=1e-5, atol=1e-6)
    for name in selection.activations:
        threshold = seen.statistics[name].abs_max
        graph.tensors[name].quantization = QuantParams.activation(threshold, 4, False)
    quantized = QuantizedPrefix(graph, kept).samples(seen.layers)
    assert quantized is not None
    errors = []
    for float_layer, layer in zip(seen.layers, quantized):
        params = graph.tensors[layer.tensor].quantization
        assert params is not None
        on_steps = params.fake_quantize(layer.patches)
        if layer.tensor not in graph.inputs:
            np.testing.assert_allclose(layer.patches, on_steps, atol=1e-5)
        difference = on_steps - params.fake_quantize(float_layer.patches)
        errors.append(float(np.abs(difference).max()))
    assert errors[0] == 0
    assert min(errors[1:]) > 0


@pytest.mark.parametrize("ir", IRS)
def test_a_run_from_kept_tensors_gives_the_samples_of_a_run_from_the_start(
    tmp_path: Path, ir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = load_program(find_model_files(save_network(small_network(), str(tmp_path), ir)))
    graph = program.graph
    selection = select(graph, pir_names(DEFAULT_OP_TYPES))
    batches = [{program.feeds[0].name: images(count, seed=count)} for count in (4, 1, 3)]
    kept = KeptBatches()
    layers = layer_samples(graph, selection)
    seen = collect_statistics(program, selection.activations, batches, None, layers, kept)
    for name in selection.activations[::2]:  # those between stay in float
        graph.tensors[name].quantization = QuantParams.activation(seen.statistics[name].abs_max, 8, False)
    from_start, stages = QuantizedPrefix(graph, kept), _stages(graph, seen.layers)
    monkeypatch.setattr("qslim.quant.post_training.quantized_prefix._MOST_KEPT", 0)
    expected = [from_start.samples(stage) for stage in stages]
    assert from_start._start == graph.inputs
    monkeypatch.setattr("qslim.quant.post_training.quantized_prefix._MOST_KEPT", 1e9)
    prefix, starts = QuantizedPrefix(graph, kept), []
    for stage, theirs in zip(stages, expected):
        mine = prefix.samples(stage)
        assert (mine is None) == (theirs is None)
        for layer, other in zip(mine or (), theirs or ()):
            np.testing.assert_array_equal(layer.patches, other.patches)
        starts.append(tuple(prefix._start))
    assert len(set(starts)) > 3
    assert graph.inputs[0] not in starts[-1]


def test_compared_tensors_lead_back_to_all_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = load_program(find_model_files(save_network(small_network(), str(tmp_path), "pir")))
    names = select(program.graph, pir_names(DEFAULT_OP_TYPES)).activations
    engine = EngineRunner.of(program.graph, names)
    assert engine is not None
    feed = {program.feeds[0].name: images(5)}
    computed = [name for name in names if name not in program.graph.inputs]
    one, compared = engine.to_compare(feed)
    assert compared == computed
    assert [len(array) for array in one.values()] == [1]
    monkeypatch.setattr("qslim.quant.post_training.calibration_runs._MOST_COMPARED", 0)
    _, last = engine.to_compare(feed)
    assert last == last_of(program.graph, computed)
    leads = set(last)
    for node in reversed(program.graph.nodes):
        if leads.intersection(node.outputs):
            leads.update(node.inputs)
    assert leads.issuperset(computed)


_PEAK = """
import os
import sys
import numpy as np
import paddle
from paddle import nn
import qslim as slim
from qslim.runtime import Session

def resident(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024

job, directory = os.environ["JOB"], os.environ["DIRECTORY"]
if job == "save":
    layers = [nn.Conv2D(3, 16, 1)]
    for _ in range(12):
        layers += [nn.Conv2D(16, 16, 1), nn.Hardswish()]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2D(1))
    spec = [paddle.static.InputSpec([None, 3, None, None], "float32", "x")]
    paddle.jit.save(net, directory + "/model", input_spec=spec)
    sys.exit()
paddle.enable_static()
rng = np.random.default_rng(0)
sides = (128, 224, 320, 384, 448, 512)
before = resident("VmRSS")
if job == "inference":
    session = Session(directory + "/model.json")
    for _ in range(2):
        session.run({"x": rng.standard_normal((1, 3, 512, 512)).astype(np.float32)})
else:
    slim.quant.quant_post_static(
        paddle.static.Executor(paddle.CPUPlace()), directory, directory + "/int8",
        data_loader=([rng.standard_normal((1, 3, side, side)).astype(np.float32)] for side in sides),
        quantizable_op_type=["conv2d", "hard_swish"],
    )
print(before, resident("VmHWM") - before)
"""


def test_peak_memory_is_near_that_of_inference(run_python: Any, tmp_path: Path) -> None:
    def peak(job: str) -> tuple[float, float]:
        output = run_python(_PEAK, env={"JOB": job, "DIRECTORY": str(tmp_path)})
        imports, rise = (float(word) for word in output.split()[-2:])
        return imports, rise

    run_python(_PEAK, env={"JOB": "save", "DIRECTORY": str(tmp_path)})
    imports, inference = peak("inference")
    _, calibration = peak("calibration")
    # All 25 tensors of 16 MB at once would be 400 MB; two of them are 32 MB.
    assert imports + calibration <= 1.5 * (imports + inference)
    assert calibration <= inference + 150
