"""What may happen to a long run: it is killed, the disk is full, the data are damaged, there is no network."""
import contextlib, json, os, re, signal, subprocess, sys, time
from pathlib import Path

import pandas as pd
import pytest
from bioplaus.core import claimed
from bioplaus.data import data_folder
from bioplaus.design import PROVENANCE

def study_of(rules="backprop,hebb-clamp", epochs=30):
    return ["study", "--tasks", "digits", "--classes", "10", "--rules", rules, "--seeds", "3", "--epochs", str(epochs),
            "--perturb", "gaussian:0.3", "--no-report"]


STUDY = study_of()
REPORTED = STUDY[:-1]
PARTS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


# a shell that starts something in the background has it ignore Ctrl-C, and whatever that starts, too
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN: signal.signal(signal.SIGINT, signal.default_int_handler)


def bioplaus(*args, **env):
    command, env = [sys.executable, "-m", "bioplaus.cli", *map(str, args)], {k: str(v) for k, v in env.items()}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | env)


def finished(*args, code=0, **env):
    p = bioplaus(*args, **env)
    out, err = p.communicate(timeout=300)
    assert p.returncode == code, err
    return out, err


def test_a_killed_study_run_again_gives_the_same_numbers(tmp_path):
    first = bioplaus(*REPORTED, "--out", tmp_path / "killed")
    checkpoint = tmp_path / "killed" / "cells" / "digits_10_backprop" / "history.csv"
    while not (checkpoint.exists() and len(checkpoint.read_text().splitlines()) > 10): time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert not (tmp_path / "killed" / "report.html").exists()
    finished(*REPORTED, "--out", tmp_path / "killed")
    assert (tmp_path / "killed" / "report.html").exists()
    finished(*STUDY, "--out", tmp_path / "straight")
    same_numbers(tmp_path / "killed", tmp_path / "straight")


def same_numbers(*folders):
    "Two studies found the same, whenever and wherever they were made."
    a, b = (pd.read_csv(d / "results.csv").drop(columns=PROVENANCE) for d in folders)
    pd.testing.assert_frame_equal(a, b)


@pytest.mark.weekly
def test_two_processes_share_a_folder(tmp_path):
    both = [bioplaus(*STUDY, "--out", tmp_path / "shared") for _ in range(2)]
    for p in both:
        _, err = p.communicate(timeout=300)
        assert p.returncode == 0, err
    finished(*STUDY, "--out", tmp_path / "alone")
    same_numbers(tmp_path / "shared", tmp_path / "alone")
    assert not list((tmp_path / "shared").rglob(".*part"))


def children(pid):
    "The processes that a process has started."
    stat = lambda p: Path("/proc", p, "stat").read_text().rpartition(")")[2].split()
    found = {}
    for p in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if p.isdigit() and stat(p)[0] != "Z": found[int(p)] = int(stat(p)[1])
    return [p for p, parent in found.items() if parent == pid]


def at_work(folder, workers=2, **how):
    "A study with workers that are at its cells: (its process, those of its workers)."
    study = bioplaus(*STUDY, "--workers", workers, "--out", folder, **how)
    checkpoints = [folder / "cells" / f"digits_10_{r}" / "history.csv" for r in ("backprop", "hebb-clamp")]
    while not all(c.exists() for c in checkpoints):
        assert study.poll() is None, study.stderr.read()
        time.sleep(0.01)
    trackers = lambda p: "resource_tracker" in Path("/proc", str(p), "cmdline").read_text()
    return study, [p for p in children(study.pid) if not trackers(p)]


linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")


@linux
def test_a_killed_worker_is_said_and_nothing_is_lost(tmp_path):
    study, workers = at_work(tmp_path / "study")
    os.kill(workers[-1], signal.SIGKILL)
    _, err = study.communicate(timeout=300)
    assert study.returncode == 0 and "worker process was killed" in err, err
    finished(*STUDY, "--out", tmp_path / "straight")
    same_numbers(tmp_path / "study", tmp_path / "straight")


@linux
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_their_study(tmp_path, how):
    "Within seconds, however it ended; if it was asked to, it says how to go on, and the same command does."
    study, workers = at_work(tmp_path / "study")
    study.send_signal(how)
    _, err = study.communicate(timeout=60)
    end = time.monotonic() + 10
    while any(Path("/proc", str(p)).exists() for p in workers) and time.monotonic() < end: time.sleep(0.05)
    assert len(workers) >= 2 and not any(Path("/proc", str(p), "exe").exists() for p in workers)
    if how == signal.SIGKILL: return
    assert study.returncode == 130 and "Traceback" not in err, err
    # a worker that starts late lets the other finish its cell
    assert re.search("interrupted. [01] of 2 cells are finished and kept in", err), err
    assert "the same call goes on from there" in err


def test_who_waits_is_told_for_whom(tmp_path):
    "A command waits for a cell that another process is at, and says who that is."
    with claimed(tmp_path / "cells" / "digits_10_hebb-clamp"):
        study = bioplaus(*STUDY, "--out", tmp_path)
        said = next(line for line in study.stderr if "is being computed by" in line)
        assert f"digits_10_hebb-clamp is being computed by process {os.getpid()} on " in said
    study.stderr.read()
    assert study.wait(100) == 0 and set(pd.read_csv(tmp_path / "results.csv").rule) == {"backprop", "hebb-clamp"}


def test_a_study_of_other_cells_is_refused_meanwhile(tmp_path):
    "The one that ends last would leave tables without the cells of the other."
    first = bioplaus(*study_of(epochs=300), "--out", tmp_path)  # long enough for the other to come
    while not (tmp_path / "cells").exists():
        assert first.poll() is None, first.stderr.read()
        time.sleep(0.01)
    _, err = finished(*study_of("linear", 300), "--out", tmp_path, code=2)
    assert "in use by a study of other rules" in err and f"process {first.pid} on " in err, err
    assert first.wait(300) == 0 and set(pd.read_csv(tmp_path / "results.csv").rule) == {"backprop", "hebb-clamp"}
    finished(*study_of("backprop,linear", 300), "--out", tmp_path)  # afterwards it is welcome
    assert set(pd.read_csv(tmp_path / "results.csv").rule) == {"backprop", "linear"}


DOWNLOAD = """
import sys, time
from pathlib import Path
import torch
from bioplaus import data

class MNIST:
    "Writes its files one after the other, and doesn't like company."
    def __init__(self, root, train, download):
        raw = Path(root, "MNIST", "raw")
        raw.mkdir(parents=True, exist_ok=True)
        if download and not all((raw / p).exists() for p in data._PARTS):
            (raw / "alone").touch(exist_ok=False)
            for part in data._PARTS:
                time.sleep(0.5)
                (raw / part).touch()
            time.sleep(0.5)
            (raw / "alone").unlink()
        assert not (raw / "alone").exists(), "half a data set was read"
        self.data, self.targets = torch.zeros(20, 4), torch.arange(20) % 2

data._torchvision_datasets, data._check_raw = (lambda: type("D", (), {"MNIST": MNIST})), lambda *_: None
print(len(data._mnist()))
"""


def test_two_downloads_of_one_data_set_wait_for_each_other(tmp_path):
    env = os.environ | {"BIOPLAUS_DATA": str(tmp_path)}
    how = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    both = [subprocess.Popen([sys.executable, "-c", DOWNLOAD], **how) for _ in range(2)]
    said = [p.communicate(timeout=120) for p in both]
    assert [p.returncode for p in both] == [0, 0] and all(out == "2\n" for out, _ in said), said
    assert sum("downloading MNIST" in err for _, err in said) == 1, said
    assert any("is in use by process" in err and "waiting" in err for _, err in said), said


def test_a_full_disk_is_said_and_harms_nothing(tmp_path):
    "A limit on file size stands in for a full disk: writing fails in the middle of a file."
    train = ["train", "backprop", "--task", "digits", "--epochs", "2", "--out", str(tmp_path / "run")]
    finished(*train)
    before, longer = (tmp_path / "run" / "checkpoint.safetensors").read_bytes(), [*train[:5], "4", *train[6:]]
    limited = ("import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
               "resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000));"
               f"sys.argv = ['bioplaus', *{longer!r}]; from bioplaus.cli import main; main()")
    done = subprocess.run([sys.executable, "-c", limited], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "cannot write" in done.stderr and "checkpoint.safetensors" in done.stderr, done.stderr
    assert (tmp_path / "run" / "checkpoint.safetensors").read_bytes() == before
    assert not list((tmp_path / "run").glob(".*part"))
    finished(*longer)


def test_absent_and_offline(tmp_path):
    nowhere = "http://127.0.0.1:9"
    _, err = finished("data", "mnist", code=1, BIOPLAUS_DATA=tmp_path, http_proxy=nowhere, https_proxy=nowhere)
    for word in (str(tmp_path), "BIOPLAUS_DATA", "mnist-mini"): assert word in err
    assert "Traceback" not in err


def test_truncated_data_are_named(tmp_path):
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for part in PARTS: (raw / part).write_bytes(b"\0" * 100)
    _, err = finished("data", "fashion-mnist", code=1, BIOPLAUS_DATA=tmp_path)
    assert str(raw / PARTS[0]) in err and "Delete it" in err


@pytest.mark.skipif(not (data_folder() / "FashionMNIST" / "raw").exists(), reason="no Fashion-MNIST in the data folder")
def test_full_fashion_mnist():
    out, _ = finished("data", "fashion-mnist", "--json")
    counts = json.loads(out.splitlines()[-1])["per_class"]
    assert all(abs(n - 5400) <= 2 for n in counts["train"])
    assert sum(counts["train"] + counts["valid"]) == 60_000 and counts["test"] == [1000] * 10


def test_no_cuda():
    import torch
    if torch.cuda.is_available(): pytest.skip("there is CUDA here")
    _, err = finished("train", "backprop", "--device", "cuda", code=2)
    assert "'cuda' is not available" in err and "auto" in err


TWIN = '''from bioplaus.rule import Backprop, Delta, Rule, register

@register("twin", equation="as backprop", sees="pre, post, transported weights", lr=0.2)
def twin(net):
    "Backprop by another name."
    return Rule(net, Backprop(), Delta())
'''


def test_rules_of_an_installed_package(tmp_path):
    "A package names its module in the entry-point group, and its rules are there."
    (tmp_path / "mine.py").write_text(TWIN)
    info = tmp_path / "mine-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[bioplaus.rules]\nmine = mine\n")
    assert "Backprop by another name." in finished("rules", PYTHONPATH=tmp_path)[0]

    def accuracy(rule):
        out, _ = finished("train", rule, "--task", "digits", "--lr", "0.2", "--json", PYTHONPATH=tmp_path)
        return json.loads(out.splitlines()[-1])["test_accuracy"]
    assert accuracy("twin") == accuracy("backprop")
