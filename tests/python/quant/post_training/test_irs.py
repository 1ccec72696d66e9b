# SPDX-License-Identifier: Apache-2.0
"""A model of either IR, in a process of either IR, from dygraph and from static mode."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

import numpy as np
import pytest
from small_networks import IRS, images, save_network, small_network

from qslim.importers.paddle import find_model_files, load_program

_SCRIPT = """
    import sys
    sys.path.insert(0, {tests!r})
    import numpy as np, paddle
    import qslim as slim
    from small_networks import images

    assert paddle.get_flags("FLAGS_enable_pir_api")["FLAGS_enable_pir_api"] is {is_pir}
    if {is_static}:
        paddle.enable_static()
    executor = type("Place", (), {{"place": paddle.CPUPlace()}})
    data = [images(8)]
    report = slim.quant.quant_post_static(
        executor, {model!r}, {out!r}, data_loader=data, algo="abs_max", activation_scheme="symmetric"
    )
    slim.quant.quant_post_dynamic({model!r}, {out!r} + "-dynamic")
    assert paddle.in_dynamic_mode() is not {is_static}
    assert paddle.get_flags("FLAGS_enable_pir_api")["FLAGS_enable_pir_api"] is {is_pir}
    print(*(activation.threshold for activation in report.activations), sep="\\n")
"""


def _largest_magnitudes(model: str) -> list[float]:
    """Of what the five quantized operators read, in order."""
    program = load_program(find_model_files(model))
    names = [
        node.inputs[0] for node in program.graph.nodes if node.op_type in ("Conv", "ConvTranspose", "MatMul")
    ]
    assert len(names) == 5
    return [float(np.abs(array).max()) for array in program.run({"image": images(8)}, names)]


@pytest.mark.parametrize("is_static", [True, False], ids=["static", "dygraph"])
@pytest.mark.parametrize("process_ir", IRS)
@pytest.mark.parametrize("model_ir", IRS)
def test_any_model_in_any_process(
    run_python: Callable[..., str], tmp_path: Path, model_ir: str, process_ir: str, is_static: bool
) -> None:
    model = save_network(small_network(), str(tmp_path / "model"), model_ir)
    script = _SCRIPT.format(
        tests=str(Path(__file__).parents[2]),
        is_pir=process_ir == "pir",
        is_static=is_static,
        model=model,
        out=str(tmp_path / "out"),
    )
    thresholds = [float(line) for line in run_python(script, legacy_ir=process_ir == "legacy").split()]
    # The same network, whichever way: only the order of sums inside Paddle may differ.
    assert thresholds == pytest.approx(_largest_magnitudes(model), rel=1e-5)
    ending = "json" if model_ir == "pir" else "pdmodel"
    for directory in ("out", "out-dynamic/quantized_model"):
        assert (tmp_path / directory / f"model.{ending}").is_file()
