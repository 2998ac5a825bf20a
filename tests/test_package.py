"""The installed package: what it imports, what it declares, what it carries."""
import configparser, importlib.metadata, pkgutil, subprocess, sys
from importlib.resources import files
from pathlib import Path

import bioplaus

ROOT = Path(__file__).parent.parent
MODULES = [f"bioplaus.{m.name}" for m in pkgutil.iter_modules(bioplaus.__path__) if not m.name.startswith("_")]
BLOCK = """
import sys
class Block:
    def find_spec(self, name, *rest):
        if name.split('.')[0] in ('nbdev', 'fastcore', 'execnb', 'ghapi', 'pytest'): raise ImportError(f'{name} is a development tool')
sys.meta_path.insert(0, Block())
"""


def python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_needs_no_development_tools():
    assert len(MODULES) > 10
    python(BLOCK + "\n".join(f"import {m}" for m in MODULES))


def test_answers_without_torch():
    python("import sys, bioplaus, bioplaus.core, bioplaus.cli; assert 'torch' not in sys.modules")
    assert "study" in python("import sys; sys.argv = ['bioplaus', '--help']\nfrom bioplaus.cli import main\ntry: main()\nexcept SystemExit as e: assert not e.code\nassert 'torch' not in sys.modules")


def test_one_version():
    ini = configparser.ConfigParser(delimiters=["="], interpolation=None)
    ini.read(ROOT / "settings.ini")
    assert ini["DEFAULT"]["version"] == bioplaus.__version__ == importlib.metadata.version("bioplaus")


def test_extras():
    assert {"dev", "search", "cluster", "attacks", "tensorboard"} <= set(importlib.metadata.metadata("bioplaus").get_all("Provides-Extra"))


def test_carries_its_data_with_their_licence():
    folder = files("bioplaus") / "data_files"
    assert 1e6 < len((folder / "mnist-mini.npz").read_bytes()) < 2.5e6
    assert "Attribution-ShareAlike 3.0" in (folder / "LICENSE-mnist.txt").read_text()
