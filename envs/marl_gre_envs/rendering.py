"""Pictures of the gridworlds, drawn with Pillow from the world alone, and a window for "human" mode (pygame).

Everything is drawn at SCALE times its size and then reduced, for smooth edges.
"""

import os
import sys
from typing import Any, Protocol

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from marl_gre_envs.vector import World

SCALE = 3
BAR = 34  # height of the text lines above and below the grid, in pixels of the picture
INK, PAPER, LINE = "#22303c", "#ffffff", "#d9dee3"
SOIL, CLOSED = "#f3efe6", "#e3ddd0"
TREES = ("#7fbf6a", "#2f7d3b")  # weakest, strongest
AGENTS = ("#2f6fd0", "#e07b1f", "#8e44ad", "#c0392b", "#148f8f", "#7d6608", "#d0488b", "#5d6d7e")  # by number, cyclic
GRASS, ROAD, MARKING, ALARM = "#cfe3c0", "#5b626a", "#aab2ba", "#ff2d2d"
ROUTES = {1: ("straight", "#3b7dd8"), 2: ("right", "#e08a1e"), 3: ("left", "#9b59b6")}


class Scene(Protocol):
    """The fields of a gridworld that every picture shows."""

    world: World
    episode_limit: int
    grid_shape: tuple[int, int]


class Forest(Scene, Protocol):
    """The fields of Lumberjacks that its picture shows."""

    n_agents: int
    last_row: int
    last_column: int
    border: str


class Junction(Scene, Protocol):
    """The fields of TrafficJunction that its picture shows."""

    agent_reward: np.ndarray
    step_cost: float


class Canvas:
    """A grid of square cells with a line of text above and below; coordinates are (row, column) in cells."""

    def __init__(self, rows: int, columns: int, largest: int = 672):
        self.cell = max(12, min(64, largest // max(rows, columns)))
        self.width, self.height = max(columns * self.cell, 320), rows * self.cell + 2 * BAR
        self._left = (self.width - columns * self.cell) / 2
        self._image = Image.new("RGB", (self.width * SCALE, self.height * SCALE), PAPER)
        self._draw = ImageDraw.Draw(self._image)
        self._font = ImageFont.load_default(15 * SCALE)

    def at(self, row: float, column: float) -> tuple[float, float]:
        """Return the drawing coordinates of a point of the grid."""
        return (self._left + column * self.cell) * SCALE, (BAR + row * self.cell) * SCALE

    def box(self, row: float, column: float, size: tuple[float, float], radius: float = 0, **style: Any) -> None:
        """Draw a rectangle of a size (down, right) with rounded corners."""
        corners = (*self.at(row, column), *self.at(row + size[0], column + size[1]))
        self._draw.rounded_rectangle(corners, radius * self.cell * SCALE, **self._pixels(style))

    def disc(self, row: float, column: float, radius: float, **style: Any) -> None:
        """Draw a filled circle around a point."""
        corners = (*self.at(row - radius, column - radius), *self.at(row + radius, column + radius))
        self._draw.ellipse(corners, **self._pixels(style))

    def polygon(self, points: list[tuple[float, float]], **style: Any) -> None:
        """Draw a filled polygon through points of the grid."""
        self._draw.polygon([self.at(*point) for point in points], **self._pixels(style))

    def stroke(self, points: list[tuple[float, float]], color: str, width: float) -> None:
        """Draw a line through points of the grid; width in cells."""
        pixels = max(1, round(width * self.cell * SCALE))
        self._draw.line([self.at(*point) for point in points], fill=color, width=pixels, joint="curve")

    def text(self, row: float, column: float, text: object, size: float, color: str = PAPER) -> None:
        """Write text centred on a point; size in cells."""
        font = ImageFont.load_default(size * self.cell * SCALE)
        self._draw.text(self.at(row, column), str(text), fill=color, font=font, anchor="mm")

    def line_above(self, *words: str) -> None:
        """Write words across the line above the grid, the first at the left edge, the last at the right one."""
        self._line(BAR / 2, words)

    def line_below(self, *words: str) -> None:
        """Write words across the line below the grid."""
        self._line(self.height - BAR / 2, words)

    def swatches_below(self, entries: list[tuple[str, str]]) -> None:
        """Explain colours, (name, colour) each, in the line below the grid."""
        y, step = self.height - BAR / 2, self.width / len(entries)
        for i, (name, color) in enumerate(entries):
            x = 8 + i * step
            corners = [x * SCALE, (y - 7) * SCALE, (x + 14) * SCALE, (y + 7) * SCALE]
            self._draw.rounded_rectangle(corners, 3 * SCALE, fill=color)
            self._words(x + 20, y, name)

    def picture(self) -> np.ndarray:
        """Return the picture, [height, width, 3] uint8."""
        return np.asarray(self._image.reduce(SCALE))

    def _line(self, y: float, words: tuple[str, ...]) -> None:
        widths = [self._draw.textlength(word, font=self._font) / SCALE for word in words]
        gap = (self.width - 16 - sum(widths)) / max(len(words) - 1, 1)
        for i, word in enumerate(words):
            self._words(8 + sum(widths[:i]) + i * gap, y, word)

    def _words(self, x: float, y: float, text: str) -> None:
        self._draw.text((x * SCALE, y * SCALE), text, fill=INK, font=self._font, anchor="lm")

    def _pixels(self, style: dict[str, Any]) -> dict[str, Any]:
        """Turn the style's outline width from cells into pixels."""
        if "width" in style:
            style["width"] = max(1, round(style["width"] * self.cell * SCALE))
        return style


def draw_lumberjacks(env: Forest, index: int) -> np.ndarray:
    """Return a picture of environment `index`: trees with their strength, numbered agents, unreachable cells shaded."""
    rows, columns = env.grid_shape
    canvas = Canvas(rows, columns)
    _clock(canvas, env, index)
    for row in range(rows):
        for column in range(columns):
            open_cell = row <= env.last_row and column <= env.last_column
            canvas.box(row, column, (1, 1), fill=SOIL if open_cell else CLOSED, outline=LINE, width=0.02)

    trees, positions = env.world["trees"][index], env.world["agent_pos"][index]
    for row, column in np.argwhere(trees > 0):
        strength = int(trees[row, column])
        crown = _blend(*TREES, (strength - 1) / max(env.n_agents - 1, 1))
        canvas.box(row + 0.68, column + 0.44, (0.24, 0.12), fill="#7a5230")
        canvas.polygon([(row + 0.06, column + 0.5), (row + 0.74, column + 0.1), (row + 0.74, column + 0.9)], fill=crown)
        canvas.text(row + 0.53, column + 0.5, strength, 0.36)
    for agent, (row, column) in enumerate(positions):
        together = np.flatnonzero((positions == positions[agent]).all(axis=1))
        beside_tree = trees[row, column] > 0
        down, right, radius = _place(int(np.searchsorted(together, agent)), len(together), beside_tree)
        color = AGENTS[agent % len(AGENTS)]
        canvas.disc(row + down, column + right, radius, fill=color, outline=PAPER, width=0.03)
        canvas.text(row + down, column + right, agent, radius * 1.1)
    standing = int((trees > 0).sum())
    shading = ["shaded: closed"] if env.border == "clipped" else []
    canvas.line_below(f"{standing} tree{'s' * (standing != 1)}", "number: strength", *shading)
    return canvas.picture()


def draw_traffic_junction(env: Junction, index: int) -> np.ndarray:
    """Return a picture of environment `index`: roads, numbered cars with their routes, collisions in red."""
    size = env.grid_shape[0]
    half = size // 2
    canvas = Canvas(size, size)
    world = {name: field[index] for name, field in env.world.items()}
    waiting, finished = int((~world["on_road"]).sum()), int(world["finished"].sum())
    _clock(canvas, env, index, f"{waiting} waiting, {finished} arrived")
    canvas.box(0, 0, (size, size), fill=GRASS)
    canvas.box(half - 1, 0, (2, size), fill=ROAD)
    canvas.box(0, half - 1, (size, 2), fill=ROAD)
    for k in range(size):
        if not half - 1 <= k <= half:  # the middle lines of both roads, dashed, outside the crossing
            canvas.stroke([(half, k + 0.25), (half, k + 0.75)], MARKING, 0.05)
            canvas.stroke([(k + 0.25, half), (k + 0.75, half)], MARKING, 0.05)

    driving = np.flatnonzero(world["on_road"] & ~world["finished"]).tolist()
    # A car pays more than its time only for a collision. Before the first step its reward is of the episode before, and
    # one of 0 tells of no step.
    reward = env.agent_reward[index]
    collided = (world["step"] > 0) & (reward != 0) & (np.abs(reward - env.step_cost * world["age"]) > 1e-9)
    for car in driving:
        place = world["pos"][car]
        together = [other for other in driving if (world["pos"][other] == place).all()]
        shift = 0.0 if len(together) == 1 else 0.4 * (together.index(car) / (len(together) - 1) - 0.5)
        row, column = place + 0.5 + shift
        color = ROUTES[int(world["route"][car])][1]
        turn = {1: 0, 2: 1, 3: -1}[int(world["route"][car])] if not world["turned"][car] else 0
        _car(canvas, row, column, world["direction"][car], car, color, turn, bool(collided[car]))
    canvas.swatches_below([*ROUTES.values(), ("collision", ALARM)])
    return canvas.picture()


def _car(
    canvas: Canvas, row: float, column: float, direction: np.ndarray, number: int, color: str, turn: int, alarm: bool
) -> None:
    """Draw a car: its number at the tail, at the head an arrow for its way (turn: 0 ahead, 1 right, -1 left)."""

    def point(ahead: float, right: float) -> tuple[float, float]:
        return row + ahead * r + right * c, column + ahead * c - right * r

    r, c = (int(x) for x in direction)
    length, width = (0.86, 0.62) if r else (0.62, 0.86)
    style = {"outline": ALARM, "width": 0.09} if alarm else {"outline": PAPER, "width": 0.03}
    canvas.box(row - length / 2, column - width / 2, (length, width), 0.14, fill=color, **style)
    if turn:
        canvas.stroke([point(0.02, 0), point(0.24, 0), point(0.24, 0.12 * turn)], PAPER, 0.07)
        tip = [point(0.13, 0.1 * turn), point(0.35, 0.1 * turn), point(0.24, 0.24 * turn)]
    else:
        canvas.stroke([point(0.02, 0), point(0.24, 0)], PAPER, 0.07)
        tip = [point(0.2, 0.12), point(0.2, -0.12), point(0.36, 0)]
    canvas.polygon(tip, fill=PAPER)
    canvas.text(*point(-0.2, 0), number, 0.34)


def _clock(canvas: Canvas, env: Scene, index: int, middle: str = "") -> None:
    """Write the step counter and the return above the grid."""
    step, total = env.world["step"][index], env.world["episode_return"][index]
    words = [f"step {step}/{env.episode_limit}", f"return {total:.2f}".removesuffix(".00")]
    canvas.line_above(*([words[0], middle, words[1]] if middle else words))


def _place(nth: int, count: int, beside_tree: bool) -> tuple[float, float, float]:
    """Return where in its cell (down, right) and how large (radius) to draw the nth of `count` agents there."""
    if count == 1 and not beside_tree:
        return 0.5, 0.5, 0.34
    per_side = 2 if count <= 4 else int(np.ceil(np.sqrt(count)))
    pitch = 1 / per_side
    spots = [(i, j) for i in range(per_side) for j in range(per_side)]
    if count == 2:  # in opposite corners, so that the tree stays visible
        spots = [(0, 0), (1, 1)]
    i, j = spots[nth]
    return (i + 0.5) * pitch, (j + 0.5) * pitch, 0.44 * pitch


def _blend(start: str, end: str, share: float) -> str:
    """Return the colour that lies at `share` between two."""
    pairs = ((int(start[i : i + 2], 16), int(end[i : i + 2], 16)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


NO_DISPLAY = 'render_mode="human" needs a display, and none was found; "rgb_array" needs none.'


class Window:
    """A pygame window that shows one picture after another."""

    def __init__(self, title: str, frames_per_second: int):
        try:
            import pygame
        except ImportError as error:
            raise ImportError('render_mode="human" needs pygame: pip install "marl-gre[render]".') from error
        self._pygame = pygame
        self._title, self._rate = title, frames_per_second
        if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"} & os.environ.keys():
            raise RuntimeError(NO_DISPLAY)  # before SDL looks for one and prints an error of its own
        pygame.display.init()
        if pygame.display.get_driver() == "offscreen" and "SDL_VIDEODRIVER" not in os.environ:  # SDL's last resort
            pygame.display.quit()
            raise RuntimeError(NO_DISPLAY)
        self._clock = pygame.time.Clock()

    def show(self, picture: np.ndarray) -> None:
        """Show a picture [height, width, 3] uint8 for the duration of a frame."""
        pygame = self._pygame
        size = (picture.shape[1], picture.shape[0])
        pygame.display.init()  # once more where another environment closed its window: pygame has one for all
        screen = pygame.display.get_surface()
        if screen is None or screen.get_size() != size:
            screen = pygame.display.set_mode(size)
        pygame.display.set_caption(self._title)
        screen.blit(pygame.image.frombuffer(picture.tobytes(), size, "RGB"), (0, 0))
        pygame.event.pump()
        pygame.display.flip()
        self._clock.tick(self._rate)

    def close(self) -> None:
        """Close the window."""
        self._pygame.display.quit()
