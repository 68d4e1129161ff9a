"""TrafficJunction: cars follow fixed routes over a junction and choose between gas and brake.

The rules are ma-gym's (https://github.com/koulanurag/ma-gym, 0.0.14), reimplemented for many environments at once.
`traffic_junction_v0` behaves as ma-gym does, `traffic_junction_v1` as the papers describe the environment (Sukhbaatar
et al., https://arxiv.org/abs/1605.07736); they differ in `collision`, `arrivals` and `off_road`.
"""

import numpy as np

from marl_gre_envs import traffic_rules
from marl_gre_envs.checks import as_array, choice, flag, number, pair, whole
from marl_gre_envs.core import MAX_STEPS, Field
from marl_gre_envs.gridworld import GridWorld
from marl_gre_envs.traffic_rules import BRAKE, LEFT, STRAIGHT, Cars, Rules
from marl_gre_envs.vector import World

LARGEST = 127  # positions and numbers of cars are int8


class TrafficJunction(GridWorld):
    """E parallel TrafficJunction environments.

    Two two-lane roads cross at rows and columns H/2-1 and H/2; traffic keeps to the right. The episode starts with a
    car at each of the four gates (fewer if n_max < 4), gates and routes drawn uniformly; the other cars wait and enter
    later, in the order of their numbers, each once. Gas moves a car one cell along its route; cars move in the order of
    their numbers. A car in its k-th step on the road receives k * step_cost. A car that reaches its destination is
    finished and leaves the road. The episode terminates when all cars are finished and is truncated after max_steps.

    A car observes the 3x3 cells around it in row-major order, each with the car on the road there: [one-hot of its
    number (n_max), row / (H-1), column / (W-1), one-hot of its route (3)], zeros where there is none. If cars overlap,
    the bits of all of them are set.

    World: pos [E,N,2] (row, column; waiting cars are at (0, 0)), on_road [E,N] (has entered, finished cars included),
    finished [E,N], route [E,N] (1 straight, 2 right, 3 left, -1 none yet), direction [E,N,2] (row, column step), turned
    [E,N], age [E,N] (steps on the road), corner_car [E] (the car seen in cell (0, 0), -1 none), and arrivals
    [E,max_steps,G,4] with scripted [E]: whether cars arrive as listed there instead of by chance.

    reset(options=...) takes pos, on_road, route, direction (in the shape of one environment or with a leading [E]) and,
    if arrivals are not to be drawn, arrivals [T,4], [E,T,4] or [E,T,G,4], T at most max_steps: the car that enters at
    the end of each step as (car, row, column, route), or -1s. An arrival of a car that has already entered is ignored.
    """

    action_names = ["gas", "brake"]  # noqa: RUF012  (part of the VectorEnv contract)
    noops = (BRAKE,)
    observed = ("pos", "on_road", "finished", "route", "corner_car")
    indices = ("route", "corner_car")
    given = ("pos", "on_road", "route", "direction")
    given_optional = ("arrivals",)
    step_counters = ("collisions",)

    def __init__(
        self,
        num_envs: int = 1,
        *,
        autoreset: bool = True,
        grid_shape: tuple[int, int] = (14, 14),
        step_cost: float = -0.01,
        n_max: int = 4,
        collision_reward: float = -10,
        arrive_prob: float = 0.5,
        full_observable: bool = False,
        max_steps: int = 100,
        collision: str = "overlap",
        arrivals: str = "per_gate",
        off_road: str = "zero",
        team_reward: str = "sum",
        strict: bool = False,
    ):
        """Make the environments; call reset() next.

        Args:
            num_envs: number of parallel environments.
            autoreset: whether an environment restarts by itself when its episode ends.
            grid_shape: rows and columns, equal, 4 to 127.
            step_cost: a car in its k-th step on the road receives k times this; negative for a cost.
            n_max: number of cars, 1 to 127.
            collision_reward: reward of a collision; negative for a penalty.
            arrive_prob: probability of an arrival per step, or per step and gate (see arrivals).
            full_observable: whether every car receives the observations of all cars, side by side.
            max_steps: time limit in steps, 1 to 32767.
            collision: "block": a car whose next cell is taken stays and receives collision_reward (ma-gym).
                "overlap": cars may share a cell, which affects the reward only: each pair of cars in the same cell
                after the moves is one collision, and each of the two receives half of its reward.
            arrivals: "one": at most one arrival per step, at a random free gate (ma-gym). "per_gate": at most one at
                each free gate. A gate is free if no car is there.
            off_road: "observe": waiting cars observe from cell (0, 0), where they see the last car that waits at the
                start, for the whole episode; finished cars keep observing from their destination (ma-gym).
                "zero": waiting and finished cars observe zeros and are not seen.
            team_reward: "sum" or "mean" of the cars' rewards.
            strict: whether an illegal action raises instead of being replaced by brake.

        Raises:
            ValueError: a value is not allowed.
        """
        # On smaller grids gates are destinations, and routes are only defined for squares.
        self.grid_shape = pair("grid_shape", grid_shape, 4, (LARGEST, LARGEST))
        size = self.grid_shape[0]
        if self.grid_shape != (size, size):
            raise ValueError(f"grid_shape must be square, found {grid_shape!r}.")
        self.n_agents = cars = whole("n_max", n_max, 1, LARGEST)
        self.step_cost = number("step_cost", step_cost)
        self.collision_reward = number("collision_reward", collision_reward)
        self.arrive_prob = number("arrive_prob", arrive_prob, 0, 1)
        self.collision = choice("collision", collision, ("block", "overlap"))
        self.arrivals = choice("arrivals", arrivals, ("one", "per_gate"))
        self.off_road = choice("off_road", off_road, ("observe", "zero"))
        max_steps = whole("max_steps", max_steps, 1, MAX_STEPS)

        half, edge = size // 2, size - 1
        # Row, column, and direction (row step, column step) of a car that enters there.
        self._gates = np.array(
            [(half, 0, 0, 1), (edge, half, -1, 0), (half - 1, edge, 0, -1), (0, half - 1, 1, 0)], np.int64
        )
        self.n_actions = len(self.action_names)
        self.agents = [f"agent_{i}" for i in range(cars)]
        self._set_dims(9 * (cars + 5), flag("full_observable", full_observable))
        per_step = 4 if self.arrivals == "per_gate" else 1
        fields = {
            "pos": Field((cars, 2), np.int8, 0, edge),
            "on_road": Field((cars,), np.bool_, 0, 1),
            "finished": Field((cars,), np.bool_, 0, 1),
            "route": Field((cars,), np.int8, -1, LEFT),
            "direction": Field((cars, 2), np.int8, -1, 1),
            "turned": Field((cars,), np.bool_, 0, 1),
            "age": Field((cars,), np.int16, 0, max_steps),
            "corner_car": Field((), np.int8, -1, cars - 1),
            "scripted": Field((), np.bool_, 0, 1),
            "arrivals": Field((max_steps, per_step, 4), np.int8, -1, (cars - 1, edge, edge, LEFT)),
        }
        super().__init__(num_envs, autoreset, fields, max_steps, team_reward, strict)
        self.world["arrivals"].fill(-1)
        self._cars = Cars(*(self.world[name] for name in Cars._fields))
        self._rules = Rules(
            size=size,
            block=self.collision == "block",
            step_cost=self.step_cost,
            collision_reward=self.collision_reward,
            max_steps=max_steps,
            arrive_prob=self.arrive_prob,
            per_gate=self.arrivals == "per_gate",
        )

    def render(self, index: int = 0) -> np.ndarray:
        """Return a picture of environment `index`, [height, width, 3] uint8."""
        from marl_gre_envs.rendering import draw_traffic_junction

        return draw_traffic_junction(self, whole("index", index, 0, self.num_envs - 1))

    def _start(self, which: np.ndarray) -> None:
        w = self.world
        traffic_rules.start(
            which,
            w["seed"],
            w["episode"],
            self._gates,
            self.off_road == "observe",
            self._cars,
            w["corner_car"],
            w["scripted"],
            w["arrivals"],
        )

    def _start_from(self, start: World) -> None:
        w = self.world
        for name in self.given:
            w[name][:] = start[name]
        waiting = ~w["on_road"]
        w["pos"][waiting] = 0
        w["direction"][waiting] = 0
        if self.off_road == "observe":
            last_waiting = self.n_agents - 1 - np.argmax(waiting[:, ::-1], axis=1)
            w["corner_car"][:] = np.where(waiting.any(axis=1), last_waiting, -1)
        if "arrivals" in start:
            w["scripted"].fill(True)
            w["arrivals"][:] = start["arrivals"]

    def _for_all_envs(self, name: str, value: object) -> np.ndarray:
        array = as_array(name, value)
        if name != "arrivals" or array.ndim not in (2, 3, 4) or array.dtype.kind not in "biuf":
            return super()._for_all_envs(name, value)
        script = np.full((self.num_envs, *self.fields["arrivals"].shape), -1, np.result_type(array, np.int8))
        if array.ndim < 4:  # [T,4] or [E,T,4]: one arrival per step
            array = array[..., None, :]
        if array.ndim == 3:
            array = array[None]
        steps, slots = array.shape[1:3]
        try:
            script[:, :steps, :slots] = array
        except ValueError:
            return np.asarray(value)  # of a shape that the check will name
        return script if steps <= self.episode_limit else np.asarray(value)

    def _check_world(self, world: World) -> None:
        on_road, route, direction = world["on_road"], world["route"], world["direction"]
        size = self.grid_shape[0]
        lanes = (size // 2 - 1, size // 2)
        off_lanes = ~np.isin(world["pos"], lanes).any(axis=-1)
        driving = on_road & ~world.get("finished", np.zeros_like(on_road))
        for wrong, rule in (
            (route == 0, "route must be 1, 2, 3, or -1 for none yet"),
            (on_road & (route < STRAIGHT), "a car on the road must have a route from 1 to 3"),
            (driving & off_lanes, f"a car on the road must be in row or column {lanes[0]} or {lanes[1]}"),
            (driving & (np.abs(direction).sum(axis=-1) != 1), "a car on the road must have one of the 4 directions"),
        ):
            if wrong.any():
                e, car = np.argwhere(wrong)[0]
                raise ValueError(f"{rule}; car {car} of environment {e} breaks this.")
        if "arrivals" in world:
            arrivals = world["arrivals"]
            at_gate = (arrivals[..., None, 1:3] == self._gates[:, :2]).all(axis=-1).any(axis=-1)
            wrong = (arrivals[..., 0] >= 0) & ~(at_gate & (arrivals[..., 3] >= STRAIGHT))
            if wrong.any():
                e, step, slot = np.argwhere(wrong)[0]
                found = arrivals[e, step, slot].tolist()
                gates = self._gates[:, :2].tolist()
                raise ValueError(f"an arrival is (car, row, column, route) at one of the gates {gates}, found {found}.")

    def _advance(self, running: np.ndarray, actions: np.ndarray) -> None:
        w = self.world
        traffic_rules.advance(
            running,
            actions,
            self._cars,
            self._rules,
            self._gates,
            w["seed"],
            w["episode"],
            w["step"],
            w["ended"],
            w["scripted"],
            w["arrivals"],
            self.agent_reward,
            self.info["collisions"],
        )

    def _look(self, world: World, which: np.ndarray, out: np.ndarray) -> None:
        traffic_rules.look(
            which,
            world["pos"],
            world["on_road"],
            world["finished"],
            world["route"],
            world["corner_car"],
            self.grid_shape[0],
            self.off_road == "observe",
            out,
        )

    def _write_agent_done(self, done: np.ndarray) -> None:
        super()._write_agent_done(done)
        np.logical_or(done, self.world["finished"], out=done)
