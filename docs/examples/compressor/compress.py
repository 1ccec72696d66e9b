# SPDX-License-Identifier: Apache-2.0
"""compress.py of the tutorial "model quantization by training", on MNIST.

python -m qslim.paddleslim compress.py --batch_size 64 --model MobileNet --quant_only True
    --pretrained_model ./pretrain/MobileNetV1_pretrained --compress_config ./configs/quantization.yaml
"""

import argparse
import os

import models
import paddle
import paddle.fluid as fluid
import reader
from paddle.fluid.contrib.slim import Compressor


def boolean(text):
    return text.lower() in ("1", "true", "yes")


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--batch_size", type=int, default=64 * 4)
parser.add_argument("--use_gpu", type=boolean, default=False)
parser.add_argument("--model", default="MobileNet")
parser.add_argument("--pretrained_model", default=None)
parser.add_argument("--class_dim", type=int, default=10)
parser.add_argument("--image_shape", default="1,28,28")
parser.add_argument("--compress_config", required=True)
parser.add_argument("--quant_only", type=boolean, default=False, help="accepted for the tutorial's command")
parser.add_argument("--learning_rate", type=float, default=0.01)
parser.add_argument("--train_images", type=int, default=None)
parser.add_argument("--val_images", type=int, default=None)
args = parser.parse_args()

image_shape = [int(extent) for extent in args.image_shape.split(",")]
image = fluid.layers.data(name="image", shape=image_shape, dtype="float32")
label = fluid.layers.data(name="label", shape=[1], dtype="int64")
model = models.__dict__[args.model]()
out = model.net(input=image, class_dim=args.class_dim)
cost = fluid.layers.cross_entropy(input=out, label=label)
avg_cost = fluid.layers.mean(x=cost)
acc_top1 = fluid.layers.accuracy(input=out, label=label, k=1)
acc_top5 = fluid.layers.accuracy(input=out, label=label, k=5)

val_program = fluid.default_main_program().clone()
place = fluid.CUDAPlace(0) if args.use_gpu else fluid.CPUPlace()
exe = fluid.Executor(place)
exe.run(fluid.default_startup_program())


def if_exist(var):
    return os.path.exists(os.path.join(args.pretrained_model, var.name))


if args.pretrained_model:
    fluid.io.load_vars(exe, args.pretrained_model, predicate=if_exist)

rate = args.learning_rate
opt = fluid.optimizer.Momentum(
    momentum=0.9,
    learning_rate=fluid.layers.piecewise_decay(
        boundaries=[5000, 10000], values=[rate, rate / 10, rate / 100]
    ),
    regularization=fluid.regularizer.L2Decay(4e-5),
)
compressor = Compressor(
    place,
    fluid.global_scope(),
    fluid.default_main_program(),
    train_reader=paddle.batch(reader.train(args.train_images), batch_size=args.batch_size, drop_last=True),
    train_feed_list=[("image", image.name), ("label", label.name)],
    train_fetch_list=[("loss", avg_cost.name)],
    eval_program=val_program,
    eval_reader=paddle.batch(reader.val(args.val_images), batch_size=args.batch_size),
    eval_feed_list=[("image", image.name), ("label", label.name)],
    eval_fetch_list=[("acc_top1", acc_top1.name), ("acc_top5", acc_top5.name)],
    train_optimizer=opt,
)
compressor.config(args.compress_config)
compressor.run()
