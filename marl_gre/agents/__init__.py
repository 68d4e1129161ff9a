"""The agents' networks, one file each. A new one is a file and a line here, or a class named in params.yaml."""

AGENTS = {"gru": "marl_gre.agents.gru:RecurrentAgent"}
"""Names that params.yaml accepts besides package.module:Class. Imported on use, because compiled code loads slowly."""

GRU_RESULTS_VERSION = 1
"""Raised whenever a code change alters the numbers of the agent `gru`; every run with it then becomes stale."""
