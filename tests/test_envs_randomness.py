"""Counter-based draws: known values, uniformity, independence of the counters."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba import njit
from scipy.stats import chisquare

from marl_gre_envs import randomness
from marl_gre_envs.compiling import sources


def test_splitmix64_reference_values():
    # The first five outputs of SplitMix64 started from 1234567, as published with the algorithm's implementations.
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [randomness.absorb(np.uint64(1234567), i) for i in range(5)] == expected


def test_our_values_stay():
    # Recorded from this implementation: every result of every environment depends on them.
    key = randomness.episode_key(3, 1)
    assert key == 11810286367831575873
    bits = 13235762343875937220
    assert randomness.bits(key, 5, 2, 7) == bits
    assert randomness.uniform(key, 5, 2, 7) == (bits >> 11) / 2**53  # the upper 53 bits as a fraction
    assert randomness.below(6, key, 5, 2, 7) == (bits >> 32) * 6 >> 32  # the upper 32 bits scaled
    items = np.arange(6)
    randomness.shuffle(items, 6, key, 0, 0)
    assert items.tolist() == [1, 5, 4, 3, 0, 2]


@njit
def _draw(values, vary):
    """Fill values with 0..15 numbers while one of the five counters runs."""
    for i in range(values.size):
        c = np.array([9, 0, 0, 0, 0])
        c[vary] = i
        values[i] = randomness.below(16, randomness.episode_key(c[0], c[1]), c[2], c[3], c[4])


@pytest.mark.parametrize("vary", range(5))
def test_uniform_along_every_counter(vary):
    values = np.empty(64_000, np.int64)
    _draw(values, vary)
    # With a fixed generator the p-values are fixed numbers; a poor mixing would make them tiny (below 1e-100).
    assert chisquare(np.bincount(values, minlength=16)).pvalue > 1e-4
    pairs = values[:-1:2] * 16 + values[1::2]  # neighbours are independent: 256 equally likely pairs
    assert chisquare(np.bincount(pairs, minlength=256)).pvalue > 1e-4


@njit
def _shuffles(counts):
    for i in range(24_000):
        items = np.arange(4)
        randomness.shuffle(items, 4, randomness.episode_key(i, 0), 0, 0)
        counts[items[0] * 64 + items[1] * 16 + items[2] * 4 + items[3]] += 1


def test_all_orders_are_equally_likely():
    counts = np.zeros(256, np.int64)
    _shuffles(counts)
    counts = counts[counts > 0]
    assert counts.size == 24  # 4! orders, each expected 24000 / 24 = 1000 times
    assert chisquare(counts).pvalue > 1e-4


def test_partial_shuffle_moves_only_what_it_selects():
    items = np.arange(100)
    randomness.shuffle(items, 3, randomness.episode_key(0, 0), 0, 0)
    assert sorted(items.tolist()) == list(range(100))
    assert (items != np.arange(100)).sum() <= 6  # three swaps


def test_compiled_kernels_follow_a_change_of_the_files_they_call(tmp_path):
    # numba alone would go on with the machine code of before: mine.py itself does not change.
    package = tmp_path / "marl_gre_envs"
    shutil.copytree(Path(randomness.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "mine.py").write_text(
        "from marl_gre_envs import randomness\n"
        "from marl_gre_envs.compiling import kernel\n"
        "@kernel\n"
        "def draw():\n"
        "    return randomness.below(1_000_000, 1, 2, 3, 4)\n"
        "print(draw())\n"
    )

    def draw():
        command = [sys.executable, tmp_path / "mine.py"]
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    first = draw()
    assert draw() == first
    source = (package / "randomness.py").read_text()
    (package / "randomness.py").write_text(source.replace("GAMMA = uint64(0x9E37", "GAMMA = uint64(0x9E35"))
    assert draw() != first


def test_the_sources_of_a_kernel_are_what_its_module_imports(tmp_path, monkeypatch):
    # A third party's package: relative imports, a constant from a package's __init__, a module beside the package.
    files = {
        "theirs/__init__.py": "from theirs_beside import SIZE\n",
        "theirs/rules.py": "from . import constants\nfrom .more.deep import STEP\nimport numpy\n",
        "theirs/constants.py": "",
        "theirs/more/__init__.py": "from .. import SIZE\n",
        "theirs/more/deep.py": "from . import SIZE\n\ndef draw():\n    import theirs.pictures\n",
        "theirs/pictures.py": "",
        "theirs_beside.py": "SIZE = 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    found = {path.relative_to(tmp_path).as_posix() for path in sources("theirs.rules")}
    assert found == set(files) - {"theirs/pictures.py"}  # imported in a function: no kernel can use it
