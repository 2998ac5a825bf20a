"""The picture that a link to the site shows elsewhere.

python tools/social_card.py   writes nbs/social-card.png, 1200 x 630
"""
from pathlib import Path

import matplotlib
matplotlib.use("agg")
import matplotlib.pyplot as plt, pandas as pd

NBS = Path(__file__).resolve().parent.parent / "nbs"
SHOWN = {"backprop": "backprop", "softhebb": "competing Hebb", "frozen": "random hidden layer", "hebb": "plain Hebb"}


def main():
    found = pd.read_csv(NBS / "results" / "hebb_narrow.csv").query("perturbation == 'clean'")
    mean = found.groupby("rule").accuracy.mean()
    bars = {label: mean[rule] for rule, label in SHOWN.items()}
    fig = plt.figure(figsize=(12, 6.3), dpi=100, facecolor="#14202b")
    fig.text(.06, .74, "bioplaus", color="white", fontsize=64, weight="bold")
    fig.text(.06, .62, "Biologically plausible learning rules:\nunderstand, run and compare them",
             color="#cfd8e0", fontsize=25, va="top", linespacing=1.4)
    ax = fig.add_axes((.28, .1, .62, .3), facecolor="none")
    colours = ["#0072B2", "#009E73", "#8fa3b3", "#D55E00"]
    ax.barh(list(bars), [100 * v for v in bars.values()], color=colours, height=.65)
    for i, v in enumerate(bars.values()):
        ax.text(100 * v + 1, i, f"{100 * v:.1f}%", color="white", va="center", fontsize=17)
    ax.set(xlim=(0, 112), xticks=[])
    ax.invert_yaxis()
    ax.tick_params(colors="white", labelsize=17, length=0)
    for side in ax.spines.values(): side.set_visible(False)
    fig.text(.9, .05, "MNIST, 100 hidden units: test accuracy, mean of 10 seeds",
             color="#8fa3b3", fontsize=13, ha="right")
    fig.savefig(NBS / "social-card.png", facecolor=fig.get_facecolor(), pil_kwargs={"optimize": True})


if __name__ == "__main__": main()
