"""The quick lane: lint, and what changed.   python tools/quick.py [--against BRANCH] [--seconds 120]

Runs tools/lint.py, then the changed notebooks' cells and house rules, and the changed files in tests/, as far as two
minutes go; what was not reached is named. Changed is what differs from where this branch left main, committed or not.
Everything that is checked: bash .ci/run
"""
import argparse, os, subprocess, sys, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NBDEV_TEST = str(Path(sys.executable).with_name("nbdev_test"))
ENV = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}  # this clone's package, whatever is installed


def git(*args: str) -> str:
    done = subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True)
    if done.returncode: sys.exit(f"git {' '.join(args)}: {done.stderr.strip()}")
    return done.stdout


def changed(against: str) -> list[Path]:
    "Files that differ from where this branch left `against`, and that are still there; new ones, too."
    base = git("merge-base", against, "HEAD").strip()
    names = git("diff", "--name-only", base) + git("ls-files", "--others", "--exclude-standard")
    return [f for n in dict.fromkeys(names.splitlines()) if (f := ROOT / n).is_file()]


def steps(files: list[Path]):
    "(what is checked, the command), what takes least time first."
    python = [sys.executable, "-m"]
    notebooks = [f for f in files if f.suffix == ".ipynb" and ROOT / "nbs" in f.parents]
    tests = [str(f) for f in files if f.parent == ROOT / "tests" and f.name.startswith("test_")]
    yield "lint", [sys.executable, "tools/lint.py"]
    if notebooks:
        of_these = " or ".join(f"[{f.stem}]" for f in notebooks)
        yield "the notebooks' house rules", [*python, "pytest", "-q", "tests/test_notebooks.py", "-k", of_these]
    for f in tests: yield Path(f).name, [*python, "pytest", "-q", f]
    for f in sorted(notebooks, key=lambda f: f.stat().st_size):
        yield f.name, [NBDEV_TEST, "--path", str(f), "--n_workers", "0"]


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--against", default="main", metavar="BRANCH", help="what counts as unchanged (default: main)")
    p.add_argument("--seconds", type=float, default=120, help="time for everything (default: 120)")
    a = p.parse_args()
    end, failed, left = time.time() + a.seconds, [], []
    for what, command in steps(changed(a.against)):
        print(f"== {what}", flush=True)
        try: code = subprocess.run(command, cwd=ROOT, env=ENV, timeout=max(0, end - time.time())).returncode
        except subprocess.TimeoutExpired: left.append(what)
        else: failed += [what] * bool(code)
    for what in failed: print(f"FAILED: {what}")
    if left: print(f"NOT FINISHED in {a.seconds:g} s: {', '.join(left)}. Run these alone, or give more --seconds.")
    if not failed: print("what was reached is fine" if left else "all fine")
    return int(bool(failed))


if __name__ == "__main__": sys.exit(main())
