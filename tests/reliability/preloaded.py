"""Imported by the server that forks the children: one small run, so that they find everything imported and compiled."""

import contextlib
import io
import os
import tempfile
from pathlib import Path

# A process that has computed gradients where torch sees a device starts threads for it, and cannot be forked.
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import torch
from harness import run_config

from marl_gre.jobs.train import train

torch.set_num_threads(1)  # a child of a process with a pool of OpenMP threads waits for them for ever

with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
    for env in ("probe", "lumberjacks", "traffic"):
        train(run_config(Path(folder), env), Path(folder) / env, Path(folder) / "work")
