"""Chronos-Bolt: T5 over patches, all steps of a block from one decoder token.

(Ansari et al., 2024, "Chronos"; the patched, direct multi-step variant.) The encoder reads the
patches of a normalised series and a [REG] token; the decoder's single token attends to them, and
the quantiles of the next `prediction_length` steps are read off it.

Not covered: covariates and several variates at once (the model has none), training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tollama_numpy import batches, layers, preprocess, quantiles
from tollama_numpy.checkpoint import Checkpoint
from tollama_numpy.covariates import Task
from tollama_numpy.forecaster import (
    CACHED_ACTIVATIONS,
    Embedding,
    Forecaster,
    common_scale,
    stacked,
)
from tollama_numpy.layers import FLOAT, FeedForward, ResidualBlock, RMSNorm
from tollama_numpy.preprocess import Scale

START_TOKEN, REG_TOKEN = 0, 1  # rows of the embedding table


class ChronosBolt(Forecaster):
    """A loaded Chronos-Bolt."""

    title = "Chronos-Bolt"

    def __init__(self, checkpoint: Checkpoint) -> None:
        config = checkpoint
        _refuse_unknown(config)
        self.context_length = config.count("chronos_config.context_length")
        self.longest_step = config.count("chronos_config.prediction_length")
        self.patch = config.count("chronos_config.input_patch_size")
        config.require("chronos_config.input_patch_stride", self.patch)
        self.quantile_levels = config.quantile_levels()
        shape = layers.Shape.of(config)
        self.width = shape.width
        with_reg = config.setting("chronos_config.use_reg_token", bool, False)
        tokens = config.tensor("shared.weight", 2 if with_reg else 1, shape.width)
        self.start, self.reg = tokens[START_TOKEN], tokens[REG_TOKEN:]
        self.tokens_after = len(self.reg)
        self.embed_patch = ResidualBlock(
            config, "input_patch_embedding", 2 * self.patch, shape.hidden, shape.width
        )
        self.positions = layers.RelativePositions(
            config, "encoder.block.0.layer.0.SelfAttention.relative_attention_bias", shape.heads
        )
        depth = config.count("num_layers", 6)
        self.encoder = [
            EncoderLayer(config, f"encoder.block.{index}", shape) for index in range(depth)
        ]
        self.decoder = [
            DecoderLayer(config, f"decoder.block.{index}", shape)
            for index in range(config.count("num_decoder_layers", depth))
        ]
        self.encoder_norm = RMSNorm(config, "encoder.final_layer_norm", shape)
        self.decoder_norm = RMSNorm(config, "decoder.final_layer_norm", shape)
        outputs = len(self.quantile_levels) * self.longest_step
        self.read_quantiles = ResidualBlock(
            config, "output_patch_embedding", shape.width, shape.hidden, outputs
        )
        self.parameters = config.finish(copies=_COPIES, idle=_IDLE)

    def size(self, task: Task) -> batches.Size:
        # Every block of steps ahead is one decoder token, however long it is.
        return batches.Size(
            rows=1,
            past=math.ceil(task.context.shape[1] / self.patch) + len(self.reg),
            ahead=math.ceil(task.future.shape[1] / self.longest_step),
        )

    def predict_batch(self, tasks: Sequence[Task], *, jointly: bool = False) -> list[np.ndarray]:
        context = stacked(tasks)
        scale = common_scale(tasks, context)
        answer = self._unroll(context, scale, max(task.future.shape[1] for task in tasks))
        return [answer[row : row + 1, :, : task.future.shape[1]] for row, task in enumerate(tasks)]

    def embed_batch(self, tasks: Sequence[Task]) -> list[Embedding]:
        """Tokens of history and [REG] of each series."""
        context = stacked(tasks)
        scale = common_scale(tasks, context)
        tokens, _ = self._encode(context, scale)
        tokens = tokens.reshape(len(context), -1, self.width)
        found = []
        for row, task in enumerate(tasks):
            part = slice(row, row + 1)
            patches = math.ceil(task.context.shape[1] / self.patch)
            own = tokens[part, -(patches + self.tokens_after) :]
            found.append(Embedding(own, patches, scale.of_rows(part)))
        return found

    def interpolate(self, levels: Sequence[float], raw: np.ndarray) -> np.ndarray:
        # The library takes its levels as an even grid over [0, 1] with both ends repeated.
        samples = np.moveaxis(np.concatenate([raw[:, :1], raw, raw[:, -1:]], 1), 1, 2)
        return np.moveaxis(quantiles.equally_spaced(levels, samples), 2, 0)

    def _unroll(self, context: np.ndarray, scale: Scale, horizon: int) -> np.ndarray:
        """Quantiles over any horizon: past the first block, each quantile's path is continued.

        Each path is appended to the history as if it had happened. The quantiles of the next steps
        are those of all paths' quantiles together.
        """
        step = self._step(context, scale)
        found, done = [step], self.longest_step
        rows, paths = len(context), len(self.quantile_levels)
        if done < horizon:
            context = np.repeat(context, paths, 0)
        while done < horizon:
            path = step.reshape(rows * paths, -1)
            context = np.concatenate([context, path], 1)[:, -self.context_length :]
            samples = self._step(context, Scale.of(context)).reshape(rows, paths * paths, -1)
            step = quantiles.equally_spaced(self.quantile_levels, samples.swapaxes(1, 2))
            step = step.swapaxes(1, 2)
            found.append(step)
            done += self.longest_step
        return np.concatenate(found, 2)

    def _step(self, context: np.ndarray, scale: Scale) -> np.ndarray:
        """(rows, quantile levels, prediction_length) of one pass."""
        out = np.empty((len(context), len(self.quantile_levels), self.longest_step), FLOAT)
        width = math.ceil(context.shape[1] / self.patch) + len(self.reg)
        most = max(1, CACHED_ACTIVATIONS // (self.width * width))
        for begin in range(0, len(context), most):
            rows = slice(begin, begin + most)
            own = scale.of_rows(rows)
            tokens, visible = self._encode(context[rows], own)
            x = self._decode(tokens, visible)
            answer = self.read_quantiles(x).reshape(len(x), -1, self.longest_step)
            out[rows] = own.restored(answer)
        return out

    def _encode(self, context: np.ndarray, scale: Scale) -> tuple[np.ndarray, np.ndarray]:
        """Tokens (rows x tokens, width), and which of them count (rows, tokens)."""
        values = preprocess.patches(scale.normalised(context), self.patch)
        rows, count, size = values.shape
        known = ~np.isnan(values)
        tokens = np.empty((rows, count, 2 * size), FLOAT)
        tokens[..., :size] = np.where(known, values, FLOAT(0))
        tokens[..., size:] = known
        embedded = self.embed_patch(tokens.reshape(rows * count, -1))

        length = count + len(self.reg)
        x = np.empty((rows, length, self.width), FLOAT)
        x[:, :count], x[:, count:] = embedded.reshape(rows, count, -1), self.reg
        visible = np.ones((rows, length), bool)
        visible[:, :count] = known.any(2)

        bias, hiding = self.positions.bias(length), layers.key_bias(visible)
        if hiding is not None:
            bias = bias + hiding
        x = x.reshape(rows * length, self.width)
        for layer in self.encoder:
            layer.attention(x, rows, bias)
            layer.feed_forward(x)
        return self.encoder_norm(x), visible

    def _decode(self, tokens: np.ndarray, visible: np.ndarray) -> np.ndarray:
        """The decoder's one token of each row, (rows, width)."""
        x = np.repeat(self.start[None], len(visible), 0)
        hiding = layers.key_bias(visible)
        for layer in self.decoder:
            layer.attention(x)
            layer.cross_attention(x, tokens, hiding)
            layer.feed_forward(x)
        return self.decoder_norm(x)


class EncoderLayer:
    """Self-attention and a feed-forward block, each with its residual."""

    def __init__(self, checkpoint: Checkpoint, name: str, shape: layers.Shape) -> None:
        self.attention = SelfAttention(checkpoint, f"{name}.layer.0", "SelfAttention", shape)
        self.feed_forward = FeedForward(checkpoint, f"{name}.layer.1", "DenseReluDense", shape)


class DecoderLayer:
    """Self-attention of one token, attention to the encoder's tokens, and a feed-forward block."""

    def __init__(self, checkpoint: Checkpoint, name: str, shape: layers.Shape) -> None:
        self.attention = LoneAttention(checkpoint, f"{name}.layer.0", "SelfAttention", shape)
        self.cross_attention = CrossAttention(
            checkpoint, f"{name}.layer.1", "EncDecAttention", shape
        )
        self.feed_forward = FeedForward(checkpoint, f"{name}.layer.2", "DenseReluDense", shape)


class SelfAttention(layers.Attention):
    """Attention among the tokens of each row, with relative positions in the bias."""

    def __call__(self, x: np.ndarray, rows: int, bias: np.ndarray) -> None:
        normed = self.norm(x)
        q, k, v = (
            self.split(layers.linear(normed, weight), rows) for weight in (self.q, self.k, self.v)
        )
        x += layers.linear(layers.join(layers.attend(q, k, v, bias)), self.o)


class LoneAttention(layers.Attention):
    """Attention of a token that is alone in its row: to itself, with weight 1."""

    def __call__(self, x: np.ndarray) -> None:
        x += layers.linear(layers.linear(self.norm(x), self.v), self.o)


class CrossAttention(layers.Attention):
    """Attention of each row's decoder token to the encoder's tokens, without positions."""

    def __call__(self, x: np.ndarray, tokens: np.ndarray, hiding: np.ndarray | None) -> None:
        rows = len(x)
        q = self.split(layers.linear(self.norm(x), self.q), rows)
        k, v = (self.split(layers.linear(tokens, weight), rows) for weight in (self.k, self.v))
        x += layers.linear(layers.join(layers.attend(q, k, v, hiding)), self.o)


def _refuse_unknown(checkpoint: Checkpoint) -> None:
    """Settings that would change the arithmetic in a way that this class does not compute."""
    checkpoint.only("chronos_config", _KNOWN_SETTINGS)
    checkpoint.require("feed_forward_proj", "relu")
    checkpoint.require("dense_act_fn", "relu")
    checkpoint.require("is_gated_act", False)
    checkpoint.require("reg_token_id", REG_TOKEN)
    checkpoint.require("decoder_start_token_id", START_TOKEN)
    checkpoint.absent("quantization_config")


_KNOWN_SETTINGS = {
    "context_length",
    "prediction_length",
    "input_patch_size",
    "input_patch_stride",
    "quantiles",
    "use_reg_token",
}

_COPIES = ("embed_tokens.weight", "lm_head.weight")  # of shared.weight
# One token attends to itself, whatever its position.
_IDLE = ("decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",)
