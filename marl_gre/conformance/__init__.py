"""The conformance kit: what an environment, a mixer and an agent must do, as named checks.

Two ways in: `marl_gre.testing.check_env`, `check_mixer` and `check_agent` for one's own tests, and the same checks as a
pytest suite, `pytest --pyargs marl_gre.conformance --env package.module:parallel_env --mixer package.module:Mixer
--agent package.module:Agent`.
"""
