"""What the page on scaling out says about Slurm, on a real one that has only this machine."""
import os, re, shutil, socket, subprocess, sys, tempfile, time
from contextlib import ExitStack
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from bioplaus.design import PROVENANCE, Study
from bioplaus.study import run_study

STUDY = Study(rules=("backprop", "softhebb"), tasks=("digits",), classes=(3, 10), seeds=2, epochs=2, hidden=(30,))
PAGE = Path(__file__).parent.parent / "nbs" / "tutorials" / "83_scale_out.ipynb"
CELLS = {c.id: c.source for c in nbformat.read(PAGE, 4).cells}
CONF = """ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={other_port}
SlurmUser=root
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=8000
PartitionName=normal Nodes={host} Default=YES
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def until(true, otherwise, seconds):
    "Wait for it."
    end = time.time() + seconds
    while not true():
        assert time.time() < end, otherwise()
        time.sleep(0.2)


@pytest.fixture
def slurm(monkeypatch):
    "A folder that is the working folder, and a Slurm in it with its own key and ports."
    if not all(map(shutil.which, ("munged", "mungekey", "slurmctld", "slurmd"))) or os.geteuid():
        pytest.skip("a Slurm of its own needs Debian's munge and slurm-wlm, and root")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as parts:
        os.chmod(folder, 0o755)  # munge wants everyone to reach its socket, which pytest's own folders don't allow
        monkeypatch.chdir(folder)
        monkeypatch.setenv("SLURM_CONF", f"{folder}/slurm.conf")
        host = socket.gethostname().split(".")[0]
        conf = CONF.format(folder=folder, host=host, port=free_port(), other_port=free_port())
        Path("slurm.conf").write_text(conf)
        subprocess.run(["mungekey", "-c", "-k", f"{folder}/munge.key"], check=True)
        keys = [f"--{what}-file={folder}/munge.{what}" for what in ("key", "pid", "seed")]
        munged = ["munged", "-F", *keys, f"--socket={folder}/munge.socket"]
        start(parts, munged, ["munge", "-S", f"{folder}/munge.socket", "-n"])
        start(parts, ["slurmctld", "-D", "-c"], ["scontrol", "ping"])
        start(parts, ["slurmd", "-D"], ["srun", "true"])
        yield Path(folder)


def start(parts, command, ready):
    "Run `command` as long as `parts` lasts, and wait until the command `ready` succeeds."
    log = Path(f"{command[0]}.err")
    parts.callback(stopped, subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log.open("w")))
    answers = lambda: subprocess.run(ready, capture_output=True).returncode == 0
    until(answers, lambda: f"{command[0]} doesn't answer: {log.read_text()[-1000:]}", 60)


def stopped(process):
    process.terminate()
    process.wait(30)


def adapted(text, *changes):
    "A line of the page for a smaller cluster."
    for there, here in changes:
        assert there in text, there
        text = text.replace(there, here)
    return text


def test_workers_that_slurm_starts(slurm):
    pytest.importorskip("dask_jobqueue")
    lines = CELLS["slurm"] + "\n" + CELLS["slurm-study"]
    lines = adapted(lines, ("cores=8, processes=8", "cores=1, processes=1"), ("16GB", "2GB"), ("jobs=4", "jobs=2"),
                    ("/shared/venv", sys.prefix), ("/shared/results/mine", "spread"))
    exec(lines, {"study": STUDY})
    run_study(STUDY, "alone", device="cpu", progress=False)
    found = [pd.read_csv(f"{d}/results.csv").drop(columns=PROVENANCE) for d in ("spread", "alone")]
    pd.testing.assert_frame_equal(*found)


@pytest.mark.weekly
def test_an_array_of_jobs_shares_a_folder(slurm):
    script = re.search(r"```sh\n(#!/bin/bash\n.*?)```", CELLS["slurm-plain"], re.S)[1]
    script = adapted(script, ("0-7", "0-1"), ("/shared/venv", sys.prefix), ("mnist,fashion-mnist", "digits"),
                     ("--seeds 10", "--seeds 2 --epochs 2"), ("/shared/results/mine", "shared"))
    Path("job.sh").write_text(script)
    subprocess.run(["sbatch", "job.sh"], check=True, stdout=subprocess.DEVNULL)
    queue = lambda: subprocess.run(["squeue", "-h"], capture_output=True, check=True).stdout
    until(lambda: not queue(), lambda: "the jobs don't end", 300)
    said = [file.read_text() for file in sorted(slurm.glob("slurm-*.out"))]
    assert len(said) == 2 and all(re.search(r"Report, in \d+ s: \S*report.html", s) for s in said), said
    found = pd.read_csv("shared/results.csv")
    assert set(found.rule) == {"backprop", "softhebb", "dfc-ssa"}
    assert len(list(Path("shared/cells").iterdir())) == found.groupby(["rule", "classes"]).ngroups
