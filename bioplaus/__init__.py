"""Understand, run and compare biologically plausible learning rules.

The names below are here for convenience: they are imported, and PyTorch with them, when they are first asked for.
Written by hand; every other file of this package is made from a notebook.
"""
__version__ = "0.1.0"

from importlib import import_module

_FACE = {"rules": "core", "load_task": "data", "from_tensors": "data", "stored": "data", "MLP": "network",
         "make_network": "network", "make_rule": "rule", "fit": "training", "evaluate": "training",
         "load_run": "training", "compare": "study"}
__all__ = [*_FACE]


def __getattr__(name: str):
    if name not in _FACE: raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_FACE[name]}", __name__), name)


def __dir__(): return sorted([*globals(), *_FACE])
