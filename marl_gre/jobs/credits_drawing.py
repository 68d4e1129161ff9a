"""Pictures of credits within an episode: a heat map of the agents' shares above the entropy, beside the environment.

Drawn with Pillow alone. Blue and orange can be told apart with any colour vision; white is an even share.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

INK, SOFT, PAPER, LINE = "#1b2733", "#4d5b68", "#ffffff", "#d3dae0"
LOW, HIGH = (0, 114, 178), (213, 94, 0)  # less and more than an even share
LEAST_SPAN = 0.05
"""Relative difference from an even share below which colours look even."""
LEFT, TOP, GAP = 70, 78, 64
PLOT = (460, 150)  # width and height of the entropy's plot, in pixels
ROW = (12, 36)  # least and largest height of an agent's row


def picture(title: str, shares: np.ndarray, entropy: np.ndarray | None, step: int | None = None) -> Image.Image:
    """Return the heat map of an episode with its entropy below.

    Args:
        title: title of the picture.
        shares: each agent's share of the credit [L,N].
        entropy: gradient entropy [L], 0 to 1; None if it is undefined.
        step: the step to mark as the current one.
    """
    length, agents = shares.shape
    row = int(np.clip(300 // agents, *ROW))
    map_height = row * agents
    height = TOP + map_height + GAP + (PLOT[1] + 44 if entropy is not None else 0)
    image = Image.new("RGB", (LEFT + PLOT[0] + 24, height), PAPER)
    draw = ImageDraw.Draw(image)
    _words(draw, (12, 20), title, 16)
    relative = shares * agents - 1
    span = max(float(np.abs(relative).max()), LEAST_SPAN)
    _words(draw, (LEFT, TOP - 30), "Share of credit, by agent and step", 13, SOFT)
    colours = _colours(relative / span)  # [L, N, 3]
    cells = Image.fromarray(np.swapaxes(colours, 0, 1)).resize((PLOT[0], map_height), Image.Resampling.NEAREST)
    image.paste(cells, (LEFT, TOP))
    draw.rectangle((LEFT, TOP, LEFT + PLOT[0], TOP + map_height), outline=SOFT)
    every = max(1, 14 // row)
    for agent in range(0, agents, every):
        _words(draw, (LEFT - 8, TOP + (agent + 0.5) * row), f"agent {agent}", 12, anchor="rm")
    _scale(image, draw, TOP + map_height + 22, span, agents)
    marked = [(TOP, TOP + map_height)]
    if entropy is not None:
        top = TOP + map_height + GAP
        bottom = top + PLOT[1]
        marked.append((top, bottom))
        _entropy(draw, top, entropy)
        _words(draw, (LEFT + PLOT[0] / 2, bottom + 28), f"step of the episode, 0 to {length - 1}", 12, SOFT, "mm")
    for top, bottom in marked if step is not None else []:
        x = LEFT + ((step or 0) + 0.5) / length * PLOT[0]
        draw.line((x, top - 4, x, bottom + 4), fill=INK, width=2)
    return image


def animation(
    title: str, frames: Sequence[np.ndarray] | None, shares: np.ndarray, entropy: np.ndarray | None
) -> list[np.ndarray]:
    """Return one picture per step, [height, width, 3] uint8: the environment, and beside it the credits so far and to
    come with the present step marked.

    Args:
        title: title of the pictures.
        frames: L pictures of the environment, one before each step; None if it draws none.
        shares: see `picture`.
        entropy: see `picture`.
    """
    images = []
    for step in range(len(shares)):
        right = picture(title, shares, entropy, step)
        left = Image.fromarray(frames[step]) if frames is not None else Image.new("RGB", (0, 0))
        image = Image.new("RGB", (left.width + right.width, max(left.height, right.height)), PAPER)
        image.paste(left, (0, (image.height - left.height) // 2))
        image.paste(right, (left.width, (image.height - right.height) // 2))
        images.append(np.asarray(image))
    return images


def _entropy(draw: ImageDraw.ImageDraw, top: float, entropy: np.ndarray) -> None:
    """Draw the entropy over the steps; the axis ends at 1 and begins at a round number below all values."""
    least = min(0.9, np.floor(float(entropy.min()) * 10) / 10)
    width, height = PLOT
    _words(draw, (LEFT, top - 16), "Gradient entropy (1 = even)", 13, SOFT)
    for tick in np.linspace(least, 1, 3):
        y = top + (1 - tick) / (1 - least) * height
        draw.line((LEFT, y, LEFT + width, y), fill=LINE)
        _words(draw, (LEFT - 8, y), f"{tick:.2f}", 12, anchor="rm")
    xs = LEFT + (np.arange(len(entropy)) + 0.5) / len(entropy) * width
    ys = top + (1 - entropy) / (1 - least) * height
    points = list(zip(xs.tolist(), ys.tolist(), strict=True))
    if len(points) > 1:
        draw.line(points, fill=INK, width=2)
    for x, y in points if len(points) == 1 else []:
        draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=INK)


def _scale(image: Image.Image, draw: ImageDraw.ImageDraw, top: int, span: float, agents: int) -> None:
    """Draw the colours with the shares that they stand for."""
    width = 160
    ramp = _colours(np.linspace(-1, 1, width))[None]  # [1, width, 3]
    image.paste(Image.fromarray(ramp).resize((width, 10)), (LEFT, top - 8))
    draw.rectangle((LEFT, top - 8, LEFT + width, top + 2), outline=SOFT)
    text = f"{max(1 - span, 0) / agents:.3f}  to  {(1 + span) / agents:.3f}, white = {1 / agents:.3f} (even)"
    _words(draw, (LEFT + width + 10, top - 3), text, 12)


def _colours(relative: np.ndarray) -> np.ndarray:
    """Return colours uint8 [...,3] for values from -1 (LOW) over 0 (white) to 1 (HIGH)."""
    amount = np.abs(relative)[..., None]
    end = np.where(relative[..., None] < 0, LOW, HIGH)
    return np.round(255 + (end - 255) * amount).astype(np.uint8)


def _words(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, size: int, color: str = INK, anchor: str = "lm"
) -> None:
    draw.text(at, text, fill=color, font=ImageFont.load_default(size), anchor=anchor)
