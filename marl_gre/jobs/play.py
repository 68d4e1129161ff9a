"""Watch a trained policy in a window, or save it as a GIF."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

import marl_gre_envs
from marl_gre.config import EnvConfig
from marl_gre.errors import BadInput, EnvironmentFailed
from marl_gre.networks import restore
from marl_gre.policy import Policy
from marl_gre.rollout import BlamedOnEnv, counted_up, opened
from marl_gre.storage.files import require_file_name, writing
from marl_gre.storage.run_dir import load_run
from marl_gre_envs.parallel import FRAMES_PER_SECOND
from marl_gre_envs.rendering import Window
from marl_gre_envs.vector import VectorEnv

LAST_FRAME_MS = 1500


def play_run(run: Path, gif: Path | None, seed: int, episodes: int) -> None:
    """Play greedy episodes of a finished run's policy.

    Args:
        run: folder of the run.
        gif: the file to write, or None to open a window.
        seed: seed of the first episode; further episodes count up from it.
        episodes: number of episodes.

    Raises:
        BadInput: the folder holds no intact run, a seed would be too large, the environment draws no pictures, `gif` is
            a folder, or no window can open.
        EnvironmentFailed, NonFinite: the environment raised, or returned numbers that are not finite.
        StorageFailed: the GIF cannot be written.
    """
    if gif is not None:
        require_file_name(gif)
    seeds = counted_up(seed, episodes)
    finished = load_run(run)
    key = finished.config.env_key
    frames: list[np.ndarray] = []
    durations: list[int] = []
    with opened(key, drawing(finished.config.env), 1) as env:
        policy = Policy(restore(finished, env).agent)
        window = _window(f"{key} {finished.config.algorithm_key}") if gif is None else None
        for number in seeds:
            episode_return, steps = 0.0, 0
            for frame in _frames(env, key, policy, number):
                if window is None:
                    frames.append(frame)
                    durations.append(1000 // FRAMES_PER_SECOND)
                else:
                    window.show(frame)
                if steps:
                    episode_return += float(env.reward[0])
                steps += 1
            if durations:
                durations[-1] = LAST_FRAME_MS
            print(f"episode with seed {number}: {steps - 1} steps, return {episode_return:g}")
        if window is not None:
            window.close()
    if gif is not None:
        save_gif(gif, frames, durations)


def _frames(env: VectorEnv, key: str, policy: Policy, seed: int) -> Iterator[np.ndarray]:
    """Play an episode greedily; yield a picture of its start and of every step.

    Raises:
        BadInput: the environment draws no pictures.
        EnvironmentFailed: the environment raised.
    """
    guarded = BlamedOnEnv([seed])
    with guarded:
        env.reset(seed=[seed])
    policy.begin(1)
    yield render(env, key)
    while not (env.terminated[0] or env.truncated[0]):
        actions = policy.act(env.obs, env.action_mask, 0.0, None)
        with guarded:
            env.step(actions)
        yield render(env, key)


def _window(title: str) -> Window:
    try:
        return Window(title, FRAMES_PER_SECOND)
    except (ImportError, RuntimeError) as error:  # pygame's own errors are RuntimeErrors
        raise BadInput(f"no window ({error}); save the episode with --gif FILE.") from error


def drawing(config: EnvConfig) -> EnvConfig:
    """Return the environment's config with rendering switched on, which third-party environments need."""
    if config.env in marl_gre_envs.ENVS:
        return config
    return config.model_copy(update={"kwargs": {"render_mode": "rgb_array", **config.kwargs}})


def render(env: VectorEnv, key: str) -> np.ndarray:
    """Return the picture of the first environment, [height, width, 3] uint8.

    Raises:
        BadInput: the environment draws no pictures.
        EnvironmentFailed: it raised something else.
    """
    try:
        return env.render(0)
    except (NotImplementedError, RuntimeError) as error:
        raise BadInput(f"envs.{key}: this environment draws no pictures ({error})") from error
    except Exception as error:
        raise EnvironmentFailed(f"envs.{key}: rendering failed: {type(error).__name__}: {error}") from error


def save_gif(path: Path, frames: list[np.ndarray], durations: list[int] | None = None) -> None:
    """Write pictures [height, width, 3] uint8 as a GIF and print its path.

    Args:
        path: the file.
        frames: the pictures.
        durations: milliseconds that each is shown; None gives `FRAMES_PER_SECOND` and a longer last picture.

    Raises:
        StorageFailed: the file cannot be written.
    """
    durations = durations or [1000 // FRAMES_PER_SECOND] * (len(frames) - 1) + [LAST_FRAME_MS]
    images = [Image.fromarray(frame).quantize(64) for frame in frames]
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        images[0].save(path, format="GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)
    print(path)
