"""A loss weight written as a third party would: overestimates count less."""

import torch


def pessimistic(steps, alpha=0.5):
    return torch.where(steps.q_tot < steps.target, 1.0, alpha)


def scalar(steps):
    return steps.q_tot.mean()
