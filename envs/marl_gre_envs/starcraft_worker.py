"""One StarCraft II game in a process of its own: the process, the channel to it, and what runs there.

The process leads a group of its own, so that the game it starts can be ended with it; it ends that group by itself as
soon as its parent is gone. Every answer has a deadline. starcraft.py makes a VectorEnv of several of these.
"""

import importlib
import multiprocessing
import os
import pickle
import random
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from copy import deepcopy
from typing import Any

import numpy as np

from marl_gre_envs.checks import check_keywords, keywords_of
from marl_gre_envs.stored import Member, episode_seed

CLOSING_S = 10.0  # for the games to end by themselves
LARGEST_ANSWER = 2**28  # bytes; more can only be garbage


class Channel:
    """Whole messages over a socket, with deadlines."""

    def __init__(self, connected: socket.socket):
        self._socket = connected

    def send(self, message: object) -> None:
        """Send anything that pickles."""
        data = pickle.dumps(message)
        self._socket.sendall(struct.pack("!Q", len(data)) + data)

    def receive(self, deadline: float | None = None) -> Any:
        """Return the next message.

        Args:
            deadline: a time.monotonic(); None waits for ever.

        Raises:
            TimeoutError: the deadline passed.
            EOFError: the other side is gone.
        """
        size = struct.unpack("!Q", self._read(8, deadline))[0]
        if size > LARGEST_ANSWER:
            raise ValueError(f"a message of {size} bytes")
        return pickle.loads(self._read(size, deadline))  # noqa: S301 (our own process wrote it)

    def close(self) -> None:
        """Close the socket; safe to call twice."""
        self._socket.close()

    def _read(self, size: int, deadline: float | None) -> bytes:
        data = bytearray()
        while len(data) < size:
            # A timeout of 0 would mean "do not wait at all".
            self._socket.settimeout(None if deadline is None else max(deadline - time.monotonic(), 1e-3))
            piece = self._socket.recv(min(size - len(data), 2**20))
            if not piece:
                raise EOFError
            data += piece
        return bytes(data)


class Game(Member):
    """The parent's side: one process and its channel."""

    def __init__(self, env_class: str, options: dict[str, Any]):
        super().__init__()
        ours, theirs = socket.socketpair()
        with theirs:
            self.channel = Channel(ours)
            self.process = multiprocessing.get_context("spawn").Process(
                target=work, args=(theirs, env_class, options), daemon=True
            )
            self.process.start()
        self._group = self.process.pid

    def how_it_ended(self) -> str:
        """Return how the process ended, for messages."""
        self.process.join(1.0)
        code = self.process.exitcode
        if code is None:
            return "its process closed the connection"
        return f"its process was killed by {signal.Signals(-code).name}" if code < 0 else f"its process exited ({code})"

    def kill(self) -> None:
        """End the process and all that it started; safe to call twice."""
        self.channel.close()
        group, self._group = self._group, None  # only once: afterwards the number may belong to others
        if group is not None and hasattr(os, "killpg"):
            with suppress(ProcessLookupError, PermissionError):  # it is gone, or not there yet
                os.killpg(group, signal.SIGKILL)
        self.process.kill()
        self.process.join(CLOSING_S)


def stop(games: Iterable[Game], grace_s: float = CLOSING_S) -> None:
    """Let all games close by themselves for some seconds, then end what is left."""
    games = list(games)
    for game in games if grace_s else ():
        with suppress(OSError):  # it is gone already
            game.channel.send(("close",))
    deadline = time.monotonic() + grace_s
    for game in games:
        game.process.join(max(deadline - time.monotonic(), 0.0))
        game.kill()


class Battle:
    """What runs in the process: an object with the interface of SMAC's StarCraft2Env, made anew where it must be.

    SMAC restarts an episode inside the running game only after a first one was finished there: before that, its
    reset() would start a second game and lose the first, and count the enemies twice in the reward's scale.
    """

    def __init__(self, env_class: str, options: dict[str, Any]):
        module, _, name = env_class.partition(":")
        self.factory = getattr(importlib.import_module(module), name)
        self.options = options
        allowed = keywords_of(self.factory)
        if allowed:  # SMACv2's wrapper takes anything and hands it on
            check_keywords(env_class, options, allowed)
        self.env = self._made(None)
        self._restartable = False

    def sizes(self) -> dict[str, int]:
        """Return the sizes of the task."""
        names = ("n_agents", "n_actions", "obs_shape", "state_shape", "episode_limit")
        info = self.env.get_env_info()
        return {name: int(info[name]) for name in names} | {"n_enemies": int(self.env.n_enemies)}

    def reset(self, seed: int, episode: int, relaunch: bool) -> dict[str, Any]:
        """Start an episode, in a new game if asked for or necessary."""
        if relaunch or not self._restartable:
            self._relaunch(seed, episode)
        self._seed_draws(seed, episode)
        if not self._begins():
            self._relaunch(seed, episode)
            if not self._begins():
                raise RuntimeError("StarCraft II crashed twice at the start of an episode")
        return self._outputs()

    def step(self, actions: list[int]) -> dict[str, Any]:
        """Play one step; where the game crashed (SMAC starts another then), say only so."""
        restarts = self.env.force_restarts
        reward, terminated, info = self.env.step(actions)
        if self.env.force_restarts != restarts:
            self._restartable = False
            return {"restarted": True}
        self._restartable |= bool(terminated)
        return self._outputs() | {
            "reward": float(reward),
            "terminated": bool(terminated),
            "episode_limit": bool(info.get("episode_limit", False)),
            "battle_won": bool(info.get("battle_won", False)),
            "dead_enemies": int(info.get("dead_enemies", -1)),  # the oldest versions of SMAC do not count them
        }

    def close(self) -> None:
        """Close the game."""
        self.env.close()

    def _made(self, seed: int | None) -> Any:
        # SMACv2 writes into its options.
        return self.factory(seed=seed, **deepcopy(self.options))

    def _relaunch(self, seed: int, episode: int) -> None:
        self.env.close()
        self.env = self._made(episode_seed(seed, episode))
        self._restartable = False

    def _begins(self) -> bool:
        """Reset; return whether the game survived it."""
        restarts = self.env.force_restarts
        self.env.reset()
        return self.env.force_restarts == restarts

    def _seed_draws(self, seed: int, episode: int) -> None:
        """Seed what SMACv2 draws units and places from, its generators and Python's; SMAC itself draws nothing."""
        parts = np.random.SeedSequence(seed, spawn_key=(episode,))
        random.seed(int(parts.generate_state(1)[0]))
        for source in vars(self.env).get("env_key_to_distribution_map", {}).values():
            seed_generators(source, parts)

    def _outputs(self) -> dict[str, Any]:
        env = self.env
        obs = np.asarray(env.get_obs(), np.float32)
        if obs.shape[-1] == env.get_obs_size() + 1 and self.options.get("obs_timestep_number"):
            obs = np.delete(obs, -2, axis=-1)  # SMAC's stray zero before the time, which its own size does not count
        masks = [env.get_avail_agent_actions(i) for i in range(env.n_agents)]
        return {"obs": obs, "state": np.asarray(env.get_state(), np.float32), "action_mask": np.asarray(masks)}


def seed_generators(source: object, parts: np.random.SeedSequence) -> None:
    """Replace the random generators of one of SMACv2's distributions, and of those inside it."""
    for name, value in vars(source).items():
        if isinstance(value, np.random.Generator):
            setattr(source, name, np.random.default_rng(parts.spawn(1)[0]))
        elif hasattr(value, "generate"):
            seed_generators(value, parts)


def work(connected: socket.socket, env_class: str, options: dict[str, Any]) -> None:
    """Answer requests until the parent closes the channel; the main function of the process."""
    if hasattr(os, "setsid"):
        os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.dup2(2, 1)  # the game's chatter must not mix with the parent's own output
    channel = Channel(connected)
    battle = None
    try:
        battle = Battle(env_class, options)
        channel.send(("done", battle.sizes()))
        while (request := channel.receive())[0] != "close":
            answer = battle.reset(*request[1:]) if request[0] == "reset" else battle.step(*request[1:])
            channel.send(("done", answer))
    except (EOFError, ConnectionError):
        pass  # the parent closed the channel, or is gone
    except Exception as error:
        channel.send(("failed", " ".join(f"{type(error).__name__}: {error}".split())))
    finally:
        if battle is not None:
            battle.close()


def _end_with_parent() -> None:
    """Wait until the parent is gone, then end this process and the game."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
