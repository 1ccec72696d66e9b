# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import paddle
import pytest
from small_networks import IRS, save_network, small_network

from qslim.importers.paddle import ModelFileError, find_model_files, load_program
from qslim.paddle.params_file import read_records


@pytest.fixture(scope="module", params=IRS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp(request.param)
    return Path(save_network(small_network(), str(directory), request.param))


def _program_name(model: Path) -> str:
    return next(path.name for path in model.iterdir() if path.suffix in (".json", ".pdmodel"))


def test_finds_a_model_by_directory_prefix_or_either_ending(model: Path) -> None:
    wanted = find_model_files(str(model))
    assert find_model_files(str(model / "model")) == wanted
    for name in ("model", "model.json", "model.pdmodel"):
        assert find_model_files(str(model), name, "model.pdiparams") == wanted
    assert wanted.bytes == sum(
        (model / name).stat().st_size for name in (_program_name(model), "model.pdiparams")
    )


def test_records_are_the_parameters(model: Path) -> None:
    program = load_program(find_model_files(str(model)))
    data = (model / "model.pdiparams").read_bytes()
    records = read_records(str(model / "model.pdiparams"))
    for name, record in zip(sorted(program.parameter_names), records):
        value = program.parameter(name)
        assert record.dims == value.shape
        assert data[record.offset : record.offset + record.nbytes] == value.tobytes()
    assert len(records) == len(program.parameter_names)


@pytest.mark.parametrize("keep", [0.0, 0.001, 0.3, 0.7, 0.999])
def test_a_truncated_parameter_file_is_refused(model: Path, tmp_path: Path, keep: float) -> None:
    shutil.copytree(model, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "model.pdiparams"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(ModelFileError, match=r"truncated|empty"):
        load_program(find_model_files(str(tmp_path)))


def test_a_file_cut_between_two_parameters_is_refused(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "model.pdiparams"
    last = read_records(str(path))[-2]
    path.write_bytes(path.read_bytes()[: last.offset + last.nbytes])
    with pytest.raises(ModelFileError):
        load_program(find_model_files(str(tmp_path)))


def test_damaged_files_are_refused_and_the_mode_stays(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path, dirs_exist_ok=True)
    rng = np.random.default_rng(0)
    for name in (_program_name(model), "model.pdiparams"):
        good = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(rng.bytes(len(good)))
        with pytest.raises(ModelFileError):
            load_program(find_model_files(str(tmp_path)))
        (tmp_path / name).write_bytes(good)
        assert paddle.in_dynamic_mode()


def test_parameters_of_another_network_are_refused(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path, dirs_exist_ok=True)
    ir = "pir" if (model / "model.json").exists() else "legacy"
    other = save_network(paddle.nn.Conv2D(3, 4, 3), str(tmp_path / "other"), ir)
    shutil.copy(Path(other) / "model.pdiparams", tmp_path / "model.pdiparams")
    with pytest.raises(ModelFileError, match="do not belong together"):
        load_program(find_model_files(str(tmp_path)))


def test_messages_name_what_was_expected_and_seen(model: Path, tmp_path: Path) -> None:
    for arguments, pattern in (
        ((str(tmp_path / "nowhere"),), "does not exist"),
        ((str(model / "model.pdiparams"),), "is a file"),
        ((str(tmp_path),), "found none"),
        ((str(model), "modl.json"), "did you mean 'model"),
        ((str(model), "model", "params"), "params.*does not exist"),
    ):
        with pytest.raises(ModelFileError, match=pattern):
            find_model_files(*arguments)
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(ModelFileError, match="is a directory"):
        find_model_files(str(tmp_path), "folder.json")
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(ModelFileError, match="name it with model_filename"):
        find_model_files(str(tmp_path))
