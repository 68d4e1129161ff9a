"""The conformance kit: what an environment and a mixer must do, as named checks.

Two ways in: `marl_gre.testing.check_env` and `check_mixer` for one's own tests, and the same checks as a pytest suite,
`pytest --pyargs marl_gre.conformance --env package.module:parallel_env --mixer package.module:Mixer`.
"""
