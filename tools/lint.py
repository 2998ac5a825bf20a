"""What is wrong with the text of the code?   python tools/lint.py [--types] [--all] [--write] [PATH ...]

ruff over notebooks, package, tests and tools, with the rules in ruff.toml; and what ruff has no word for:
  tuple-statement   f(), g() on a line of its own: a statement each, on lines of their own
  four-targets      an assignment to more than three names
  long-cell         more than 30 lines in a cell of a notebook
Of a notebook, lines that start with #| are neither counted nor too long, and a cell that isn't run (eval: false) may
use names from elsewhere.
With --types, also what ty finds in the package.

How many findings of each kind there may be stands in tools/findings.json, and may only fall: more of a kind are an
error. --write writes the numbers of today, if none has grown. With PATHs, all that is found there is shown, and any
finding is an error.
"""
import argparse, ast, json, os, re, subprocess, sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PLACES, KNOWN = ("nbs", "bioplaus", "tests", "tools"), ROOT / "tools" / "findings.json"
LONGEST, TARGETS = 30, 3  # lines of a cell, names of an assignment


class Finding(NamedTuple):
    where: str  # file, cell, line
    kind: str
    said: str

    def __str__(self): return f"{self.where}: {self.kind} {self.said}"


def targets(node: ast.expr) -> int:
    "How many names and places an assignment's left side has."
    if isinstance(node, ast.Starred): return targets(node.value)
    return sum(map(targets, node.elts)) if isinstance(node, (ast.Tuple, ast.List)) else 1


def in_tree(tree: ast.Module, shown: ast.stmt | None, where: str):
    "Findings in a module or cell, of which the statement `shown` is what the cell displays."
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and (n := sum(map(targets, node.targets))) > TARGETS:
            yield Finding(f"{where}:{node.lineno}", "four-targets", f"an assignment to {n} names")
        if not isinstance(node, ast.Expr) or node is shown or not isinstance(node.value, ast.Tuple): continue
        if any(isinstance(e, ast.Call) for e in node.value.elts):
            yield Finding(f"{where}:{node.lineno}", "tuple-statement", "several calls in one statement")


def in_cell(source: str, where: str):
    "Findings in a cell of a notebook."
    lines = [line for line in source.strip().splitlines() if not line.startswith("#|")]
    if len(lines) > LONGEST: yield Finding(where, "long-cell", f"{len(lines)} lines")
    tree = ast.parse(re.sub(r"^(\s*)[%!].*", r"\1pass", source, flags=re.M))
    shown = tree.body[-1] if tree.body and not source.rstrip().endswith(";") else None
    yield from in_tree(tree, shown, where)


def own_checks(file: Path):
    "What the checks of this file find."
    where, text = str(file.relative_to(ROOT)), file.read_text(encoding="utf-8")
    if file.suffix == ".py":
        yield from in_tree(ast.parse(text), None, where)
        return
    code = [c for c in json.loads(text)["cells"] if c["cell_type"] == "code"]
    for cell in code: yield from in_cell("".join(cell["source"]), f"{where}:{cell['id']}")


def files(paths):
    "Sources in files and folders; not what nbdev_export has made of notebooks, which would count twice."
    for path in paths:
        found = [path] if path.is_file() else sorted([*path.rglob("*.ipynb"), *path.rglob("*.py")])
        for f in found:
            hidden = any(part.startswith(".") for part in f.relative_to(ROOT).parts)
            if f.suffix in (".py", ".ipynb") and not hidden and ROOT / "bioplaus" not in f.parents: yield f


def ruff(paths) -> list[Finding]:
    done = subprocess.run([sys.executable, "-m", "ruff", "check", "--output-format", "json", "--exit-zero", *paths],
                          cwd=ROOT, capture_output=True, text=True)
    if done.returncode: sys.exit(done.stderr)
    found = [m for m in json.loads(done.stdout) if not spared(m)]
    return [Finding(place(m), m["code"] or "syntax", m["message"]) for m in found]


def spared(message: dict) -> bool:
    "A directive of nbdev or Quarto, which has to stay on one line; a name from elsewhere, in a cell that isn't run."
    if not message.get("cell") or message["code"] not in ("E501", "F821"): return False
    lines = code_lines(message["filename"], message["cell"])
    if message["code"] == "E501": return lines[message["location"]["row"] - 1].startswith("#|")
    return "#| eval: false" in lines


@cache
def code_lines(notebook: str, number: int) -> list[str]:
    "The lines of a notebook's cell; ruff counts cells from 1."
    cell = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"][number - 1]
    return "".join(cell["source"]).splitlines()


def place(message: dict) -> str:
    cell = f":cell {message['cell']}" if message.get("cell") else ""
    return f"{Path(message['filename']).relative_to(ROOT)}{cell}:{message['location']['row']}"


def ty() -> list[Finding]:
    "What the type checker finds; its exit code is 1 where it finds something."
    how = ("--output-format", "concise", "--color", "never", "--python", sys.prefix)
    elsewhere = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}  # or ty meets the package twice
    check = [sys.executable, "-m", "ty", "check", *how]
    done = subprocess.run(check, cwd=ROOT, env=elsewhere, capture_output=True, text=True)
    if done.returncode > 1: sys.exit(done.stderr)
    lines = [re.match(r"(\S+?:\d+):\d+: \w+\[([\w-]+)\] (.*)", line) for line in done.stdout.splitlines()]
    return [Finding(m[1], "types", f"{m[2]}: {m[3]}") for m in lines if m]


def judged(found: list[Finding], kinds: set, write: bool) -> int:
    "Compare the numbers with those that are allowed; 1 if one has grown."
    allowed, now, grown = json.loads(KNOWN.read_text()), Counter(f.kind for f in found), False
    for kind in sorted(kinds | set(now)):
        n, most = now[kind], allowed.get(kind, 0)
        if n > most:
            grown = True
            print(f"ERROR {kind}: {n} findings, and at most {most} are allowed. The files with most of them:")
            print("".join(f"  {count:4}  {file}\n" for file, count in by_file(found, kind)), end="")
        elif n < most: print(f"{kind}: {n} findings where {most} were allowed: python tools/lint.py --write")
    if grown: print("Lines are shown by: python tools/lint.py --all, or with the paths of files")
    if write and not grown: lowered(allowed, {kind: now[kind] for kind in kinds})
    return int(grown)


def lowered(allowed: dict, now: dict):
    "Write the numbers of the kinds in `now`, without those that are no longer found; what wasn't looked for stays."
    left = {kind: n for kind, n in (allowed | now).items() if n}
    KNOWN.write_text(json.dumps(dict(sorted(left.items())), indent=1) + "\n", encoding="utf-8")


def by_file(found: list[Finding], kind: str):
    return Counter(f.where.split(":")[0] for f in found if f.kind == kind).most_common(10)


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="files or folders; none: everything")
    p.add_argument("--types", action="store_true", help="run the type checker, too")
    p.add_argument("--all", action="store_true", help="show all findings")
    p.add_argument("--write", action="store_true", help="lower the allowed numbers to those of today")
    a = p.parse_args()
    paths = [p.absolute() for p in a.paths] or [ROOT / p for p in PLACES]
    found = ruff(paths) + [f for file in files(paths) for f in own_checks(file)] + (ty() if a.types else [])
    if a.all or a.paths: print("".join(f"{f}\n" for f in sorted(found)), end="")
    if a.paths: return int(bool(found))
    kinds = {k for k in json.loads(KNOWN.read_text()) if k != "types" or a.types}
    return judged(found, kinds, a.write)


if __name__ == "__main__": sys.exit(main())
