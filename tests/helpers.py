"""What tests of several files do with environments."""

from marl_gre_envs.smac.units import UNITS


def random_actions(vec, rng):
    """One available action for each agent of each environment, [E,N]."""
    return (rng.random(vec.action_mask.shape) * vec.action_mask).argmax(-1)


def pixels(picture, color):
    """How many pixels of a picture [H,W,3] have exactly a colour "#rrggbb"."""
    return int((picture == [int(color[i : i + 2], 16) for i in (1, 3, 5)]).all(-1).sum())


def unit_row(name, x, y, hp=None, shield=None):
    """A unit of a world given to reset(): in full health, or with hp left and no shields unless they are given."""
    kind = UNITS[name]
    if shield is None:
        shield = kind.shield if hp is None else 0
    return [x, y, kind.hp if hp is None else hp, kind.hp, shield, kind.shield, 0, kind.energy]
