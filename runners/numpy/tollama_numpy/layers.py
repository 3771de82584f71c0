"""The blocks that Chronos-2 and Chronos-Bolt are built of, on float32 arrays.

Activations are two-dimensional, one row a token (batch x length rows, width columns), so that every
linear map is one matrix product. Blocks that end in a residual connection add to their input in
place.

Not covered: training, dropout, other number types.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tollama_numpy import threads

if TYPE_CHECKING:
    from tollama_numpy.checkpoint import Checkpoint

FLOAT = np.float32
HIDDEN = np.finfo(FLOAT).min  # added to a score, it leaves no weight after the softmax
SCORE_BLOCK = 1 << 20  # scores computed at a time: 4 MiB stay in the processor's cache
FEED_FORWARD_BLOCK = 512  # tokens whose wide layer is computed at a time, for the same reason


def linear(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """x W^T + b."""
    y = threads.product(x, weight)
    if bias is not None:
        y += bias
    return y


def relu(x: np.ndarray) -> np.ndarray:
    """max(x, 0), in place."""
    return np.maximum(x, 0, out=x)


class Shape(NamedTuple):
    """Widths that all blocks of a model share."""

    width: int  # of a token
    hidden: int  # of a feed-forward block
    heads: int
    head: int  # of one head's queries, keys and values
    epsilon: float  # of the norms

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Shape:
        """The widths in a config.json, with the defaults that T5 has."""
        return cls(
            width=checkpoint.count("d_model", 512),
            hidden=checkpoint.count("d_ff", 2048),
            heads=checkpoint.count("num_heads", 8),
            head=checkpoint.count("d_kv", 64),
            epsilon=checkpoint.setting("layer_norm_epsilon", float, 1e-6),
        )


class RMSNorm:
    """Root mean square normalisation without a mean or a bias (Zhang and Sennrich, 2019)."""

    def __init__(self, checkpoint: Checkpoint, name: str, shape: Shape) -> None:
        self.gain = checkpoint.tensor(f"{name}.weight", shape.width)
        self.epsilon = FLOAT(shape.epsilon)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        mean_square = np.einsum("ij,ij->i", x, x)
        mean_square /= FLOAT(x.shape[1])
        mean_square += self.epsilon
        y = x / np.sqrt(mean_square, out=mean_square)[:, None]
        y *= self.gain
        return y


class ResidualBlock:
    """Two-layer perceptron with a linear skip: how patches are embedded and quantiles read off.

    (Das et al., 2023, "Long-term forecasting with TiDE"; Ansari et al., 2025, "Chronos-2", 3.1.)
    """

    def __init__(self, checkpoint: Checkpoint, name: str, into: int, hidden: int, out: int) -> None:
        def layer(part: str, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
            weight = checkpoint.tensor(f"{name}.{part}_layer.weight", rows, columns)
            return weight, checkpoint.tensor(f"{name}.{part}_layer.bias", rows)

        self.hidden = layer("hidden", hidden, into)
        self.output = layer("output", out, hidden)
        self.residual = layer("residual", out, into)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        y = linear(relu(linear(x, *self.hidden)), *self.output)
        y += linear(x, *self.residual)
        return y


class FeedForward:
    """x += W_o relu(W_i norm(x)) for every token (Raffel et al., 2020, T5)."""

    def __init__(self, checkpoint: Checkpoint, name: str, part: str, shape: Shape) -> None:
        self.norm = RMSNorm(checkpoint, f"{name}.layer_norm", shape)
        self.wi = checkpoint.tensor(f"{name}.{part}.wi.weight", shape.hidden, shape.width)
        self.wo = checkpoint.tensor(f"{name}.{part}.wo.weight", shape.width, shape.hidden)

    def __call__(self, x: np.ndarray) -> None:
        for start in range(0, len(x), FEED_FORWARD_BLOCK):
            block = x[start : start + FEED_FORWARD_BLOCK]
            block += linear(relu(linear(self.norm(block), self.wi)), self.wo)


class Attention:
    """The four projections of multi-head attention and the norm before them.

    T5's form: no biases, and scores are not divided by the root of the head's width.
    """

    def __init__(self, checkpoint: Checkpoint, name: str, part: str, shape: Shape) -> None:
        self.heads, inner = shape.heads, shape.heads * shape.head
        self.norm = RMSNorm(checkpoint, f"{name}.layer_norm", shape)
        self.q, self.k, self.v = (
            checkpoint.tensor(f"{name}.{part}.{letter}.weight", inner, shape.width)
            for letter in "qkv"
        )
        self.o = checkpoint.tensor(f"{name}.{part}.o.weight", shape.width, inner)

    def split(self, x: np.ndarray, batch: int) -> np.ndarray:
        """(batch x length, heads x head) -> (batch, heads, length, head)."""
        x = x.reshape(batch, -1, self.heads, x.shape[1] // self.heads)
        return x.transpose(0, 2, 1, 3)


def join(x: np.ndarray) -> np.ndarray:
    """(batch, heads, length, head) -> (batch x length, heads x head)."""
    batch, heads, length, head = x.shape
    return x.transpose(0, 2, 1, 3).reshape(batch * length, heads * head)


def attend(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, bias: np.ndarray | None = None
) -> np.ndarray:
    """softmax(q k^T + bias) v for (batch, heads, length, head) arrays, a few series at a time.

    `bias` broadcasts to (batch, heads, queries, keys).
    """
    out = np.empty(q.shape, FLOAT)
    step = max(1, SCORE_BLOCK // (q.shape[1] * q.shape[2] * k.shape[2]))
    for start in range(0, len(q), step):
        part = slice(start, start + step)
        own = bias if bias is None or len(bias) == 1 else bias[part]
        _attend(q[part], k[part], v[part], own, out[part])
    return out


def _attend(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, bias: np.ndarray | None, out: np.ndarray
) -> None:
    scores = q @ k.swapaxes(-1, -2)
    if bias is not None:
        scores += bias
    scores -= scores.max(-1, keepdims=True)
    weights = np.exp(scores, out=scores)
    np.matmul(weights, v, out=out)
    out /= weights.sum(-1, keepdims=True)


def key_bias(visible: np.ndarray) -> np.ndarray | None:
    """(batch, keys) flags -> the bias that hides the others, None when all are visible."""
    if visible.all():
        return None
    return np.where(visible, FLOAT(0), HIDDEN)[:, None, None, :]


class RotaryPositions:
    """Rotary positions (Su et al., 2021): pairs of features turned by position x frequency."""

    def __init__(self, head: int, base: float) -> None:
        exponent = np.arange(0, head, 2, dtype=FLOAT) / FLOAT(head)
        self.frequency = FLOAT(1) / FLOAT(base) ** exponent

    def table(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Cosines and sines of shape (length, 1, head / 2)."""
        angle = np.arange(length, dtype=FLOAT)[:, None, None] * self.frequency
        return np.cos(angle), np.sin(angle)

    @staticmethod
    def turn(x: np.ndarray, heads: int, cosine: np.ndarray, sine: np.ndarray) -> np.ndarray:
        """(batch x length, heads x head) -> (batch, heads, length, head), turned."""
        x = x.reshape(-1, len(cosine), heads, x.shape[1] // heads)
        half = x.shape[-1] // 2
        first, second = x[..., :half], x[..., half:]
        y = np.empty_like(x)
        np.subtract(first * cosine, second * sine, out=y[..., :half])
        np.add(second * cosine, first * sine, out=y[..., half:])
        return y.transpose(0, 2, 1, 3)


class RelativePositions:
    """T5's relative positions, both ways: a learnt bias for each bucket of distances."""

    def __init__(self, checkpoint: Checkpoint, name: str, heads: int) -> None:
        self.buckets = checkpoint.count("relative_attention_num_buckets", 32)
        self.far = checkpoint.count("relative_attention_max_distance", 128)
        self.table = checkpoint.tensor(f"{name}.weight", self.buckets, heads)

    def bias(self, length: int) -> np.ndarray:
        """(1, heads, length, length): the score added for a query (row) and a key (column)."""
        ahead = np.arange(length)[None, :] - np.arange(length)[:, None]
        half = self.buckets // 2
        bucket = self._distance_bucket(np.abs(ahead), half) + half * (ahead > 0)
        return np.ascontiguousarray(self.table[bucket].transpose(2, 0, 1))[None]

    def _distance_bucket(self, distance: np.ndarray, count: int) -> np.ndarray:
        """Half of the buckets hold one distance each, the others grow logarithmically."""
        exact = count // 2
        growth = np.log(np.maximum(distance, 1).astype(FLOAT) / FLOAT(exact))
        growth = growth / FLOAT(math.log(self.far / exact)) * FLOAT(count - exact)
        coarse = np.minimum(exact + growth.astype(int), count - 1)
        return np.where(distance < exact, distance, coarse)
