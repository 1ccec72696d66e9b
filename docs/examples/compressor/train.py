# SPDX-License-Identifier: Apache-2.0
"""Train the float network and save each variable to a file of its own: --pretrained_model of compress.py.

python -m qslim.paddleslim train.py --model MobileNet_x0_25 --train_images 8192
"""

import argparse

import models
import numpy as np
import paddle
import paddle.fluid as fluid
import reader

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--model", default="MobileNet")
parser.add_argument("--batch_size", type=int, default=64)
parser.add_argument("--epochs", type=int, default=1)
parser.add_argument("--learning_rate", type=float, default=0.05)
parser.add_argument("--train_images", type=int, default=None)
parser.add_argument("--output", default="./pretrain/MobileNetV1_pretrained")
args = parser.parse_args()

image = fluid.layers.data(name="image", shape=[1, 28, 28], dtype="float32")
label = fluid.layers.data(name="label", shape=[1], dtype="int64")
out = models.__dict__[args.model]().net(input=image, class_dim=10)
avg_cost = fluid.layers.mean(x=fluid.layers.cross_entropy(input=out, label=label))
acc_top1 = fluid.layers.accuracy(input=out, label=label, k=1)
steps = args.epochs * (args.train_images or 60000) // args.batch_size
rate = fluid.layers.piecewise_decay([steps * 3 // 4], [args.learning_rate, args.learning_rate / 10])
fluid.optimizer.Momentum(
    learning_rate=rate, momentum=0.9, regularization=fluid.regularizer.L2Decay(4e-5)
).minimize(avg_cost)

place = fluid.CPUPlace()
exe = fluid.Executor(place)
exe.run(fluid.default_startup_program())
feeder = fluid.DataFeeder(feed_list=[image, label], place=place)
shuffled = paddle.reader.shuffle(reader.train(args.train_images), 4096)
batches = paddle.batch(shuffled, batch_size=args.batch_size, drop_last=True)
for epoch in range(args.epochs):
    for number, batch in enumerate(batches()):
        loss, top1 = exe.run(feed=feeder.feed(batch), fetch_list=[avg_cost, acc_top1])
        if number % 20 == 0:
            where = f"epoch:{epoch}; batch_id:{number}"
            print(f"{where}; loss = {np.mean(loss):.4f}; acc_top1 = {np.mean(top1):.3f}")
fluid.io.save_persistables(exe, args.output)
print(f"saved in {args.output}")
