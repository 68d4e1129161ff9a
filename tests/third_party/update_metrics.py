"""Metrics written as a third party would."""


def reward_per_step(update, batch):
    return batch.reward.mean()


def steps(update, batch):
    return len(batch.reward)


def undefined(update, batch):
    return float("inf")


def shaped(update, batch):
    return batch.reward


def worded(update, batch):
    return "a lot"


def broken(update, batch):
    raise RuntimeError("oops")


def td_loss(update, batch):
    return 0.0


number = 3
