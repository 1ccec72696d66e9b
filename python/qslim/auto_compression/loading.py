# SPDX-License-Identifier: Apache-2.0
"""Configurations, models and data as PaddleSlim's ``common`` gives them to scripts.

Source: paddleslim 2.6.0, common/config_helper.py, load_model.py, dataloader.py (signatures).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable, Optional

import numpy as np

from qslim.files.staging import staged_file
from qslim.files.yaml_file import load_yaml
from qslim.logger import logger
from qslim.paddle import framework
from qslim.paddle.model_files import find_model_files
from qslim.paddle.program import load_model_files
from qslim.quant.post_training.data_source import named_batch

__all__ = [
    "export_onnx",
    "get_feed_vars",
    "get_model_dir",
    "load_config",
    "load_inference_model",
    "save_config",
    "wrap_dataloader",
]

_LEAST_OPSET = 17


def load_config(config: Optional[str]) -> Optional[dict[str, Any]]:
    """Return what the YAML file `config` holds, and log it; None for None.

    Unlike plain YAML, ``1e-5`` is a number and ``None`` is nothing.

    Raises
    ------
    ValueError : it is no YAML, or holds no keys; FileNotFoundError : there is no such file.
    """
    if config is None:
        return None
    loaded = load_yaml(config)
    for section, values in loaded.items():
        logger.info("config: %s: %s", section, values)
    return loaded


def save_config(config: Mapping[str, Any], config_path: str) -> None:
    """Write `config` as a YAML file, whole or not at all."""
    import yaml  # type: ignore[import-untyped, unused-ignore]

    with staged_file(config_path) as staging, open(staging, "w", encoding="utf-8") as file:
        yaml.safe_dump(dict(config), file, sort_keys=False, allow_unicode=True)


def load_inference_model(
    path_prefix: str,
    executor: Any,
    model_filename: Optional[str] = None,
    params_filename: Optional[str] = None,
) -> list[Any]:
    """Load an inference model into the current scope, in static mode.

    Parameters
    ----------
    path_prefix : str
        The model's directory, its path, or the path without its ending.
    executor : paddle.static.Executor
    model_filename, params_filename : str, optional; ``find_model_files`` says how they are found

    Returns
    -------
    [program, feed names, fetch targets]

    Raises
    ------
    ModelFileError : the files are missing, damaged, or of the IR that this process does not run.
    """
    paddle = framework.paddle_module()
    paddle.enable_static()
    files = find_model_files(path_prefix, model_filename, params_filename)
    if files.is_pir != bool(paddle.get_flags("FLAGS_enable_pir_api")["FLAGS_enable_pir_api"]):
        raise ValueError(
            f"load_inference_model: {files.program!r} is a model of "
            f"{'PIR' if files.is_pir else 'the legacy IR'}; start the process with "
            f"FLAGS_enable_pir_api={int(files.is_pir)}"
        )
    return list(load_model_files(files, executor))


def export_onnx(
    model_dir: str,
    model_filename: Optional[str] = None,
    params_filename: Optional[str] = None,
    save_file_path: str = "output.onnx",
    opset_version: int = 13,
    deploy_backend: str = "tensorrt",
) -> None:
    """Write an inference model as ONNX, quantized tensors as QuantizeLinear and DequantizeLinear.

    Parameters
    ----------
    model_dir, model_filename, params_filename : str; ``find_model_files`` says how they are found
    save_file_path : str; missing directories are made
    opset_version : int, at most 21; below 17 the file is of 17
    deploy_backend : accepted; the scales are in the file, and in no calibration.cache beside it

    Raises
    ------
    ValueError : a model that will not do; an operator that ONNX lacks.
    ImportError : the ``onnx`` package is missing.
    """
    from qslim.exporters import export_onnx as write
    from qslim.graph.passes import prepare_for_runtime
    from qslim.importers.paddle import import_model

    del deploy_backend
    graph = prepare_for_runtime(import_model(model_dir, model_filename, params_filename))
    write(graph, save_file_path, opset=max(opset_version, _LEAST_OPSET))


def get_feed_vars(
    model_dir: str, model_filename: Optional[str] = None, params_filename: Optional[str] = None
) -> list[str]:
    """Return the names of what the inference model feeds."""
    from qslim.importers.paddle import import_model

    return list(import_model(model_dir, model_filename, params_filename).inputs)


def get_model_dir(
    model_dir: str, model_filename: Optional[str] = None, params_filename: Optional[str] = None
) -> tuple[str, str, str]:
    """Return (directory, file of the program, file of the parameters) of an inference model."""
    files = find_model_files(model_dir, model_filename, params_filename)
    directory, name = os.path.split(files.program)
    return directory, name, os.path.basename(files.params or "")


def wrap_dataloader(
    dataloader: Any, names: Sequence[str]
) -> Optional[Callable[[], Iterator[dict[str, np.ndarray[Any, Any]]]]]:
    """Return a function that yields the batches of `dataloader` as dicts of the feeds `names`.

    Parameters
    ----------
    dataloader : DataLoader, iterable, or a function that returns one; None gives None
    names : list of str, the feeds in their order

    Examples
    --------
    >>> wrapped = wrap_dataloader([[np.ones((2, 3)), np.zeros((2, 1))]], ["image", "label"])
    >>> [(name, value.shape) for batch in wrapped() for name, value in batch.items()]
    [('image', (2, 3)), ('label', (2, 1))]
    """
    if dataloader is None:
        return None

    def wrapped() -> Iterator[dict[str, np.ndarray[Any, Any]]]:
        source = dataloader() if callable(dataloader) and not hasattr(dataloader, "__iter__") else dataloader
        for number, batch in enumerate(source):
            yield named_batch(batch, names, "dataloader", number)

    return wrapped
