"""Which calls of attention a denoiser makes, from the size of its image or video.

A token of an image stands for a square of pixels. Along space, each frame is a sequence of its
positions; along time, each position is a sequence of its frames; over both, a video is one
sequence. Text is either other keys (cross), or joins the sequence (joint).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

Kind = Literal["self", "cross", "joint"]
Axis = Literal["spatial", "temporal", "spatio-temporal", "sequence"]
Architecture = Literal["unet", "transformer"]

TEXT_ALONE: Final = 0
"""The `pixels` of layers whose tokens are those of the text."""


class Size(NamedTuple):
    """What is generated: pixels a side, frames (1 for an image), tokens of the prompt."""

    height: int
    width: int
    frames: int
    prompt_tokens: int


class Call(NamedTuple):
    """What one call of an attention operator is given."""

    batch: int
    heads: int
    query_length: int
    key_length: int
    head_size: int


@dataclass(frozen=True, slots=True)
class Layers:
    """Attention layers of one kind that see the same tokens, `count` of them.

    `pixels` is the side of the square that a token stands for. Levels of a UNet are halved by
    convolutions of stride 2 that round up, so that sides of tokens are rounded up as well.
    """

    count: int
    heads: int
    head_size: int
    pixels: int
    kind: Kind = "self"
    axis: Axis = "spatial"

    def call(self, size: Size, videos: int) -> Call:
        """Return what one of the layers is given, for this many images or videos at once.

        `size` is what the denoiser sees of it (`Denoiser.seen`).
        """
        positions, text = self._positions(size), size.prompt_tokens
        if self.axis == "spatial":
            batch, length = videos * size.frames, positions
        elif self.axis == "temporal":
            batch, length = videos * positions, size.frames
        elif self.axis == "sequence":
            batch, length = videos, text
        else:
            batch, length = videos, positions * size.frames
        if self.kind == "joint":
            length += text
        keys = text if self.kind == "cross" else length
        return Call(batch, self.heads, length, keys, self.head_size)

    def _positions(self, size: Size) -> int:
        if self.pixels == TEXT_ALONE:
            return 0
        return -(-size.height // self.pixels) * -(-size.width // self.pixels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Denoiser:
    """The network that a step of sampling calls, and what it is called with by default.

    `guided` videos are seen at once where guidance doubles the batch (2), and it is called
    `calls_a_step` times in a row. Sides are multiples of `multiple` pixels. A video has one frame
    more than a multiple of `frame_multiple`; after the first, `compression` frames become one.
    `frames` is null for images. `more_text` tokens come from another encoder, whatever the prompt.
    """

    architecture: Architecture
    layers: tuple[Layers, ...]
    height: int
    width: int
    prompt_tokens: int
    frames: int | None = None
    guided: int = 2
    calls_a_step: int = 1
    multiple: int = 8
    frame_multiple: int = 1
    compression: int = 1
    more_text: int = 0

    def seen(self, size: Size) -> Size:
        """Return the size as the layers see it: frames compressed in time, and all of the text."""
        return size._replace(
            frames=(size.frames - 1) // self.compression + 1,
            prompt_tokens=size.prompt_tokens + self.more_text,
        )

    def calls(self, size: Size, batch: int) -> list[tuple[Layers, int, Call]]:
        """Return layers, their calls in one step, and what each call is given."""
        seen = self.seen(size)
        return [
            (one, one.count * self.calls_a_step, one.call(seen, self.guided * batch))
            for one in self.layers
        ]


def unet_levels(
    pixels: tuple[int, ...],
    blocks: tuple[int, ...],
    heads: tuple[int, ...],
    head_sizes: tuple[int, ...],
    *,
    temporal: tuple[int, ...] = (),
    temporal_cross: bool = False,
) -> tuple[Layers, ...]:
    """Return the layers of a UNet whose blocks attend to their own positions, then to the text.

    Each argument has a number for each level; the layers in the middle count as a level of their
    own, or with the last. `temporal` is how many layers attend along time, half of them to the text
    where `temporal_cross` says so.
    """
    found: list[Layers] = []
    for at, (side, count, number, size) in enumerate(
        zip(pixels, blocks, heads, head_sizes, strict=True)
    ):
        if count:
            found.append(Layers(count, number, size, side))
            found.append(Layers(count, number, size, side, "cross"))
        along = temporal[at] if temporal else 0
        if along and temporal_cross:
            found.append(Layers(along // 2, number, size, side, "self", "temporal"))
            found.append(Layers(along // 2, number, size, side, "cross", "temporal"))
        elif along:
            found.append(Layers(along, number, size, side, "self", "temporal"))
    return tuple(found)
