"""The conformance kit: the promises of environments, mixers and agents as named checks.

Use it from tests with `marl_gre.testing.check_env`, `check_mixer` and `check_agent`, or run the same checks as a pytest
suite, `pytest --pyargs marl_gre.conformance --env package.module:parallel_env --mixer package.module:Mixer
--agent package.module:Agent`.
"""
