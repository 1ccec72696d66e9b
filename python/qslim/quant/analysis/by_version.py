# SPDX-License-Identifier: Apache-2.0
"""The classes of PaddleSlim 2.4 for one direction each; they also take Layers in the place of directories."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from qslim.paddle import framework
from qslim.paddle.tracing import declared_spec, ready_to_trace
from qslim.quant.analysis.analysis import Analysis
from qslim.quant.analysis.metrics import ProgramMetric
from qslim.quant.op_types import DEFAULT_OP_TYPES

__all__ = ["AnalysisPTQ", "AnalysisQAT"]


class AnalysisPTQ(Analysis):
    """Rank the layers of a network by the harm of post-training quantization; see ``Analysis``.

    Parameters
    ----------
    model_dir : str or paddle.nn.Layer
        A Layer is saved as ``paddle.jit.save`` does.
    ptq_config : dict, optional
        Arguments of ``quant_post_static`` by name.
    input_spec : list of paddle.static.InputSpec, for a Layer
    model_filename, params_filename, eval_function, data_loader, save_dir, resume : as for ``Analysis``

    Attributes
    ----------
    quant_layer_metrics : the same as ``layer_metrics``

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import paddle
    >>> from qslim.quant.analysis import AnalysisPTQ
    >>> net = paddle.nn.Sequential(paddle.nn.Linear(8, 16), paddle.nn.ReLU(), paddle.nn.Linear(16, 4))
    >>> analysis = AnalysisPTQ(
    ...     net, data_loader=[np.random.rand(4, 8).astype("float32")], save_dir=tempfile.mkdtemp(),
    ...     input_spec=[paddle.static.InputSpec([None, 8], "float32", "x")],
    ... )
    >>> len(analysis.metric_error_analyse().layers)
    2
    """

    def __init__(
        self,
        model_dir: Any,
        model_filename: Optional[str] = None,
        params_filename: Optional[str] = None,
        eval_function: Optional[ProgramMetric] = None,
        data_loader: Any = None,
        save_dir: str = "analysis_results",
        resume: bool = False,
        ptq_config: Optional[Mapping[str, Any]] = None,
        input_spec: Optional[Sequence[Any]] = None,
    ) -> None:
        self._saved = _Saved()
        super().__init__(
            self._saved.directory_of("model_dir", model_dir, input_spec),
            model_filename=model_filename,
            params_filename=params_filename,
            data_loader=data_loader,
            eval_function=eval_function,
            resume=resume,
            save_dir=save_dir,
            quant_config=ptq_config,
        )

    @property
    def quant_layer_metrics(self) -> dict[str, float]:
        return self.layer_metrics


class AnalysisQAT(Analysis):
    """Rank the layers of a trained quantized model; see ``Analysis``.

    Parameters
    ----------
    quant_model_dir, float_model_dir : str or paddle.nn.Layer
        A quantized Layer, as ``QAT`` or ``PTQ`` leave it, is saved as ``save_quantized_model`` does. Layers
        of the two are paired by the names of their weights or, if no name fits, in their order.
    quantizable_op_type : sequence of str
        Operators to analyse.
    qat_metric : float, optional
        The metric of the quantized model, in the unit of `eval_function`; by default it is evaluated.
    input_spec : list of paddle.static.InputSpec, for Layers
    model_filename, params_filename, eval_function, data_loader, save_dir, resume : as for ``Analysis``

    Attributes
    ----------
    nonquant_layer_metrics : the same as ``layer_metrics``
    """

    def __init__(
        self,
        quant_model_dir: Any,
        float_model_dir: Any,
        model_filename: Optional[str] = None,
        params_filename: Optional[str] = None,
        quantizable_op_type: Sequence[str] = DEFAULT_OP_TYPES,
        qat_metric: Optional[float] = None,
        eval_function: Optional[ProgramMetric] = None,
        data_loader: Any = None,
        save_dir: str = "analysis_results",
        resume: bool = False,
        input_spec: Optional[Sequence[Any]] = None,
    ) -> None:
        self._saved = _Saved()
        super().__init__(
            self._saved.directory_of("float_model_dir", float_model_dir, input_spec),
            self._saved.directory_of("quant_model_dir", quant_model_dir, input_spec),
            model_filename=model_filename,
            params_filename=params_filename,
            data_loader=data_loader,
            eval_function=eval_function,
            resume=resume,
            save_dir=save_dir,
            quant_config={"quantizable_op_type": quantizable_op_type},
        )
        self.quant_metric = qat_metric

    @property
    def nonquant_layer_metrics(self) -> dict[str, float]:
        return self.layer_metrics


class _Saved:
    """Layers that were saved, as long as their analysis lives."""

    def __init__(self) -> None:
        self._directories: list[tempfile.TemporaryDirectory[str]] = []

    def directory_of(self, argument: str, model: Any, input_spec: Optional[Sequence[Any]]) -> str:
        """Return `model`, or the directory that it was saved to if it is a Layer."""
        paddle = framework.paddle_module()
        if not isinstance(model, paddle.nn.Layer):
            return model  # type: ignore[no-any-return]
        spec = input_spec or declared_spec(model)
        if not spec:
            raise ValueError(
                f"{argument}: the Layer {type(model).__name__} needs input_spec, the shape of each input, "
                "for example [paddle.static.InputSpec([None, 3, 224, 224], 'float32', 'image')]"
            )
        self._directories.append(tempfile.TemporaryDirectory(prefix="qslim-"))
        directory = self._directories[-1].name
        _save(model, os.path.join(directory, "model"), spec)
        return directory


@framework.dygraph()
def _save(layer: Any, prefix: str, input_spec: Sequence[Any]) -> None:
    """Save `layer` in evaluation mode, quantized if it is."""
    from qslim.quant.training.export import save_quantized
    from qslim.quant.training.layers import is_quantized

    if any(is_quantized(each) for each in layer.sublayers(include_self=True)):
        save_quantized(layer, prefix, input_spec)
        return
    with ready_to_trace(layer), framework.quiet():
        layer.eval()
        framework.paddle_module().jit.save(layer, prefix, input_spec=list(input_spec))
