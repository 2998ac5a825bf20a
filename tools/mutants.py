"""Is every fault caught?   python tools/mutants.py [--list] [--only NAME ...] [--no-baseline]

Faults that somebody could make (a sign, a transposed weight, a mean over replicas, the wrong tail of a p value, ...)
stand in tools/mutants.toml. Each is put into a copy of the package and of its notebook, and the tests that should
notice are run on the copy. Exit code 1: a fault survived, or a test fails without any fault. It takes up to half an
hour of one core, and needs the extra `oracles`.

The place of a fault is a piece of text that stands once in all modules, whatever white space is between its words; so
it moves with the code. Exit code 2, and a line for each, where that is no longer true: mend tools/mutants.toml.
"""
import argparse, json, os, re, shutil, signal, subprocess, sys, tempfile, time, tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
NBDEV_TEST = str(Path(sys.executable).with_name("nbdev_test"))
EXPORT = re.compile(r"^#\|\s*exports?\b", re.M)
COPIED = ("bioplaus", "nbs", "tests", "tools", "settings.ini", "pytest.ini", "_quarto.yml")


class Fault(NamedTuple):
    "One wrong piece of text in place of a right one, and who should notice."
    name: str
    was: str        # in one place of bioplaus/*.py
    now: str
    caught_by: list # tests, the fastest first: FILE:NAME of pytest, or nb:NAME for a notebook's cells


def faults() -> list[Fault]:
    return [Fault(**f) for f in tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))["fault"]]


def places(text: str, was: str) -> list[re.Match]:
    "Where `was` stands in `text`, whatever white space is between its words."
    return list(re.finditer(r"\s+".join(map(re.escape, was.split())), text))


def anchored(fault: Fault) -> Path:
    "The only module that holds the fault's text; a `LookupError` says where it stands otherwise."
    modules = [f for f in sorted((ROOT / "bioplaus").glob("*.py")) if f.name != "_modidx.py"]
    found = {f: len(places(f.read_text(encoding="utf-8"), fault.was)) for f in modules}
    there = [f for f, n in found.items() if n]
    if sum(found.values()) == 1: return there[0]
    where = ", ".join(f"{found[f]} × {f.name}" for f in there) or "nowhere"
    raise LookupError(f"{fault.name!r}: its text must stand in one place, and stands {where}: {fault.was}")


def notebook(folder: Path, name: str) -> Path:
    "The notebook of module `name`, whatever its number."
    found = [f for f in sorted((folder / "nbs").glob("*.ipynb")) if re.sub(r"^\d+[a-z]?_", "", f.stem) == name]
    if len(found) != 1: raise LookupError(f"there are {len(found)} notebooks of a module {name!r}")
    return found[0]


def broken(text: str, fault: Fault) -> str:
    "`text` with the fault; as it was where the fault's place isn't in it."
    for m in places(text, fault.was): text = text[:m.start()] + fault.now + text[m.end():]
    return text


def inject(folder: Path, module: str, fault: Fault) -> dict[Path, bytes]:
    "Put the fault into the copy's module and its notebook, whose tests run its own cells; what stood there before."
    files = [folder / "bioplaus" / module, notebook(folder, Path(module).stem)]
    before = {f: f.read_bytes() for f in files}
    code = broken(files[0].read_text(encoding="utf-8"), fault)
    compile(code, module, "exec")
    nb = json.loads(files[1].read_text(encoding="utf-8"))
    exported = [c for c in nb["cells"] if c["cell_type"] == "code" and EXPORT.search("".join(c["source"]))]
    holding = [c for c in exported if places("".join(c["source"]), fault.was)]
    if len(holding) != 1: raise LookupError(f"{fault.name!r}: in {files[1].name}, {len(holding)} cells hold its text")
    holding[0]["source"] = broken("".join(holding[0]["source"]), fault).splitlines(keepends=True)
    files[0].write_text(code, encoding="utf-8")
    files[1].write_text(json.dumps(nb), encoding="utf-8")
    return before


def command(folder: Path, *tests: str) -> list[str]:
    "What runs a notebook, or some of pytest's tests until one fails."
    kind, name = tests[0].split(":")
    if kind == "nb": return [NBDEV_TEST, "--path", str(notebook(folder, name)), "--n_workers", "0"]
    ids = ("tests/test_{}.py::test_{}".format(*t.split(":")) for t in tests)
    return [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "", *ids]


ERROR_LINE = re.compile(r"^(E  .*|\w*(Error|Failed|BadInput|Exception)\b.*)", re.M)


def outcome(folder: Path, timeout: float, *tests: str) -> tuple[str, str]:
    "('passed', 'failed', 'timeout' or 'error', the line that says why) of tests in the copy."
    env = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    p = subprocess.Popen(command(folder, *tests), cwd=folder, env=env, text=True, start_new_session=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try: said, _ = p.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(p.pid, signal.SIGKILL)
        p.communicate()
        return "timeout", f"no answer in {timeout:.0f} s"
    error = ERROR_LINE.search(said)
    why = error[0].removeprefix("E").strip() if error else (said.strip().splitlines() or [""])[-1]
    if p.returncode == 1: return "failed", why
    ran = p.returncode == 0 and re.search(r"\d passed|Success", said)
    return ("passed", "") if ran else ("error", why)  # no such test, a skipped one, or one that can't be collected


def tried(folder: Path, fault: Fault, timeout: float) -> dict:
    "A row of the table: who caught the fault, and in what time."
    module, notes = anchored(fault).name, []
    before = inject(folder, module, fault)
    try:
        for test in fault.caught_by:
            start = time.time()
            result, why = outcome(folder, timeout, test)
            row = {"fault": fault.name, "module": module, "test": test, "seconds": time.time() - start, "why": why}
            if result == "failed": return row
            notes.append(f"{test} {result} {why}".strip())
    finally:
        for f, content in before.items(): f.write_bytes(content)
    return row | {"test": None, "why": "; ".join(notes)}


def sound(folder: Path, chosen: list[Fault], timeout: float) -> bool:
    "Whether all tests pass without any fault; without that, a failing test shows nothing."
    tests = list(dict.fromkeys(t for f in chosen for t in f.caught_by))
    notebooks = [t for t in tests if t.startswith("nb:")]
    runs = [[t] for t in notebooks] + [[t for t in tests if t not in notebooks]]
    wrong = [(t, *found) for t in runs if t and (found := outcome(folder, 4 * timeout, *t))[0] != "passed"]
    for t, result, why in wrong: print(f"ERROR without any fault, {' '.join(t)}: {result} {why}")
    return not wrong


def listed(chosen: list[Fault], silent: bool) -> int:
    "Print the faults with the module that holds them; 2 if a text doesn't stand in one place."
    code = 0
    for f in chosen:
        try: line = f"{f.name:40} {anchored(f).name:20} {', '.join(f.caught_by)}"
        except LookupError as e: line, code = f"ERROR {e}", 2
        if not silent or line.startswith("ERROR"): print(line)
    return code


def rows(chosen: list[Fault], timeout: float, baseline: bool):
    "A row for each fault, as they come; none if the tests fail without any."
    with tempfile.TemporaryDirectory() as tmp:
        folder = Path(tmp)
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
            copy(ROOT / name, folder / name)
        if baseline and not sound(folder, chosen, timeout): return
        for f in chosen: yield tried(folder, f, timeout)


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--list", action="store_true", help="say which faults there are and where; run nothing")
    p.add_argument("--only", nargs="+", metavar="NAME", help="these faults, by name or a part of it")
    p.add_argument("--no-baseline", action="store_true", help="don't run the tests without a fault first")
    p.add_argument("--timeout", type=float, default=300, help="seconds for each test (default: 300)")
    a = p.parse_args()
    chosen = [f for f in faults() if not a.only or any(part in f.name for part in a.only)]
    code = listed(chosen, silent=not a.list)
    if a.list or code: return code
    done = []
    for row in rows(chosen, a.timeout, not a.no_baseline):
        done.append(row)
        who = row["test"] or "SURVIVED"
        print(f"{row['fault']:40} {who:60} {row['seconds']:3.0f} s  {row['why']:.120}", flush=True)
    left = [r["fault"] for r in done if not r["test"]]
    print(f"\n{len(done) - len(left)} of {len(chosen)} faults caught" + "".join(f"\nSURVIVED: {name}" for name in left))
    return int(len(done) - len(left) < len(chosen))


if __name__ == "__main__": sys.exit(main())
