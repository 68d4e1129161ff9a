"""Credit assignment in cooperative multi-agent RL: VDN, QMIX, QMIX-simple and QMIX-GRE behind one learner."""

__version__ = "0.1.0"
