"""Copied as `benchmarks` beside a test's params.yaml: the real package with made-up runs instead of training."""

from pathlib import Path

import envs

__path__.append(str(Path(envs.__file__).parents[1] / "benchmarks"))
