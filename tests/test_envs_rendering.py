"""Pictures: the right form, everything visible, nothing else changed; and the window."""

import sys

import numpy as np
import pytest

import marl_gre_envs
from helpers import pixels
from marl_gre_envs import rendering


@pytest.mark.parametrize("name", marl_gre_envs.ENVS)
def test_a_picture_is_an_image_of_constant_size(name):
    vec = marl_gre_envs.make_vec(name, 2, **({"spawn_layout": "rings_jitter"} if name == "smac_v0" else {}))
    vec.reset(seed=0)
    world = vec.get_world()
    first = vec.render()
    assert (first.dtype, first.ndim, first.shape[2]) == (np.uint8, 3, 3)
    assert (vec.render(0) == first).all()
    assert (vec.render(1) != first).any()
    for key, value in world.items():
        np.testing.assert_array_equal(value, vec.world[key])
    vec.step(np.zeros((2, vec.n_agents), int))
    assert vec.render().shape == first.shape
    assert (vec.render() != first).any()


def test_lumberjacks_shows_trees_agents_and_closed_cells():
    trees = np.zeros((5, 5), int)
    trees[0, 1], trees[3, 3] = 1, 2
    options = {"agent_pos": [(0, 0), (2, 2)], "trees": trees}
    vec = marl_gre_envs.make_vec("lumberjacks_v0", n_trees=0)
    vec.reset(options=options)
    picture = vec.render()
    weak, strong = rendering.TREES
    assert pixels(picture, weak) > 100
    assert pixels(picture, strong) > 100
    assert pixels(picture, rendering.AGENTS[0]) > 100
    assert pixels(picture, rendering.AGENTS[1]) > 100
    assert pixels(picture, rendering.CLOSED) > 1000
    vec = marl_gre_envs.make_vec("lumberjacks_v1", n_trees=0)
    vec.reset(options=options | {"trees": trees * (trees == 2)})
    assert pixels(vec.render(), weak) == 0
    assert pixels(vec.render(), rendering.CLOSED) == 0


def test_traffic_junction_shows_routes_and_collisions():
    vec = marl_gre_envs.make_vec("traffic_junction_v0", n_max=3, autoreset=False)
    start = {
        "pos": [(7, 0), (7, 1), (6, 13)],
        "on_road": [1, 1, 1],
        "route": [1, 2, 1],
        "direction": [(0, 1), (0, 1), (0, -1)],
    }
    vec.reset(options=start)
    straight, right, left = (rendering.ROUTES[route][1] for route in (1, 2, 3))
    quiet = vec.render()
    swatch = pixels(quiet, left)  # the legend shows each colour once
    assert 0 < swatch < pixels(quiet, right) < pixels(quiet, straight)  # no car, one car, two cars
    vec.step([[0, 1, 0]])  # car 0 runs into car 1
    assert vec.info["collisions"][0] == 1
    assert pixels(vec.render(), rendering.ALARM) > pixels(quiet, rendering.ALARM)
    vec.set_world(vec.get_world())  # of what led there nothing is known
    assert pixels(vec.render(), rendering.ALARM) == pixels(quiet, rendering.ALARM)


def test_traffic_junction_shows_no_collision_of_the_episode_before():
    vec = marl_gre_envs.make_vec("traffic_junction_v0", max_steps=3)
    vec.reset(seed=0)
    quiet = pixels(vec.render(), rendering.ALARM)
    while not vec.truncated[0]:
        vec.step(np.ones((1, vec.n_agents), int))
    assert vec.world["on_road"].any()
    assert pixels(vec.render(), rendering.ALARM) == quiet


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9, 10])
@pytest.mark.parametrize("beside_tree", [True, False])
def test_agents_in_one_cell_do_not_cover_each_other(count, beside_tree):
    places = [rendering._place(n, count, beside_tree) for n in range(count)]
    for n, (down, right, radius) in enumerate(places):
        assert radius <= down <= 1 - radius
        assert radius <= right <= 1 - radius
        for other_down, other_right, other_radius in places[:n]:
            assert np.hypot(down - other_down, right - other_right) >= radius + other_radius


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (40, 3)])
def test_odd_sizes_can_be_drawn(size):
    vec = marl_gre_envs.make_vec("lumberjacks_v1", grid_shape=size, n_agents=1, n_trees=0, agent_view=(0, 0))
    vec.reset(seed=0)
    assert vec.render().size > 0


@pytest.mark.parametrize("named", [True, False])
def test_human_mode_needs_a_display(monkeypatch, named):
    """Where none is named, SDL is not asked: it would print an error of its own."""
    pygame = pytest.importorskip("pygame")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    if named:
        monkeypatch.setenv("DISPLAY", ":99")
    asked = []
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(pygame.display, "init", lambda: asked.append(True))
    monkeypatch.setattr(pygame.display, "get_driver", lambda: "offscreen")  # what SDL takes where there is no screen
    env = marl_gre_envs.make("lumberjacks_v1", render_mode="human")
    with pytest.raises(RuntimeError, match="needs a display, and none was found"):
        env.reset(seed=0)
    assert bool(asked) == named


def test_human_mode_follows_the_episode(monkeypatch):
    pygame = pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setattr("marl_gre_envs.parallel.FRAMES_PER_SECOND", 1000)
    env = marl_gre_envs.make("lumberjacks_v1", render_mode="human")
    env.reset(seed=0)
    first = pygame.surfarray.array3d(pygame.display.get_surface())
    expected = env.core.render()
    np.testing.assert_array_equal(first.transpose(1, 0, 2), expected)
    env.step({"agent_0": 1, "agent_1": 1})
    assert (pygame.surfarray.array3d(pygame.display.get_surface()) != first).any()
    assert env.render() is None
    env.close()
    env.close()
    env.reset(seed=0)  # opens a new window
    env.close()


def test_two_environments_in_human_mode_take_turns(monkeypatch):
    pygame = pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setattr("marl_gre_envs.parallel.FRAMES_PER_SECOND", 1000)
    first, second = (marl_gre_envs.make(name, render_mode="human") for name in ("lumberjacks_v1", "smac_v0"))
    for env in (first, second, first):
        env.reset(seed=0)
        shown = pygame.surfarray.array3d(pygame.display.get_surface()).transpose(1, 0, 2)
        np.testing.assert_array_equal(shown, env.core.render())
    first.close()  # and with it pygame's only window
    second.reset(seed=1)
    shown = pygame.surfarray.array3d(pygame.display.get_surface()).transpose(1, 0, 2)
    np.testing.assert_array_equal(shown, second.core.render())
    second.close()


def test_human_mode_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", None)
    env = marl_gre_envs.make("lumberjacks_v1", render_mode="human")
    with pytest.raises(ImportError, match=r'pip install "marl-gre\[render\]"'):
        env.reset(seed=0)


def test_render_without_a_mode_warns():
    env = marl_gre_envs.make("lumberjacks_v1")
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="render_mode"):
        assert env.render() is None
