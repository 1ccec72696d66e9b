# SPDX-License-Identifier: Apache-2.0
"""Distill: Layers whose inner tensors follow those of teachers, by a list of dicts or a YAML file.

    loss = sum over layers of weight * loss_function(student / temperature, teacher / temperature)

Source: paddleslim 2.6.0, dygraph/dist/distill.py (configuration and signature).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Optional, Union

from qslim.distillation.feature_losses import LOSSES, check_options
from qslim.files.staging import staged_file
from qslim.files.yaml_file import parse_yaml
from qslim.paddle.framework import paddle_module
from qslim.quant.options import choose

__all__ = ["Distill", "config2yaml", "yaml2config"]

paddle = paddle_module()

_SECTION = "DistillConfig"
_FUNCTIONAL = "wrap_fn_"


def yaml2config(yaml_path: str) -> list[dict[str, Any]]:
    """Return the configuration in a YAML file, whose top level is a list of ``DistillConfig: [...]``.

    Raises
    ------
    ValueError : it is no YAML, or of another form.
    """
    with open(yaml_path, "rb") as file:
        loaded = parse_yaml(file.read(), f"Distill: {yaml_path!r}")
    if not isinstance(loaded, list) or not all(
        isinstance(part, Mapping) and _SECTION in part for part in loaded
    ):
        raise ValueError(f"Distill: {yaml_path!r}: expected a list of {_SECTION!r}")
    return [config for part in loaded for config in part[_SECTION]]


def config2yaml(configs: Sequence[Mapping[str, Any]], yaml_path: str) -> None:
    """Write `configs` as a YAML file that ``yaml2config`` reads."""
    import yaml  # type: ignore[import-untyped, unused-ignore]

    with staged_file(yaml_path) as staging, open(staging, "w", encoding="utf-8") as file:
        yaml.safe_dump([{_SECTION: copy.deepcopy(list(configs))}], file, sort_keys=False)


@dataclass(frozen=True)
class _Follow:
    """One loss between a student's tensor and a teacher's."""

    layers_name: Sequence[str]
    loss_function: str
    model_name_pairs: Sequence[Any] = (("student_0", "teacher_0"),)
    io: Sequence[str] = ("output", "output")
    idx: Sequence[Optional[int]] = (None, None)
    weight: float = 1.0
    temperature: float = 1.0
    align_params: Optional[Mapping[str, Any]] = None
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_options(self.loss_function, self.options)
        for key in ("layers_name", "io", "idx"):
            value = getattr(self, key)
            if not isinstance(value, (list, tuple)) or len(value) != 2:
                raise ValueError(
                    f"Distill: {key}: expected two, the student's and the teacher's, got {value!r}"
                )
        for each in self.io:
            choose("Distill: io", each, ("input", "output"))
        if not self.temperature > 0:
            raise ValueError(f"Distill: temperature: expected a number > 0, got {self.temperature!r}")

    def keys(self, pair: Sequence[str]) -> list[tuple[str, str, str]]:
        """Return (model, layer, "input" or "output") of both tensors."""
        return list(zip(pair, self.layers_name, self.io))


class Distill(paddle.nn.Layer):  # type: ignore[misc, name-defined]
    """Students that follow teachers.

    Parameters
    ----------
    configs : list of dict, or the path of a YAML file
        Each with ``layers``, a list of dicts, and keys that hold for all of them where they have none
        themselves: ``layers_name`` [student's sublayer, teacher's], ``loss_function`` (CELoss, DMLLoss,
        KLLoss, DistanceLoss, MSELoss, L1Loss, SmoothL1Loss, RKdAngle, RkdDistance, RKDLoss) and its options,
        ``io`` ["output", "output"] or "input", ``idx`` [None, None], which of several, ``weight``,
        ``temperature``, ``align_params``, ``model_name_pairs`` [["student_0", "teacher_0"]].
    students, teachers : paddle.nn.Layer or a list of them
        No gradient reaches the teachers; put them in evaluation mode. They are no part of ``parameters()``.
    convert_fn : bool
        Accepted. Sublayers are what can be named, not functions (``wrap_fn_softmax_0``).
    return_model_outputs : bool

    Returns
    -------
    Of a call, the loss, and with ``return_model_outputs`` the students' and the teachers' outputs, lists
    where there are several.

    Raises
    ------
    ValueError : a key, loss or sublayer that is not known, the nearest named; tensors of different shapes.

    Examples
    --------
    >>> import paddle
    >>> import qslim as slim
    >>> Linear = paddle.nn.Linear
    >>> student, teacher = [paddle.nn.Sequential(Linear(4, n), Linear(n, 3)) for n in (2, 8)]
    >>> _ = teacher.eval()
    >>> config = {"loss_function": "MSELoss", "layers": [{"layers_name": ["1", "1"]}]}
    >>> distill = slim.dist.Distill([config], student, teacher)
    >>> loss, ours, theirs = distill(paddle.ones([5, 4]))
    >>> bool(loss == paddle.nn.functional.mse_loss(ours, theirs)), list(ours.shape)
    (True, [5, 3])
    """

    def __init__(
        self,
        configs: Union[str, Sequence[Mapping[str, Any]]],
        students: Any,
        teachers: Any,
        convert_fn: bool = True,
        return_model_outputs: bool = True,
    ) -> None:
        super().__init__()
        del convert_fn
        loaded = yaml2config(configs) if isinstance(configs, str) else configs
        if not isinstance(loaded, (list, tuple)):
            raise ValueError(f"Distill: configs: expected a list of dicts, got {type(loaded).__name__}")
        self._return_model_outputs = return_model_outputs
        self._students = paddle.nn.LayerList(_listed(students, "students"))
        # In a tuple, so that they are no sublayers: neither trained nor put in training mode.
        self._teachers = tuple(_listed(teachers, "teachers"))
        self._models: Mapping[str, Any] = {
            **{f"student_{number}": each for number, each in enumerate(self._students)},
            **{f"teacher_{number}": each for number, each in enumerate(self._teachers)},
        }
        self._follows = [follow for config in loaded for follow in _unfolded(config)]
        self._aligners = paddle.nn.LayerList()
        self._aligner_of: dict[int, int] = {}
        for number, follow in enumerate(self._follows):
            if follow.align_params is not None:
                self._aligner_of[number] = len(self._aligners)
                self._aligners.append(_aligner(follow.align_params))
        self._seen: dict[tuple[str, str, str], Any] = {}
        for key in {key: None for f in self._follows for pair in f.model_name_pairs for key in f.keys(pair)}:
            self._watch(key)

    def _watch(self, key: tuple[str, str, str]) -> None:
        name, layer, io = key
        model = self._models[choose("Distill: model_name_pairs", name, self._models)]
        if _FUNCTIONAL in layer:
            raise ValueError(
                f"Distill: layers_name: {layer!r} is a function; name a sublayer: its input or output (io) "
                "is that of a layer, such as paddle.nn.Softmax in place of paddle.nn.functional.softmax"
            )
        sublayers = dict(model.named_sublayers())
        watched = sublayers[choose(f"Distill: layers_name: a sublayer of {name}", layer, sublayers)]

        def keep(_: Any, inputs: Any, outputs: Any) -> None:
            self._seen[key] = inputs if io == "input" else outputs

        watched.register_forward_post_hook(keep)

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        self._seen.clear()
        ours = [each(*inputs, **keywords) for each in self._students]
        with paddle.no_grad():
            theirs = [each(*inputs, **keywords) for each in self._teachers]
        terms = []
        for number, follow in enumerate(self._follows):
            for pair in follow.model_name_pairs:
                terms.append(self._term(number, follow, pair) * follow.weight)
        self._seen.clear()
        loss = sum(terms[1:], terms[0])
        if not self._return_model_outputs:
            return loss
        return loss, *(outputs[0] if len(outputs) == 1 else outputs for outputs in (ours, theirs))

    def _term(self, number: int, follow: _Follow, pair: Sequence[str]) -> Any:
        tensors = [self._tensor(key, index) for key, index in zip(follow.keys(pair), follow.idx)]
        if number in self._aligner_of:
            assert follow.align_params is not None
            side = ("student", "teacher").index(follow.align_params.get("transpose_model", "student"))
            tensors[side] = self._aligners[self._aligner_of[number]](tensors[side])
        shapes = [list(tensor.shape) for tensor in tensors]
        if shapes[0] != shapes[1] and not follow.loss_function.lower().startswith("rkd"):
            raise ValueError(
                f"Distill: {list(follow.layers_name)}: the tensors have shapes {shapes[0]} and {shapes[1]}; "
                "choose layers of one shape, or give align_params"
            )
        scaled = [tensor if follow.temperature == 1.0 else tensor / follow.temperature for tensor in tensors]
        return LOSSES[follow.loss_function](*scaled, **follow.options)

    def _tensor(self, key: tuple[str, str, str], index: Optional[int]) -> Any:
        if key not in self._seen:
            raise ValueError(
                f"Distill: {key[0]}: the sublayer {key[1]!r} was not called in this forward pass"
            )
        found = self._seen[key]
        if isinstance(found, (list, tuple)):
            if index is None and len(found) != 1:
                raise ValueError(
                    f"Distill: {key[0]}: the sublayer {key[1]!r} has {len(found)} {key[2]}s; say which "
                    "with idx"
                )
            return found[index or 0]
        return found


def _listed(models: Any, argument: str) -> list[Any]:
    found = [models] if isinstance(models, paddle.nn.Layer) else list(models)
    if not found or not all(isinstance(each, paddle.nn.Layer) for each in found):
        raise ValueError(f"Distill: {argument}: expected a paddle.nn.Layer or a list of them, got {models!r}")
    return found


def _unfolded(config: Mapping[str, Any]) -> list[_Follow]:
    """Return the losses of one dict of the configuration, which stays as it is."""
    if not isinstance(config, Mapping) or not config.get("layers"):
        raise ValueError(f"Distill: configs: expected dicts with a list 'layers', got {config!r}")
    common = {key: value for key, value in config.items() if key != "layers"}
    known = {item.name for item in fields(_Follow)} - {"options"}
    found = []
    for layer in config["layers"]:
        given = copy.deepcopy({**common, **layer})
        for key in ("layers_name", "loss_function"):
            if key not in given:
                raise ValueError(f"Distill: configs: {key} is missing in {given!r}")
        pairs = given.get("model_name_pairs")
        if pairs and isinstance(pairs[0], str):
            given["model_name_pairs"] = [pairs]
        options = {key: given.pop(key) for key in list(given) if key not in known}
        found.append(_Follow(**given, options=options))
    return found


def _aligner(params: Mapping[str, Any]) -> Any:
    """Return the Layer that gives a tensor the channels of the other model's."""
    known = ("align_type", "in_channel", "out_channel", "transpose_model", "weight_init")
    for key in params:
        choose("Distill: align_params", key, known)
    choose(
        "Distill: align_params: transpose_model",
        params.get("transpose_model", "student"),
        ("student", "teacher"),
    )
    kinds = ("1x1conv", "3x3conv", "1x1conv+bn", "3x3conv+bn", "linear")
    kind = choose("Distill: align_params: align_type", str(params.get("align_type")).lower(), kinds)
    extents = params["in_channel"], params["out_channel"]
    attributes = _initial(params.get("weight_init"))
    if kind == "linear":
        return paddle.nn.Linear(*extents, **attributes)
    size = int(kind[0])
    convolution = paddle.nn.Conv2D(*extents, size, padding=size // 2, **attributes)
    if kind.endswith("bn"):
        return paddle.nn.Sequential(convolution, paddle.nn.BatchNorm2D(extents[1]))
    return convolution


def _initial(weight_init: Optional[Mapping[str, Any]]) -> dict[str, Any]:
    """Return ``weight_attr`` and ``bias_attr`` for the dict of a configuration."""
    if weight_init is None:
        return {}
    given, initializers = dict(weight_init), paddle.nn.initializer
    known = [name for name in dir(initializers) if isinstance(getattr(initializers, name), type)]
    kind = choose("Distill: weight_init: initializer", given.pop("initializer", None), known)
    if kind != "Assign":
        return {"weight_attr": paddle.ParamAttr(initializer=getattr(initializers, kind)(**given))}
    loaded, names = paddle.load(given["params_path"]), given["params_name"]
    names = [names] if isinstance(names, str) else list(names)
    values = [loaded[choose("Distill: weight_init: params_name", name, loaded)] for name in names]
    attributes = [paddle.ParamAttr(initializer=initializers.Assign(value)) for value in values]
    return dict(zip(("weight_attr", "bias_attr"), attributes))
