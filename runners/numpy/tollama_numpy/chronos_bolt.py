"""Chronos-Bolt: T5 over patches, all steps of a block from one decoder token.

(Ansari et al., 2024, "Chronos"; the patched, direct multi-step variant.) The encoder reads the
patches of a normalised series and a [REG] token; the decoder's single token attends to them, and
the quantiles of the next `prediction_length` steps are read off it.

Not covered: covariates and several variates at once (the model has none), training.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tollama_numpy import batches, covariates, layers, preprocess, quantiles
from tollama_numpy.checkpoint import Checkpoint
from tollama_numpy.covariates import BadInput, Task
from tollama_numpy.layers import FLOAT, Attention, FeedForward, ResidualBlock, RMSNorm

REG_TOKEN = 1  # row of the embedding table


class ChronosBolt:
    """A loaded model; `predict` and `embed` may be called from several threads."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        config = checkpoint
        _refuse_unknown(config)
        self.context_length = config.count("chronos_config.context_length")
        self.longest_step = config.count("chronos_config.prediction_length")
        self.patch = config.count("chronos_config.input_patch_size")
        config.require("chronos_config.input_patch_stride", self.patch)
        self.quantile_levels = config.quantile_levels()
        width, hidden = config.count("d_model", 512), config.count("d_ff", 2048)
        shape = layers.AttentionShape(
            width,
            config.count("num_heads", 8),
            config.count("d_kv", 64),
            config.setting("layer_norm_epsilon", float, 1e-6),
        )
        with_reg = config.setting("chronos_config.use_reg_token", bool, False)
        tokens = checkpoint.tensor("shared.weight", 2 if with_reg else 1, width)
        self.start = tokens[config.setting("decoder_start_token_id", int, 0)]
        self.reg = tokens[REG_TOKEN:]
        self.embed_patch = ResidualBlock(
            checkpoint, "input_patch_embedding", 2 * self.patch, hidden, width
        )
        self.positions = layers.RelativePositions(
            checkpoint,
            "encoder.block.0.layer.0.SelfAttention.relative_attention_bias",
            shape.heads,
        )
        depth = config.count("num_layers", 6)
        self.encoder = [
            EncoderLayer(checkpoint, f"encoder.block.{index}", shape, hidden)
            for index in range(depth)
        ]
        self.decoder = [
            DecoderLayer(checkpoint, f"decoder.block.{index}", shape, hidden)
            for index in range(config.count("num_decoder_layers", depth))
        ]
        self.encoder_norm, self.decoder_norm = (
            RMSNorm(checkpoint, f"{part}.final_layer_norm", width, shape.epsilon)
            for part in ("encoder", "decoder")
        )
        self.read_quantiles = ResidualBlock(
            checkpoint,
            "output_patch_embedding",
            width,
            hidden,
            len(self.quantile_levels) * self.longest_step,
        )
        checkpoint.finish(_WITHOUT_EFFECT)

    @classmethod
    def from_directory(cls, path: str) -> ChronosBolt:
        """The model of a checkpoint folder; raises BadCheckpoint."""
        return cls(Checkpoint(path))

    def predict(
        self,
        inputs: Sequence[Mapping[str, object]],
        prediction_length: int,
        *,
        context_length: int | None = None,
        batch_size: int = 256,
    ) -> list[np.ndarray]:
        """(1, quantile levels, prediction_length) for each input {"target"}; raises BadInput."""
        tasks = covariates.tasks(inputs, prediction_length)
        answers: list[np.ndarray] = [np.empty(0)] * len(tasks)
        for indices, found in self.predict_tasks(
            tasks, context_length=context_length, batch_size=batch_size
        ):
            for index, answer in zip(indices, found, strict=True):
                answers[index] = answer
        return answers

    def predict_tasks(
        self,
        tasks: Sequence[Task],
        *,
        context_length: int | None = None,
        cross_learning: bool = False,
        batch_size: int = 256,
    ) -> Iterator[tuple[list[int], list[np.ndarray]]]:
        """Forecasts tasks of any lengths and horizons, yielding (indices, answers) by batch."""
        if cross_learning:
            raise BadInput((), "Chronos-Bolt has no cross learning")
        for index, task in enumerate(tasks):
            if len(task.context) != 1:
                raise BadInput((index,), "Chronos-Bolt forecasts one target without covariates")
        limit = min(context_length or self.context_length, self.context_length)
        tasks = [task._replace(context=task.context[:, -limit:]) for task in tasks]
        sizes = [
            batches.Size(
                rows=1,
                tokens=math.ceil(task.context.shape[1] / self.patch),
                extra=math.ceil(task.future.shape[1] / self.longest_step),
            )
            for task in tasks
        ]
        for indices in batches.by_size(sizes, batch_size):
            rows = [tasks[i].context for i in indices]
            context = preprocess.left_padded(rows, max(row.shape[1] for row in rows))
            answer = self._unroll(context, max(tasks[i].future.shape[1] for i in indices))
            yield (
                indices,
                [
                    answer[row : row + 1, :, : tasks[i].future.shape[1]]
                    for row, i in enumerate(indices)
                ],
            )

    def _unroll(self, context: np.ndarray, horizon: int) -> np.ndarray:
        """Quantiles over any horizon: past the first block, each quantile's path is continued.

        Each path is appended to the history as if it had happened; the quantiles of the next
        steps are those of all paths' quantiles together.
        """
        step = self._step(context)
        found, done = [step], self.longest_step
        rows, paths = len(context), len(self.quantile_levels)
        if done < horizon:
            context = np.repeat(context, paths, 0)
        while done < horizon:
            path = step.reshape(rows * paths, -1)
            context = np.concatenate([context, path], 1)[:, -self.context_length :]
            samples = self._step(context).reshape(rows, paths * paths, -1).swapaxes(1, 2)
            step = quantiles.equally_spaced(self.quantile_levels, samples).swapaxes(1, 2)
            found.append(step)
            done += self.longest_step
        return np.concatenate(found, 2)

    def _step(self, context: np.ndarray) -> np.ndarray:
        """(rows, quantile levels, prediction_length) of one pass."""
        tokens, visible, scale = self._encode(context)
        x = np.repeat(self.start[None], len(context), 0)
        hiding = layers.key_bias(visible)
        for layer in self.decoder:
            layer.attention(x)
            layer.cross_attention(x, tokens, hiding)
            layer.feed_forward(x)
        answer = self.read_quantiles(self.decoder_norm(x))
        return scale.restored(answer.reshape(len(context), len(self.quantile_levels), -1))

    def embed(
        self,
        inputs: Sequence[np.ndarray],
        *,
        context_length: int | None = None,
        batch_size: int = 256,
    ) -> list[tuple[np.ndarray, preprocess.Scale]]:
        """The encoder's tokens of each series, (1, patches + 1, width), and its scale.

        The last token is [REG].
        """
        limit = min(context_length or self.context_length, self.context_length)
        rows = [
            covariates.numbers(target, (index, "target"))[None, -limit:]
            for index, target in enumerate(inputs)
        ]
        sizes = [batches.Size(1, math.ceil(row.shape[1] / self.patch), 0) for row in rows]
        found: list[tuple[np.ndarray, preprocess.Scale] | None] = [None] * len(rows)
        for indices in batches.by_size(sizes, batch_size):
            together = [rows[i] for i in indices]
            context = preprocess.left_padded(together, max(row.shape[1] for row in together))
            tokens, _, scale = self._encode(context)
            tokens = tokens.reshape(len(context), -1, tokens.shape[1])
            for row, i in enumerate(indices):
                own = sizes[i].tokens + len(self.reg)
                part = slice(row, row + 1)
                found[i] = (
                    tokens[part, -own:],
                    preprocess.Scale(scale.loc[part], scale.scale[part]),
                )
        return found

    def _encode(self, context: np.ndarray) -> tuple[np.ndarray, np.ndarray, preprocess.Scale]:
        """Tokens (rows x tokens, width), which of them count (rows, tokens), and the scales."""
        scale = preprocess.Scale.of(context)
        values = preprocess.patches(scale.normalised(context), self.patch)
        rows, count, size = values.shape
        known = ~np.isnan(values)
        tokens = np.empty((rows, count, 2 * size), FLOAT)
        tokens[..., :size] = np.where(known, values, FLOAT(0))
        tokens[..., size:] = known
        embedded = self.embed_patch(tokens.reshape(rows * count, -1)).reshape(rows, count, -1)

        length = count + len(self.reg)
        x = np.empty((rows, length, embedded.shape[2]), FLOAT)
        x[:, :count], x[:, count:] = embedded, self.reg
        visible = np.ones((rows, length), bool)
        visible[:, :count] = known.any(2)

        bias, hiding = self.positions.bias(length), layers.key_bias(visible)
        if hiding is not None:
            bias = bias + hiding
        x = x.reshape(rows * length, -1)
        for layer in self.encoder:
            layer.attention(x, rows, bias)
            layer.feed_forward(x)
        return self.encoder_norm(x), visible, scale


class EncoderLayer:
    """Self-attention and a feed-forward block, each with its residual."""

    def __init__(
        self, checkpoint: Checkpoint, name: str, shape: layers.AttentionShape, hidden: int
    ) -> None:
        self.attention = SelfAttention(checkpoint, f"{name}.layer.0", "SelfAttention", shape)
        self.feed_forward = FeedForward(
            checkpoint, f"{name}.layer.1", "DenseReluDense", shape.width, hidden, shape.epsilon
        )


class DecoderLayer:
    """Self-attention of one token, attention to the encoder's tokens, and a feed-forward block."""

    def __init__(
        self, checkpoint: Checkpoint, name: str, shape: layers.AttentionShape, hidden: int
    ) -> None:
        self.attention = LoneAttention(checkpoint, f"{name}.layer.0", "SelfAttention", shape)
        self.cross_attention = CrossAttention(
            checkpoint, f"{name}.layer.1", "EncDecAttention", shape
        )
        self.feed_forward = FeedForward(
            checkpoint, f"{name}.layer.2", "DenseReluDense", shape.width, hidden, shape.epsilon
        )


class SelfAttention(Attention):
    """Attention among the tokens of each row, with relative positions in the bias."""

    def __call__(self, x: np.ndarray, rows: int, bias: np.ndarray) -> None:
        normed = self.norm(x)
        q, k, v = (
            self.split(layers.linear(normed, weight), rows) for weight in (self.q, self.k, self.v)
        )
        x += layers.linear(layers.join(layers.attend(q, k, v, bias)), self.o)


class LoneAttention(Attention):
    """Attention of a token that is alone in its row: to itself, with weight 1."""

    def __call__(self, x: np.ndarray) -> None:
        x += layers.linear(layers.linear(self.norm(x), self.v), self.o)


class CrossAttention(Attention):
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
    checkpoint.absent("quantization_config")


_KNOWN_SETTINGS = {
    "context_length",
    "prediction_length",
    "input_patch_size",
    "input_patch_stride",
    "quantiles",
    "use_reg_token",
}

_WITHOUT_EFFECT = (
    "embed_tokens.weight",  # the same as shared.weight
    "lm_head.weight",
    # one token attends to itself, whatever its position
    "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
)
