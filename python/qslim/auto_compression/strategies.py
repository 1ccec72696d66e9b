# SPDX-License-Identifier: Apache-2.0
"""The sections of an AutoCompression configuration as dataclasses, with PaddleSlim's fields and defaults.

Source: paddleslim 2.6.0, auto_compression/strategy_config.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Callable, Optional, Union

from qslim.logger import logger
from qslim.prune import Pruner
from qslim.prune.gmp import GMPSchedule
from qslim.prune.sparse_masks import SparseRule
from qslim.quant.op_types import DEFAULT_OP_TYPES
from qslim.quant.options import ALGORITHMS, PostTrainingOptions, check_int, check_part, choose
from qslim.quant.programs import StaticQATConfig

__all__ = [
    "ASPPrune",
    "ChannelPrune",
    "Distillation",
    "HyperParameterOptimization",
    "MultiTeacherDistillation",
    "QuantAware",
    "QuantPost",
    "Term",
    "UnstructurePrune",
]

_LOSSES = ("l2", "soft_label")


@dataclass(frozen=True)
class QuantAware:
    """Quantization-aware training; see ``qslim.quant.quant_aware`` for the fields."""

    quantize_op_types: Sequence[str] = DEFAULT_OP_TYPES
    weight_bits: int = 8
    activation_bits: int = 8
    not_quant_pattern: Sequence[str] = ("skip_quant",)
    use_pact: bool = False
    activation_quantize_type: str = "moving_average_abs_max"
    weight_quantize_type: str = "channel_wise_abs_max"
    dtype: str = "int8"
    window_size: int = 10000
    moving_rate: float = 0.9
    for_tensorrt: bool = False
    onnx_format: bool = True
    is_full_quantize: bool = False

    def __post_init__(self) -> None:
        StaticQATConfig.from_dict(self.options)
        if self.use_pact:
            logger.warning("QuantAware: use_pact has no effect: thresholds follow the largest magnitudes")

    @property
    def options(self) -> dict[str, Any]:
        """The configuration of ``quant_aware``."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name != "use_pact"}


@dataclass(frozen=True)
class QuantPost:
    """Post-training quantization; see ``qslim.quant.quant_post_static`` for the fields."""

    batch_size: int = 32
    batch_nums: Optional[int] = None
    epochs: int = 20
    lr: float = 0.1
    algo: str = "hist"
    hist_percent: float = 0.999
    regions: Any = None
    region_weights_names: Any = None
    recon_level: Optional[str] = None
    is_full_quantize: bool = False
    bias_correction: bool = False
    weight_quantize_type: str = "channel_wise_abs_max"
    activation_quantize_type: str = "range_abs_max"
    simulate_activation_quant: bool = False
    skip_tensor_list: Any = None
    onnx_format: bool = True
    quantize_op_types: Sequence[str] = ("conv2d", "depthwise_conv2d", "mul", "matmul", "matmul_v2")
    weight_bits: int = 8
    activation_bits: int = 8

    def __post_init__(self) -> None:
        # What is wrong is found now, and not behind the training of another strategy.
        _check_post(self)
        choose("recon_level", self.recon_level, (None, "layer-wise"))

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of ``quant_post_static``, or of ``quant_recon_static`` with a ``recon_level``."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        values["quantizable_op_type"] = values.pop("quantize_op_types")
        if self.recon_level is None:
            for key in (
                "epochs",
                "lr",
                "regions",
                "region_weights_names",
                "recon_level",
                "simulate_activation_quant",
            ):
                values.pop(key)
        return values


@dataclass(frozen=True)
class HyperParameterOptimization:
    """Search of the options of ``QuantPost``; see ``qslim.quant.quant_post_hpo``.

    Attributes
    ----------
    ptq_algo, bias_correct, weight_quantize_type : lists of what is tried
    hist_percent : list of two numbers, between which "hist" takes its own
    batch_num : list of two numbers of batches, both of which are tried
    max_quant_count : int; at most so many settings are tried
    """

    ptq_algo: Sequence[str] = ("KL", "hist", "avg", "mse")
    bias_correct: Sequence[bool] = (True, False)
    weight_quantize_type: Sequence[str] = ("channel_wise_abs_max",)
    hist_percent: Sequence[float] = (0.98, 0.999)
    batch_num: Sequence[int] = (10, 30)
    max_quant_count: int = 20

    def __post_init__(self) -> None:
        check_int("max_quant_count", self.max_quant_count, 1)
        for key in ("ptq_algo", "bias_correct", "weight_quantize_type", "hist_percent", "batch_num"):
            if not isinstance(getattr(self, key), (list, tuple)) or not getattr(self, key):
                raise ValueError(f"{key}: expected a list of values, got {getattr(self, key)!r}")
        for algo in self.ptq_algo:
            choose("ptq_algo", algo, ALGORITHMS)
        for kind in self.weight_quantize_type:
            PostTrainingOptions(weight_quantize_type=kind)
        for share in self.hist_percent:
            PostTrainingOptions(hist_percent=share)
        for count in self.batch_num:
            check_int("batch_num", count, 1)

    def options(self, post: QuantPost) -> dict[str, Any]:
        """Return the arguments of ``quant_post_hpo``; what is no list here comes from `post`."""
        kept = ("is_full_quantize", "onnx_format", "weight_bits", "activation_bits")
        return {
            **{key: getattr(post, key) for key in kept},
            "quantizable_op_type": post.quantize_op_types,
            "algo": self.ptq_algo,
            "bias_correct": self.bias_correct,
            "weight_quantize_type": self.weight_quantize_type,
            "hist_percent": self.hist_percent,
            "batch_num": self.batch_num,
            "runcount_limit": self.max_quant_count,
        }


@dataclass(frozen=True)
class ChannelPrune:
    """Whole filters are cut before training.

    Attributes
    ----------
    pruned_ratio : float in [0, 1), or a list of them, one for each of ``prune_params_name``
    prune_params_name : list of str; weights of convolutions, default: all whose groups are 1
    criterion : {"l1_norm", "l2_norm", "geometry_median", "bn_scale"} or callable, as for ``prune.Pruner``
    """

    pruned_ratio: Union[float, Sequence[float]]
    prune_params_name: Optional[Sequence[str]] = None
    criterion: Union[str, Callable[..., Any]] = "l1_norm"

    def __post_init__(self) -> None:
        Pruner(self.criterion)
        is_list = isinstance(self.pruned_ratio, (list, tuple))
        for ratio in self.pruned_ratio if is_list else [self.pruned_ratio]:  # type: ignore[union-attr]
            check_part("pruned_ratio", ratio)
        _check_names("prune_params_name", self.prune_params_name)

    def ratios(self, convolutions: Sequence[str]) -> dict[str, float]:
        """Return the ratio of each weight; by default those of `convolutions` are pruned."""
        names = list(convolutions) if self.prune_params_name is None else list(self.prune_params_name)
        if isinstance(self.pruned_ratio, (int, float)):
            return dict.fromkeys(names, float(self.pruned_ratio))
        if len(self.pruned_ratio) != len(names):
            raise ValueError(
                f"ChannelPrune.pruned_ratio: expected one number, or one for each of {names}, got "
                f"{len(self.pruned_ratio)} numbers"
            )
        return dict(zip(names, map(float, self.pruned_ratio)))


@dataclass(frozen=True)
class ASPPrune:
    """Two of four weights in a row of input channels become zero, and training goes on with the rest.

    Attributes
    ----------
    prune_params_name : list of str
        Weights of convolutions and matrix products, default: all whose groups are 1.
    """

    prune_params_name: Optional[Sequence[str]] = None

    def __post_init__(self) -> None:
        _check_names("prune_params_name", self.prune_params_name)


@dataclass(frozen=True)
class UnstructurePrune:
    """Single weights of small magnitude become zero while the network trains.

    Attributes
    ----------
    prune_strategy : None, or "gmp", by which the ratio rises step by step
    prune_mode : {"ratio", "threshold"}
    threshold : float; magnitude below which weights are pruned, in mode "threshold"
    ratio : float in [0, 1); share of the weights to prune, in mode "ratio"
    gmp_config : dict of stable_iterations, pruning_iterations, tunning_iterations, pruning_steps,
        initial_ratio, resume_iteration; default: 45 % of the training prune and 45 % follow
    prune_params_type : None, or "conv1x1_only"
    local_sparsity : bool; the ratio holds for each weight, and not for all together
    """

    prune_strategy: Optional[str] = None
    prune_mode: str = "ratio"
    threshold: float = 0.01
    ratio: float = 0.55
    gmp_config: Optional[Mapping[str, Any]] = None
    prune_params_type: Optional[str] = "conv1x1_only"
    local_sparsity: bool = False

    def __post_init__(self) -> None:
        choose("prune_strategy", self.prune_strategy, (None, "gmp"))
        choose("prune_params_type", self.prune_params_type, (None, "conv1x1_only"))
        SparseRule(self.prune_mode, self.ratio, self.threshold, self.local_sparsity)
        if self.prune_strategy == "gmp":
            choose("prune_mode: with prune_strategy 'gmp'", self.prune_mode, ("ratio",))
            if self.gmp_config is not None:
                GMPSchedule.from_configs(self.gmp_config, self.ratio)


@dataclass(frozen=True)
class Term:
    """One distance of a loss: its name, its weight, tensors of the model, and the teacher's files.

    ``nodes`` is [] for the default, ``teacher`` None for the model itself.
    """

    loss: str
    alpha: float
    nodes: list[str]
    teacher: Optional[tuple[Any, Any, Any]]


@dataclass(frozen=True)
class Distillation:
    """Distance to the outputs of the float model, or of another one.

    Attributes
    ----------
    loss : {"l2", "soft_label"} or a list of them
    node : list of str, or a list of lists, one for each loss
        Tensors of the model, by a legacy program's names or by the Graph's ("add_1"). Default: what the last
        weighted operators give, in front of a softmax.
    alpha : float or list of float; weights of the losses
    teacher_model_dir, teacher_model_filename, teacher_params_filename : str
        Default: the model itself before it was quantized.
    """

    loss: Union[str, Sequence[str]] = "l2"
    node: Sequence[Any] = ()
    alpha: Union[float, Sequence[float]] = 1.0
    teacher_model_dir: Optional[str] = None
    teacher_model_filename: Optional[str] = None
    teacher_params_filename: Optional[str] = None

    def __post_init__(self) -> None:
        for name in self.losses:
            choose("Distillation.loss", name, _LOSSES)
        if len(self.alphas) != len(self.losses) or (self.node and len(self.nodes) != len(self.losses)):
            raise ValueError(
                f"Distillation: expected one alpha and one list of nodes for each of {self.losses}, got "
                f"alpha={self.alpha!r} and node={self.node!r}"
            )

    @property
    def losses(self) -> list[str]:
        return [self.loss] if isinstance(self.loss, str) else list(self.loss)

    @property
    def alphas(self) -> list[float]:
        if isinstance(self.alpha, (int, float)):
            return [float(self.alpha)]
        return [float(value) for value in self.alpha]

    @property
    def terms(self) -> list[Term]:
        """The distances to add up."""
        files = self.teacher_model_dir, self.teacher_model_filename, self.teacher_params_filename
        teacher = None if self.teacher_model_dir is None else files
        return [Term(*each, teacher) for each in zip(self.losses, self.alphas, self.nodes)]

    @property
    def nodes(self) -> list[list[str]]:
        """Nodes of each loss; [] means the default."""
        if not self.node:
            return [[] for _ in self.losses]
        if isinstance(self.node[0], str):
            return [list(self.node)]
        return [list(names) for names in self.node]


@dataclass(frozen=True)
class MultiTeacherDistillation:
    """Distances to several models: the fields are ``Distillation``'s, as lists with one entry for each."""

    loss: Sequence[str] = ()
    node: Sequence[Any] = ()
    alpha: Sequence[float] = ()
    teacher_model_dir: Sequence[str] = ()
    teacher_model_filename: Sequence[Optional[str]] = ()
    teacher_params_filename: Sequence[Optional[str]] = ()

    def __post_init__(self) -> None:
        for item in fields(self):
            if not isinstance(getattr(self, item.name), (list, tuple)):
                raise ValueError(
                    f"{item.name}: expected a list, one entry for each teacher, got "
                    f"{getattr(self, item.name)!r}"
                )
        if not self.teacher_model_dir:
            raise ValueError("teacher_model_dir: expected the directories of the teachers, got none")
        self.terms  # noqa: B018  names an unknown loss

    @property
    def terms(self) -> list[Term]:
        """The distances to add up; a list of one entry, or of none, stands for all teachers."""
        count = len(self.teacher_model_dir)
        losses = self._of_all("loss", count, "l2")
        nodes = [
            [names] if isinstance(names, str) else list(names) for names in self._of_all("node", count, [])
        ]
        files = zip(
            self.teacher_model_dir,
            self._of_all("teacher_model_filename", count, None),
            self._of_all("teacher_params_filename", count, None),
        )
        alphas = [float(alpha) for alpha in self._of_all("alpha", count, 1.0)]
        return [
            Term(choose("MultiTeacherDistillation.loss", *each[:1], _LOSSES), *each[1:])
            for each in zip(losses, alphas, nodes, files)
        ]

    def _of_all(self, key: str, count: int, default: Any) -> list[Any]:
        values = list(getattr(self, key)) or [default]
        if len(values) not in (1, count):
            raise ValueError(
                f"MultiTeacherDistillation.{key}: expected one entry for each of {count} teachers, got "
                f"{len(values)}"
            )
        return values * count if len(values) == 1 else values


def _check_post(post: QuantPost) -> None:
    known = {item.name for item in fields(PostTrainingOptions)}
    PostTrainingOptions(**{key: value for key, value in post.options.items() if key in known})


def _check_names(key: str, names: Any) -> None:
    if names is None:
        return
    if isinstance(names, str) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{key}: expected a list of names or None, got {names!r}")
