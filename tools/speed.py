"""Measure everything that the page on speed shows.   python tools/speed.py [--turns 9] [--only bench bars scaling]

Writes nbs/results/bench.json, bars.json and scaling.json, for which the machine should have nothing else to do; it
takes an hour on two cores. Without JAX (`pip install jax`) its bars are left out. Then `python tools/nb.py run
nbs/80_bench.ipynb` shows the new numbers on the page.
"""
import argparse, json
from pathlib import Path

from bioplaus.bench import bench, measure_bars, scaling

RESULTS = Path(__file__).parent.parent / "nbs" / "results"
PARTS = {"bench": lambda turns: bench(turns=turns), "bars": measure_bars, "scaling": scaling}


def main():
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--turns", type=int, default=9, help="how often each side is measured")
    asked.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="what to measure")
    given = asked.parse_args()
    for name in given.only:
        file = RESULTS / f"{name}.json"
        file.write_text(json.dumps(PARTS[name](given.turns)) + "\n")
        print(f"{file} is new.")


if __name__ == "__main__": main()
