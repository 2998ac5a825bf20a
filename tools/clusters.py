"""What can happen on a cluster, tried for real: a dask scheduler and its workers on this machine, and studies on them.

    python tools/clusters.py                    # all situations; some 10 minutes
    python tools/clusters.py one-thread late    # those whose names contain one of these words
    python tools/clusters.py --list

Each situation says what must hold. Exit code 1 if one is wrong. Needs the extra `cluster`.
"""
import argparse, ast, http.server, json, os, re, shutil, signal, socket, subprocess, sys, tempfile, threading, time
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
ENV = {k: v for k, v in os.environ.items() if "COLOR" not in k} | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
SETTINGS = dict(rules=("backprop", "fa"), tasks=("digits",), classes=(3, 10), seeds=2, epochs=2, hidden=(10,),
                perturbations=("gaussian:0.3",))
LONG = SETTINGS | dict(classes=(2, 3, 10), epochs=40, hidden=(30,))
PATIENCE = 300  # seconds until a study must have ended
SCRIPT = '''
import os, sys, time
DRIVER = os.getpid()
{before}
from bioplaus.core import BadInput, RunFailed
from bioplaus.data import Task
from bioplaus.design import Study
from bioplaus.study import run_study
if __name__ == "__main__":
    {own}
    try: run_study(Study(**{settings}), {folder!r}, own, device="cpu", progress={progress}, **{where})
    except (BadInput, RunFailed) as e: sys.exit(f"error: {{e}}")
'''
OWN = '''
from bioplaus.rule import Backprop, Delta, Rule, register
@register("mine", lr=0.3)
def mine(net):
    {does}
    return Rule(net, Backprop(), Delta())
'''
WHO = OWN.format(does='open({log!r}, "a").write(f"{{os.getpid()}}\\n")')
DIES = OWN.format(does="if os.getpid() != DRIVER and net.sizes[-1] == 3: os._exit(9)")
HALF = '''
from bioplaus.noise import Corruption
class Half(Corruption, name="half", unit="share of the light", levels=(0.1, 0.2, 0.3, 0.4, 0.5), needs_shape=False):
    "Less light."
    def corrupt(self, x, draw): return x * (1 - self.level)
'''
SITUATIONS, STRETCH = {}, [1.0]  # by name; how much longer than usual things may take


def situation(function):
    SITUATIONS[function.__name__.replace("_", "-")] = function
    return function


class Cluster:
    "A scheduler on a free port of this machine, and workers that start in a folder of their own."
    def __init__(self, folder: Path):
        self.folder, self.parts = folder / "elsewhere", []
        self.folder.mkdir(exist_ok=True)
        self.scheduler = self.start("scheduler", "--host", "127.0.0.1", "--port", "0", stderr=subprocess.PIPE)
        said = next(filter(None, (re.search(r"Scheduler at:\s+(tcp://\S+)", line) for line in self.scheduler.stderr)))
        self.address = said[1]
        threading.Thread(target=self.scheduler.stderr.read, daemon=True).start()

    def start(self, what: str, *args: str, stderr=subprocess.DEVNULL):
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *args, "--no-dashboard"]
        p = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr, text=True, cwd=self.folder, env=ENV,
                             start_new_session=True)
        self.parts.append(p)
        return p

    def work(self, *args: str, threads: int = 1, there: int = 0):
        "One more worker; waits until the scheduler knows of `there` of them."
        p = self.start("worker", self.address, "--nthreads", str(threads), "--host", "127.0.0.1", *args)
        self.workers(there)
        return p

    def workers(self, there: int = 0) -> dict:
        "Those that the scheduler knows of; waits until there are so many."
        from distributed import Client
        with Client(self.address, set_as_default=False) as c:
            if there: c.wait_for_workers(there, timeout=120)
            return c.nthreads()

    def end(self, part=None, how=signal.SIGKILL):
        for p in [part] if part else self.parts:
            if p.poll() is None: os.killpg(p.pid, how)
        if part: part.wait(60)

    def close(self):
        self.end()
        shutil.rmtree(self.folder.parent, ignore_errors=True)


def until(true, seconds: float, otherwise: str):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, otherwise
        time.sleep(0.1)


@cache
def calm() -> Cluster:
    "One with two workers that nothing happens to: several situations use it."
    c = Cluster(Path(tempfile.mkdtemp(prefix="calm-")))
    for there in (0, 2): c.work(there=there)
    return c


@contextmanager
def cluster(folder: Path, workers: int = 0, **how):
    c = Cluster(folder)
    try:
        for i in range(workers): c.work(there=i + 1 if i == workers - 1 else 0, **how)
        yield c
    finally: c.end()


def started(folder: Path, name: str = "out", before: str = "", own: str = "own = None", settings=SETTINGS,
            progress: bool = False, **where):
    "A study in a process of its own."
    script = folder / f"study-{time.monotonic_ns()}.py"
    script.write_text(SCRIPT.format(before=before, own=own, settings=settings, folder=str(folder / name),
                                    progress=progress, where=where))
    return subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env=ENV, cwd=folder)


def ended(study, seconds: float | None = None) -> tuple[int, str]:
    "(exit code, standard error)."
    seconds = (seconds or PATIENCE) * STRETCH[0]
    try: err = study.communicate(timeout=seconds)[1]
    except subprocess.TimeoutExpired:
        study.kill()
        raise AssertionError(f"no end after {seconds:g} s") from None
    return study.returncode, err


def ran(*args, **kwargs) -> tuple[int, str]: return ended(started(*args, **kwargs))


def fine(answer: tuple[int, str]) -> str:
    code, err = answer
    assert code == 0, f"exit code {code}: {err[-600:]}"
    return err


NO_FAULT = ("TROUBLE", "AS EXPECTED", "the workers of")  # said of results, and of workers that are waited for


def one_line(answer: tuple[int, str], *words: str):
    "One line says what is wrong."
    code, err = answer
    lines = [line for line in err.splitlines() if line.strip() and not line.startswith(NO_FAULT)]
    assert code == 1 and "Traceback" not in err, f"exit code {code}, {len(lines)} lines: {err[:300]} ... {err[-300:]}"
    assert len(lines) == 1 and lines[0].startswith("error: "), f"{len(lines)} lines: {err[-800:]}"
    missing = [w for w in words if w not in err]
    assert not missing, f"{missing} not in: {err}"


def table(folder: Path, name: str = "out") -> pd.DataFrame:
    from bioplaus.design import PROVENANCE
    return pd.read_csv(folder / name / "results.csv").drop(columns=PROVENANCE)


@cache
def straight(settings: str, before: str = "") -> pd.DataFrame:
    "The table of the same study in one process without a cluster; computed once."
    with tempfile.TemporaryDirectory() as d:
        fine(ran(Path(d), before=before, settings=ast.literal_eval(settings)))
        return table(Path(d))


def same(folder: Path, settings: dict = SETTINGS, name: str = "out", before: str = ""):
    pd.testing.assert_frame_equal(table(folder, name), straight(repr(settings), before))


def cells_done(folder: Path, n: int, study, name: str = "out"):
    "Wait until so many cells of a study are done."
    found = lambda: len(list((folder / name / "cells").glob("*/results.csv")))
    until(lambda: found() >= n or study.poll() is not None, 200, f"no {n} cells in 200 s")
    assert study.poll() is None, f"the study ended too early: {study.communicate()[1][-500:]}"


def at_work(folder: Path, c, **how):
    "A study on a cluster, one cell of which is done."
    study = started(folder, scheduler=c.address, **{"settings": LONG} | how)
    cells_done(folder, 1, study)
    return study


def with_mine(**more) -> dict: return SETTINGS | dict(rules=("backprop", "mine")) | more


# Who computes

@situation
def one_worker_of_one_thread(d):
    "It computes, and not the process that started the study."
    log = d / "log"
    with cluster(d, 1) as c:
        study = started(d, before=WHO.format(log=str(log)), settings=with_mine(), scheduler=c.address)
        fine(ended(study))
    pids = [int(line) for line in log.read_text().split()]
    assert set(pids) - {study.pid}, "everything was computed in the starting process"
    assert pids.count(study.pid) <= len(SETTINGS["classes"]) + 2, "cells were computed in the starting process"


@situation
def two_workers(d):
    "The table is that of one process; scheduler and workers are still there."
    c = calm()
    fine(ran(d, scheduler=c.address))
    assert len(c.workers()) == 2
    same(d)


@situation
def four_threads(d):
    "A worker of four threads computes every cell right, those of an own rule, too."
    mine = OWN.format(does="pass")
    with cluster(d, 1, threads=4) as c: fine(ran(d, before=mine, settings=with_mine(), scheduler=c.address))
    same(d, with_mine(), before=mine)


@situation
def two_workers_of_two_threads_and_chance(d):
    "An own rule that draws from PyTorch's common generator gives the same numbers everywhere."
    noisy = OWN.format(does="for la in net.layers: la.W.data.add_(torch.randn_like(la.W) / 9)")
    noisy = "import torch\n" + noisy
    with cluster(d, 2, threads=2) as c: fine(ran(d, before=noisy, settings=with_mine(), scheduler=c.address))
    same(d, with_mine(), before=noisy)


@situation
def a_worker_joins_late(d):
    "It gets cells."
    log = d / "log"
    settings = with_mine(classes=(2, 3, 4, 5, 6, 10), epochs=15)
    with cluster(d, 1) as c:
        study = at_work(d, c, before=WHO.format(log=str(log)), settings=settings)
        c.work()
        fine(ended(study))
    assert len(set(log.read_text().split())) >= 3, "the newcomer got nothing"


@situation
def the_bar_counts_workers(d):
    "The progress bar says how many workers compute."
    c = calm()
    err = fine(ran(d, scheduler=c.address, progress=True, settings=LONG | {"epochs": 100}))  # a line each ten seconds
    assert "2 workers" in err, err[-300:]


# What travels

@situation
def an_own_rule_in_a_module(d):
    "It lies beside the script, uses a helper in another module, and no worker sees either."
    (d / "my_rules.py").write_text("import my_helpers\n" + OWN.format(does="my_helpers.check(net)"))
    (d / "my_helpers.py").write_text("def check(net): assert net.depth == 2\n")
    c = calm()
    err = fine(ran(d, before="import my_rules", settings=with_mine(), scheduler=c.address))
    assert "FAILED" not in err and set(table(d).rule) == {"backprop", "mine"}, err


@situation
def an_own_corruption(d):
    "It is known to workers."
    settings = SETTINGS | dict(perturbations=("half:0.5",))
    c = calm()
    fine(ran(d, before=HALF, settings=settings, scheduler=c.address))
    same(d, settings, before=HALF)


@situation
def an_own_task(d):
    "A task made of tensors travels."
    before = "import torch\ny, x = torch.arange(200) % 2, torch.arange(1800).reshape(200, 9) / 1800"
    own = 'own = {"coins": Task.from_tensors(x, y, x[:50], y[:50], name="coins")}'
    c = calm()
    fine(ran(d, before=before, own=own, settings=SETTINGS | dict(tasks=("coins",), classes=(None,)),
             scheduler=c.address))
    assert set(table(d).task) == {"coins"}


@situation
def a_rule_that_cannot_travel(d):
    "Its cells fail with the reason, which is said; the others are kept."
    before = "import threading\nL = threading.Lock()\n" + OWN.format(does="pass").replace("(net)", "(net, l=L)", 1)
    c = calm()
    err = fine(ran(d, before=before, settings=with_mine(), scheduler=c.address))
    assert err.count("FAILED: mine") == 2 and "could not come along" in err and set(table(d).rule) == {"backprop"}, err


@situation
def an_edited_rule(d):
    "Edited between two runs on the same workers, it gives new numbers or is refused; no old ones are taken for new."
    first, second = OWN.format(does="pass"), OWN.format(does="net.layers[0].W.data.mul_(0.1)")
    c = calm()
    fine(ran(d, before=first, settings=with_mine(), scheduler=c.address))
    code, err = ran(d, before=second, settings=with_mine(), scheduler=c.address)
    if code == 0: same(d, with_mine(), before=second)
    else: one_line((code, err), "other settings")


@situation
def an_edited_module(d):
    "The same where it is in a module of the script."
    one, two = OWN.format(does="pass"), OWN.format(does="net.layers[0].W.data.mul_(0.1)")
    c = calm()
    for text in (one, two):
        (d / "my_rules.py").write_text(text)
        shutil.rmtree(d / "__pycache__", ignore_errors=True)
        code, err = ran(d, before="import my_rules", settings=with_mine(), scheduler=c.address)
    if code == 0: same(d, with_mine(), before=two)
    else: one_line((code, err), "other settings")


@situation
def here_and_there(d):
    "One process, then two, then a cluster, in one folder: the same rule, so nothing is refused or computed again."
    log = d / "log"
    c = calm()
    for where in (dict(workers=1), dict(workers=2), dict(scheduler=c.address)):
        study = started(d, before=OWN.format(does="pass"), settings=with_mine(), **where)
        err = fine(ended(study))
        assert "computed again" not in err and "FAILED" not in err, err
        times = [f.stat().st_mtime_ns for f in sorted((d / "out" / "cells").glob("*/results.csv"))]
        assert not log.exists() or log.read_text() == repr(times), "computed again"
        log.write_text(repr(times))


@situation
def two_sessions_one_name(d):
    "Two sessions call different rules `mine`; each gets its own on the same workers."
    one, two = OWN.format(does="pass"), OWN.format(does="net.layers[0].W.data.mul_(0.1)")
    with cluster(d, 1, threads=2) as c:
        both = [started(d, name, before=text, settings=with_mine(), scheduler=c.address)
                for name, text in (("one", one), ("two", two))]
        for study in both: fine(ended(study))
    same(d, with_mine(), "one", before=one)
    same(d, with_mine(), "two", before=two)


# What ends

@situation
def a_worker_is_killed(d):
    "Its cell goes to another one; the table is the same."
    with cluster(d, 2) as c:
        study = at_work(d, c)
        c.end(c.parts[-1])
        fine(ended(study))
    same(d, LONG)


@situation
def a_cell_kills_its_worker(d):
    "A nanny starts it again and again: there is an end, the cell has failed with the reason, the others are kept."
    with cluster(d, 2) as c: err = fine(ran(d, before=DIES, settings=with_mine(), scheduler=c.address))
    failed = pd.read_csv(d / "out" / "failures.csv")
    assert failed.rule.tolist() == ["mine"] and failed.classes.tolist() == [3] and "died" in failed.error[0], failed
    assert "FAILED: mine" in err and len(table(d)) == 3 * 2 * 2


@situation
def a_cell_kills_all_workers(d):
    "Nobody starts them again: there is an end, in one line, and what is finished is kept."
    with cluster(d) as c:
        for n in (1, 2): c.work("--no-nanny", there=n)
        one_line(ran(d, before=DIES, settings=with_mine(), scheduler=c.address), "no workers", "kept in", "goes on")


@situation
def all_workers_leave(d):
    "In an orderly way, as at the end of their time: one line, and with new ones the same call goes on."
    with cluster(d, 1) as c:
        study = at_work(d, c)
        c.end(c.parts[-1], signal.SIGTERM)
        one_line(ended(study), "no workers", "kept in", "goes on")
        c.work(there=1)
        fine(ran(d, settings=LONG, scheduler=c.address))
    same(d, LONG)


@situation
def the_scheduler_dies(d):
    "One line says what is kept and how to go on; nothing is computed here."
    log = d / "log"
    settings = LONG | dict(rules=("backprop", "mine", "fa"))
    with cluster(d, 2) as c:
        study = started(d, before=WHO.format(log=str(log)), settings=settings, scheduler=c.address)
        cells_done(d, 2, study)
        here = log.read_text().split().count(str(study.pid))
        c.end(c.scheduler)
        one_line(ended(study, 60), "is gone", "kept in", "goes on")
    assert log.read_text().split().count(str(study.pid)) == here, "computed in the starting process"


@situation
def the_scheduler_hangs(d):
    "It is stopped, as on a machine that swaps: one line within a minute."
    with cluster(d, 1) as c:
        study = at_work(d, c)
        os.killpg(c.scheduler.pid, signal.SIGSTOP)
        try: one_line(ended(study, 90), "is gone", "goes on")
        finally: os.killpg(c.scheduler.pid, signal.SIGCONT)


@situation
def finished_and_the_scheduler_is_gone(d):
    "A finished study is read without it."
    with cluster(d, 1) as c: fine(ran(d, scheduler=c.address))
    fine(ran(d, scheduler=c.address))
    same(d)


@situation
def finished_and_there_are_no_workers(d):
    "A finished study is read without them."
    with cluster(d) as c:
        fine(ran(d))
        fine(ran(d, scheduler=c.address))


@situation
def ctrl_c(d):
    "It says how to go on, and the same call does."
    c = calm()
    study = at_work(d, c)
    study.send_signal(signal.SIGINT)
    _, err = ended(study, 30)
    assert "interrupted." in err and "the same call goes on from there" in err, err
    fine(ran(d, settings=LONG, scheduler=c.address))
    same(d, LONG)


@situation
def the_study_is_killed(d):
    "Run again on the same cluster, it gives the same table."
    c = calm()
    study = at_work(d, c)
    study.kill()
    study.wait()
    fine(ran(d, settings=LONG, scheduler=c.address))
    same(d, LONG)


# Who is refused

@situation
def no_workers(d):
    "One line that says how to start some."
    with cluster(d) as c: one_line(ran(d, scheduler=c.address), "has no workers", "dask worker")


@situation
def no_scheduler(d):
    "Nobody listens: one line."
    one_line(ran(d, scheduler="tcp://127.0.0.1:9"), "no dask scheduler at tcp://127.0.0.1:9")


@situation
def a_web_server(d):
    "It answers, but not as a scheduler does: one line."
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    server.RequestHandlerClass.log_message = lambda *_: None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for scheme in ("tcp", "http"):
        one_line(ran(d, scheduler=f"{scheme}://127.0.0.1:{server.server_port}"), "no dask scheduler at")
    server.shutdown()


@situation
def a_silent_port(d):
    "It takes the call and says nothing: one line."
    with socket.create_server(("127.0.0.1", 0)) as silent:
        one_line(ran(d, scheduler=f"tcp://127.0.0.1:{silent.getsockname()[1]}"), "no dask scheduler", "10 s")


@situation
def a_port_that_speaks_something_else(d):
    "As SSH does: one line."
    with socket.create_server(("127.0.0.1", 0)) as rude:
        def talk():
            while True: rude.accept()[0].sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
        threading.Thread(target=talk, daemon=True).start()
        one_line(ran(d, scheduler=f"tcp://127.0.0.1:{rude.getsockname()[1]}"), "no dask scheduler")


@situation
def a_worker_instead_of_the_scheduler(d):
    "The address of a worker was given: one line."
    with cluster(d, 1) as c: one_line(ran(d, scheduler=next(iter(c.workers()))), "no dask scheduler")


@situation
def no_certificates(d):
    "tls:// without certificates: one line."
    one_line(ran(d, scheduler="tls://127.0.0.1:8786"), "no dask scheduler", "TLS")


@situation
def no_address(d):
    "An empty one, blanks, no port, a scheme that dask doesn't know: one line each, and an empty one isn't `none`."
    for address in ("", " ", "nonsense", "tcp://127.0.0.1", "gateway://127.0.0.1:1"):
        one_line(ran(d, scheduler=address), "scheduler")
        assert not list(d.glob("out/cells/*/results.csv")), f"{address!r} was taken for none"


@situation
def processes_and_a_scheduler(d):
    "Both were asked for: one line."
    one_line(ran(d, scheduler="tcp://127.0.0.1:9", workers=2), "Give one of them")


def other_version(d: Path) -> str:
    "A preload for a worker that has an older bioplaus."
    (d / "older.py").write_text("import bioplaus\nbioplaus.__version__ = '0.0.1'\n")
    return str(d / "older.py")


@situation
def workers_of_another_version(d):
    "Refused in one line, before anything is computed."
    with cluster(d) as c:
        c.work("--preload", other_version(d), there=1)
        one_line(ran(d, scheduler=c.address), "other versions", "0.0.1")
    assert not list(d.glob("out/cells/*/checkpoint.safetensors"))


@situation
def a_late_worker_of_another_version(d):
    "It never computes a cell, and that is said."
    log, settings = d / "log", with_mine(classes=(2, 3, 4, 5, 6, 10), epochs=15)
    with cluster(d, 1) as c:
        study = at_work(d, c, before=WHO.format(log=str(log)), settings=settings)
        c.work("--preload", other_version(d), there=2)
        err = fine(ended(study))
    assert len(set(log.read_text().split())) == 2 and "gets nothing to do" in err, err


@situation
def workers_without_bioplaus(d):
    "One line that names what is missing."
    (d / "without.py").write_text("import sys\nsys.modules['bioplaus'] = None\n")
    with cluster(d) as c:
        c.work("--preload", str(d / "without.py"), there=1)
        one_line(ran(d, scheduler=c.address), "ModuleNotFoundError", "Install the same everywhere")


@situation
def workers_that_do_not_see_the_folder(d):
    "The disk isn't shared: one line."
    (d / "blind.py").write_text("from pathlib import Path\nthere = Path.exists\n"
                                "Path.exists = lambda p, **k: p.name != 'study.json' and there(p, **k)\n")
    with cluster(d) as c:
        c.work("--preload", str(d / "blind.py"), there=1)
        one_line(ran(d, scheduler=c.address), "not the same folder on all machines", "--out")


# Two at once

@situation
def two_of_the_same(d):
    "Two calls for the same study share the work on one cluster."
    c = calm()
    both = [started(d, settings=LONG, scheduler=c.address) for _ in range(2)]
    for study in both: fine(ended(study))
    same(d, LONG)


@situation
def two_of_other_rules(d):
    "A study of other cells in the same folder is refused as long as the first is at work, and told whose it is."
    c = calm()
    study = at_work(d, c)
    one_line(ran(d, settings=LONG | dict(rules=("linear",)), scheduler=c.address), "in use", str(study.pid))
    fine(ended(study))
    same(d, LONG)


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("words", nargs="*", help="try the situations whose names contain one of these; default: all")
    p.add_argument("--list", action="store_true", help="list the situations, and what must hold")
    p.add_argument("--patience", type=float, default=PATIENCE, help="seconds until a study must have ended; more on a "
                   "busy machine (default: %(default)s)")
    p.add_argument("--json", metavar="FILE", help="write what came out, and the seconds, to a file")
    a = p.parse_args()
    STRETCH[0] = a.patience / PATIENCE
    chosen = {n: f for n, f in SITUATIONS.items() if not a.words or any(w in n for w in a.words)}
    if not chosen: p.error(f"no situation has such a name: {', '.join(a.words)}; see --list")
    if a.list: print(*(f"{n}: {f.__doc__}" for n, f in chosen.items()), sep="\n")
    try: found = {} if a.list else {n: tried(n, f) for n, f in chosen.items()}
    finally:
        if calm.cache_info().currsize: calm().close()
    if a.json: Path(a.json).write_text(json.dumps(found, indent=1))
    wrong = [n for n, f in found.items() if f["wrong"]]
    if found: print(f"{len(found)} situations, {len(wrong)} wrong{': ' if wrong else ''}{', '.join(wrong)}")
    return int(bool(wrong))


def tried(name: str, function) -> dict:
    "Try a situation, and print a line."
    start, wrong = time.monotonic(), ""
    with ExitStack() as end:
        d = Path(end.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        try: function(d)
        except Exception as e: wrong = f"{type(e).__name__}: {e}"
    seconds = round(time.monotonic() - start, 1)
    print(f"{'WRONG' if wrong else 'right'} {seconds:6.1f} s  {name}: {wrong or function.__doc__}", flush=True)
    return {"wrong": wrong, "seconds": seconds}


if __name__ == "__main__": sys.exit(main())
