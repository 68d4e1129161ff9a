"""Copied as `benchmarks` beside a test's params.yaml: the real package with made-up runs instead of training."""

from pathlib import Path

import marl_gre_envs

__path__.append(str(Path(marl_gre_envs.__file__).parents[2] / "benchmarks"))
