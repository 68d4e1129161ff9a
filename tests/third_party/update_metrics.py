"""Metrics written as a third party would."""

import numpy as np


def reward_per_step(update, batch):
    return batch.reward.mean()


def steps(update, batch):
    return len(batch.reward)


def undefined(update, batch):
    return float("inf")


def shaped(update, batch):
    return batch.reward


def of_numpy(update, batch):
    return np.float32(0.5) + np.int64(len(batch.reward))


def writes_into_its_batch(update, batch):
    batch.obs.zero_()
    batch.state.zero_()
    batch.reward.fill_(1e6)
    update.td_loss.zero_()
    return 0.0


def complex_number(update, batch):
    return 1j


def complex_tensor(update, batch):
    return batch.reward.mean() + 1j


def huge(update, batch):
    return 10**400


def worded(update, batch):
    return "a lot"


def broken(update, batch):
    raise RuntimeError("oops")


def td_loss(update, batch):
    return 0.0


number = 3
