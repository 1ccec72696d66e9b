# SPDX-License-Identifier: Apache-2.0
"""Files of paddle.save and of PaddleSlim's pruners run no code, and take no more memory than their size."""

from __future__ import annotations

import os
import pickle
import resource
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest

from qslim.files.pickled import load_pickled
from qslim.prune.sensitivity import load_sensitivities


class _Runs:
    """Makes a directory when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def _pickled(path: Path, value: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_come_back(tmp_path: Path, protocol: int) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        f"{dtype}{shape}": rng.integers(0, 2, shape).astype(dtype)
        for dtype in ("float32", "float64", "int64", "uint8", "uint16", "bool", "float16", "complex64", ">f4")
        for shape in ((), (0,), (3,), (2, 3), (2, 0, 4))
    }
    arrays["fortran"] = np.asfortranarray(rng.standard_normal((3, 4)))
    value = {
        "state": OrderedDict(arrays),
        "list": [1, 2.5, "text", None, True, b"bytes"],
        "pair": ("a", arrays),
    }
    loaded = load_pickled(_pickled(tmp_path / "x", value, protocol))
    assert loaded["list"] == value["list"]
    assert loaded["pair"][0] == "a"
    for found in (loaded["state"], loaded["pair"][1]):
        assert list(found) == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype.newbyteorder("=")
            assert found[name].flags.writeable
    scalars = [np.float32(1.5), np.int64(-3), np.bool_(True)]
    loaded = load_pickled(_pickled(tmp_path / "y", scalars, protocol))
    assert loaded == scalars
    assert [type(value) for value in loaded] == [type(value) for value in scalars]


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    trap = _pickled(tmp_path / "trap", {"weight": np.zeros(3), "x": _Runs(tmp_path / "made")})
    with pytest.raises(pickle.UnpicklingError, match=r"it holds a (posix|os)\.mkdir"):
        load_pickled(trap)
    with pytest.raises(ValueError, match=r"it holds a (posix|os)\.mkdir"):
        load_sensitivities(str(trap))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "code",
    [
        b'cbuiltins\neval\n(S\'__import__("os").mkdir("made")\'\ntR.',
        b"cbuiltins\neval\n(S'data'\n}S'other'\nI1\nstR.",
        b"cnumpy\nload\n.",
        b"cnumpy.core.multiarray\nfromfile\n.",
        b"cnumpy\nndarray\n((I1000000000000\nttR.",
        b"cpaddle\nload\n.",
        b"Pname\n.",
        b"\x80\x04r\xff\xff\xff\x7f.",  # a memo of 2^31 entries
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\x00\x00\x00abc.",  # a string of 2^40 bytes
        b"cnumpy\ndtype\n(S'O8'\ntR.",
        b"",
        b"garbage",
    ],
)
def test_hostile_and_damaged_pickles_are_refused(tmp_path: Path, code: bytes) -> None:
    (tmp_path / "x").write_bytes(code)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(pickle.UnpicklingError):
        load_pickled(tmp_path / "x")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
    assert not Path("made").exists()


def test_an_array_cannot_be_longer_than_its_bytes(tmp_path: Path) -> None:
    data = pickle.dumps(np.zeros(16, np.uint8), 2)
    assert data.count(b"K\x10") == 1
    (tmp_path / "x").write_bytes(data.replace(b"K\x10", b"J\xff\xff\xff\x7f"))
    with pytest.raises(pickle.UnpicklingError, match="has other data"):
        load_pickled(tmp_path / "x")


# ---- through the loaders --------------------------------------------------------------------------------


@pytest.fixture
def paddle() -> Any:
    return pytest.importorskip("paddle")


def _loaders(paddle: Any) -> dict[str, Callable[..., Any]]:
    import qslim as slim

    return {
        "prune.load": lambda path, **kwargs: slim.prune.load(path, paddle.nn.Linear(2, 3), **kwargs),
        "load_checkpoint": lambda path, **kwargs: slim.quant.load_checkpoint(
            paddle.nn.Linear(2, 3), path, **kwargs
        ),
    }


@pytest.mark.parametrize("name", ["prune.load", "load_checkpoint"])
def test_checkpoint_code_is_run_only_if_asked_for(tmp_path: Path, paddle: Any, name: str) -> None:
    load = _loaders(paddle)[name]
    trap = str(_pickled(tmp_path / "trap.pdparams", {"x": _Runs(tmp_path / "made")}))
    with pytest.raises(ValueError, match=r"it holds a (posix|os)\.mkdir, which is not loaded from a file"):
        load(trap)
    assert not (tmp_path / "made").exists()
    with pytest.raises(ValueError, match="no"):
        load(trap, allow_pickle=True)
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_paddle_saves_is_loaded_like_paddle_does(
    tmp_path: Path, paddle: Any, protocol: int, dtype: str
) -> None:
    import qslim as slim

    paddle.seed(3)
    net = paddle.nn.Sequential(paddle.nn.Linear(4, 3), paddle.nn.BatchNorm1D(3)).astype(dtype)
    path = str(tmp_path / "net.pdparams")
    paddle.save(net.state_dict(), path, protocol=protocol)
    other = paddle.nn.Sequential(paddle.nn.Linear(4, 3), paddle.nn.BatchNorm1D(3)).astype(dtype)
    slim.quant.load_checkpoint(other, path)
    for key, value in net.state_dict().items():
        np.testing.assert_array_equal(
            value.astype("float32").numpy(), other.state_dict()[key].astype("float32").numpy()
        )
    nested = {"model": net.state_dict(), "epoch": 3}
    paddle.save(nested, path, protocol=protocol)
    loaded = load_pickled(path)
    assert loaded["epoch"] == 3
    expected = paddle.load(path, return_numpy=True)["model"]
    for key, value in expected.items():
        found = loaded["model"][key]
        np.testing.assert_array_equal(found[1] if isinstance(found, tuple) else found, value)


class _DenseTensor:
    """Pickles as Paddle's tensors of static programs do."""

    def __reduce__(self) -> Any:
        return eval, ("data", {"data": np.float32([1, 2, 3])})


def test_tensor_of_a_static_program_is_loaded(tmp_path: Path) -> None:
    loaded = load_pickled(_pickled(tmp_path / "x.pdparams", {"w": _DenseTensor()}))
    np.testing.assert_array_equal(loaded["w"], [1, 2, 3])


def test_archive_that_inflates_is_refused_before_it_inflates(tmp_path: Path, paddle: Any) -> None:
    import qslim as slim

    for name in ("__shapes__", "__groups__"):
        (tmp_path / name).write_text("{}")
    archive = tmp_path / "parameters.npz"
    np.savez_compressed(archive, w=np.zeros(10**7, np.float32))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"'w\.npy' is compressed"):
        slim.prune.load_model(None, None, str(tmp_path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10_000
    with zipfile.ZipFile(archive, "w") as file:
        header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000,), }"
        file.writestr("w.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(ValueError, match=r"'w\.npy' has shape \(10000000000,\), but 77 bytes"):
        slim.prune.load_model(None, None, str(tmp_path))
