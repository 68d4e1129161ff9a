"""Credit assignment in cooperative multi-agent RL: VDN, QMIX and its kin, Qatten, QPLEX and more behind one learner."""

__version__ = "0.1.0"
