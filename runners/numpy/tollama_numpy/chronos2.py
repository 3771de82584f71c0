"""Chronos-2: forecasts for groups of series and covariates from one encoder (Ansari et al., 2025).

Each row (a target or a covariate) is normalised, cut into patches and embedded; a [REG] token and
one token a future patch follow. Every layer attends along time within a row, then across the rows
of a group at the same time, then transforms each token. Quantiles are read off the future tokens.

Not covered: training, LoRA adapters, other devices and number types.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

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

REG_TOKEN = 1  # row of the embedding table
PATHS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]  # continued past the longest step


class Chronos2(Forecaster):
    """A loaded Chronos-2."""

    title = "Chronos-2"
    multivariate = True
    tokens_after = 2

    def __init__(self, checkpoint: Checkpoint) -> None:
        config = checkpoint
        _refuse_unknown(config)
        self.context_length = config.count("chronos_config.context_length")
        self.patch = config.count("chronos_config.input_patch_size")
        config.require("chronos_config.input_patch_stride", self.patch)
        config.require("chronos_config.output_patch_size", self.patch)
        self.max_output_patches = config.count("chronos_config.max_output_patches", 1)
        self.longest_step = self.max_output_patches * self.patch
        self.arcsinh = config.setting("chronos_config.use_arcsinh", bool, False)
        self.time_scale = FLOAT(
            config.count("chronos_config.time_encoding_scale", self.context_length)
        )
        self.quantile_levels = config.quantile_levels()
        shape = layers.Shape.of(config)
        self.width = shape.width
        self.rotary = layers.RotaryPositions(
            shape.head, config.setting("rope_theta", float, 10000.0)
        )
        self.reg = config.tensor("shared.weight", 2, shape.width)[REG_TOKEN]
        self.embed_patch = ResidualBlock(
            config, "input_patch_embedding", 3 * self.patch, shape.hidden, shape.width
        )
        self.layers = [
            EncoderLayer(config, f"encoder.block.{index}", shape)
            for index in range(config.count("num_layers", 6))
        ]
        self.final_norm = RMSNorm(config, "encoder.final_layer_norm", shape)
        outputs = len(self.quantile_levels) * self.patch
        self.read_quantiles = ResidualBlock(
            config, "output_patch_embedding", shape.width, shape.hidden, outputs
        )
        self.parameters = config.finish()

    def size(self, task: Task) -> batches.Size:
        ahead = math.ceil(task.future.shape[1] / self.patch)
        return batches.Size(
            rows=len(task.context),
            past=math.ceil(task.context.shape[1] / self.patch) + 1,
            ahead=ahead,
        )

    def predict_batch(self, tasks: Sequence[Task], *, jointly: bool = False) -> list[np.ndarray]:
        horizon = max(task.future.shape[1] for task in tasks)
        context, sizes = stacked(tasks), [len(task.context) for task in tasks]
        future = np.full((len(context), horizon), np.nan, FLOAT)
        ends = np.cumsum(sizes)
        for task, end in zip(tasks, ends, strict=True):
            future[end - len(task.future) : end, : task.future.shape[1]] = task.future
        # Rows that see each other are scaled as the batch that the library would make of them.
        scale = Scale.of(context) if jointly else common_scale(tasks, context)
        answer = self._unroll(context, future, [len(context)] if jointly else sizes, scale)
        return [
            answer[end - size :][: task.targets, :, : task.future.shape[1]]
            for task, end, size in zip(tasks, ends, sizes, strict=True)
        ]

    def embed_batch(self, tasks: Sequence[Task]) -> list[Embedding]:
        """Tokens of history, [REG] and one unknown patch ahead of each variate."""
        context, sizes = stacked(tasks), [len(task.context) for task in tasks]
        unknown = np.full((len(context), self.patch), np.nan, FLOAT)
        scale = common_scale(tasks, context)
        tokens = self._encode(context, unknown, sizes, scale)
        tokens = tokens.reshape(len(context), -1, self.width)
        found, end = [], 0
        for task, size in zip(tasks, sizes, strict=True):
            rows = slice(end, end + size)
            end += size
            patches = math.ceil(task.context.shape[1] / self.patch)
            own = tokens[rows, -(patches + self.tokens_after) :]
            found.append(Embedding(own, patches, scale.of_rows(rows)))
        return found

    def interpolate(self, levels: Sequence[float], raw: np.ndarray) -> np.ndarray:
        values = np.moveaxis(raw, 1, 2)
        return np.moveaxis(quantiles.interpolate(levels, self.quantile_levels, values), 2, 0)

    def _unroll(
        self, context: np.ndarray, future: np.ndarray, sizes: list[int], scale: Scale
    ) -> np.ndarray:
        """Quantiles over any horizon: past the longest step, nine quantile paths are continued.

        Each path is appended to the history as if it had happened. The quantiles of the next steps
        are those of all paths' quantiles, weighted by the probability that each stands for.
        """
        horizon = future.shape[1]
        step = self._step(context, future, sizes, scale)
        found, done = [step], step.shape[2]
        if done < horizon:
            rows, paths = len(context), len(PATHS)
            chosen = [self.quantile_levels.index(level) for level in PATHS]
            weights = np.outer(quantiles.masses(PATHS), quantiles.masses(self.quantile_levels))
            context = np.tile(context, (paths, 1))  # path by path, so that groups stay together
        while done < horizon:
            path = step[:, chosen].swapaxes(0, 1).reshape(paths * rows, -1)
            known = np.tile(future[:, done - path.shape[1] : done], (paths, 1))
            path = np.where(np.isnan(known), path, known)
            context = np.concatenate([context, path], 1)[:, -self.context_length :]
            ahead = np.tile(future[:, done:], (paths, 1))
            step = self._step(context, ahead, sizes * paths, Scale.of(context))
            samples = step.reshape(paths, rows, *step.shape[1:]).transpose(1, 3, 0, 2)
            step = quantiles.of_weighted_samples(
                self.quantile_levels,
                weights.reshape(-1),
                samples.reshape(rows, step.shape[2], -1),
            ).swapaxes(1, 2)
            found.append(step)
            done += step.shape[2]
        return np.concatenate(found, 2)

    def _step(
        self, context: np.ndarray, future: np.ndarray, sizes: list[int], scale: Scale
    ) -> np.ndarray:
        """(rows, quantile levels, steps) of one pass, a whole number of patches long."""
        ahead = min(math.ceil(future.shape[1] / self.patch), self.max_output_patches)
        known = np.full((len(context), ahead * self.patch), np.nan, FLOAT)
        used = min(known.shape[1], future.shape[1])
        known[:, :used] = future[:, :used]
        levels = len(self.quantile_levels)
        out = np.empty((len(context), levels, ahead * self.patch), FLOAT)
        width = math.ceil(context.shape[1] / self.patch) + 1 + ahead
        for rows, part in _runs(sizes, CACHED_ACTIVATIONS // (self.width * width)):
            own = scale.of_rows(rows)
            tokens = self._encode(context[rows], known[rows], part, own, last=ahead)
            answer = self.read_quantiles(tokens).reshape(-1, ahead, levels, self.patch)
            answer = answer.swapaxes(1, 2).reshape(-1, levels, ahead * self.patch)
            out[rows] = own.restored(np.sinh(answer) if self.arcsinh else answer)
        return out

    def _encode(
        self,
        context: np.ndarray,
        future: np.ndarray,
        sizes: list[int],
        scale: Scale,
        last: int | None = None,
    ) -> np.ndarray:
        """The `last` tokens of each row (None: all), (rows x tokens, width)."""
        past = preprocess.patches(self._normalised(context, scale), self.patch)
        ahead = preprocess.patches(self._normalised(future, scale), self.patch)
        rows, before = past.shape[:2]
        values = np.concatenate([past, ahead], 1)
        known = ~np.isnan(values)
        embedded = self._embedded(values, known, before)

        length = values.shape[1] + 1
        x = np.empty((rows, length, self.width), FLOAT)
        x[:, :before], x[:, before], x[:, before + 1 :] = (
            embedded[:, :before],
            self.reg,
            embedded[:, before:],
        )
        visible = np.ones((rows, length), bool)
        visible[:, :before] = known[:, :before].any(2)

        table, hiding = self.rotary.table(length), layers.key_bias(visible)
        groups = _groups(sizes)
        x = x.reshape(rows * length, self.width)
        for layer in self.layers:
            # Nothing reads the last layer's tokens before the `last` ones.
            keep = last if layer is self.layers[-1] and last is not None else length
            x = layer.time(x, rows, table, hiding, keep)
            layer.group(x, groups, visible[:, -keep:])
            layer.feed_forward(x)
        return self.final_norm(x)

    def _normalised(self, rows: np.ndarray, scale: Scale) -> np.ndarray:
        values = scale.normalised(rows)
        return np.arcsinh(values) if self.arcsinh else values

    def _embedded(self, values: np.ndarray, known: np.ndarray, before: int) -> np.ndarray:
        """Each patch with its time and its mask, embedded: (rows, patches, width)."""
        rows, count, size = values.shape
        time = np.arange(-before * size, (count - before) * size, dtype=FLOAT) / self.time_scale
        tokens = np.empty((rows, count, 3 * size), FLOAT)
        tokens[..., :size] = time.reshape(count, size)
        tokens[..., size : 2 * size] = np.where(known, values, FLOAT(0))
        tokens[..., 2 * size :] = known
        return self.embed_patch(tokens.reshape(rows * count, -1)).reshape(rows, count, -1)


class EncoderLayer:
    """Time attention, group attention and a feed-forward block, each with its residual."""

    def __init__(self, checkpoint: Checkpoint, name: str, shape: layers.Shape) -> None:
        self.time = TimeAttention(checkpoint, f"{name}.layer.0", "self_attention", shape)
        self.group = GroupAttention(checkpoint, f"{name}.layer.1", "self_attention", shape)
        self.feed_forward = FeedForward(checkpoint, f"{name}.layer.2", "mlp", shape)


class TimeAttention(layers.Attention):
    """Attention along time within each row, with rotary positions."""

    def __call__(
        self,
        x: np.ndarray,
        rows: int,
        table: tuple[np.ndarray, np.ndarray],
        hiding: np.ndarray | None,
        keep: int,
    ) -> np.ndarray:
        """The last `keep` tokens of each row after attending to all of its tokens."""
        length = len(x) // rows
        normed = self.norm(x)
        k = layers.RotaryPositions.turn(layers.linear(normed, self.k), self.heads, *table)
        v = self.split(layers.linear(normed, self.v), rows)
        if keep < length:
            normed, x = (
                part.reshape(rows, length, -1)[:, -keep:].reshape(rows * keep, -1)
                for part in (normed, x)
            )
            table = (table[0][-keep:], table[1][-keep:])
        q = layers.RotaryPositions.turn(layers.linear(normed, self.q), self.heads, *table)
        x += layers.linear(layers.join(layers.attend(q, k, v, hiding)), self.o)
        return x


class GroupAttention(layers.Attention):
    """Attention across the rows of a group, at each token's own time; the rows have no order."""

    def __call__(self, x: np.ndarray, groups: list[np.ndarray], visible: np.ndarray) -> None:
        """`groups`: row numbers, (groups of one size, size); `visible`: (rows, tokens)."""
        rows, length = visible.shape
        normed = self.norm(x)
        v = layers.linear(normed, self.v)
        if groups:  # a row that is alone attends to itself: weight 1, whatever the scores
            q, k = layers.linear(normed, self.q), layers.linear(normed, self.k)
            shape = (rows, length, self.heads, -1)
            q, k, own = q.reshape(shape), k.reshape(shape), v.reshape(shape)
            mixed = own.copy()
            for members in groups:
                mixed[members] = self._mix(q[members], k[members], own[members], visible[members])
            v = mixed.reshape(rows * length, -1)
        x += layers.linear(v, self.o)

    @staticmethod
    def _mix(q: np.ndarray, k: np.ndarray, v: np.ndarray, visible: np.ndarray) -> np.ndarray:
        """(groups, size, length, heads, head) arrays; where no row is visible, all count alike."""
        groups, size, length, heads, head = q.shape

        def across(x: np.ndarray) -> np.ndarray:
            return x.transpose(0, 2, 3, 1, 4).reshape(groups * length, heads, size, head)

        hiding = layers.key_bias(visible.swapaxes(1, 2).reshape(groups * length, size))
        mixed = layers.attend(across(q), across(k), across(v), hiding)
        return mixed.reshape(groups, length, heads, size, head).transpose(0, 3, 1, 2, 4)


def _groups(sizes: list[int]) -> list[np.ndarray]:
    """Row numbers of the groups of each size above 1, as (groups, size) arrays."""
    starts: dict[int, list[int]] = {}
    for size, end in zip(sizes, np.cumsum(sizes).tolist(), strict=True):
        starts.setdefault(size, []).append(end - size)
    return [
        np.add.outer(first, np.arange(size)) for size, first in sorted(starts.items()) if size > 1
    ]


def _runs(sizes: list[int], most: int) -> Iterator[tuple[slice, list[int]]]:
    """Consecutive whole groups of at most `most` rows together, a larger group alone."""
    begin, end, part = 0, 0, []
    for size in sizes:
        if part and end - begin + size > most:
            yield slice(begin, end), part
            begin, part = end, []
        part.append(size)
        end += size
    yield slice(begin, end), part


def _refuse_unknown(checkpoint: Checkpoint) -> None:
    """Settings that would change the arithmetic in a way that this class does not compute."""
    checkpoint.only("chronos_config", _KNOWN_SETTINGS)
    checkpoint.require("feed_forward_proj", "relu")
    checkpoint.require("dense_act_fn", "relu")
    checkpoint.require("is_gated_act", False)
    checkpoint.require("chronos_config.use_reg_token", True, False)
    checkpoint.require("reg_token_id", REG_TOKEN)
    checkpoint.require("vocab_size", 2)
    checkpoint.absent("quantization_config")
    checkpoint.absent("rope_scaling")


_KNOWN_SETTINGS = {
    "context_length",
    "input_patch_size",
    "input_patch_stride",
    "max_output_patches",
    "output_patch_size",
    "quantiles",
    "time_encoding_scale",
    "use_arcsinh",
    "use_reg_token",
}
