"""The installed package: what it imports, what it declares, what it carries."""
import configparser, importlib.metadata, json, os, pkgutil, re, shutil, subprocess, sys, tempfile
from importlib.resources import files
from pathlib import Path

import bioplaus, pytest

ROOT = Path(__file__).parent.parent
MODULES = [m.name for m in pkgutil.walk_packages(bioplaus.__path__, "bioplaus.") if "._" not in m.name]
TOOLS = ("nbdev", "fastcore", "execnb", "ghapi", "pytest")
BLOCK = f"""
import sys
class Block:
    def find_spec(self, name, *rest):
        if name.split('.')[0] in {TOOLS}: raise ImportError(f'{{name}} is a development tool')
sys.meta_path.insert(0, Block())
"""


def python(*args):
    "A fresh interpreter, outside the clone: it finds the package only if it is installed."
    with tempfile.TemporaryDirectory() as elsewhere:
        done = subprocess.run([sys.executable, *args], cwd=elsewhere, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


def test_needs_no_development_tools():
    assert "bioplaus.rule" in MODULES
    python("-c", BLOCK + "\n".join(f"import {m}" for m in MODULES))


def test_the_blocker_blocks():
    for tool in TOOLS:
        python("-c", BLOCK + f"try: import {tool}\nexcept ImportError: sys.exit(0)\nsys.exit('{tool} was imported')")


def test_the_public_face_is_lazy():
    "The package names what most users want, and imports it when it is asked for."
    code = "import sys, bioplaus; assert 'torch' not in sys.modules; {}"
    python("-c", code.format("assert 'fit' in dir(bioplaus) and 'torch' not in sys.modules"))
    python("-c", code.format("from bioplaus.training import fit; assert bioplaus.fit is fit"))
    for name in bioplaus.__all__: assert callable(getattr(bioplaus, name))
    with pytest.raises(AttributeError, match="no attribute 'fitt'"): print(bioplaus.fitt)


def test_a_training_loads_no_compiler():
    "torch's own SGD would: that takes as long as torch itself."
    python("-c", "import sys; sys.argv = 'bioplaus train fa --task digits --epochs 1 --json'.split()\n"
                 "from bioplaus.cli import main\ntry: main()\nexcept SystemExit: pass\n"
                 "assert 'torch' in sys.modules and 'torch._dynamo' not in sys.modules")


def test_names_come_without_torch():
    python("-c", "import sys, bioplaus, bioplaus.core, bioplaus.cli; assert 'torch' not in sys.modules")


def test_help_comes_without_torch():
    done = python("-X", "importtime", "-m", "bioplaus.cli", "--help")
    assert "study" in done.stdout and not re.search(r"\|\s+torch\s*$", done.stderr, re.M)


def test_one_version():
    ini = configparser.ConfigParser(delimiters=["="], interpolation=None)
    ini.read(ROOT / "settings.ini", encoding="utf-8")
    assert ini["DEFAULT"]["version"] == bioplaus.__version__ == importlib.metadata.version("bioplaus")


def test_extras():
    extras = importlib.metadata.metadata("bioplaus").get_all("Provides-Extra")
    assert {"dev", "cluster", "attacks", "tensorboard", "oracles"} <= set(extras)


def test_carries_its_data_with_their_licence():
    folder = files("bioplaus") / "data_files"
    assert 1e6 < len((folder / "mnist-mini.npz").read_bytes()) < 2.5e6
    assert "Attribution-ShareAlike 3.0" in (folder / "LICENSE-mnist.txt").read_text()


READS = "from bioplaus.data import stored; print(len(stored('microcircuit')))"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    "The package as a wheel holds it, in a folder of its own."
    folder = tmp_path_factory.mktemp("built")
    built = subprocess.run([sys.executable, "setup.py", "-q", "egg_info", "--egg-base", folder, "build_py",
                            "--build-lib", folder], cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder


def run_in(folder, code):
    "Code, run in a folder that holds a copy of the package, which comes before any other."
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True,
                          env=dict(os.environ, PYTHONPATH=str(folder)))


def test_brings_the_tables_that_pages_show(built):
    kept = {f.name: f.read_bytes() for f in (ROOT / "nbs" / "results").iterdir()}
    assert {f.name: f.read_bytes() for f in (built / "bioplaus" / "data_files" / "results").iterdir()} == kept
    assert run_in(built, READS).stdout == "40\n"


def test_says_what_to_do_where_its_tables_are_missing(built, tmp_path):
    shutil.copytree(built / "bioplaus", tmp_path / "bioplaus", ignore=shutil.ignore_patterns("results"))
    said = run_in(tmp_path, READS).stderr.splitlines()[-1]
    assert "RunFailed: no stored results lie beside" in said and "pip install git+" in said


def cells_from(notebook, first, last):
    "The code cells of a page from one to another, without what IPython alone understands."
    found = {c["id"]: "".join(c["source"]) for c in json.loads((ROOT / "nbs" / notebook).read_text())["cells"]
             if c["cell_type"] == "code"}
    names = list(found)
    return "\n".join(found[n] for n in names[names.index(first):names.index(last) + 1])


@pytest.mark.parametrize("notebook, first, last, seen", [
    ("tutorials/90_zoo.ipynb", "rules", "missing", "assert len(studies) > 5 and 'clean' in numbers('backprop')"),
    ("tutorials/06_the_hypothesis.ipynb", "load", "load", "assert set(TASKS) <= set(results.task)"),
    ("tutorials/01_make_hebb_learn.ipynb", "mnist-load", "mnist-load", "assert len(shown('narrow')) > 3"),
])
def test_a_page_that_was_downloaded_alone_finds_its_tables(notebook, first, last, seen, built, tmp_path):
    page = "\n".join([cells_from(notebook, "imports", "imports"), cells_from(notebook, first, last), seen])
    done = subprocess.run([sys.executable, "-c", page], cwd=tmp_path, capture_output=True, text=True,
                          env=dict(os.environ, PYTHONPATH=str(built), MPLBACKEND="agg"))
    assert done.returncode == 0, done.stderr


def test_pages_read_stored_tables_by_name_only():
    "A path leads nowhere once a notebook lies elsewhere."
    for f in (ROOT / "nbs").rglob("[!_.]*.ipynb"):
        if ".ipynb_checkpoints" in f.parts: continue
        code = "\n".join("".join(c["source"]) for c in json.loads(f.read_text())["cells"] if c["cell_type"] == "code")
        assert not re.search(r"[\"'](\.\./|nbs/)*results/[\w{}]+\.(csv|json)", code), f.name


def test_says_that_it_has_types():
    "PEP 561: without this file, type checkers take everything from the package as unknown."
    assert (files("bioplaus") / "py.typed").is_file()


def test_every_rule_runs_in_a_study_and_from_the_shell():
    from bioplaus.core import cards
    from bioplaus.study import compare
    found = compare(list(cards()), "digits", seeds=2, epochs=1, hidden=(20,), perturbations=("gaussian:0.3",),
                    progress=False)
    assert set(found.rule) == set(cards()) and found.accuracy.notna().all() and len(found) == 2 * 2 * len(cards())
    done = python("-m", "bioplaus.cli", "train", "softhebb", "--task", "digits", "--epochs", "2", "--seeds", "3",
                  "--lr", "0.1,30", "--set", "readout=delta", "--json")
    assert '"seeds": 3' in done.stdout
