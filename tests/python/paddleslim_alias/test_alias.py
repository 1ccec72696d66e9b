# SPDX-License-Identifier: Apache-2.0
"""``import paddleslim`` means qslim: every module of the table, names that are missing, undoing it."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import os
import pickle
import sys
from collections.abc import Iterator

import pytest

import qslim.paddleslim
from qslim.paddleslim.modules import MODULES


@pytest.fixture
def _installed() -> Iterator[None]:
    qslim.paddleslim.install()
    yield
    qslim.paddleslim.uninstall()


pytestmark = pytest.mark.usefixtures("_installed")


@pytest.mark.parametrize("name", MODULES)
def test_every_name_of_every_module_is_there(name: str) -> None:
    module = importlib.import_module(name)
    for source in [*MODULES[name].sources, *MODULES[name].names.values()]:
        assert _is_there(*source.partition(":")[::2]), source
    assert sorted(module.__all__) == sorted(set(module.__all__))
    for each in module.__all__:
        assert getattr(module, each) is not None
        assert each in dir(module)
    namespace: dict[str, object] = {}
    exec(f"from {name} import *", namespace)
    assert set(module.__all__) <= set(namespace)


def _is_there(module: str, name: str) -> bool:
    return importlib.util.find_spec(module) is not None and (
        not name or hasattr(importlib.import_module(module), name)
    )


def test_the_ways_to_import_it() -> None:
    import paddleslim
    import paddleslim.quant as q
    from paddleslim import models
    from paddleslim.common import AvgrageMeter, get_logger
    from paddleslim.quant import convert, quant_aware, quant_post, quant_post_static
    from paddleslim.quant.quanter import pact, quant_post_dynamic

    import qslim.models
    import qslim.quant

    assert quant_post_static is quant_post is paddleslim.quant.quant_post_static
    assert q.quant_post_dynamic is quant_post_dynamic is qslim.quant.quant_post_dynamic
    assert (quant_aware, convert, pact) == (qslim.quant.quant_aware, qslim.quant.convert, qslim.quant.pact)
    assert models.MobileNet is qslim.models.MobileNet
    assert pickle.loads(pickle.dumps(AvgrageMeter)) is AvgrageMeter
    assert copy.deepcopy(get_logger) is get_logger
    assert paddleslim.__version__.startswith("2.6.0+qslim.")
    assert paddleslim.__file__
    assert paddleslim.common.log_helper.get_logger is get_logger


def test_missing_names_say_what_there_is() -> None:
    import paddleslim

    with pytest.raises(ImportError, match=r"paddleslim\.nosuch: .* It has paddleslim, .*paddleslim\.quant"):
        import paddleslim.nosuch
    with pytest.raises(ImportError, match=r"paddle\.fluid\.layer: .*nearest is paddle\.fluid\.layers"):
        import paddle.fluid.layer  # noqa: F401
    with pytest.raises(ImportError, match=r"nearest is paddleslim\.quant\.quant_post_static"):
        from paddleslim.quant import quant_post_statik  # noqa: F401
    with pytest.raises(ImportError, match=r"nearest is paddleslim\.quant\.quant_post_static"):
        from paddleslim import quant_post_static  # noqa: F401
    with pytest.raises(AttributeError, match=r"nearest is paddleslim\.quant\.quant_post_static"):
        _ = paddleslim.quant.quant_post_statik
    assert not hasattr(paddleslim, "nas")
    assert not hasattr(paddleslim, "__wrapped__")


def test_install_twice_and_undo() -> None:
    finders, path = list(sys.meta_path), os.environ["PYTHONPATH"]
    qslim.paddleslim.install()
    assert sys.meta_path == finders
    assert os.environ["PYTHONPATH"] == path
    importlib.import_module("paddleslim.quant")
    qslim.paddleslim.uninstall()
    assert not [name for name in sys.modules if name.partition(".")[0] == "paddleslim"]
    assert os.environ.get("PYTHONPATH", "") != path
    assert "paddleslim" not in os.environ.get("PYTHONPATH", "")


def test_another_paddleslim_that_is_imported_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    qslim.paddleslim.uninstall()
    other = type(sys)("paddleslim")
    monkeypatch.setitem(sys.modules, "paddleslim", other)
    with pytest.raises(RuntimeError, match="already imported"):
        qslim.paddleslim.install()
    assert sys.modules["paddleslim"] is other
    monkeypatch.undo()


def test_a_function_goes_before_the_file_of_its_name() -> None:
    import paddleslim.analysis.flops
    import paddleslim.analysis.model_size
    from paddleslim.analysis import flops, model_size

    import qslim.analysis

    assert flops is paddleslim.analysis.flops is paddleslim.flops is qslim.analysis.flops
    assert model_size is paddleslim.analysis.model_size is qslim.analysis.model_size
    assert sys.modules["paddleslim.analysis.flops"].dygraph_flops is qslim.analysis.dygraph_flops
