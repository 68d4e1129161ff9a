"""The promises of every mixer: one function per promise, each with its own message; `MIXER_CHECKS` lists them.

The learner and the gradient entropy rely on them: steps do not influence each other, the credits of a monotonic mixer
are not negative, the regulariser does not train the agents. Inputs are drawn from fixed seeds, in float64.
"""

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from marl_gre.config import require_recordable, reserved_fields
from marl_gre.conformance.kit import ConformanceError, draw_anew, one_line, plural, require, watched_global_rngs
from marl_gre.credit import differentiate
from marl_gre.data import EnvSizes
from marl_gre.mixers.base import AgentValues, Mixer, MixerConfig

N_ACTIONS, OBS_DIM, STATE_DIM = 5, 11, 13  # sizes that nothing else here has, so that a mixed-up axis raises
WEIGHTS = ("initial", "five times the initial", "drawn anew")  # as a mixer begins, and where training may take it


@dataclass(frozen=True)
class MixerUnderTest:
    """A mixer class, the config to build it with, and its author's declarations."""

    mixer_class: type[Mixer]
    config: MixerConfig | None = None
    monotonic: bool = True
    regulariser_detached: bool = True
    max_agents: int = 8

    def made_config(self) -> MixerConfig:
        """Return the config to build with."""
        return self.mixer_class.Config() if self.config is None else self.config

    def build(self, n_agents: int, seed: int = 0, weights: str = "initial") -> Mixer:
        """Return a float64 mixer whose parameters, one of WEIGHTS, depend on the arguments only."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            try:
                sizes = EnvSizes(n_agents, N_ACTIONS, OBS_DIM, STATE_DIM)
                mixer = self.mixer_class(sizes, self.made_config()).double()
            except Exception as error:
                raise ConformanceError(
                    f"building the mixer with {n_agents} agents raised {one_line(error)}; mixers are built as "
                    "Mixer(sizes, config), config = Mixer.Config() unless you give one."
                ) from error
        if weights == "drawn anew":
            draw_anew(mixer)
        elif weights != "initial":
            with torch.no_grad():
                for parameter in mixer.parameters():
                    parameter.mul_(5.0)
        return mixer

    def agent_counts(self) -> Iterator[int]:
        """Yield 1 to max_agents, leaving out 1 if the mixer refuses a single agent with a ValueError."""
        for n_agents in range(1, self.max_agents + 1):
            if n_agents == 1:
                try:
                    self.build(1)
                except ConformanceError as error:
                    if isinstance(error.__cause__, ValueError):
                        continue
                    raise
            yield n_agents

    def mixers(self) -> Iterator[tuple[Mixer, AgentValues, Tensor]]:
        """Yield mixers of every size, with each of WEIGHTS, with values [3,4,N] and state [3,4,S]."""
        for n_agents in self.agent_counts():
            yield from self.mixers_of(n_agents)

    def mixers_of(self, n_agents: int) -> Iterator[tuple[Mixer, AgentValues, Tensor]]:
        """Yield what `mixers` does, of one size."""
        for weights in WEIGHTS:
            yield self.build(n_agents, weights=weights), *inputs(n_agents)


def inputs(n_agents: int, batch: int = 3, time: int = 4, seed: int = 0) -> tuple[AgentValues, Tensor]:
    """Return random values [B,T,N] and state [B,T,S] in float64; about half the actions are greedy ones."""
    generator = torch.Generator().manual_seed(seed)
    chosen = 3 * torch.randn(batch, time, n_agents, generator=generator, dtype=torch.float64)
    state = torch.randn(batch, time, STATE_DIM, generator=generator, dtype=torch.float64)
    greedy = chosen + torch.randn(chosen.shape, generator=generator, dtype=torch.float64).clamp(min=0)
    actions = torch.randint(N_ACTIONS, chosen.shape, generator=generator)
    return AgentValues(chosen, greedy, actions), state


def checked_mix(mixer: Mixer, values: AgentValues, state: Tensor) -> tuple[Tensor, Tensor]:
    """Return q_tot and regulariser after checking that they are two tensors [B,T] of the input's dtype."""
    shape, dtype = values.chosen.shape[:2], values.chosen.dtype
    size = f"values {list(values.chosen.shape)} and state {list(state.shape)}"
    outputs: dict[str, object] = {}
    try:
        mixed = mixer.mix_and_regularise(values, state)
        outputs["q_tot"], outputs["regulariser"] = mixed
        outputs["q_tot of forward"] = mixer(values, state)
    except Exception as error:
        raise ConformanceError(f"mixing raised {one_line(error)} for {size}.") from error
    for name, value in outputs.items():
        found = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
        require(
            found == list(shape),
            f"wrong shape: {name} is {found} for {size}; it must be [B,T] = {list(shape)}.",
        )
        require(
            isinstance(value, Tensor) and value.dtype == dtype,
            f"wrong dtype: {name} is {getattr(value, 'dtype', None)} for {dtype} inputs; it must keep their dtype.",
        )
    return mixed


def gradient_of(output: Tensor, chosen: Tensor) -> Tensor:
    """Return the gradient [B,T,N] of an output's sum in the chosen values; zeros where it does not depend on them."""
    if not output.requires_grad:
        return torch.zeros_like(chosen)
    return torch.autograd.grad(output.sum(), chosen, materialize_grads=True)[0]


def same_bits(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    """Return whether two tuples of tensors, such as (q_tot, regulariser), are bit-identical."""
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def declarations(case: MixerUnderTest) -> None:
    """The class is a Mixer with an integer `results_version` and a `Config` that a run's record gives back."""
    require(
        isinstance(case.mixer_class, type) and issubclass(case.mixer_class, Mixer),
        f"{case.mixer_class!r} is not a subclass of marl_gre.mixers.Mixer.",
    )
    config = getattr(case.mixer_class, "Config", None)
    require(
        isinstance(config, type) and issubclass(config, MixerConfig),
        f"{case.mixer_class.__name__}.Config is {config!r}; it must be a subclass of marl_gre.mixers.MixerConfig.",
    )
    taken = reserved_fields(case.mixer_class.Config)
    require(not taken, f"{case.mixer_class.__name__}.Config has a field {plural(taken)}, a key of every algorithm.")
    try:
        require_recordable(case.made_config(), case.mixer_class.__name__)
    except ValueError as error:
        raise ConformanceError(f"{error}.") from error
    version = getattr(case.mixer_class, "results_version", None)
    require(
        type(version) is int,
        f"{case.mixer_class.__name__}.results_version is {version!r}; it must be an int, raised when results change.",
    )


def shapes(case: MixerUnderTest) -> None:
    """q_tot and regulariser are [B,T], in the dtype of the inputs, for every number of agents and batch size."""
    for n_agents in case.agent_counts():
        mixer = case.build(n_agents)
        for batch, time in itertools.product((1, 3), (1, 4)):
            values, state = inputs(n_agents, batch, time)
            checked_mix(mixer, values, state)
        checked_mix(
            mixer.float(), replace(values, chosen=values.chosen.float(), greedy=values.greedy.float()), state.float()
        )


def finite(case: MixerUnderTest) -> None:
    """Values and gradients are finite in float64 for Q values from minus to plus one million."""
    for n_agents, weights in itertools.product(case.agent_counts(), WEIGHTS):
        mixer = case.build(n_agents, weights=weights)
        values, state = inputs(n_agents, batch=8)
        signs = values.chosen.sign()
        signs[0], signs[1] = 1, -1  # besides random signs: all high, all low
        for size in (0.0, 1.0, 1e3, 1e6):
            chosen = (size * signs).requires_grad_(True)
            outputs = checked_mix(mixer, replace(values, chosen=chosen, greedy=chosen.detach().abs()), state)
            for name, value in zip(("q_tot", "regulariser"), outputs, strict=True):
                require(
                    bool(value.isfinite().all()),
                    f"{name} is not finite with {n_agents} agents and Q values of +-{size:g} in float64.",
                )
            total = outputs[0] + outputs[1]
            if total.requires_grad:
                total.sum().backward()
            gradients = [("the chosen values", chosen.grad), *((k, p.grad) for k, p in mixer.named_parameters())]
            bad = [name for name, gradient in gradients if gradient is not None and not gradient.isfinite().all()]
            require(
                not bad,
                f"the gradient of {plural(bad)} is not finite with {n_agents} agents and Q values of +-{size:g}.",
            )
            mixer.zero_grad()


def regularised_alike(case: MixerUnderTest) -> None:
    """`mix_and_regularise` returns the same q_tot as `forward`, so targets and values match."""
    for mixer, values, state in case.mixers():
        error = (checked_mix(mixer, values, state)[0] - mixer(values, state)).abs().max().item()
        require(
            error <= 1e-9,
            f"mix_and_regularise and forward give q_tot that differ by up to {error:.3g}; they must be equal, since "
            "the target network is mixed by forward.",
        )


def independent_steps(case: MixerUnderTest) -> None:
    """Each (b, t) is mixed by itself: other steps, their order and the batch size change nothing."""
    for mixer, values, state in case.mixers():
        outputs = checked_mix(mixer, values, state)
        b, t = 1, 2
        here = torch.zeros(state.shape[:2], dtype=torch.bool)
        here[b, t] = True
        others = AgentValues(100 * values.chosen + 1, 100 * values.greedy + 1, values.actions.flip(-1))
        other_values = AgentValues(*(torch.where(here[..., None], one, other) for one, other in pairs(values, others)))
        other_state = torch.where(here[..., None], state, 10 * state - 1)
        alone = values.map(lambda value: value[1:2, 2:3]), state[1:2, 2:3]
        batch_reversed = values.map(lambda value: value.flip(0)), state.flip(0)
        time_reversed = values.map(lambda value: value.flip(1)), state.flip(1)
        variants = [
            ("the other steps of the batch changed", checked_mix(mixer, other_values, other_state), (b, t)),
            ("it was mixed alone", checked_mix(mixer, *alone), (0, 0)),
            ("the batch was reversed", checked_mix(mixer, *batch_reversed), (len(state) - 1 - b, t)),
            ("time was reversed", checked_mix(mixer, *time_reversed), (b, state.shape[1] - 1 - t)),
        ]
        for (what, found, where), k in itertools.product(variants, (0, 1)):
            before, after = outputs[k][b, t], found[k][where]
            require(  # matrix products of another shape may differ in the last bits
                torch.allclose(before, after, rtol=1e-9, atol=1e-9),
                f"steps are not independent: {('q_tot', 'regulariser')[k]} of one step went from {before:.6g} to "
                f"{after:.6g} when {what}; mix every (b, t) on its own, or padding changes the loss.",
            )


def depends_on_agents(case: MixerUnderTest) -> None:
    """q_tot carries a gradient back to the value of every agent's action."""
    for n_agents in case.agent_counts():
        reached = torch.zeros(n_agents, dtype=torch.bool)
        for mixer, values, state in case.mixers_of(n_agents):
            chosen = values.chosen.requires_grad_(True)
            q_tot, _ = checked_mix(mixer, values, state)
            reached |= (gradient_of(q_tot, chosen) != 0).any(0).any(0)
        require(
            bool(reached.any()),
            "q_tot carries no gradient to values.chosen: the agents could not learn (detached, or not used).",
        )
        left_out = (~reached).nonzero().flatten().tolist()
        require(
            not left_out,
            f"q_tot carries no gradient to the values of agent {plural(left_out)} of {n_agents}, counted from 0, at "
            "any step: they could not learn.",
        )


def parameters_learn(case: MixerUnderTest) -> None:
    """Every parameter carries a gradient of q_tot or of the regulariser that is not always zero."""
    for n_agents in case.agent_counts():
        learning: set[str] = set()  # the gradient was not 0 with some weights
        for mixer, values, state in case.mixers_of(n_agents):
            parameters = {name: value for name, value in mixer.named_parameters() if value.requires_grad}
            if not parameters:
                return
            q_tot, regulariser = checked_mix(mixer, values, state)
            total = (q_tot + regulariser).sum()
            gradients: Sequence[Tensor | None] = [None] * len(parameters)
            if total.requires_grad:
                gradients = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
            by_name = dict(zip(parameters, gradients, strict=True))
            unused = [name for name, gradient in by_name.items() if gradient is None]
            require(
                not unused,
                f"no gradient reaches {plural(unused)}: they would stay as they are initialised; use them or remove "
                "them.",
            )
            learning |= {name for name, gradient in by_name.items() if gradient is not None and gradient.any()}
        zero = sorted(parameters.keys() - learning)
        require(
            n_agents == 1 or not zero,  # one agent's share of anything is 1, whatever the weights
            f"the gradient of {plural(zero)} is always 0 with {n_agents} agents: they would stay as they "
            "are initialised; use them or remove them.",
        )


def monotonic_in_agents(case: MixerUnderTest) -> None:
    """No agent's credit dq_tot/dq_i is negative, where the mixer is declared monotonic."""
    for mixer, values, state in case.mixers() if case.monotonic else ():
        for size in (1, 10, 1000):
            larger = replace(values, chosen=size * values.chosen, greedy=size * values.greedy)
            lowest = differentiate(mixer, larger, state).min().item()
            require(
                lowest >= 0,
                f"not monotonic: a credit dq_tot/dq_i is {lowest:.6g} with {mixer_size(values)} and Q values of about "
                f"+-{3 * size}; make the mixing weights non-negative or declare monotonic=False.",
            )


def greedy_actions_agree(case: MixerUnderTest) -> None:
    """Individual-global-max by enumeration: the agents' own best actions form a best joint action."""
    n_actions, n_states = 3, 16
    for n_agents, weights in itertools.product((n for n in case.agent_counts() if n <= 3), WEIGHTS):
        if not case.monotonic:
            return
        mixer = case.build(n_agents, weights=weights)
        generator = torch.Generator().manual_seed(n_agents)
        agent_qs = 3 * torch.randn(n_states, n_agents, n_actions, generator=generator, dtype=torch.float64)
        states = torch.randn(n_states, 1, STATE_DIM, generator=generator, dtype=torch.float64)
        joint = torch.tensor(list(itertools.product(range(n_actions), repeat=n_agents)))  # [A^N, N]
        best = agent_qs.max(-1)
        greedy = AgentValues(best.values, best.values, best.indices).map(lambda value: value.unsqueeze(1))
        values = AgentValues(  # each [states, A^N, N]
            chosen=agent_qs[:, torch.arange(n_agents), joint],
            greedy=greedy.greedy.expand(-1, len(joint), -1),
            actions=joint.expand(n_states, -1, -1),
        )
        q_tot, _ = checked_mix(mixer, values, states.expand(-1, len(joint), -1))
        q_tot_of_greedy, _ = checked_mix(mixer, greedy, states)  # [states, 1]
        gap = (q_tot.max(-1).values - q_tot_of_greedy[:, 0]).max().item()
        require(
            gap <= 1e-9 * (1 + q_tot.abs().max().item()),
            f"the argmax of q_tot is not the agents' own argmaxes (individual-global-max): another joint action of "
            f"{n_agents} agents is better by {gap:.6g}; declare monotonic=False if that is meant.",
        )


@torch.no_grad()
def closed_forms(mixer: Mixer, values: AgentValues, state: Tensor) -> dict[str, Tensor]:
    """Return a mixer's `analytic_credits` after checking that they are tensors by name."""
    try:
        credits = mixer.analytic_credits(values, state)
    except Exception as error:
        raise ConformanceError(f"analytic_credits raised {one_line(error)} with {mixer_size(values)}.") from error
    require(
        isinstance(credits, dict) and all(isinstance(found, Tensor) for found in credits.values()),
        f"analytic_credits returned {type(credits).__name__}; it must be a dict of tensors [B,T,N] by name, empty "
        "for a mixer without closed forms.",
    )
    return credits


def analytic_credits(case: MixerUnderTest) -> None:
    """`analytic_credits` are [B,T,N], and those called exact, if any, equal automatic differentiation."""
    for mixer, values, state in case.mixers():
        credits = closed_forms(mixer, values, state)
        for name, found in credits.items():
            require(
                found.shape == values.chosen.shape,
                f"analytic credits {name!r} have shape {list(found.shape)}; it must be [B,T,N] = "
                f"{list(values.chosen.shape)}.",
            )
        if "exact" in credits:
            expected = differentiate(mixer, values, state)
            error = (credits["exact"] - expected).abs().max().item()
            require(
                torch.allclose(credits["exact"], expected, rtol=1e-9, atol=1e-12),
                f"the analytic credits 'exact' differ from autograd's dq_tot/dq_i by up to {error:.3g} with "
                f"{mixer_size(values)}.",
            )


def function_credits(case: MixerUnderTest) -> None:
    """`analytic_credits` called function, if any, are the slopes of q_tot in the chosen values.

    They differ from the exact ones where q_tot detaches a part of itself.
    """
    for mixer, values, state in case.mixers():
        with torch.no_grad():
            found = closed_forms(mixer, values, state).get("function")
            if found is None:
                return
            for agent in range(values.chosen.shape[-1]):
                step = torch.zeros(values.chosen.shape[-1], dtype=values.chosen.dtype)
                step[agent] = 1e-5
                above, below = (mixer(replace(values, chosen=values.chosen + s * step), state) for s in (1, -1))
                slope = (above - below) / 2e-5  # central differences: in float64 exact to about 1e-9
                error = (found[..., agent] - slope).abs().max().item()
                require(
                    torch.allclose(found[..., agent], slope, rtol=1e-5, atol=1e-6),
                    f"the analytic credits 'function' differ from the slopes of q_tot by up to {error:.3g} with "
                    f"{mixer_size(values)}; they are the credits of the function, whatever is detached in it.",
                )


def credits_for_training(case: MixerUnderTest) -> None:
    """`mix_with_credits` returns q_tot, the regulariser and the measured credits, attached to the parameters only.

    Gradient entropy regularisation (`gre_lambda`) differentiates these credits.
    """
    for mixer, values, state in case.mixers():
        values.chosen.requires_grad_(True)
        expected = {**closed_forms(mixer, values, state), "exact": differentiate(mixer, values, state)}
        for name, credits in expected.items():
            try:
                q_tot, regulariser, found = mixer.mix_with_credits(values, state, name)
            except Exception as error:
                raise ConformanceError(f"mix_with_credits of {name!r} raised {one_line(error)}.") from error
            both = zip((q_tot, regulariser), checked_mix(mixer, values, state), strict=True)
            require(
                all(torch.allclose(one, other, rtol=1e-9, atol=1e-9) for one, other in both),
                "mix_with_credits and mix_and_regularise give different q_tot or regulariser.",
            )
            require(
                found.shape == credits.shape and torch.allclose(found, credits, rtol=1e-9, atol=1e-12),
                f"mix_with_credits gives other credits {name!r} than are measured.",
            )
            require(
                not gradient_of(found.square(), values.chosen).any(),
                f"the credits {name!r} of mix_with_credits reach the agents' Q values; detach them, or gre_lambda "
                "would move the agents.",
            )


def regulariser_leaves_agents(case: MixerUnderTest) -> None:
    """The regulariser trains the mixer's parameters only, if it is declared detached from the agents."""
    for mixer, values, state in case.mixers() if case.regulariser_detached else ():
        chosen = values.chosen.requires_grad_(True)
        _, regulariser = checked_mix(mixer, values, state)
        require(
            not gradient_of(regulariser, chosen).any(),
            "the regulariser reaches the agents' Q values: its gradient in values.chosen is not zero; detach them in "
            "the regulariser or declare regulariser_detached=False.",
        )


def repeatable(case: MixerUnderTest) -> None:
    """Mixing is a pure function: no global random numbers, no memory of earlier calls, inputs unchanged."""
    for mixer, values, state in case.mixers():
        moved: list[str] = []
        kept = [value.clone() for value in (*vars(values).values(), state)]
        with watched_global_rngs(1, moved):
            first = checked_mix(mixer, values, state)
        require(not moved, f"mixing draws from the global random state ({plural(moved)}): its result must not.")
        require(
            same_bits(kept, [*vars(values).values(), state]),
            "mixing changed its inputs in place: values and state must be left as they are.",
        )
        checked_mix(mixer, *inputs(values.chosen.shape[-1], batch=2, seed=1))
        require(
            same_bits(first, checked_mix(mixer, values, state)),
            "mixing is not repeatable: the same inputs gave other values after another batch had been mixed.",
        )


def state_dict_round_trip(case: MixerUnderTest) -> None:
    """The state_dict holds everything that determines the output."""
    for mixer, values, state in case.mixers():
        other = case.build(values.chosen.shape[-1], seed=1)
        checked_mix(other, values, state)  # what it keeps of its old weights must not outlast them
        try:
            other.load_state_dict(mixer.state_dict())
        except Exception as error:
            raise ConformanceError(
                f"load_state_dict of the mixer's own state_dict raised {one_line(error)}."
            ) from error
        require(
            same_bits(checked_mix(mixer, values, state), checked_mix(other, values, state)),
            "the state_dict is not complete: a mixer that loaded it gives other values; register every tensor that "
            "decides the output as a parameter or buffer.",
        )


def copies_are_independent(case: MixerUnderTest) -> None:
    """A deepcopy (the target mixer) equals the original and shares nothing with it, in the middle of training too."""
    for mixer, values, state in case.mixers():
        values.chosen.requires_grad_(True)
        before = checked_mix(mixer, values, state)
        try:
            target = copy.deepcopy(mixer)
        except Exception as error:
            raise ConformanceError(
                f"deepcopy of the mixer after a forward raised {one_line(error)}; keep no results on self."
            ) from error
        require(same_bits(before, checked_mix(target, values, state)), "a deepcopy of the mixer gives other values.")
        with torch.no_grad():
            for parameter in mixer.parameters():
                parameter.add_(1.0)
        require(
            same_bits(before, checked_mix(target, values, state)),
            "a deepcopy shares parameters with the original: the target mixer would move with the online one.",
        )


def pairs(one: AgentValues, other: AgentValues) -> list[tuple[Tensor, Tensor]]:
    """Return the corresponding tensors of both in pairs."""
    return list(zip(vars(one).values(), vars(other).values(), strict=True))


def mixer_size(values: AgentValues) -> str:
    """Return the number of agents in words."""
    n_agents = values.chosen.shape[-1]
    return f"{n_agents} agent" + "s" * (n_agents != 1)


MIXER_CHECKS: dict[str, Callable[[MixerUnderTest], None]] = {
    check.__name__: check
    for check in (
        declarations,
        shapes,
        repeatable,
        finite,
        regularised_alike,
        independent_steps,
        depends_on_agents,
        parameters_learn,
        monotonic_in_agents,
        greedy_actions_agree,
        analytic_credits,
        function_credits,
        credits_for_training,
        regulariser_leaves_agents,
        state_dict_round_trip,
        copies_are_independent,
    )
}
