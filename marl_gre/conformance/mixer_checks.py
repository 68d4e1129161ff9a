"""What every mixer promises: one function per promise, each with its own message; `MIXER_CHECKS` lists them.

The learner and the credit entropy rely on these: padding may not leak, credits may not be negative where a mixer calls
itself monotonic, the penalty may not move the agents. Inputs are drawn here from fixed seeds; all in float64.
"""

import copy
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from marl_gre.conformance.kit import ConformanceError, one_line, plural, require, watched_global_rngs
from marl_gre.credit import credits
from marl_gre.mixers.base import Mixer, MixerConfig

STATE_DIM = 7  # no other size here is 7, so that a mixed-up axis raises
SCALES = (1.0, 5.0)  # factors on the initial parameters: fresh networks, and ones with spread-out weights


@dataclass(frozen=True)
class MixerUnderTest:
    """A mixer class, the config to build it with, and what its author declares."""

    mixer_class: type[Mixer]
    config: MixerConfig | None = None
    monotonic: bool = True
    penalty_detached: bool = True
    max_agents: int = 8

    def build(self, n_agents: int, seed: int = 0, scale: float = 1.0) -> Mixer:
        """Return a float64 mixer whose parameters depend on the arguments only."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            try:
                config = self.mixer_class.Config() if self.config is None else self.config
                mixer = self.mixer_class(n_agents, STATE_DIM, config)
            except Exception as error:
                raise ConformanceError(
                    f"building the mixer with {n_agents} agents raised {one_line(error)}; mixers are built as "
                    "Mixer(n_agents, state_dim, config), config = Mixer.Config() unless you give one."
                ) from error
        mixer = mixer.double()
        with torch.no_grad():
            for parameter in mixer.parameters():
                parameter.mul_(scale)
        return mixer

    def agent_counts(self) -> Iterator[int]:
        """Yield 1 to max_agents, without 1 where the mixer refuses a single agent with a ValueError."""
        for n_agents in range(1, self.max_agents + 1):
            if n_agents == 1:
                try:
                    self.build(1)
                except ConformanceError as error:
                    if isinstance(error.__cause__, ValueError):
                        continue
                    raise
            yield n_agents

    def mixers(self) -> Iterator[tuple[Mixer, Tensor, Tensor]]:
        """Yield mixers of every size and scale, each with chosen_qs [3,4,N] and state [3,4,S]."""
        for n_agents, scale in itertools.product(self.agent_counts(), SCALES):
            yield self.build(n_agents, scale=scale), *inputs(n_agents)


def inputs(n_agents: int, batch: int = 3, time: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return random chosen_qs [B,T,N] and state [B,T,S] in float64."""
    generator = torch.Generator().manual_seed(seed)
    chosen_qs = 3 * torch.randn(batch, time, n_agents, generator=generator, dtype=torch.float64)
    return chosen_qs, torch.randn(batch, time, STATE_DIM, generator=generator, dtype=torch.float64)


def mix(mixer: Mixer, chosen_qs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Return q_tot and penalty after checking that they are two tensors [B,T] of the input's dtype."""
    size = f"chosen_qs {list(chosen_qs.shape)} and state {list(state.shape)}"
    try:
        output = mixer(chosen_qs, state)
    except Exception as error:
        raise ConformanceError(f"forward raised {one_line(error)} for {size}.") from error
    found = [type(x).__name__ for x in output] if isinstance(output, tuple) else type(output).__name__
    require(found == ["Tensor", "Tensor"], f"forward returned {found}; it must return (q_tot, penalty), two tensors.")
    for name, value in zip(("q_tot", "penalty"), output, strict=True):
        require(
            value.shape == chosen_qs.shape[:2],
            f"wrong shape: {name} is {list(value.shape)} for {size}; it must be [B,T] = {list(chosen_qs.shape[:2])}.",
        )
        require(
            value.dtype == chosen_qs.dtype,
            f"wrong dtype: {name} is {value.dtype} for {chosen_qs.dtype} inputs; it must keep their dtype.",
        )
    return output


def same_bits(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> bool:
    """Return whether two (q_tot, penalty) are equal in every bit."""
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def declarations(case: MixerUnderTest) -> None:
    """A Mixer whose `Config` is a MixerConfig and whose `results_version` is an integer, as params.yaml needs them."""
    require(
        isinstance(case.mixer_class, type) and issubclass(case.mixer_class, Mixer),
        f"{case.mixer_class!r} is not a subclass of marl_gre.mixers.Mixer.",
    )
    config = getattr(case.mixer_class, "Config", None)
    require(
        isinstance(config, type) and issubclass(config, MixerConfig),
        f"{case.mixer_class.__name__}.Config is {config!r}; it must be a subclass of marl_gre.mixers.MixerConfig.",
    )
    version = getattr(case.mixer_class, "results_version", None)
    require(
        type(version) is int,
        f"{case.mixer_class.__name__}.results_version is {version!r}; it must be an int, raised when results change.",
    )


def shapes(case: MixerUnderTest) -> None:
    """q_tot and penalty are [B,T], in the dtype of the inputs, for every number of agents and batch size."""
    for n_agents in case.agent_counts():
        mixer = case.build(n_agents)
        for batch, time in itertools.product((1, 3), (1, 4)):
            chosen_qs, state = inputs(n_agents, batch, time)
            mix(mixer, chosen_qs, state)
        mix(mixer.float(), chosen_qs.float(), state.float())


def finite(case: MixerUnderTest) -> None:
    """Values and gradients stay finite in float64 for Q values up to one million of either sign."""
    for n_agents, scale in itertools.product(case.agent_counts(), SCALES):
        mixer = case.build(n_agents, scale=scale)
        signs, state = inputs(n_agents, batch=8)
        signs = signs.sign()
        signs[0], signs[1] = 1, -1  # besides random signs: all high, all low
        for size in (0.0, 1.0, 1e3, 1e6):
            chosen_qs = (size * signs).requires_grad_(True)
            q_tot, penalty = mix(mixer, chosen_qs, state)
            for name, value in (("q_tot", q_tot), ("penalty", penalty)):
                require(
                    bool(value.isfinite().all()),
                    f"{name} is not finite with {n_agents} agents and Q values of +-{size:g} in float64.",
                )
            if (q_tot + penalty).requires_grad:
                (q_tot + penalty).sum().backward()
            gradients = [("chosen_qs", chosen_qs.grad), *((k, p.grad) for k, p in mixer.named_parameters())]
            bad = [name for name, gradient in gradients if gradient is not None and not gradient.isfinite().all()]
            require(
                not bad,
                f"the gradient of {plural(bad)} is not finite with {n_agents} agents and Q values of +-{size:g}.",
            )
            mixer.zero_grad()


def independent_steps(case: MixerUnderTest) -> None:
    """Each (b, t) is mixed on its own: other steps, their order and the batch size change nothing."""
    for mixer, chosen_qs, state in case.mixers():
        outputs = mix(mixer, chosen_qs, state)
        b, t = 1, 2
        other_qs, other_state = 100 * chosen_qs + 1, 10 * state - 1
        other_qs[b, t], other_state[b, t] = chosen_qs[b, t], state[b, t]
        variants = [
            ("the other steps of the batch changed", mix(mixer, other_qs, other_state), (b, t)),
            ("it was mixed alone", mix(mixer, chosen_qs[b : b + 1, t : t + 1], state[b : b + 1, t : t + 1]), (0, 0)),
            ("the batch was reversed", mix(mixer, chosen_qs.flip(0), state.flip(0)), (len(state) - 1 - b, t)),
            ("time was reversed", mix(mixer, chosen_qs.flip(1), state.flip(1)), (b, state.shape[1] - 1 - t)),
        ]
        for (what, found, where), k in itertools.product(variants, (0, 1)):
            before, after = outputs[k][b, t], found[k][where]
            require(  # matrix products of another shape may differ in the last bits
                torch.allclose(before, after, rtol=1e-9, atol=1e-9),
                f"steps are not independent: {('q_tot', 'penalty')[k]} of one step went from {before:.6g} to "
                f"{after:.6g} when {what}; mix every (b, t) on its own, or padding changes the loss.",
            )


def depends_on_agents(case: MixerUnderTest) -> None:
    """q_tot carries a gradient back to the agents' Q values."""
    for mixer, chosen_qs, state in case.mixers():
        chosen_qs.requires_grad_(True)
        q_tot, _ = mix(mixer, chosen_qs, state)
        gradient = None
        if q_tot.requires_grad:
            (gradient,) = torch.autograd.grad(q_tot.sum(), chosen_qs, allow_unused=True)
        require(
            gradient is not None and bool((gradient != 0).any()),
            "q_tot carries no gradient to chosen_qs: the agents could not learn (detached, or not used).",
        )


def monotonic_in_agents(case: MixerUnderTest) -> None:
    """No agent's credit dq_tot/dq_i is negative, where the mixer is declared monotonic."""
    for mixer, chosen_qs, state in case.mixers() if case.monotonic else ():
        lowest = credits(mixer, chosen_qs, state).min().item()
        require(
            lowest >= 0,
            f"not monotonic: a credit dq_tot/dq_i is {lowest:.6g} with {mixer_size(chosen_qs)}; make the mixing "
            "weights non-negative or declare monotonic=False.",
        )


def greedy_actions_agree(case: MixerUnderTest) -> None:
    """Individual-global-max by enumeration: the agents' own best actions are a best joint action."""
    n_actions, n_states = 3, 16
    for n_agents, scale in itertools.product((n for n in case.agent_counts() if n <= 3), SCALES):
        if not case.monotonic:
            return
        mixer = case.build(n_agents, scale=scale)
        generator = torch.Generator().manual_seed(n_agents)
        agent_qs = 3 * torch.randn(n_states, n_agents, n_actions, generator=generator, dtype=torch.float64)
        states = torch.randn(n_states, 1, STATE_DIM, generator=generator, dtype=torch.float64)
        joint = torch.tensor(list(itertools.product(range(n_actions), repeat=n_agents)))  # [A^N, N]
        chosen_qs = agent_qs[:, torch.arange(n_agents), joint]  # [states, A^N, N]
        q_tot, _ = mix(mixer, chosen_qs, states.expand(-1, len(joint), -1))
        greedy, _ = mix(mixer, agent_qs.max(-1).values.unsqueeze(1), states)  # [states, 1]
        gap = (q_tot.max(-1).values - greedy[:, 0]).max().item()
        require(
            gap <= 1e-9 * (1 + q_tot.abs().max().item()),
            f"the argmax of q_tot is not the agents' own argmaxes (individual-global-max): another joint action of "
            f"{n_agents} agents is better by {gap:.6g}; declare monotonic=False if that is meant.",
        )


def analytic_credits(case: MixerUnderTest) -> None:
    """`credits`, where the mixer offers it, equals automatic differentiation."""
    analytic = getattr(case.mixer_class, "credits", None)  # optional, so not part of the class Mixer
    if analytic is None:
        return
    for mixer, chosen_qs, state in case.mixers():
        expected = credits(mixer, chosen_qs, state)
        with torch.no_grad():
            found = analytic(mixer, chosen_qs, state)
        require(
            found.shape == expected.shape,
            f"analytic credits have shape {list(found.shape)}; it must be [B,T,N] = {list(expected.shape)}.",
        )
        error = (found - expected).abs().max().item()
        require(
            torch.allclose(found, expected, rtol=1e-9, atol=1e-12),
            f"the analytic credits differ from autograd's dq_tot/dq_i by up to {error:.3g} with "
            f"{mixer_size(chosen_qs)}.",
        )


def penalty_leaves_agents(case: MixerUnderTest) -> None:
    """The penalty moves mixer parameters only, where it is declared detached from the agents."""
    for mixer, chosen_qs, state in case.mixers() if case.penalty_detached else ():
        chosen_qs.requires_grad_(True)
        _, penalty = mix(mixer, chosen_qs, state)
        gradient = None
        if penalty.requires_grad:
            (gradient,) = torch.autograd.grad(penalty.sum(), chosen_qs, allow_unused=True)
        require(
            gradient is None or not gradient.any(),
            "the penalty reaches the agents' Q values: its gradient in chosen_qs is not zero; detach chosen_qs in the "
            "penalty or declare penalty_detached=False.",
        )


def repeatable(case: MixerUnderTest) -> None:
    """Forward is a pure function: no global random numbers, no memory of earlier calls, inputs left alone."""
    for mixer, chosen_qs, state in case.mixers():
        moved: list[str] = []
        kept = chosen_qs.clone(), state.clone()
        with watched_global_rngs(1, moved):
            first = mix(mixer, chosen_qs, state)
        require(not moved, f"forward draws from the global random state ({plural(moved)}): its result must not.")
        require(
            same_bits(kept, (chosen_qs, state)),
            "forward changed its inputs in place: chosen_qs and state must be left as they are.",
        )
        mix(mixer, *inputs(chosen_qs.shape[-1], batch=2, seed=1))
        require(
            same_bits(first, mix(mixer, chosen_qs, state)),
            "forward is not repeatable: the same inputs gave other values after another batch had been mixed.",
        )


def state_dict_round_trip(case: MixerUnderTest) -> None:
    """The state_dict holds everything that decides the output."""
    for mixer, chosen_qs, state in case.mixers():
        other = case.build(chosen_qs.shape[-1], seed=1)
        try:
            other.load_state_dict(mixer.state_dict())
        except Exception as error:
            raise ConformanceError(
                f"load_state_dict of the mixer's own state_dict raised {one_line(error)}."
            ) from error
        require(
            same_bits(mix(mixer, chosen_qs, state), mix(other, chosen_qs, state)),
            "the state_dict is not complete: a mixer that loaded it gives other values; register every tensor that "
            "decides the output as a parameter or buffer.",
        )


def copies_are_independent(case: MixerUnderTest) -> None:
    """A deepcopy (the target mixer) equals the original and shares nothing with it, in mid-training too."""
    for mixer, chosen_qs, state in case.mixers():
        before = mix(mixer, chosen_qs.requires_grad_(True), state)
        try:
            target = copy.deepcopy(mixer)
        except Exception as error:
            raise ConformanceError(
                f"deepcopy of the mixer after a forward raised {one_line(error)}; keep no results on self."
            ) from error
        require(same_bits(before, mix(target, chosen_qs, state)), "a deepcopy of the mixer gives other values.")
        with torch.no_grad():
            for parameter in mixer.parameters():
                parameter.add_(1.0)
        require(
            same_bits(before, mix(target, chosen_qs, state)),
            "a deepcopy shares parameters with the original: the target mixer would move with the online one.",
        )


def mixer_size(chosen_qs: Tensor) -> str:
    """Return the number of agents in words."""
    return f"{chosen_qs.shape[-1]} agent" + "s" * (chosen_qs.shape[-1] != 1)


MIXER_CHECKS: dict[str, Callable[[MixerUnderTest], None]] = {
    check.__name__: check
    for check in (
        declarations,
        shapes,
        finite,
        repeatable,
        independent_steps,
        depends_on_agents,
        monotonic_in_agents,
        greedy_actions_agree,
        analytic_credits,
        penalty_leaves_agents,
        state_dict_round_trip,
        copies_are_independent,
    )
}
