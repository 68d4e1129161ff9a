"""Parts that look sound at first and fail while a run trains."""

from lstm_agent import LSTMAgent
from marl_gre.agents.base import TorchActor
from sound_mixer import WeightedSum


class FailsInAnUpdate(WeightedSum):
    def forward(self, values, state):
        if state.shape[1] > 3:
            raise RuntimeError("a batch of 4 episodes")
        return super().forward(values, state)


class CreditsFailInAnUpdate(WeightedSum):
    def analytic_credits(self, values, state):
        if state.shape[1] > 3:
            raise KeyError("credits")
        return super().analytic_credits(values, state)


class FailsToAct(LSTMAgent):
    def actor(self, num_envs):
        actor = TorchActor(self, num_envs)
        acted = []

        class Fails:
            def act(self, *inputs):
                acted.append(len(acted))
                if len(acted) > 5:
                    raise IndexError(f"step {acted[-1]}")
                return actor.act(*inputs)

        return Fails()
