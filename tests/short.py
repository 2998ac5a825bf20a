"""Perturbations that take few steps: for tests of everything but their strength."""
from dataclasses import replace

FEW = {"steps": 6, "queries": 20, "restarts": 2}


def short(perturbation):
    "The same one, with few steps, queries and restarts, where it has any."
    few = {k: min(getattr(perturbation, k), n) for k, n in FEW.items() if hasattr(perturbation, k)}
    return replace(perturbation, **few) if few else perturbation
