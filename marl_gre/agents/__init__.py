"""The agents' networks, one file each; a new one is a file and a line here, or a module of one's own."""

AGENTS = {"gru": "marl_gre.agents.gru:RecurrentAgent"}
"""Names that params.yaml takes besides package.module:Class; imported where used, since compiled code loads slowly."""
