"""Chronos-2: forecasts for groups of series and covariates from one encoder (Ansari et al., 2025).

Each row (a target or a covariate) is normalised, cut into patches and embedded; a [REG] token and one token
a future patch follow. Every layer attends along time within a row, then across the rows of a group at the
same time, then transforms each token. Quantiles are read off the future tokens.

Not covered: training, LoRA adapters, other devices and number types.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tollama_numpy import batches, covariates, layers, preprocess, quantiles
from tollama_numpy.checkpoint import Checkpoint
from tollama_numpy.covariates import Task
from tollama_numpy.layers import FLOAT, Attention, FeedForward, ResidualBlock, RMSNorm

REG_TOKEN = 1  # row of the embedding table
PATHS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]  # continued beyond the longest horizon


class Chronos2:
    """A loaded model; `predict` and `embed` may be called from several threads."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        config = checkpoint
        _refuse_unknown(config)
        self.context_length = config.count("chronos_config.context_length")
        self.patch = config.count("chronos_config.input_patch_size")
        config.require("chronos_config.input_patch_stride", self.patch)
        config.require("chronos_config.output_patch_size", self.patch)
        self.max_output_patches = config.count("chronos_config.max_output_patches", 1)
        self.arcsinh = config.setting("chronos_config.use_arcsinh", bool, False)
        self.time_scale = FLOAT(
            config.count("chronos_config.time_encoding_scale", self.context_length)
        )
        self.quantile_levels = config.quantile_levels()
        width, hidden = config.count("d_model", 512), config.count("d_ff", 2048)
        shape = layers.AttentionShape(
            width,
            config.count("num_heads", 8),
            config.count("d_kv", 64),
            config.setting("layer_norm_epsilon", float, 1e-6),
        )
        self.rotary = layers.RotaryPositions(
            shape.head, config.setting("rope_theta", float, 10000.0)
        )
        self.reg = checkpoint.tensor("shared.weight", 2, width)[REG_TOKEN]
        self.embed_patch = ResidualBlock(
            checkpoint, "input_patch_embedding", 3 * self.patch, hidden, width
        )
        self.layers = [
            EncoderLayer(checkpoint, f"encoder.block.{index}", shape, hidden)
            for index in range(config.count("num_layers", 6))
        ]
        self.final_norm = RMSNorm(checkpoint, "encoder.final_layer_norm", width, shape.epsilon)
        self.read_quantiles = ResidualBlock(
            checkpoint,
            "output_patch_embedding",
            width,
            hidden,
            len(self.quantile_levels) * self.patch,
        )
        checkpoint.finish()

    @classmethod
    def from_directory(cls, path: str) -> Chronos2:
        """The model of a checkpoint folder; raises BadCheckpoint."""
        return cls(Checkpoint(path))

    @property
    def longest_step(self) -> int:
        """Steps that one pass can forecast."""
        return self.max_output_patches * self.patch

    def predict(
        self,
        inputs: Sequence[Mapping[str, object]],
        prediction_length: int,
        *,
        context_length: int | None = None,
        cross_learning: bool = False,
        batch_size: int = 256,
    ) -> list[np.ndarray]:
        """(targets, quantile levels, prediction_length) for each input; raises BadInput.

        An input is {"target": n numbers, or D lists of n, "past_covariates": {name: n values},
        "future_covariates": {name: prediction_length values}}. `batch_size` counts rows. With
        `cross_learning` all inputs of a batch form one group.
        """
        tasks = covariates.tasks(inputs, prediction_length)
        answers: list[np.ndarray] = [np.empty(0)] * len(tasks)
        for indices, found in self.predict_tasks(
            tasks,
            context_length=context_length,
            cross_learning=cross_learning,
            batch_size=batch_size,
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
        """Forecasts tasks of any lengths and horizons, yielding (indices, answers) batch by batch."""
        tasks = [
            _recent(task, min(context_length or self.context_length, self.context_length))
            for task in tasks
        ]
        if cross_learning:
            plan = batches.in_order([len(task.context) for task in tasks], batch_size)
        else:
            plan = batches.by_size(
                [self._size(task) for task in tasks],
                batch_size,
            )
        for indices in plan:
            yield indices, self._predict_batch([tasks[i] for i in indices], cross_learning)

    def _size(self, task: Task) -> batches.Size:
        return batches.Size(
            rows=len(task.context),
            tokens=math.ceil(task.context.shape[1] / self.patch),
            extra=math.ceil(task.future.shape[1] / self.patch),
        )

    def _predict_batch(self, tasks: list[Task], cross_learning: bool) -> list[np.ndarray]:
        """One batch whose horizons have the same number of patches."""
        horizon = max(task.future.shape[1] for task in tasks)
        context = preprocess.left_padded(
            [task.context for task in tasks], max(task.context.shape[1] for task in tasks)
        )
        future = np.full((len(context), horizon), np.nan, FLOAT)
        ends = np.cumsum([len(task.context) for task in tasks])
        for task, end in zip(tasks, ends, strict=True):
            future[end - len(task.future) : end, : task.future.shape[1]] = task.future
        sizes = [len(context)] if cross_learning else [len(task.context) for task in tasks]
        groups = np.repeat(np.arange(len(sizes)), sizes)
        answer = self._unroll(context, future, groups, horizon)
        return [
            answer[end - len(task.context) : end - len(task.context) + task.targets][
                :, :, : task.future.shape[1]
            ]
            for task, end in zip(tasks, ends, strict=True)
        ]

    def _unroll(
        self, context: np.ndarray, future: np.ndarray, groups: np.ndarray, horizon: int
    ) -> np.ndarray:
        """Quantiles over any horizon: past the longest step, nine quantile paths are continued.

        Each path is appended to the history as if it had happened; the quantiles of the next steps are those
        of all paths' quantiles, weighted by the probability that each stands for.
        """
        step = self._step(context, future, groups, horizon)
        found, done = [step], step.shape[2]
        if done < horizon:
            rows, paths = len(context), len(PATHS)
            chosen = [self.quantile_levels.index(level) for level in PATHS]
            weights = np.outer(quantiles.masses(PATHS), quantiles.masses(self.quantile_levels))
            context = np.repeat(context, paths, 0)
            groups = (groups[:, None] * paths + np.arange(paths)).reshape(-1)
        while done < horizon:
            path = step[:, chosen].reshape(rows * paths, -1)
            known = np.repeat(future[:, done - path.shape[1] : done], paths, 0)
            path = np.where(np.isnan(known), path, known)
            context = np.concatenate([context, path], 1)[:, -self.context_length :]
            ahead = np.repeat(future[:, done:], paths, 0)
            step = self._step(context, ahead, groups, horizon - done)
            samples = step.reshape(rows, -1, step.shape[2]).swapaxes(1, 2)
            step = quantiles.of_weighted_samples(self.quantile_levels, weights.reshape(-1), samples)
            step = step.swapaxes(1, 2)
            found.append(step)
            done += step.shape[2]
        return np.concatenate(found, 2)

    def _step(
        self, context: np.ndarray, future: np.ndarray, groups: np.ndarray, horizon: int
    ) -> np.ndarray:
        """(rows, quantile levels, steps) of one pass, a whole number of patches long."""
        ahead = min(math.ceil(horizon / self.patch), self.max_output_patches)
        known = np.full((len(context), ahead * self.patch), np.nan, FLOAT)
        used = min(known.shape[1], future.shape[1])
        known[:, :used] = future[:, :used]
        tokens, scale = self._encode(context, known, groups, last=ahead)
        answer = self.read_quantiles(tokens)
        answer = answer.reshape(len(context), ahead, len(self.quantile_levels), self.patch)
        answer = answer.swapaxes(1, 2).reshape(len(context), len(self.quantile_levels), -1)
        if self.arcsinh:
            answer = np.sinh(answer)
        return scale.restored(answer)

    def embed(
        self,
        inputs: Sequence[np.ndarray],
        *,
        context_length: int | None = None,
        batch_size: int = 256,
    ) -> list[tuple[np.ndarray, preprocess.Scale]]:
        """The encoder's tokens of each series, (variates, patches + 2, width), and its scale.

        The last two tokens are [REG] and one unknown future patch.
        """
        limit = min(context_length or self.context_length, self.context_length)
        tasks = [
            _recent(task, limit)
            for task in covariates.tasks([{"target": target} for target in inputs], self.patch)
        ]
        found: list[tuple[np.ndarray, preprocess.Scale] | None] = [None] * len(tasks)
        for indices in batches.by_size([self._size(task) for task in tasks], batch_size):
            rows = [tasks[i].context for i in indices]
            width = max(row.shape[1] for row in rows)
            groups = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
            context = preprocess.left_padded(rows, width)
            future = np.full((len(context), self.patch), np.nan, FLOAT)
            tokens, scale = self._encode(context, future, groups)
            tokens = tokens.reshape(len(context), -1, tokens.shape[1])
            end = 0
            for i, row in zip(indices, rows, strict=True):
                start, end = end, end + len(row)
                own = math.ceil(row.shape[1] / self.patch) + 2
                found[i] = (
                    tokens[start:end, -own:],
                    preprocess.Scale(scale.loc[start:end], scale.scale[start:end]),
                )
        return found

    def _encode(
        self,
        context: np.ndarray,
        future: np.ndarray,
        groups: np.ndarray,
        last: int | None = None,
    ) -> tuple[np.ndarray, preprocess.Scale]:
        """The `last` tokens of each row (all by default), (rows x tokens, width), and the scales."""
        scale = preprocess.Scale.of(context)
        past = preprocess.patches(self._normalised(context, scale), self.patch)
        ahead = preprocess.patches(self._normalised(future, scale), self.patch)
        before, after = past.shape[1], ahead.shape[1]
        values = np.concatenate([past, ahead], 1)
        known = ~np.isnan(values)
        embedded = self._embedded_patches(values, known, before)

        rows, length = len(context), before + 1 + after
        x = np.empty((rows, length, len(self.reg)), FLOAT)
        x[:, :before], x[:, before], x[:, before + 1 :] = (
            embedded[:, :before],
            self.reg,
            embedded[:, before:],
        )
        visible = np.ones((rows, length), bool)
        visible[:, :before] = known[:, :before].any(2)

        mixing = GroupMixing(groups, visible)
        table = self.rotary.table(length)
        hiding = layers.key_bias(visible)
        x = x.reshape(rows * length, -1)
        for layer in self.layers:
            # Nothing after the last layer reads the tokens before the `last` ones.
            keep = last if layer is self.layers[-1] and last is not None else length
            x = layer.time(x, rows, table, hiding, keep)
            layer.group(x, mixing.of_last(keep))
            layer.feed_forward(x)
        return self.final_norm(x), scale

    def _normalised(self, rows: np.ndarray, scale: preprocess.Scale) -> np.ndarray:
        values = scale.normalised(rows)
        return np.arcsinh(values) if self.arcsinh else values

    def _embedded_patches(self, values: np.ndarray, known: np.ndarray, before: int) -> np.ndarray:
        """Each patch with its time and its mask: (rows, patches, width)."""
        rows, count, size = values.shape
        time = np.arange(-before * size, (count - before) * size, dtype=FLOAT) / self.time_scale
        tokens = np.empty((rows, count, 3 * size), FLOAT)
        tokens[..., :size] = time.reshape(count, size)
        tokens[..., size : 2 * size] = np.where(known, values, FLOAT(0))
        tokens[..., 2 * size :] = known
        return self.embed_patch(tokens.reshape(rows * count, -1)).reshape(rows, count, -1)


class EncoderLayer:
    """Time attention, group attention and a feed-forward block, each with its residual."""

    def __init__(
        self, checkpoint: Checkpoint, name: str, shape: layers.AttentionShape, hidden: int
    ) -> None:
        self.time = TimeAttention(checkpoint, f"{name}.layer.0", "self_attention", shape)
        self.group = GroupAttention(checkpoint, f"{name}.layer.1", "self_attention", shape)
        self.feed_forward = FeedForward(
            checkpoint, f"{name}.layer.2", "mlp", shape.width, hidden, shape.epsilon
        )


class TimeAttention(Attention):
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


class GroupMixing:
    """Which rows attend to which: groups of equal size together, and what each row shows when."""

    def __init__(self, groups: np.ndarray, visible: np.ndarray) -> None:
        self.visible = visible
        order = np.argsort(groups, kind="stable")
        _, counts = np.unique(groups, return_counts=True)
        members = np.split(order, np.cumsum(counts)[:-1])
        self.members = [
            np.stack([rows for rows in members if len(rows) == size])
            for size in np.unique(counts)
            if size > 1
        ]

    def of_last(self, tokens: int) -> GroupMixing:
        """The same rows, seen at their last tokens only."""
        other = object.__new__(GroupMixing)
        other.visible, other.members = self.visible[:, -tokens:], self.members
        return other


class GroupAttention(Attention):
    """Attention across the rows of a group, at each token's own time; the rows have no order."""

    def __call__(self, x: np.ndarray, mixing: GroupMixing) -> None:
        rows, length = mixing.visible.shape
        normed = self.norm(x)
        v = layers.linear(normed, self.v)
        if mixing.members:  # a row that is alone attends to itself: weight 1, whatever the scores
            q, k = layers.linear(normed, self.q), layers.linear(normed, self.k)
            shape = (rows, length, self.heads, -1)
            q, k, own = q.reshape(shape), k.reshape(shape), v.reshape(shape)
            mixed = own.copy()
            for members in mixing.members:
                mixed[members] = self._mix(
                    q[members], k[members], own[members], mixing.visible[members]
                )
            v = mixed.reshape(rows * length, -1)
        x += layers.linear(v, self.o)

    @staticmethod
    def _mix(q: np.ndarray, k: np.ndarray, v: np.ndarray, visible: np.ndarray) -> np.ndarray:
        """(groups, size, length, heads, head) arrays; where no row is visible, all count alike."""
        groups, size, length, heads, head = q.shape

        def across(x: np.ndarray) -> np.ndarray:
            return x.transpose(0, 2, 3, 1, 4).reshape(groups * length, heads, size, head)

        bias = layers.key_bias(visible.swapaxes(1, 2).reshape(groups * length, size))
        mixed = layers.attend(across(q), across(k), across(v), bias)
        return mixed.reshape(groups, length, heads, size, head).transpose(0, 3, 1, 2, 4)


def _recent(task: Task, limit: int) -> Task:
    return task._replace(context=task.context[:, -limit:])


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
