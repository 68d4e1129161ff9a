"""The agents' networks, one file each; to add one, add a file and a line here, or name a class of your own."""

AGENTS = {"gru": "marl_gre.agents.gru:RecurrentAgent"}
"""Names that params.yaml takes besides package.module:Class; imported where used, since compiled code loads slowly."""
