"""Does anybody notice a damaged file?   python tools/damage.py [--count N] [--seed S] [--only WORD] [--reports K]

Makes a small study (with a search for rates, a report, attacked images and a table of scores) and one that was
interrupted, damages one stored file of a copy, and asks of each:
  verify    names the file;
  again     the same call says so, ends without a traceback and with the numbers of the undamaged study; a search's
            record and files that no study makes are refused by whoever reads them;
  whole     then every file is whole, and the same call has nothing more to say.
Files are cut, emptied, overwritten, lost, swapped; bits are flipped, digits changed, lines doubled and dropped, headers
rewritten. Exit code 1 if anything was silent, ended in a traceback, differed, or fails for ever.
"""
import argparse, contextlib, io, json, os, random, re, shutil, sys, tempfile, traceback, warnings
from collections import Counter
from pathlib import Path

import pandas as pd
from safetensors import safe_open
from safetensors.torch import save
import bioplaus.training as training
from bioplaus.attacks import FGSM, load_adversarial, make_adversarial
from bioplaus.core import BadInput, RunFailed
from bioplaus.data import load_task
from bioplaus.design import PROVENANCE, Study
from bioplaus.records import COVERED, PROOF, verify
from bioplaus.report import write_report
from bioplaus.search import tune
from bioplaus.study import is_fresh, run_study
from bioplaus.training import load_run

STUDY = Study(rules=("backprop", "fa"), tasks=("digits",), classes=(2,), seeds=2, epochs=4, hidden=(5,),
              optimizer="adam", lr=0.003, perturbations=("gaussian:0.3", "fgsm:0.1"), images=60)
SEARCH = Study(rules=("fa",), tasks=("digits",), classes=(2,), seeds=1, epochs=1, hidden=(5,))
DERIVED = ("tables", "figures", "report.html")  # made by the report
LOOSE = "attacked.npz"                            # made by nobody again


def studied(folder): return run_study(STUDY, folder, device="cpu", progress=False)


def searched(folder):
    return tune(SEARCH, folder / "search", load_task("digits", 2, device="cpu"), seeds=1, progress=False)


def made(folder):
    "A finished study with everything that may lie in its folder."
    studied(folder)
    searched(folder)
    write_report(folder)
    run, task = load_run(folder / "cells" / "digits_2_fa"), load_task("digits", 2, device="cpu")
    make_adversarial(run, task.x_test[:20], task.y_test[:20], FGSM(0.1)).save(folder / LOOSE)


def interrupted(folder):
    "A study that was stopped in the third epoch of its first cell."
    real, saved = training._save, []

    def once(*given):
        real(*given)
        saved.append(1)
        if len(saved) == 3: raise KeyboardInterrupt

    training._save = once
    with contextlib.suppress(KeyboardInterrupt): studied(folder)
    training._save = real


def cut(data, rng, file): return data[:rng.randrange(len(data))]


def emptied(data, rng, file): return b""


def random_bytes(data, rng, file): return rng.randbytes(max(20, len(data)))


def hole(data, rng, file):
    "Some bytes are zero, as after a crash of a file system."
    at = rng.randrange(len(data))
    return data[:at] + b"\0" * len(data[at:at + 16]) + data[at + 16:]


def bit(data, rng, file):
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1:]


def digit(data, rng, file):
    places = [m.start() for m in re.finditer(rb"\d", data)]
    if not places: return bit(data, rng, file)
    at = rng.choice(places)
    return data[:at] + str((int(data[at:at + 1]) + rng.randrange(1, 10)) % 10).encode() + data[at + 1:]


def lines(data, rng, file):
    "A line is doubled or dropped."
    parts = data.split(b"\n")
    at = rng.randrange(len(parts))
    parts[at:at + 1] = [] if rng.random() < 0.5 and parts[at] else [parts[at], parts[at] or b"1"]
    return b"\n".join(parts)


def header(data, rng, file):
    "Another tool has rewritten the header of a file of tensors, the settings of a record, the columns of a table."
    if file.suffix == ".safetensors":
        with safe_open(file, "pt") as f: meta, tensors = f.metadata(), {k: f.get_tensor(k) for k in f.keys()}
        name = rng.choice(sorted(set(meta) - {"proof"}))
        meta[name] = rng.choice(["", "[]", "x", meta[name][:-3], "[" * 9999, meta[name].replace("2", "3")]) + " "
        return save(tensors, meta)
    if file.suffix == ".json":
        held = json.loads(data)
        held.pop(rng.choice(sorted(held)))
        return json.dumps(held).encode()
    return data.replace(b"a", b"b", 1) if b"a" in data else data + b"x"


def swapped(data, rng, file):
    "Another file of this kind stands in its place."
    others = [f for f in file.parents[len(file.parents) - 1 - DEPTH].rglob(f"*{file.suffix}") if f.read_bytes() != data]
    same = [f for f in others if f.name == file.name]
    return rng.choice(same or others).read_bytes() if others else data + b"\n"


def lost(data, rng, file): return None


HOW = (cut, emptied, random_bytes, hole, bit, bit, digit, digit, lines, header, swapped, lost)


def numbers(outcome):
    "What a study found, without what was measured of the machine."
    tables = outcome.results.drop(columns=PROVENANCE), outcome.history.drop(columns="seconds"), outcome.checks
    return [t.reset_index(drop=True) for t in tables]


def heard(job):
    "(what a call returned or the project's own error, what it said); any other exception is raised."
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try: found = job()
        except (BadInput, RunFailed) as e: found = e
    return found, "\n".join(line for line in said.getvalue().splitlines() if not line.startswith("TROUBLE"))


def same(found, right):
    if isinstance(found, Exception): return False
    try:
        for a, b in zip(numbers(found), right): pd.testing.assert_frame_equal(a, b)
    except AssertionError: return False
    return True


def put_right(folder, file, right, report):
    "What is wrong with how the study takes a damaged file, in a word or two; nothing if it is right."
    if file.name == LOOSE:
        found, _ = heard(lambda: load_adversarial(file))
        return "" if isinstance(found, Exception) else "read as if it were whole"
    if file.parent.name == "search":
        found, said = heard(lambda: searched(folder))
        if not isinstance(found, Exception) and not said: return "silent"
        return "" if "tuning" in str(found) + said or "unproven" in said else "not named"
    derived = any(part in DERIVED for part in file.relative_to(folder).parts)
    if derived and heard(lambda: is_fresh(folder))[0]: return "taken for fresh"
    found, said = heard(lambda: studied(folder))
    if isinstance(found, Exception): return f"refused: {found}"
    if not derived and not said: return "silent"
    if not same(found, right): return "other numbers"
    left = verify(folder)
    left = left[(left.state != "whole") & ~left.file.isin([LOOSE]) & ~left.file.str.startswith(("search", *DERIVED))]
    if len(left): return f"left: {left.values.tolist()}"
    again, said = heard(lambda: studied(folder))
    if not same(again, right) or said: return f"says it for ever: {said}"
    return reported(folder) if derived and report else ""


def reported(folder):
    "What is wrong with a report that is made again, as the command line does."
    found, _ = heard(lambda: write_report(folder))
    if isinstance(found, Exception): return f"no report: {found}"
    left = verify(folder)
    left = left[(left.state != "whole") & (left.file != LOOSE)]
    return "" if left.empty and is_fresh(folder) else f"left by the report: {left.values.tolist()}"


def tried(base, name, how, rng, right, report):
    "What went wrong with one damaged file of a copy of `base`: (kind of fault or nothing, what)."
    with tempfile.TemporaryDirectory() as d:
        folder = Path(d) / "s"
        shutil.copytree(base, folder)
        file = folder / name
        data = how(file.read_bytes(), rng, base / name)
        if data == file.read_bytes(): return "", ""
        file.unlink()
        if data is not None: file.write_bytes(data)
        try:
            found = verify(folder).set_index("file").state
            named = found.get(name, "whole") != "whole" or name.endswith(PROOF) and found.ne("whole").any()
            if not named: return "silent", "verify does not name it"
            why = put_right(folder, file, right, report)
        except Exception: return "traceback", traceback.format_exc(limit=-4)
    kind = "silent" if why in ("silent", "taken for fresh", "read as if it were whole", "not named") else "for ever"
    return (kind if why else ""), why


def stored(folder):
    "The files of a folder that can be damaged."
    kinds = (*COVERED, ".html", ".png", ".md", ".tex")
    files = [f for f in folder.rglob("*") if f.is_file() and (f.suffix in kinds or f.name == PROOF)]
    return sorted(str(f.relative_to(folder)) for f in files if f.stat().st_size)


def main():
    global DEPTH
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--count", type=int, default=330, help="how many files are damaged")
    args.add_argument("--seed", type=int, default=0)
    args.add_argument("--only", default="", help="files whose path contains this")
    args.add_argument("--reports", type=int, default=20, help="one report is made again in so many cases")
    asked = args.parse_args()
    rng, faults, kinds = random.Random(asked.seed), Counter(), Counter()
    os.fsync = lambda fd: None  # power cuts are not tried here, and it is what takes most of the time
    with tempfile.TemporaryDirectory() as d:
        whole, part = Path(d) / "whole", Path(d) / "part"
        DEPTH = len(whole.parents)
        with contextlib.redirect_stderr(io.StringIO()):
            made(whole)
            interrupted(part)
            right = numbers(studied(whole))
        for folder in (whole, part): assert verify(folder).state.eq("whole").all(), verify(folder)
        places = [(base, name) for base in (whole, part) for name in stored(base) if asked.only in name]
        main_ones = [p for p in places if not any(part in DERIVED for part in Path(p[1]).parts)]
        for n in range(asked.count):
            base, name = rng.choice(main_ones if n % 4 and main_ones else places)
            how = rng.choice(HOW)
            kind, why = tried(base, name, how, rng, right, n % asked.reports == 0)
            kinds[Path(name).suffix] += 1
            if kind: print(f"{kind}: {base.name}/{name}, {how.__name__}: {why}", flush=True)
            faults[kind] += bool(kind)
    total = ", ".join(f"{n} {k}" for k, n in sorted(kinds.items()))
    found = ", ".join(f"{faults[kind]} {kind}" for kind in ("silent", "traceback", "for ever"))
    print(f"{asked.count} damaged files ({total}): {found}")
    sys.exit(any(faults.values()))


if __name__ == "__main__": main()
