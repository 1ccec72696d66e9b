# SPDX-License-Identifier: Apache-2.0
"""Train, evaluate and export what a configuration describes."""

from __future__ import annotations

import os

import numpy as np
import paddle

from ppcls.arch import build_model
from ppcls.data import build_dataloader


class Engine:
    def __init__(self, config, mode="train"):
        self.config = config
        paddle.set_device(config["Global"]["device"])
        paddle.seed(7)
        if mode == "train" and paddle.distributed.get_world_size() > 1:
            paddle.distributed.init_parallel_env()
        self.model = build_model(config, mode)
        pretrained = config["Global"].get("pretrained_model")
        if pretrained:
            state = paddle.load(pretrained + ".pdparams")
            missing, unexpected = self.model.set_state_dict(state)
            print(f"loaded {pretrained}: {len(missing)} missing, {len(unexpected)} unexpected")

    def _loader(self, mode):
        config = self.config["Global"]
        return build_dataloader(mode, config["image_shape"], config["batch_size"])

    def train(self):
        config = self.config["Global"]
        loader, epochs = self._loader("Train"), config["epochs"]
        rate = paddle.optimizer.lr.CosineAnnealingDecay(config["learning_rate"], epochs * len(loader))
        decay = paddle.regularizer.L2Decay(7e-5)
        model = self.model
        if paddle.distributed.get_world_size() > 1:
            model = paddle.DataParallel(model)
        optimizer = paddle.optimizer.Momentum(
            rate, 0.9, parameters=self.model.parameters(), weight_decay=decay
        )
        best, directory = -1.0, os.path.join(config["output_dir"], self.config["Arch"]["name"])
        for epoch in range(1, epochs + 1):
            model.train()
            losses = []
            for images, labels in loader:
                loss = paddle.nn.functional.cross_entropy(model(images), labels)
                loss.backward()
                optimizer.step()
                optimizer.clear_grad()
                rate.step()
                losses.append(float(loss))
            print(f"[Train][Epoch {epoch}/{epochs}][Avg]loss: {np.mean(losses):.5f}", flush=True)
            top1 = self.eval()
            print(f"[Eval][Epoch {epoch}][Avg]top1: {top1:.5f}", flush=True)
            if top1 > best and paddle.distributed.get_rank() == 0:
                best = top1
                os.makedirs(directory, exist_ok=True)
                paddle.save(self.model.state_dict(), os.path.join(directory, "best_model.pdparams"))
                paddle.save(optimizer.state_dict(), os.path.join(directory, "best_model.pdopt"))
        print(f"[Eval][best metric: {best:.5f}]")

    @paddle.no_grad()
    def eval(self):
        self.model.eval()
        hits = [(self.model(images).argmax(1) == labels).numpy() for images, labels in self._loader("Eval")]
        return float(np.concatenate(hits).mean())

    def export(self):
        config = self.config["Global"]
        path = os.path.join(config["save_inference_dir"], "inference")
        spec = [paddle.static.InputSpec([None, *config["image_shape"]], "float32", name="x")]
        self.model.eval()
        if self.model.quanter:
            self.model.quanter.save_quantized_model(self.model, path, input_spec=spec)
        else:
            model = paddle.nn.Sequential(self.model, paddle.nn.Softmax())
            model.eval()
            paddle.jit.save(paddle.jit.to_static(model, input_spec=spec), path)
