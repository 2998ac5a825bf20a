"""What the first units of each rule have learnt, as small pictures for the cards of the zoo.

OMP_NUM_THREADS=1 python tools/thumbnails.py [RULE ...]   writes nbs/results/first_weights.json

One network of 784-100-10 each, on mnist-mini, three epochs at the card's own rate: of the hundred units the four whose
weights moved farthest from where they started. Red and blue are weights of either sign, each unit on its own scale.
Rules that are named are made anew, the others keep what they have.
"""
import argparse, base64, io, json, warnings
from pathlib import Path

import numpy as np
from bioplaus.core import cards, choose, written_whole
from bioplaus.data import load_task
from bioplaus.network import MLP
from bioplaus.rule import make_rule
from bioplaus.training import fit
from matplotlib import colormaps
from PIL import Image

FILE = Path(__file__).resolve().parent.parent / "nbs" / "results" / "first_weights.json"
UNITS = 4


def weights(rule, task):
    "(UNITS, 28, 28) between -1 and 1."
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that some don't settle, or guess, is said where they are explained
        run = fit(make_rule(rule, MLP((task.n_in, 100, task.n_classes))), task, epochs=3, progress=False, warn=False)
    W, W0 = (r.net.weights[0][0].detach() for r in (run.rule, run.untrained(task.x_train)))
    some = W[(W - W0).norm(dim=1).topk(UNITS).indices]
    return (some / some.abs().amax(1, keepdim=True).clamp(min=1e-12)).view(UNITS, 28, 28).numpy()


def picture(units):
    "A PNG of 32 colours, the units side by side with a white line between them."
    tiles = np.full((28, UNITS * 29 - 1, 3), 255, np.uint8)
    for i, unit in enumerate(units):
        tiles[:, 29 * i:29 * i + 28] = 255 * colormaps["RdBu_r"]((unit + 1) / 2)[..., :3]
    with io.BytesIO() as f:
        Image.fromarray(tiles).quantize(32, dither=Image.Dither.NONE).save(f, format="png", optimize=True)
        return base64.b64encode(f.getvalue()).decode()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("rules", nargs="*", metavar="RULE", help="of the registry (default: all)")
    asked, task = p.parse_args().rules or list(cards()), load_task("mnist-mini", device="cpu")
    found = json.loads(FILE.read_text()) if FILE.exists() else {}
    for rule in asked:
        found[choose(rule, cards(), "rule")] = picture(weights(rule, task))
        print(rule, flush=True)
        with written_whole(FILE) as tmp: tmp.write_text(json.dumps(dict(sorted(found.items())), indent=0) + "\n")


if __name__ == "__main__": main()
