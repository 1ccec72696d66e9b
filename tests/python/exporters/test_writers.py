# SPDX-License-Identifier: Apache-2.0
"""Every writer of the package, stopped after each of its system calls: its files are old or new."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crashes import after_each_call, leftovers, visible

paddle = pytest.importorskip("paddle")

import qslim as slim  # noqa: E402
from qslim.exporters import save_qslim  # noqa: E402
from qslim.graph import Graph, Node, Tensor  # noqa: E402

_X = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
_SPEC = [paddle.static.InputSpec([None, 6], "float32", "x")]

Writer = Callable[[Path, int], None]


def _network(seed: int) -> Any:
    paddle.seed(seed)
    net = paddle.nn.Sequential(paddle.nn.Linear(6, 8), paddle.nn.ReLU(), paddle.nn.Linear(8, 3))
    net.eval()
    return net


def _float_model(directory: Path, seed: int, legacy: bool = False) -> str:
    path = directory / f"float{seed}{legacy}"
    if not path.exists():
        net = _network(seed)
        with paddle.pir_utils.OldIrGuard() if legacy else contextlib.nullcontext():
            paddle.jit.save(net, str(path / "m"), input_spec=_SPEC)
    return str(path)


def _ptq(out: Path, seed: int, legacy: bool = False) -> None:
    model = _float_model(out.parent, seed, legacy)
    paddle.enable_static()
    try:
        executor = paddle.static.Executor(paddle.CPUPlace())
        slim.quant.quant_post_static(executor, model, str(out), data_loader=[_X], algo="abs_max")
    finally:
        paddle.disable_static()


def _ptq_other_ir(out: Path, seed: int) -> None:
    _ptq(out, seed, legacy=seed == 1)


def _dynamic(out: Path, seed: int) -> None:
    slim.quant.quant_post_dynamic(_float_model(out.parent, seed), str(out.parent / f"dynamic-{out.name}"))
    # Both of its directories are sets of their own; this is the one that has no engine file.
    written = out.parent / f"dynamic-{out.name}" / "quantized_model"
    if not out.exists():
        out.symlink_to(written)


def _qat(out: Path, seed: int) -> None:
    quantizer = slim.QAT()
    net = quantizer.quantize(_network(seed))
    net.train()
    net(paddle.to_tensor(_X))
    net.eval()
    quantizer.save_quantized_model(net, str(out / "model"), input_spec=_SPEC)


def _pruned(out: Path, seed: int) -> None:
    slim.prune.save(_network(seed), out / "pruned.pdparams")


def _sensitivities(out: Path, seed: int) -> None:
    status = slim.dygraph.Status()
    status.sensitivies["w"] = {0.5: float(seed)}
    status.save(str(out / "sen.pickle"))


def _static_pruned(out: Path, seed: int) -> None:
    paddle.enable_static()
    try:
        main, startup = paddle.static.Program(), paddle.static.Program()
        with paddle.static.program_guard(main, startup), paddle.utils.unique_name.guard():
            paddle.nn.Linear(6, 8 + seed)(paddle.static.data("x", [None, 6]))
        paddle.static.Executor(paddle.CPUPlace()).run(startup)
        slim.prune.save_model(None, main, str(out))
    finally:
        paddle.disable_static()


def _graph(seed: int) -> Graph:
    graph = Graph(inputs=["x"], outputs=["y"])
    for name in "xy":
        graph.add_tensor(Tensor(name, "float32", (None, 4)))
    graph.add_tensor(Tensor("c", "float32", (4,), value=np.full(4, seed, np.float32)))
    graph.add_node(Node("Add", ["x", "c"], ["y"]))
    return graph


def _engine_file(out: Path, seed: int) -> None:
    save_qslim(_graph(seed), out / "model.qslim")


def _onnx(out: Path, seed: int) -> None:
    slim.exporters.export_onnx(_graph(seed), out / "model.onnx")


_WRITERS: dict[str, Writer] = {
    "quant_post_static": _ptq,
    "quant_post_static, the other IR": _ptq_other_ir,
    "quant_post_dynamic": _dynamic,
    "save_quantized_model": _qat,
    "prune.save": _pruned,
    "sensitivities": _sensitivities,
    "prune.save_model": _static_pruned,
    "save_qslim": _engine_file,
    "export_onnx": _onnx,
}


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    yield
    paddle.disable_static()


@pytest.mark.parametrize("name", _WRITERS)
def test_writer_leaves_old_or_new_after_every_system_call(tmp_path: Path, name: str) -> None:
    if name == "export_onnx":
        pytest.importorskip("onnx")
    write, out = _WRITERS[name], tmp_path / "out"
    write(out, 0)
    old, states = visible(out), []
    copies: dict[tuple[Any, ...], Path] = {}

    def look() -> None:
        files = visible(out)
        states.append(files)
        state = tuple(sorted((path.name, path.is_symlink()) for path in out.iterdir()))
        if state not in copies:
            copies[state] = tmp_path / f"copy{len(copies)}"
            shutil.copytree(out, copies[state], symlinks=True)

    with after_each_call(look):
        write(out, 1)
    new = visible(out)
    assert old != new
    assert [sorted(files) for files in states if files not in (old, new)] == []
    is_new = [files == new for files in states]
    assert is_new == sorted(is_new)
    assert leftovers(out) == []
    for copy in copies.values():
        if name != "quant_post_dynamic":
            write(copy, 0)
            assert leftovers(copy) == []
            assert sorted(visible(copy)) == sorted(old)


def test_killed_quant_post_static_leaves_a_model_that_plain_paddle_runs(
    tmp_path: Path, run_python: Any
) -> None:
    counts = (2, 10, 18, 26, 34, 42, 50, 58, 66, 74)
    # Forked before Paddle starts any thread.
    run_python(
        f"""
        import shutil, sys
        from pathlib import Path
        sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]!r}
        import test_writers
        from crashes import killed_after

        root = Path({str(tmp_path)!r})
        for seed in (0, 1):
            assert not killed_after(10**9, lambda: test_writers._ptq(root / f"seed{{seed}}", seed))
        for count in {counts}:
            shutil.copytree(root / "seed0", root / f"killed{{count}}")
            killed_after(count, lambda: test_writers._ptq(root / f"killed{{count}}", 1))
        """
    )

    def computed(directory: Path) -> Any:
        return paddle.jit.load(str(directory / "model"))(paddle.to_tensor(_X)).numpy()

    old, new = computed(tmp_path / "seed0"), computed(tmp_path / "seed1")
    results = []
    for count in counts:
        out = tmp_path / f"killed{count}"
        found = computed(out)
        results.append("old" if (found == old).all() else "new" if (found == new).all() else "neither")
        (engine,) = slim.runtime.Session(str(out), 1).run({"x": _X})
        np.testing.assert_allclose(engine, found, atol=1e-5)
    assert "neither" not in results
    assert results[0] == "old"
    assert results[-1] == "new"


@contextlib.contextmanager
def _disk_full(limit: int) -> Iterator[None]:
    """No file can get longer than `limit` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    logging.disable(logging.CRITICAL)  # what pytest captures is a file as well
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", _WRITERS)
def test_disk_full_keeps_the_old_model(tmp_path: Path, name: str) -> None:
    if name == "export_onnx":
        pytest.importorskip("onnx")
    write, out = _WRITERS[name], tmp_path / "out"
    write(out, 0)
    write(tmp_path / "other", 1)  # so that what it reads is there
    old = visible(out)
    for limit in sorted({0, 16, *(len(data) // 2 for data in visible(tmp_path / "other").values())}):
        with pytest.raises(OSError, match=r"cannot (write|be written)") as caught, _disk_full(limit):
            write(out, 1)
        assert str(tmp_path) in str(caught.value) or "temporary directory" in str(caught.value)
        assert visible(out) == old
        assert leftovers(out) == []


def test_output_paths_in_bytes_are_named_before_any_work(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "out")
    with pytest.raises(ValueError, match="quantize_model_path: expected a str or a path, got b'"):
        _ptq_to(tmp_path, path)
    paddle.disable_static()
    with pytest.raises(ValueError, match="save_model_dir: expected a str or a path, got b'"):
        slim.quant.quant_post_dynamic(_float_model(tmp_path, 0), path)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="output path: expected a str or a path, got b'"):
        slim.prune.save(_network(0), path)  # type: ignore[arg-type]


def _ptq_to(directory: Path, path: Any) -> None:
    model = _float_model(directory, 0)
    paddle.enable_static()
    executor = paddle.static.Executor(paddle.CPUPlace())
    slim.quant.quant_post_static(executor, model, path, data_loader=[_X], algo="abs_max")


def test_stale_engine_file_of_another_network_is_removed(tmp_path: Path) -> None:
    class Unsupported(paddle.nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.net = _network(5)

        def forward(self, x: Any) -> Any:
            y = self.net[0](x)
            return self.net[2](y + paddle.nonzero(y).astype("float32").sum() * 0)

    net = Unsupported()
    net.eval()
    paddle.jit.save(net, str(tmp_path / "float5False" / "m"), input_spec=_SPEC)
    _ptq(tmp_path / "out", 0)
    assert (tmp_path / "out" / "model.qslim").exists()
    _ptq(tmp_path / "out", 5)
    assert sorted(visible(tmp_path / "out")) == ["model.json", "model.pdiparams"]
    with pytest.raises(ValueError, match="nonzero"):
        slim.runtime.Session(str(tmp_path / "out"))


def test_session_refuses_an_engine_file_of_another_model(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for seed in (0, 1):
        _ptq(tmp_path / f"seed{seed}", seed)
    shutil.copytree(tmp_path / "seed0", out)
    slim.runtime.Session(str(out))
    for name in ("model.json", "model.pdiparams"):
        shutil.copy(tmp_path / "seed1" / name, out)
    with pytest.raises(ValueError, match=r"model\.qslim' belongs to another 'model\.json' than"):
        slim.runtime.Session(str(out))
    with pytest.raises(ValueError, match=r"model\.qslim' belongs to another"):
        slim.runtime.Config(str(out / "model.json"), str(out / "model.pdiparams"))
    slim.runtime.Session(str(out / "model.qslim"))  # named, so it is meant
    os.remove(out / "model.json")
    os.rename(out / "model.pdiparams", out / "p")
    slim.runtime.Session(str(out))  # the only model here
    shutil.copy(tmp_path / "seed1" / "model.json", out / "other.json")
    with pytest.raises(ValueError, match="which is not beside it"):
        slim.runtime.Session(str(out))


def test_session_refuses_an_engine_file_that_does_not_say_its_model(tmp_path: Path) -> None:
    _ptq(tmp_path / "out", 0)
    save_qslim(_graph(0), tmp_path / "out" / "model.qslim")
    with pytest.raises(ValueError, match="does not say that it belongs"):
        slim.runtime.Session(str(tmp_path / "out"))


def test_session_refuses_a_directory_of_several_models(tmp_path: Path) -> None:
    out = tmp_path / "out"
    _ptq(out, 0)
    (out / "config.json").write_text("{}")
    slim.runtime.Session(str(out))
    shutil.copy(out / "model.json", out / "other.json")
    with pytest.raises(ValueError, match=r"several models \(model\.json, other\.json\)"):
        slim.runtime.Session(str(out))
