"""Does a kill lose anything?   python tools/kills.py [--count N] [--seed S] [--workers W] [--record FILE]

Starts the same small study with worker processes again and again, kills it (SIGKILL, the parent alone or with all of
its workers) at a random moment of its computing or of its report, runs the same command once more, and looks:
  lost       a cell without results, or a command that ended with an error;
  other      tables that differ from those of a study that was left alone;
  files      temporary files that are left after the rerun;
  unproved   files that aren't what was written;
  orphans    processes of the killed study that still live after ten seconds.
With --record, each kill is a line of a file, and a later call goes on from there. Exit code 1 if anything was found.
"""
import argparse, json, os, random, signal, subprocess, sys, tempfile, time
from pathlib import Path

import pandas as pd
from bioplaus.design import PROVENANCE
from bioplaus.records import verify

STUDY = ["--tasks", "digits", "--classes", "2", "--rules", "backprop,fa,hebb-clamp", "--seeds", "2", "--epochs", "12",
         "--hidden", "10", "--perturb", "gaussian:0.3", "--perturb", "fgsm:0.1"]
FOUND = ("lost", "other", "files", "unproved", "orphans")


def started(out, workers):
    "The command, in a process group of its own."
    command = [sys.executable, "-m", "bioplaus.cli", "study", *STUDY, "--workers", str(workers), "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                            start_new_session=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def alive(session):
    "Processes of a session, by number."
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try: parts = stat.read_text().rpartition(")")[2].split()
        except OSError: continue
        if int(parts[3]) == session and parts[0] != "Z": found.append(int(stat.parent.name))
    return found


def finished(out, workers):
    "(exit code, what was said)"
    process = started(out, workers)
    _, said = process.communicate(timeout=900)
    return process.returncode, said


def tables(out):
    "What the study found, without what was measured of the machine."
    results = pd.read_csv(out / "results.csv").drop(columns=PROVENANCE)
    return results, pd.read_csv(out / "history.csv").drop(columns="seconds")


def same(out, right):
    try:
        for a, b in zip(tables(out), right): pd.testing.assert_frame_equal(a, b)
    except (AssertionError, OSError, ValueError, KeyError): return False
    return True


def killed(out, rng, long, workers):
    "Kill the study after a random part of the time that it takes; (when, processes that live on after ten seconds)."
    process, when = started(out, workers), rng.uniform(0, long)
    try:
        process.wait(when)
        return "it had ended", 0
    except subprocess.TimeoutExpired: pass
    whole = rng.random() < 0.5
    if whole: os.killpg(process.pid, signal.SIGKILL)
    else: process.kill()
    process.communicate()
    end = time.monotonic() + 10
    while (left := alive(process.pid)) and time.monotonic() < end: time.sleep(0.1)
    for pid in left: os.kill(pid, signal.SIGKILL)
    phase = "report" if (out / "results.parquet").exists() else "cells"
    return f"after {when:.1f} s, {'all' if whole else 'parent'}, {phase}", len(left)


def tried(rng, long, workers, right):
    "One kill (or two in a row) and a rerun: what was found."
    with tempfile.TemporaryDirectory() as d:
        out, found = Path(d) / "study", dict.fromkeys(FOUND, 0)
        when, found["orphans"] = killed(out, rng, long, workers)
        if rng.random() < 0.2:  # and the rerun is killed, too
            again, orphans = killed(out, rng, long, workers)
            when, found["orphans"] = f"{when}; {again}", found["orphans"] + orphans
        code, said = finished(out, workers)
        found["lost"] = int(code != 0)
        found["other"] = int(not same(out, right))
        found["files"] = len(list(out.rglob(".*.part")))
        found["unproved"] = int((verify(out).state != "whole").sum()) if out.exists() else 0
        why = said[-500:] if code else ""
    return {"when": when, **found, "said": why}


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--count", type=int, default=200, help="how many kills")
    args.add_argument("--seed", type=int, default=0)
    args.add_argument("--workers", type=int, default=2)
    args.add_argument("--record", type=Path, help="a file that keeps what was found, a line for each kill")
    asked = args.parse_args()
    lines = asked.record.read_text().splitlines() if asked.record and asked.record.exists() else []
    with tempfile.TemporaryDirectory() as d:
        start = time.monotonic()
        code, said = finished(Path(d) / "alone", asked.workers)
        long, right = time.monotonic() - start, tables(Path(d) / "alone")
        assert code == 0, said
        for n in range(len(lines), asked.count):
            found = tried(random.Random(f"{asked.seed} {n}"), long, asked.workers, right)
            lines.append(json.dumps(found))
            if asked.record:
                with open(asked.record, "a") as f: f.write(lines[-1] + "\n")
            if any(found[k] for k in FOUND): print(lines[-1], flush=True)
    kills = [json.loads(line) for line in lines]
    counts = {k: sum(kill[k] for kill in kills) for k in FOUND}
    in_report = sum("report" in kill["when"] for kill in kills)
    print(f"{len(kills)} kills, {in_report} of them in the report: " + ", ".join(f"{n} {k}" for k, n in counts.items()))
    sys.exit(any(counts.values()))


if __name__ == "__main__": main()
