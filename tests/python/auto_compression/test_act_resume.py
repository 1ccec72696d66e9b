# SPDX-License-Identifier: Apache-2.0
"""Runs of AutoCompression that end early: killed, refused by the callback, or stopped by a bad directory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from act_network import IMAGES, IRS, callback, loader, outputs

from qslim.auto_compression import AutoCompression
from qslim.quant import distributed

PRUNING: dict[str, Any] = {
    "ChannelPrune": {"pruned_ratio": 0.25},
    "UnstructurePrune": {
        "prune_strategy": "gmp",
        "prune_params_type": None,
        "ratio": 0.5,
        "gmp_config": {"pruning_iterations": 6, "pruning_steps": 3},
    },
}
# 30 steps of pruning with six evaluations, 3 steps of quantization with one.
LONGER: dict[str, Any] = {
    "train_iter": 30,
    "eval_iter": 5,
    "learning_rate": {"type": "CosineAnnealingDecay", "learning_rate": 0.01, "T_max": 60},
    "optimizer_builder": {"optimizer": {"type": "Adam"}},
}


def compress(model: str, save_dir: str, kind: str, die_at: str = "0") -> tuple[int, list[int]]:
    """Prune and quantize; kill this process in evaluation `die_at`. Return the evaluations and the steps."""
    calls, wanted = [], outputs(Path(model))

    def evaluate(*arguments: Any) -> float:
        calls.append(callback(wanted, [])(*arguments))
        if len(calls) == int(die_at):
            os.kill(os.getpid(), signal.SIGKILL)
        return calls[-1]

    config = {kind: PRUNING[kind], "QuantAware": {}, "Distillation": {}, "TrainConfig": LONGER}
    made = AutoCompression(model, loader, save_dir=save_dir, config=config, eval_callback=evaluate)
    report = made.compress()
    return len(calls), [each.steps for each in report.strategies]


def killed(*arguments: str) -> bool:
    """Call ``compress`` in another process; return True if that was killed."""
    code = "import sys, test_act_resume; test_act_resume.compress(*sys.argv[1:])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    return done.returncode == -signal.SIGKILL


@pytest.mark.parametrize(("ir", "kind"), [("legacy", "ChannelPrune"), ("pir", "UnstructurePrune")])
def test_a_killed_run_goes_on_to_the_same_bits(
    ir: str, kind: str, models: dict[str, Path], tmp_path: Path
) -> None:
    model, whole, out = str(models[ir]), tmp_path / "whole", tmp_path / "killed"
    # With the model itself there are 8 evaluations.
    assert compress(model, str(whole), kind) == (8, [30, 3])
    # After step 15; then, with those after 15, 20, 25 and 30 before, in quantization.
    for die_at, done in (("4", "training-0"), ("5", "0")):
        assert killed(model, str(out), kind, die_at)
        (work,) = out.glob("unfinished-*")
        assert (work / done).is_dir()
        assert not list(out.glob("inference*"))
    assert compress(model, str(out), kind) == (1, [30, 3])
    names = sorted(path.name for path in out.iterdir())
    assert names == sorted(path.name for path in whole.iterdir())
    for name in names:
        if not name.endswith(".pdmodel"):  # its variables are in any order
            assert (out / name).read_bytes() == (whole / name).read_bytes(), name


TRAINING = {"epochs": 2, "eval_iter": 4, "learning_rate": 1e-3}
CONFIG = {"QuantAware": {}, "Distillation": {}, "TrainConfig": TRAINING}


def test_a_callback_that_fails_loses_no_steps(models: dict[str, Path], tmp_path: Path) -> None:
    answers: list[Any] = [0.5, 0.25, float("nan")]
    seen: list[int] = []

    def evaluate(*_: Any) -> Any:
        seen.append(len(seen))
        return answers.pop(0)

    def made() -> AutoCompression:
        return AutoCompression(
            str(models["pir"]), loader, save_dir=str(tmp_path), config=CONFIG, eval_callback=evaluate
        )

    with pytest.raises(ValueError, match=r"eval_callback: expected a finite number .* after step 8, got nan"):
        made().compress()
    answers += [0.75, 0.5, 0.25]
    report = made().compress()
    # Steps 8, 12 and 16: the model itself and step 4 were evaluated before.
    assert len(seen) == 6
    assert report.before.metric == 0.5
    assert report.metric == 0.75
    assert sorted(os.listdir(tmp_path)) == ["inference.json", "inference.pdiparams", "inference.qslim"]


def test_a_callback_that_raises_at_first_leaves_no_trace(models: dict[str, Path], tmp_path: Path) -> None:
    def evaluate(*_: Any) -> float:
        raise KeyError("label")

    made = AutoCompression(
        str(models["pir"]), loader, save_dir=str(tmp_path / "x"), config=CONFIG, eval_callback=evaluate
    )
    with pytest.raises(ValueError, match="eval_callback raised KeyError with the model: 'label'"):
        made.compress()
    assert os.listdir(tmp_path) == []


def test_other_settings_leave_unfinished_work_alone(models: dict[str, Path], tmp_path: Path) -> None:
    wanted = outputs(models["pir"])
    count = []

    def evaluate(*arguments: Any) -> float:
        count.append(1)
        if len(count) == 3:
            raise KeyboardInterrupt
        return callback(wanted, [])(*arguments)

    def run(config: dict[str, Any]) -> None:
        AutoCompression(
            str(models["pir"]), loader, save_dir=str(tmp_path), config=config, eval_callback=evaluate
        ).compress()

    with pytest.raises(KeyboardInterrupt):
        run(CONFIG)
    (work,) = tmp_path.glob("unfinished-*")
    run({**CONFIG, "TrainConfig": {**TRAINING, "epochs": 1}})
    assert (work / "training-0/0/parameters.npz").exists()
    run(CONFIG)
    assert not work.exists()


def test_output_that_cannot_be_written_is_found_before_the_work(
    models: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    made = AutoCompression(
        str(models["pir"]), lambda: pytest.fail("read"), save_dir=str(tmp_path / "file"), config=CONFIG
    )
    with pytest.raises(ValueError, match=r"file"):
        made.compress()
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("ir", IRS)
def test_data_that_do_not_fit(ir: str, models: dict[str, Path], tmp_path: Path) -> None:
    cases: list[tuple[Any, str]] = [
        (
            [{"image": IMAGES[:4, :, :4]}],
            r"train_dataloader: batch 0, feed 'image': expected shape \[any, 1, 8, 8\]",
        ),
        ([{"picture": IMAGES[:4]}], "batch 0 lacks feed 'image'; it has 'picture'"),
        ([], "yielded no batch"),
        ([{"image": np.full((4, 1, 8, 8), np.nan, np.float32)}], "256 of 256 values are NaN or infinite"),
        (lambda: 3, "the function returned int, which yields no batches"),
    ]
    for data, said in cases:
        made = AutoCompression(str(models[ir]), data, save_dir=str(tmp_path / "x"), config=CONFIG)
        with pytest.raises(ValueError, match=said):
            made.compress()
    assert os.listdir(tmp_path) == []


def test_training_is_refused_in_several_processes(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = AutoCompression(str(models["pir"]), loader, save_dir=str(tmp_path / "x"), config=CONFIG)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    with pytest.raises(ValueError, match="training runs in one process, and this is one of 2"):
        made.compress()
    assert os.listdir(tmp_path) == []
