# SPDX-License-Identifier: Apache-2.0
"""Each command: its help, a good call, and bad ones, which write nothing and say why in one sentence."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from command_runner import runner
from small_networks import IRS, images, save_network, small_network

from qslim.cli.main import qslim
from qslim.runtime import Session

COMMANDS = (
    *("quantize", "prune", "compress", "export", "opt", "run"),
    *("inspect", "bench", "eval", "analyze", "doctor"),
)


def call(*arguments: Any) -> Result:
    return runner().invoke(qslim, [str(argument) for argument in arguments])


def good(*arguments: Any) -> str:
    done = call(*arguments)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def as_json(*arguments: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(good(*arguments, "--json"))
    return found


@pytest.fixture(scope="module", params=IRS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with float/, int8/ and x.npy."""
    work = tmp_path_factory.mktemp(request.param)
    save_network(small_network(), str(work / "float"), request.param)
    np.save(work / "x.npy", images(8))
    out = good(
        "quantize", "--model_dir", work / "float", "--save_dir", work / "int8", "--data", work / "x.npy"
    )
    assert "5 of 18 operators quantized, calibrated on 8 batches (8 samples)" in out
    return work


@pytest.fixture(scope="module")
def pir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("bad")
    save_network(small_network(), str(work / "float"), "pir")
    np.save(work / "x.npy", images(4))
    return work


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str) -> None:
    out = good(command, "--help")
    assert f"Usage: qslim {command}" in out
    assert "--config" in out


def test_quantize_echoes_its_settings_before_the_report(folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text(
        f"Model: {{model_dir: {folder / 'float'}}}\nData: {{path: {folder / 'x.npy'}, batch_size: 2}}\n"
        "Quantization: {algo: KL, weight_bits: 6}\n"
    )
    arguments = ("quantize", "-c", config, "--save_dir", tmp_path / "out", "-o", "Quantization.weight_bits=7")
    found = as_json(*arguments, "--batch_nums", 3)
    settings = found["settings"]
    assert settings["Quantization"]["weight_bits"] == 7
    assert (settings["Data"]["batch_size"], settings["Data"]["batch_nums"]) == (2, 3)
    assert (found["result"]["algo"], found["result"]["samples"]) == ("KL", 6)
    text = good(*arguments)
    assert text.index("weight_bits: 7") < text.index("operators quantized")
    assert "weight_bits" not in good(*arguments, "-q")


def test_weight_only_needs_no_data(folder: Path, tmp_path: Path) -> None:
    options = ("--weight_only", "-o", "WeightOnly.weight_bits=4")
    found = as_json("quantize", folder / "float", "--save_dir", tmp_path / "out", *options)
    assert found["result"]["engine_file"].startswith(str(tmp_path / "out"))
    Session(found["result"]["engine_file"])


def test_quantize_measures_accuracy_where_there_are_labels(folder: Path, tmp_path: Path) -> None:
    labels = Session(str(folder / "float")).run({"image": images(8)})[0].argmax(1)
    np.savez(tmp_path / "xy.npz", image=images(8), label=labels)
    data = ("--data", tmp_path / "xy.npz", "--batch_size", 4, "-o", "Quantization.accuracy_drop=25")
    found = as_json("quantize", folder / "float", "--save_dir", tmp_path / "out", *data)["result"]
    assert found["mixed_precision"]["measure"] == "the metric of eval_function"
    assert found["mixed_precision"]["metric_float"] == 100.0
    np.savez(tmp_path / "x.npz", image=images(8))
    data = ("--data", tmp_path / "x.npz", "-o", "Quantization.accuracy_drop=25")
    found = as_json("quantize", folder / "float", "--save_dir", tmp_path / "other", *data)["result"]
    assert found["mixed_precision"]["measure"].startswith("share of equal argmax")


def test_opt_writes_what_run_runs(folder: Path, tmp_path: Path) -> None:
    program = next(path for path in (folder / "int8").iterdir() if path.suffix in (".json", ".pdmodel"))
    out = good(
        "opt",
        f"--model_file={program}",
        f"--param_file={folder / 'int8' / 'model.pdiparams'}",
        "--optimize_out_type=naive_buffer",
        f"--optimize_out={tmp_path / 'opt'}",
        "--valid_targets=arm",
    )
    assert "1. Model is successfully loaded!\n2. Model is optimized and saved into" in out
    assert "5 of 5 convolutions and matrix products run in int8" in out
    assert os.listdir(tmp_path / "opt") == ["model.qslim"]
    output = tmp_path / "out.npz"
    listing = good("run", tmp_path / "opt", "--data", folder / "x.npy", "--batch_size", 4, "--output", output)
    expected = Session(str(folder / "int8" / "model.qslim")).run({"image": images(8)})[0]
    np.testing.assert_array_equal(next(iter(np.load(output).values())), expected)
    assert "Output dim: 40\n" in listing
    assert f"Output[0]: {expected[0, 0]:f}\n" in listing


def test_opt_reads_weights_stored_as_floats(folder: Path, tmp_path: Path) -> None:
    """PaddleSlim's older form, which tutorials call float: integers in float32."""
    stored = tmp_path / "float"
    data = ("--data", folder / "x.npy", "--batch_size", 8)
    files = (
        "-o",
        "Quantization.save_model_filename=model",
        "-o",
        "Quantization.save_params_filename=weights",
    )
    good(
        *("quantize", folder / "float", "--save_dir", stored, *data, *files),
        *("-o", "Quantization.onnx_format=false"),
    )
    given = (f"--model_file={stored / 'model'}", f"--param_file={stored / 'weights'}")
    found = as_json("opt", *given, f"--optimize_out={tmp_path / 'opt'}")["result"]
    assert found["int8_products"] == found["products"] == 5
    of_integers = tmp_path / "int8"
    good("quantize", folder / "float", "--save_dir", of_integers, *data)
    same = [Session(str(path)).run({"image": images(3)})[0] for path in (tmp_path / "opt", of_integers)]
    np.testing.assert_array_equal(*same)


def test_opt_lists_operators_and_kernels(folder: Path, tmp_path: Path) -> None:
    names = ("--model_filename=model.json", "--param_filename=model.pdiparams")
    model = (f"--model_dir={folder / 'float'}", *names)
    operators = as_json("opt", *model, "--print_model_ops=true")["result"]
    assert operators["Conv"]["count"] > 0
    assert all(each["supported"] for each in operators.values())
    out = tmp_path / "opt"
    kernels = as_json("opt", *model, f"--optimize_out={out}", "--display_kernels=true")["result"]["kernels"]
    assert sum(each["kernel"] != "" for each in kernels) >= operators["Conv"]["count"]
    assert "Usage: qslim opt" in good("opt", "-q")


def test_opt_of_a_float_model(folder: Path, tmp_path: Path) -> None:
    found = as_json("opt", f"--model_dir={folder / 'float'}", f"--optimize_out={tmp_path / 'm.qslim'}")
    assert (found["result"]["products"], found["result"]["int8_products"]) == (5, 0)
    assert os.listdir(tmp_path) == ["m.qslim"]


def test_run_times_and_takes_a_shape(folder: Path) -> None:
    found = as_json("run", folder / "float", "--shape", "image=2,3,16,16", "--repeats", 2)["result"]
    (output,) = found["outputs"].values()
    assert output["shape"] == [2, 5]
    assert found["milliseconds"] > 0


def test_inspect_says_what_runs_in_int8_and_why_not(folder: Path) -> None:
    found = as_json("inspect", folder / "int8")["result"]
    products = [row for row in found["operators"] if row["macs"]]
    assert {row["type"] for row in products} == {"int8"}
    assert found["weight_bytes"]["int8"] == 500
    assert found["inputs"] == [{"name": "image", "dtype": "float32", "shape": [None, 3, 16, 16]}]
    text = good("inspect", folder / "float")
    assert "0.0% of the multiply-adds in int8" in text
    of_file = as_json("inspect", folder / "int8" / "model.qslim")["result"]
    assert [row["op"] for row in of_file["operators"]] == [row["op"] for row in found["operators"]]


def test_bench_sets_layers_beside_float_and_peers(folder: Path) -> None:
    found = as_json("bench", folder / "int8", "--runs", 2)["result"]
    products = [row for row in found["layers"] if row["type"] == "int8" and row["op"].startswith("Conv")]
    assert len(products) >= 4
    assert all(row["seconds"] > 0 and row["float_seconds"] > 0 for row in products)
    assert set(found["milliseconds"]) >= {"qslim", "qslim, float", "ONNX Runtime", "ONNX Runtime, float"}
    assert found["missing"] == {}
    text = good("bench", folder / "float", "--runs", 1, "--no-peers")
    assert "ONNX Runtime" not in text.partition("whole run")[2]


def test_prune_writes_a_smaller_model_that_runs(folder: Path, tmp_path: Path) -> None:
    arguments = ("prune", folder / "float", "--save_dir", tmp_path / "out", "--ratio", "conv2d_*.w_0=0.25")
    found = as_json(*arguments)["result"]
    assert [6, 3, 3, 3] in [after for _, after in found["parameters"].values()]
    assert found["report"]["after"]["flops"] < found["report"]["before"]["flops"]
    assert f"wrote {tmp_path / 'out' / 'model'}" in good(*arguments)
    whole, cut = (
        Session(str(path)).run({"image": images(2)})[0] for path in (folder / "float", tmp_path / "out")
    )
    assert cut.shape == whole.shape
    assert np.abs(cut - whole).max() > 1e-4


def test_export_writes_onnx_and_the_engines_file(folder: Path, tmp_path: Path) -> None:
    import onnxruntime

    found = as_json("export", folder / "int8", "--save_file", tmp_path / "model.onnx", "--opset", 19)
    assert found["result"]["bytes"] == (tmp_path / "model.onnx").stat().st_size
    expected = Session(str(folder / "int8")).run({"image": images(4)})[0]
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    # A rounding that falls on the other side moves a sum of 8 by one step at most, of about 0.02 here.
    np.testing.assert_allclose(session.run(None, {"image": images(4)})[0], expected, atol=0.05)
    of_onnx = as_json("inspect", tmp_path / "model.onnx")["result"]
    assert (of_onnx["kind"], of_onnx["int8_macs"]) == ("ONNX model", 1.0)
    good("export", folder / "int8", "--save_file", tmp_path / "new" / "model.qslim")
    again = Session(str(tmp_path / "new" / "model.qslim")).run({"image": images(4)})[0]
    np.testing.assert_array_equal(again, expected)


def test_eval_compares_models_of_every_kind(folder: Path, tmp_path: Path) -> None:
    scores = Session(str(folder / "float")).run({"image": images(8)})[0]
    labels = scores.argmax(1)
    labels[:2] = (labels[:2] + 1) % 5  # two of eight are wrong
    np.savez(tmp_path / "xy.npz", image=images(8), label=labels)
    good("export", folder / "int8", "--save_file", tmp_path / "int8.onnx")
    models = (folder / "float", folder / "int8", folder / "int8" / "model.qslim", tmp_path / "int8.onnx")
    out = tmp_path / "compared"
    found = as_json("eval", *models, "--data", tmp_path / "xy.npz", "--batch_size", 4, "--save_dir", out)[
        "result"
    ]
    rows = found["scores"]
    assert [row["runtime"] for row in rows] == ["Paddle", "Paddle", "qslim", "ONNX Runtime"]
    assert (rows[0]["accuracy"], rows[0]["agreement"], rows[0]["difference"]) == (0.75, 1.0, 0.0)
    # Paddle's executor computes the engine's integers; what stays in float may round otherwise there.
    assert rows[1]["difference"] == pytest.approx(rows[2]["difference"], rel=1e-4)
    assert 0 < rows[2]["difference"] < 0.05
    assert (found["samples"], found["batches"]) == (8, 2)
    names = ["comparison.csv", "comparison.json", "comparison.png", "comparison.txt"]
    assert sorted(os.listdir(out)) == names
    assert (out / "comparison.csv").read_text().count("\n") == 5
    text = good("eval", *models, "--data", folder / "x.npy")
    assert "accuracy" in text.splitlines()[-6]


def test_analyze_writes_html(folder: Path, tmp_path: Path) -> None:
    arguments = ("analyze", folder / "float", "--data", folder / "x.npy", "--save_dir", tmp_path / "out")
    found = as_json(*arguments, "-o", "Quantization.weight_bits=4")["result"]
    assert len(found["layers"]) == 5
    assert "<html" in (tmp_path / "out" / "analysis.html").read_text()
    assert "5 layers analysed" in good(*arguments, "--quant_model_dir", folder / "int8")


def test_doctor() -> None:
    found = as_json("doctor", "--runs", 1)["result"]
    assert found["isa"] in found["isas"]
    assert all(gain["int8_seconds"] > 0 and gain["float_seconds"] > 0 for gain in found["gains"])
    assert "times as fast" in good("doctor", "--runs", 1)


BAD = [
    ("quantize float --data x.npy", "save_dir is missing: give --save_dir or -o save_dir=..."),
    ("quantize float --save_dir out", "Data.path is missing"),
    ("quantize nothing --save_dir out --data x.npy", "'nothing' does not exist"),
    (
        "quantize float --save_dir out --data x.npy -o Quantization.algorithm=KL",
        "did you mean Quantization.algo?",
    ),
    ("quantize float --save_dir out --data x.npy --algo KLL", "did you mean 'KL'?"),
    ("quantize float --save_dir out --data wrong.npy", "expected shape [any, 3, 16, 16], got [1, 3, 8, 8]"),
    ("quantize float --save_dir out --data x.npy -c no.yml", "'no.yml', line 2 is no YAML"),
    ("quantize float --save_dir out --data x.npy -c list.yml", "to hold keys with values, but it holds list"),
    ("quantize float --save_dir out --data x.npy -c missing.yml", "'missing.yml' is no file"),
    ("quantize float --save_dir x.npy/out --data x.npy", "x.npy"),
    (
        "quantize float --save_dir out --data x.npy -o Data.batch_size=two",
        "expected a whole number, got 'two'",
    ),
    ("quantize float --save_dir out --data nowhere:batches", "cannot import 'nowhere'"),
    ("opt --model_dir=float --optimize_out=out --valid_targets=opencl", "Wrong target 'opencl' found"),
    ("opt --model_dir=float --optimize_out=out --valid_targets=,", "At least one target should be set"),
    ("opt --model_dir=float --optimize_out=out --optimize_out_type=x", "Unsupported Model type :x"),
    ("opt --model_dir=float --optimize_out=out --optimize_out_type=protobuf", "protobuf is not written"),
    ("opt --model_dir=float", "optimize_out is missing"),
    ("opt --optimize_out=out", "model_dir is missing"),
    ("opt --model_file=float/model.json --optimize_out=out", "param_file is missing"),
    ("opt --model_dir=float --optimize_out=out --quant_model=true", "'qslim quantize'"),
    ("opt --model_set_dir=float --optimize_out=out", "call qslim opt for each directory"),
    (
        "opt --model_dir=float --optimize_out=out --display_kernels=maybe",
        "expected true or false, got 'maybe'",
    ),
    ("opt --model_dir=float --model_filename=no.json --param_filename=no.p --optimize_out=out", "no.json"),
    ("quantise float", "unknown command 'quantise': did you mean 'quantize'?"),
    ("frobnicate", "unknown command 'frobnicate': known are quantize,"),
    ("run nothing", "there is no such file or directory"),
    ("run float --shape image=0,3", "expected NAME=1,3,224,224, got 'image=0,3'"),
    ("run float --shape other=1,3", "no input 'other'"),
    ("run float --output out.txt", "expected the path of an .npz file"),
    ("inspect nothing", "there is no model 'nothing'"),
    ("inspect x.npy", "'x.npy' is a file"),
    ("inspect model.onnx", "ONNX"),
    ("inspect float --frobnicate", "No such option"),
    ("prune float --save_dir out", "ratios: give a ratio for one weight at least"),
    ("prune float --save_dir out --ratio conv=half", "expected NAME=RATIO, got 'conv=half'"),
    ("prune float --save_dir out --ratio conv2d=0.5", "has no parameter 'conv2d'"),
    ("prune float --save_dir out --ratio *=1.5", "1.5"),
    ("prune float --save_dir out --ratio *=0.5 --criterion l3", "criterion: expected one of"),
    ("export float", "save_file is missing"),
    ("export float --save_file out.pb", "expected one that ends in .onnx or .qslim"),
    ("export nothing --save_file out.onnx", "there is no model 'nothing'"),
    ("export float --save_file out.onnx --opset 3", "opset: expected 17 to 21, got 3"),
    ("bench nothing", "there is no model 'nothing'"),
    ("bench float --runs 0", "runs: expected a number of at least 1, got 0"),
    ("bench float --shape image=1,3,16", "expected"),
    ("eval float", "Data.path is missing: give --data or -o Data.path=..."),
    ("eval --data x.npy", "Models.paths is missing: give --model or -o Models.paths=..."),
    ("eval float nothing --data x.npy", "there is no model 'nothing'"),
    ("eval float model.onnx --data x.npy", "ONNX Runtime cannot open 'model.onnx'"),
    ("eval float --data labels.npz", "labels from 9 to 9, but the model has 5 classes"),
    ("eval float --data other.npz", "lacks feed 'image'"),
    ("analyze float --save_dir out", "Data.path is missing"),
    ("analyze float --data x.npy", "save_dir is missing"),
    ("analyze float --data x.npy --save_dir out -o Quantization.algos=KL", "did you mean Quantization.algo?"),
    (
        "quantize float --save_dir out --data x.npy --batch_size 0",
        "Data.batch_size: expected a number of at least",
    ),
    ("doctor --runs 0", "expected a number of at least 1, got 0"),
    ("doctor --runs many", "not a valid integer"),
    ("doctor -o run=1", "did you mean runs?"),
]


@pytest.mark.parametrize(("line", "message"), BAD, ids=[line for line, _ in BAD])
def test_bad_input_is_one_sentence_and_writes_nothing(
    line: str, message: str, pir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pir)
    np.save("wrong.npy", images(1, size=8))
    np.savez("labels.npz", image=images(2), label=np.int64([0, 9]))
    np.savez("other.npz", x=images(2))
    Path("no.yml").write_text("a: [1,\nb: }")
    Path("list.yml").write_text("- 1\n- 2\n")
    Path("model.onnx").write_bytes(b"\x08\x0a")
    before = sorted(os.listdir())
    done = call(*line.split())
    assert done.exit_code == 2, (done.output, done.exception)
    assert message in done.stderr
    if not isinstance(done.exception, SystemExit) or done.stderr.startswith("qslim:"):
        assert done.stderr.count("\n") == 1
    assert sorted(os.listdir()) == before
