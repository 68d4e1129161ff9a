"""A Ray cluster on one machine whose nodes and driver are killed at random: the results are those of one machine."""

import hashlib
import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import count

from test_pipeline import make_project

HERE = Path(__file__).parent
NODES = 3
PARAMS = """
run: {envs: [short, long], algorithms: [vdn, qmix, gre], seeds: [0, 1, 2, 3]}
envs:
  short: {env: "cluster_env:parallel_env", kwargs: {max_steps: 10}, total_steps: 600, test_interval_steps: 300,
    test_episodes: 3, test_copies: 1, entropy_interval_steps: 300}
  long: {env: "cluster_env:parallel_env", kwargs: {max_steps: 20}, total_steps: 1000, test_interval_steps: 500,
    test_episodes: 3, test_copies: 1, entropy_interval_steps: 300}
algorithms:
  vdn: {mixer: vdn}
  qmix: {mixer: qmix}
  gre: {mixer: qmix_gre}
train: {hidden_dim: 8, batch_episodes: 4, replay_episodes: 50, device: cpu}
evaluate: {episodes: 3}
report: {bootstrap_resamples: 100}
"""
CELLS = 24

ONE_MACHINE = """
import sys
import benchmarks.evaluate, benchmarks.train
from benchmarks.cells import cells_of
from marl_gre.config import load_params
for cell in cells_of(load_params("params.yaml")):
    sys.argv = ["cell", *cell.command[3:]]
    benchmarks.train.main()
    benchmarks.evaluate.main()
"""
"""All cells, one after the other in one process."""


def results(folder):
    """SHA-256 of everything that cells publish, except where and when that was."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for kind in ("runs", "evaluation")
        for path in (folder / "results" / kind).rglob("*")
        if path.is_file() and path.name not in ("provenance.json", "SHA256SUMS")
    }


def kill_all_with(variable, value):
    """SIGKILL every process that has this in its environment, until there is none."""
    entry = f"{variable}={value}".encode()
    found = True
    while found:
        found = False
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if entry in (folder / "environ").read_bytes().split(b"\0"):
                    state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                    if state != "Z":
                        found = True
                        os.kill(int(folder.name), signal.SIGKILL)
            except OSError:
                continue
        time.sleep(0.05)


class Machines:
    """A head that runs nothing, and nodes with a disk of their own that can be lost with them."""

    def __init__(self, folder):
        from ray.cluster_utils import Cluster

        self.folder = folder
        self.made = 0
        quick = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 500}
        self.cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, "_system_config": quick}
        )
        self.nodes = []
        for _ in range(NODES):
            self.add()

    def add(self):
        self.made += 1
        disk = self.folder / f"node-{self.made}"
        trace = str(self.folder / "trace")
        variables = {"MARL_GRE_WORKSPACE": str(disk), "CLUSTER_TRACE": trace, "CLUSTER_EPISODE_S": "0.05"}
        variables["RAY_worker_niceness"] = "0"  # by default Ray's workers yield to everything
        self.nodes.append((self.cluster.add_node(num_cpus=1, env_vars=variables), disk))

    def lose(self, index):
        node, disk = self.nodes.pop(index)
        kill_all_with("MARL_GRE_WORKSPACE", disk)  # at once: a machine that loses power saves nothing
        shutil.rmtree(disk, ignore_errors=True)
        self.cluster.remove_node(node, allow_graceful=False)
        self.add()

    def close(self):
        self.cluster.shutdown()
        for _, disk in self.nodes:
            kill_all_with("MARL_GRE_WORKSPACE", disk)


class Driver:
    """The launcher as a process."""

    def __init__(self, project, address):
        with (project.folder / "driver.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.launch", "--engine", "ray", "--address", address,
                 "--mirror", str(project.folder.parent / "mirror")],
                cwd=project.folder, env=project.env, stdout=log, stderr=log,
            )  # fmt: skip

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.mark.faults
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra distributed")
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_nodes_and_driver_killed_at_random(tmp_path, tally):
    wanted = count(2, 4, 10)
    project = make_project(tmp_path / "project")
    for stub in ("train.py", "evaluate.py"):  # here the real stages run
        (project.folder / "benchmarks" / stub).unlink()
    (project.folder / "params.yaml").write_text(PARAMS)
    project.env["PYTHONPATH"] = str(HERE)
    shutil.copytree(project.folder, tmp_path / "one machine", symlinks=True)
    subprocess.run([sys.executable, "-c", ONE_MACHINE], cwd=tmp_path / "one machine", env=project.env, check=True)
    expected = results(tmp_path / "one machine")
    assert len([name for name in expected if name.endswith("/train.json")]) == CELLS

    draw = random.Random(19)
    targets = ["driver" if kill % 3 == 1 else "node" for kill in range(wanted)]
    draw.shuffle(targets)
    trace = tmp_path / "trace"
    trace.touch()
    kills = {"node": 0, "driver": 0}
    machines = Machines(tmp_path)
    try:
        address = machines.cluster.address
        driver, seen, gap = Driver(project, address), 0, draw.randint(4, 12)
        while (code := driver.process.poll()) is None:
            lines = len(trace.read_text().splitlines())
            if sum(kills.values()) < wanted and lines >= seen + gap:
                target = targets[sum(kills.values())]
                kills[target] += 1
                if target == "driver":
                    driver.kill()
                    driver = Driver(project, address)
                else:
                    machines.lose(draw.randrange(NODES))
                seen, gap = len(trace.read_text().splitlines()), draw.randint(4, 12)
            time.sleep(0.1)
    finally:
        driver.kill()
        machines.close()

    log = (project.folder / "driver.log").read_text()
    found = results(project.folder)
    different = sum(found.get(name) != digest for name, digest in expected.items())
    restarted, saved = 0, set()
    for run, event, env_steps in (line.split() for line in trace.read_text().splitlines()):
        restarted += event == "started" and run in saved and env_steps == "0"
        saved |= {run} if event == "saved" else set()
    tally.add("cluster", kills=sum(kills.values()), different=different, restarted=restarted)
    print(json.dumps({"kills": kills, "different": different, "restarted": restarted}), log[-3000:])
    assert code == 0
    assert sum(kills.values()) == wanted
    assert found == expected
    assert restarted == 0
    assert "up to date" in project.ok("dvc", "status")
    assert not [path for path in (tmp_path / "mirror").rglob("*") if path.is_file()]  # removed with the commit
