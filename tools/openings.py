"""Draw the picture that each page opens with.   python tools/openings.py [--only NAME ...] [--out nbs/images]

One small function for each page, named after its notebook. Where a picture shows numbers, they come from networks that
are trained here (seconds, on the 8 x 8 digits of scikit-learn) or from nbs/results. The same seeds are taken each time,
so the same versions of the libraries write the same bytes. Ink is grey, for the pages are white or black, and
nbs/styles.css lightens it in the dark.
"""
import argparse, json, sys
from functools import cache
from pathlib import Path

import matplotlib
matplotlib.use("agg")
import matplotlib.pyplot as plt, numpy as np, pandas as pd, torch
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyBboxPatch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from bioplaus.data import load_task, stored
from bioplaus.network import MLP
from bioplaus.rule import make_rule
from bioplaus.training import fit

INK, PALE = "#666666", "#b8b8b8"
BLUE, RED, GREEN = "#0072B2", "#D55E00", "#009E73"
STYLE = {"svg.hashsalt": "bioplaus", "svg.fonttype": "path", "font.size": 10, "text.color": INK, "axes.edgecolor": INK,
         "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.spines.top": False,
         "axes.spines.right": False, "legend.frameon": False, "image.cmap": "gray_r"}
PICTURES = {}  # name of a page → what draws its picture


def opens(page: str):
    "Say that a function draws the picture of `page`."
    def kept(draw):
        PICTURES[page] = draw
        return draw
    return kept


# ---------------------------------------------------------------- what pictures are made of

def canvas(width: float, height: float):
    "Empty axes that fill the figure, and count in inches."
    fig = plt.figure(figsize=(width, height))
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, width), ylim=(0, height))
    ax.axis("off")
    return ax


def note(ax, x, y, words, colour=INK, **style):
    return ax.text(x, y, words, **{"color": colour, "ha": "center", "va": "center"} | style)


def unit(ax, x, y, words="", fill=0.0, colour=BLUE, size=0.17):
    "A neuron; the fuller, the more active."
    inside = (*to_rgb(colour), 0.75 * fill)
    ax.add_patch(plt.Circle((x, y), size, fc=inside, ec=INK, lw=1.2, zorder=3))
    if words: note(ax, x, y, words, zorder=4)


def box(ax, x, y, w, h, words="", colour=INK, **style):
    "A box around (x, y)."
    corner, shape = (x - w / 2, y - h / 2), "round,pad=0,rounding_size=.08"
    ax.add_patch(FancyBboxPatch(corner, w, h, shape, fc=(*to_rgb(colour), 0.1), ec=colour, lw=1.2))
    note(ax, x, y, words, **style)


def arrow(ax, a, b, colour=INK, words="", at=(0, 0.14), gap=0, bend=0.0, head="-|>", **style):
    "From `a` to `b`, with words beside its middle; `gap` is in points."
    how = dict(arrowstyle=head, color=colour, lw=1.5, shrinkA=gap, shrinkB=gap, connectionstyle=f"arc3,rad={bend}")
    ax.annotate("", b, a, arrowprops=how | style)
    if words: note(ax, (a[0] + b[0]) / 2 + at[0], (a[1] + b[1]) / 2 + at[1], words, colour)


def bar(ax, x, y, w, h, colour=BLUE, **style):
    "A filled rectangle from its lower left corner (x, y)."
    ax.add_patch(plt.Rectangle((x, y), w, h, **{"fc": colour, "alpha": 0.75} | style))


def image(ax, x, y, size, pixels, **style):
    "A square picture around (x, y): a digit, weights, distances."
    half, pixels = size / 2, np.asarray(pixels)
    if pixels.ndim == 1: pixels = pixels.reshape(int(len(pixels) ** 0.5), -1)
    ax.imshow(pixels, extent=(x - half, x + half, y - half, y + half), zorder=2, aspect="auto",
              interpolation="nearest", **{"vmin": 0, "vmax": 1} | style)
    ax.add_patch(plt.Rectangle((x - half, y - half), size, size, fill=False, ec=INK, lw=0.8, zorder=3))


def signed(pixels):
    "How to show numbers of both signs: on a scale of their own."
    most = float(np.abs(np.asarray(pixels)).max())
    return {"cmap": "RdBu_r", "vmin": -most, "vmax": most}


def flow(ax, y, boxes, width, height=0.5, colours=()):
    "Boxes from left to right with arrows between them: [(x, words), ...]."
    for n, (x, words) in enumerate(boxes):
        box(ax, x, y, width, height, words, colours[n] if n < len(colours) else INK)
        if n: arrow(ax, (boxes[n - 1][0] + width / 2, y), (x - width / 2, y), gap=2)


def chart(width=5.2, height=2.3):
    "A figure with axes for numbers."
    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def percent_axis(ax, axis="y"):
    "Shares between 0 and 1, written as percent."
    getattr(ax, f"{axis}axis").set_major_formatter(matplotlib.ticker.PercentFormatter(1, decimals=0))


def layers(ax, x, ys, widths, step=0.5):
    "Places of the units of a network: a list for each layer, from below."
    return [[(x + (n - (w - 1) / 2) * step, y) for n in range(w)] for y, w in zip(ys, widths)]


def joined(ax, below, above, colour=PALE, **style):
    "All synapses between two layers."
    for a in map(np.array, below):
        for b in map(np.array, above):
            edge = 0.18 * (b - a) / np.hypot(*(b - a))  # to the rims of the units
            ax.plot(*zip(a + edge, b - edge), color=colour, **{"lw": 0.8, "zorder": 1} | style)


# ---------------------------------------------------------------- real digits, real networks

@cache
def digits(): return load_task("digits", device="cpu")


@cache
def mnist(): return load_task("mnist-mini", device="cpu")


@cache
def trained(name: str, hidden=(30,), epochs=8, seeds=3, lr=None, **options):
    "A run of a rule on the small digits."
    rule = make_rule(name, MLP((64, *hidden, 10), replicas=seeds), **options)
    return fit(rule, digits(), epochs=epochs, lr=lr, progress=False, warn=False)


def one_of_each(task, n=10):
    "The first test image of each class."
    return [task.x_test[(task.y_test == c).nonzero()[0, 0]] for c in range(n)]


# ---------------------------------------------------------------- the rules

def synapse(ax, x, y, pre=1.0, post=1.0, strength=2.0, length=1.6, colour=INK):
    "Two neurons and what joins them."
    tip = x + length - 0.27
    ax.plot([x + 0.2, tip], [y, y], color=colour, lw=strength, solid_capstyle="butt", zorder=1)
    ax.plot(tip - 0.02, y, ">", color=colour, ms=5 + strength, mew=0, zorder=2)
    unit(ax, x, y, fill=pre, size=0.2)
    unit(ax, x + length, y, fill=post, size=0.2)


@opens("05_rule")
def rule():
    ax = canvas(5.6, 2.0)
    synapse(ax, 1.2, 0.75, pre=0.8, post=0.35, strength=3, length=2.2)
    note(ax, 1.2, 0.28, "pre $r_-$")
    note(ax, 3.4, 0.28, "post $r$")
    note(ax, 2.3, 0.95, "weight $W$")
    box(ax, 4.75, 1.6, 1.2, 0.44, "teacher", RED)
    arrow(ax, (4.4, 1.36), (3.6, 0.9), RED, "taught $r^*$", at=(0.52, -0.1))
    box(ax, 1.35, 1.6, 1.5, 0.44, "plasticity", GREEN)
    arrow(ax, (1.75, 1.36), (2.2, 1.08), GREEN, "$\\Delta W$", at=(0.32, 0.06))


@opens("10_hebbian")
def hebbian():
    ax = canvas(5.8, 2.1)
    cases = ((1, 1, 8, "both active:\nit grows"), (1, 0, 2, "one silent:\nit stays"))
    for y, (pre, post, after, words) in zip((1.45, 0.6), cases):
        synapse(ax, 0.4, y, pre, post, 2, 1.2)
        arrow(ax, (2.0, y), (2.75, y), PALE)
        synapse(ax, 3.1, y, pre, post, after, 1.2)
        note(ax, 4.6, y, words, ha="left", colour=GREEN if after > 2 else INK)
    note(ax, 0.4, 1.9, "pre")
    note(ax, 1.6, 1.9, "post")


def small_net(ax, x, fills=((), (), ()), low=0.3, high=1.7):
    "Three layers of 4, 3 and 3 units; returns their places."
    places = layers(ax, x, np.linspace(low, high, 3), (4, 3, 3))
    for below, above in zip(places, places[1:]): joined(ax, below, above)
    for row, fill in zip(places, fills):
        for n, at in enumerate(row): unit(ax, *at, fill=fill[n] if n < len(fill) else 0)
    return places


@opens("11_clamping")
def clamping():
    ax = canvas(5.6, 2.1)
    for x, out in ((1.2, (0.5, 0.2, 0.4)), (4.2, (0, 1, 0))):
        places = small_net(ax, x, ((0.8, 0, 0.6, 0.1), (0.3, 0.7, 0.1), out))
        note(ax, x, 1.98, "free" if x < 2 else "held at the label", INK if x < 2 else RED)
    for at in places[2]: ax.add_patch(plt.Rectangle((at[0] - 0.22, at[1] - 0.2), 0.44, 0.4, fill=False, ec=RED, lw=2))
    arrow(ax, (2.2, 1), (3.2, 1), PALE)
    note(ax, 5.3, 1.7, "0 1 0", RED)
    note(ax, 2.7, 0.68, "nothing reaches\nthe layers below", size=9)


@opens("12_readout")
def readout():
    "Images that excite hidden units, weights of a network that has learnt, and who is taught."
    ax, run = canvas(5.8, 1.9), trained("softhebb", hidden=(30,))
    W = run.rule.net.weights[0].detach()[0]
    found = W @ torch.stack(one_of_each(digits())).T  # each class's favourite unit
    for n, unit_of_class in enumerate(found.argmax(0)[[0, 1, 4, 6, 7]]):
        image(ax, 0.5 + 0.62 * n, 1.25, 0.52, W[unit_of_class], **signed(W[unit_of_class]))
        arrow(ax, (0.5 + 0.62 * n, 1.0), (4.2, 0.35), PALE, lw=0.9)
    note(ax, 3.7, 1.25, "hidden units that compete:\nno label, no error", ha="left", colour=GREEN)
    for n in range(10): unit(ax, 4.3 + 0.13 * n, 0.3, fill=float(n == 3), size=0.06, colour=RED)
    note(ax, 2.0, 0.3, "a readout is taught by its own error", RED)


@opens("13_feedback")
def feedback():
    ax = canvas(5.6, 2.1)
    for x, down, words, colour in ((1.0, "$W^\\top$", "backprop:\nthe same wire, backwards", RED),
                                   (3.7, "$B$", "feedback alignment:\nother, random wires", GREEN)):
        for y in (0.35, 1.7): unit(ax, x, y, size=0.2)
        arrow(ax, (x - 0.1, 0.5), (x - 0.1, 1.55), BLUE, "$W$", at=(-0.2, 0), gap=3)
        arrow(ax, (x + 0.1, 1.55), (x + 0.1, 0.5), colour, down, at=(0.24, 0), gap=3)
        note(ax, x + 0.55, 1.03, words, colour, ha="left", size=9)
        note(ax, x + 0.35, 1.7, "error", RED, ha="left")
        note(ax, x + 0.35, 0.35, "activity", BLUE, ha="left")


@opens("14_control")
def control():
    ax = canvas(5.8, 2.0)
    flow(ax, 1.45, [(1.0, "network"), (2.9, "output"), (4.8, "error")], 1.15, 0.46, [BLUE, BLUE, RED])
    box(ax, 2.9, 0.45, 1.3, 0.46, "controller", GREEN)
    ax.plot([4.8, 4.8], [1.2, 0.45], color=INK, lw=1.5)
    arrow(ax, (4.8, 0.45), (3.58, 0.45))
    ax.plot([2.22, 1.0], [0.45, 0.45], color=GREEN, lw=1.5)
    arrow(ax, (1.0, 0.45), (1.0, 1.2), GREEN)
    note(ax, 1.55, 0.62, "push $u$", GREEN)
    note(ax, 1.08, 0.85, "into every layer", GREEN, ha="left", size=9)
    arrow(ax, (5.65, 1.45), (5.38, 1.45))
    note(ax, 5.5, 1.82, "target", RED)


@opens("15_microcircuit")
def microcircuit():
    ax = canvas(5.8, 2.1)
    for y, words, colour in ((1.7, "what comes down from above", RED), (1.05, "what interneurons had expected", BLUE)):
        for k, height in enumerate((0.42, 0.2, 0.3) if colour == RED else (0.25, 0.2, 0.3)):
            bar(ax, 2.95 + 0.2 * k, y - 0.2, 0.15, height, colour)
        note(ax, 2.75, y, words, colour, ha="right", size=9.5)
    note(ax, 2.8, 1.38, "−", size=14, ha="right")
    ax.plot([2.85, 3.6], [0.72, 0.72], color=INK, lw=1)
    bar(ax, 2.95, 0.35, 0.15, 0.17, GREEN)
    note(ax, 2.75, 0.42, "left in the dendrite: the error", GREEN, ha="right", size=9.5)
    arrow(ax, (3.65, 0.42), (4.45, 0.42), GREEN)
    unit(ax, 4.75, 0.42, fill=0.5, size=0.22)
    ax.plot([4.75, 4.75], [0.64, 1.6], color=INK, lw=2)
    note(ax, 4.9, 1.3, "dendrite", ha="left", size=9)
    note(ax, 5.05, 0.42, "soma", ha="left", size=9)


@opens("16_perturbation")
def perturbation():
    ax = canvas(5.6, 2.2)
    x = np.linspace(0.4, 5.2, 100)
    hill = lambda x: 0.45 + 0.19 * (x - 3.0) ** 2
    ax.plot(x, hill(x), color=INK, lw=1.5)
    for start, shake, words, colour in ((1.2, 0.45, "better: keep it", GREEN), (4.5, 0.35, "worse: undo it", RED)):
        ax.plot(start, hill(start) + 0.09, "o", ms=11, color=INK)
        arrow(ax, (start, hill(start) + 0.14), (start + shake, hill(start + shake) + 0.14), colour, bend=-0.3)
        note(ax, start + (shake / 2 if colour == GREEN else -0.15), hill(start) + 0.56, words, colour)
    note(ax, 3.0, 0.22, "a weight, shaken at random")
    note(ax, 0.2, 1.2, "loss", rotation=90)


@opens("17_baselines")
def baselines():
    ax = canvas(5.8, 2.2)
    columns = ["backprop-decay", "backprop-smooth", "dfc-random", "dfc-shuffled", "dfc-ssa"]
    rows = {"weights that stay small": "10111", "a target near the output": "01111", "a controller's push": "00111",
            "... through feedback that has learnt": "00011", "... that belongs to the image": "00101"}
    for c, name in enumerate(columns):
        note(ax, 2.75 + 0.68 * c, 2.02, name.replace("-", "-\n"), size=9, colour=GREEN if c == 4 else INK)
    for r, (words, marks) in enumerate(rows.items()):
        note(ax, 2.3, 1.6 - 0.32 * r, words, ha="right", size=9)
        for c, has in enumerate(marks):
            colour = GREEN if c == 4 else BLUE
            unit(ax, 2.75 + 0.68 * c, 1.6 - 0.32 * r, fill=1.3 * float(has), size=0.09, colour=colour)


# ---------------------------------------------------------------- noise, attacks, what is shown

@opens("40_noise")
def noise():
    "All corruptions at severity 4, of one digit."
    from bioplaus.noise import corrupted
    from bioplaus.shown import names_of
    digit, ax = mnist().x_test[3:4], canvas(6.4, 3.9)
    for n, name in enumerate(["clean", *names_of("corruption")]):
        x, y = 0.5 + 0.9 * (n % 7), 3.4 - 1.28 * (n // 7)
        shown = digit if name == "clean" else corrupted(digit, f"{name}@4", shape=(28, 28), at=3)
        image(ax, x, y, 0.82, shown[0])
        note(ax, x, y - 0.52, name, size=9, colour=BLUE if name == "clean" else INK)


@opens("42_attacks")
def attacks():
    from bioplaus.attacks import PGD
    x, y = digits().x_test[:40], digits().y_test[:40]
    rule, ax = trained("backprop").rule, canvas(5.8, 2.1)
    moved = PGD(0.15)(rule, x, y)[0].detach()
    says = [rule.predict(images).argmax(-1)[0] for images in (x, moved)]
    n = int(((says[0] == y) & (says[1] != y)).nonzero()[0, 0])
    added = moved[n] - x[n]
    shown = [(x[n], f"clean: “{says[0][n]}”", {}), (added, "what was added (≤ 0.15)", signed(added)),
             (moved[n], f"attacked: “{says[1][n]}”", {})]
    for place, (pixels, words, style) in zip((0.9, 2.9, 4.9), shown):
        image(ax, place, 1.2, 1.4, pixels, **style)
        note(ax, place, 0.22, words, RED if "attacked" in words else INK)
    for place, sign in ((1.9, "+"), (3.9, "=")): note(ax, place, 1.2, sign, size=18)


@opens("41_sensitivity")
def sensitivity():
    from bioplaus.sensitivity import input_gradient
    rule, x, y = trained("backprop").rule, digits().x_test[:1], digits().y_test[:1]
    slope = input_gradient(rule, x.expand(3, 1, -1), y, "margin")[0, 0].detach()
    ax = canvas(5.8, 2.0)
    image(ax, 0.9, 1.15, 1.4, x[0])
    note(ax, 0.9, 0.25, f"a {int(y[0])}, and seen as one", size=9)
    image(ax, 2.7, 1.15, 1.4, slope, **signed(slope))
    note(ax, 2.7, 0.25, "which way each pixel should go", size=9)
    arrow(ax, (1.7, 1.15), (1.95, 1.15))
    arrow(ax, (3.5, 1.15), (3.9, 1.15))
    note(ax, 4.8, 1.35, "red: brighter,\nblue: darker", colour=INK)
    note(ax, 4.8, 0.85, "and a wrong class\ncatches up", RED)


@opens("20_shown")
def shown():
    from bioplaus.noise import corrupted
    digit = corrupted(mnist().x_test[3:4], "gaussian:0.3", shape=(28, 28), at=3)[0]
    ax = canvas(5.8, 2.1)
    image(ax, 0.75, 1.15, 0.9, digit)
    note(ax, 0.75, 0.4, "test image 3,\nnoise of seed 0", size=9)
    box(ax, 2.3, 1.15, 0.9, 0.5, "shown", GREEN)
    arrow(ax, (1.25, 1.15), (1.8, 1.15))
    uses = ("the table counts it", "the picture shows it", "the look inside arranges it")
    for y, words in zip((1.75, 1.15, 0.55), uses):
        arrow(ax, (2.78, 1.15 + (y - 1.15) / 4), (3.45, y), GREEN)
        image(ax, 3.75, y, 0.5, digit)
        note(ax, 4.08, y, words, ha="left", size=9)


# ---------------------------------------------------------------- studies

@opens("61_design")
def design():
    ax = canvas(5.8, 2.4)
    rules, tasks = ("backprop", "softhebb", "dfc-ssa"), ("mnist", "mnist:few=10", "fashion-mnist")
    for c, task in enumerate(tasks): note(ax, 1.75 + 1.1 * c, 2.2, task, size=9.5)
    for r, name in enumerate(rules):
        note(ax, 1.1, 1.75 - 0.62 * r, name, ha="right")
        for c in range(3):
            x, y, chosen = 1.75 + 1.1 * c, 1.75 - 0.62 * r, (r, c) == (1, 2)
            for k in (2, 1, 0):
                at = (x - 0.38 + 0.06 * k, y - 0.2 + 0.06 * k)
                ax.add_patch(plt.Rectangle(at, 0.7, 0.34, fc=GREEN if chosen else PALE, ec="white", lw=1, zorder=3 - k))
    note(ax, 5.0, 1.55, "a cell", GREEN)
    arrow(ax, (4.72, 1.45), (4.38, 1.2), GREEN)
    note(ax, 5.0, 0.75, "its seeds,\none stack", size=9.5)


def tree(ax, lines, x=0.4, step=0.27, column=2.55):
    "A folder: [(depth, name, what it holds, colour), ...]."
    top, last = ax.get_ylim()[1] - 0.22, {}
    for n, (depth, name, words, colour) in enumerate(lines):
        y, stem = top - step * n, x + 0.3 * depth - 0.2
        if depth:
            ax.plot([stem, stem, stem + 0.14], [last.get(depth, last[depth - 1] - 0.1), y, y], color=PALE, lw=1)
        last = {d: at for d, at in last.items() if d < depth} | {depth: y}
        note(ax, x + 0.3 * depth, y, name, colour, ha="left", family="monospace", size=9.5)
        note(ax, x + column, y, words, colour, ha="left", size=9.5)


@opens("62_study")
def study():
    ax = canvas(6.2, 2.6)
    tree(ax, [(0, "results/mine/", "", INK), (1, "study.json", "what was decided", INK),
              (1, "results.csv", "a row for each seed and perturbation", GREEN), (1, "cells/", "", INK),
              (2, "digits_all_backprop/", "done: never computed again", INK), (3, "results.csv", "", INK),
              (3, "model.safetensors", "", INK), (2, "digits_all_softhebb/", "was killed: goes on where it was", RED),
              (1, "models/", "the trained networks", INK)], column=2.75)


@opens("02_feedback_control")
def thermostat():
    "A room under a leaky proportional-integral controller, as in chapter 14."
    from bioplaus.control import Controller
    controller, seen = Controller(leak=0.02, gain=0.5, tau=12, tau_v=4), []
    u_int, room = torch.zeros(1), 12.0
    for minute in range(90):
        e = 21 - (room - (3 if minute == 55 else 0))
        u_int = controller.step(u_int, torch.tensor([e]))
        push, room = float(u_int + controller.gain * e), 21 - e
        room += (12 + push - room) / controller.tau_v
        seen.append((room, push))
    warm, push = np.array(seen).T
    ax = chart(5.4, 2.2)
    ax.axhline(21, color=INK, ls=":", lw=1)
    ax.plot(warm, color=BLUE)
    ax.plot(push, color=RED)
    ax.text(89, 21.4, "set point", ha="right", color=INK, size=9)
    ax.text(89, warm[-1] - 2.6, "temperature", ha="right", color=BLUE, size=9)
    ax.text(89, push[-1] + 0.8, "heating", ha="right", color=RED, size=9)
    ax.text(56, 24, "a window opens", color=INK, size=9)
    ax.set(xlabel="minutes", ylabel="degrees; push", ylim=(0, 26), xlim=(0, 90))


@opens("60_workers")
def workers():
    "Eight jobs on one worker, and on three: a plan, made by giving the next job to whoever is free first."
    ax, jobs = canvas(5.8, 2.3), [0.9, 0.5, 0.7, 0.4, 0.8, 0.6, 0.35, 0.5]
    note(ax, 0.2, 2.1, "one worker", ha="left")
    note(ax, 0.2, 1.35, "three workers, the same jobs, the same results", ha="left")
    spread_on(ax, jobs, [1.75], 0.95)
    spread_on(ax, jobs, [1.0, 0.65, 0.3], 0.95)


def spread_on(ax, jobs, rows, scale):
    "Draw when each worker (a row) does which job (its seconds)."
    free = dict.fromkeys(rows, 0.3)
    for n, seconds in enumerate(jobs):
        y = min(free, key=free.get)
        bar(ax, free[y], y - 0.13, scale * seconds - 0.03, 0.26, (BLUE, GREEN, RED)[n % 3])
        ax.text(free[y] + scale * seconds / 2, y, n + 1, color="white", ha="center", va="center", size=9)
        free[y] += scale * seconds


@opens("64_tables")
def tables():
    "Clean accuracies of the full study: rows, a table, a sentence."
    from bioplaus.tables import percent
    found = stored("hypothesis_results").query("task == 'mnist' and classes == 10 and perturbation == 'clean'")
    acc = {rule: found[found.rule == rule].set_index("seed").accuracy for rule in ("backprop", "softhebb")}
    rows = [f"{rule:9}{seed:5}  {acc[rule][seed]:.4f}" for rule in acc for seed in (0, 1)]
    behind = 100 * (acc["softhebb"] - acc["backprop"]).mean()
    ax, text = canvas(6.0, 1.7), "\n".join(["rule      seed  accuracy", *rows, "..."])
    note(ax, 1.1, 0.95, text, family="monospace", size=9, ma="left")
    arrow(ax, (2.15, 0.95), (2.4, 0.95))
    note(ax, 3.15, 0.95, "\n".join(percent(a.to_numpy(), 2) for a in acc.values()), BLUE, size=11, linespacing=1.7)
    arrow(ax, (3.85, 0.95), (4.1, 0.95))
    words = f"“softhebb stays\nbehind backprop\n({behind:.1f} points)”".replace("-", "−")
    note(ax, 5.05, 0.95, words, GREEN)
    for x, what in ((1.1, "rows"), (3.15, "a table"), (5.05, "a sentence")): note(ax, x, 0.15, what, size=9)


def sheet(ax, x, y, w, h):
    "A page, empty."
    ax.add_patch(plt.Rectangle((x, y), w, h, fill=False, ec=INK, lw=1.2))


def lines_of_text(ax, x, y, w, n=2, step=0.11):
    for k in range(n): ax.plot([x, x + w * (0.7 if k == n - 1 else 1)], [y - step * k] * 2, color=PALE, lw=2)


def small_chart(ax, x, y, w, h, colours=(BLUE, GREEN)):
    "Curves that fall, as in a figure too small to read."
    t = np.linspace(0, 1, 20)
    ax.plot([x, x, x + w], [y + h, y, y], color=INK, lw=1)
    for k, colour in enumerate(colours):
        ax.plot(x + w * t, y + h * (0.95 - 0.12 * k - (0.45 + 0.25 * k) * t ** 2), color=colour, lw=1.5)


@opens("65_report")
def report():
    ax = canvas(5.8, 2.7)
    sheet(ax, 0.5, 0.1, 2.1, 2.5)
    lines_of_text(ax, 0.7, 2.4, 1.7, 3)
    for k in range(4): ax.plot([0.7, 2.4], [1.95 - 0.13 * k] * 2, color=PALE, lw=0.7)
    small_chart(ax, 0.7, 0.85, 0.75, 0.5)
    small_chart(ax, 1.65, 0.85, 0.75, 0.5)
    for k in range(3): bar(ax, 0.7 + 0.6 * k, 0.3, 0.4, 0.4, PALE, alpha=0.5 + 0.2 * k)
    for y, words, colour in ((2.3, "the answer, in words", GREEN), (1.75, "how accurate, how sure", INK),
                             (1.1, "under noise, under attack", INK), (0.5, "what was learnt, and how", INK)):
        arrow(ax, (3.2, y), (2.7, y), colour)
        note(ax, 3.3, y, words, colour, ha="left")


@opens("66_beside")
def beside():
    ax = canvas(5.8, 2.3)
    for x, words, colour in ((0.9, "yours, in PyTorch", BLUE), (2.9, "another lab's", RED), (4.9, "a rule's", GREEN)):
        box(ax, x, 2.0, 1.6, 0.4, words, colour)
        arrow(ax, (x, 1.78), (x + (2.9 - x) * 0.35, 1.5), colour)
    sheet(ax, 1.0, 0.1, 3.8, 1.4)
    small_chart(ax, 1.25, 0.35, 0.9, 0.75, (BLUE, RED, GREEN))
    note(ax, 1.7, 1.28, "how robust", size=9)
    note(ax, 2.9, 1.28, "believed?", size=9)
    note(ax, 2.9, 0.72, "✓  ✗  ✓", size=14, family="DejaVu Sans")
    note(ax, 4.15, 1.28, "inside", size=9)
    for k, v in enumerate((0.9, 0.4, 0.6, 0.4, 0.9, 0.5, 0.6, 0.5, 0.9)):
        bar(ax, 3.72 + 0.28 * (k % 3), 0.9 - 0.28 * (k // 3), 0.26, 0.26, alpha=v)


# ---------------------------------------------------------------- foundations

@opens("00_core")
def core():
    "What three addresses of one seed give, and one of them again."
    from bioplaus.core import stream
    ax = canvas(5.6, 2.1)
    box(ax, 0.8, 1.05, 1.0, 0.44, "seed 7", BLUE)
    for y, words in ((1.75, ("weights", 0)), (1.05, ("batches",)), (0.35, ("noise", 3))):
        arrow(ax, (1.32, 1.05 + (y - 1.05) / 5), (2.0, y))
        note(ax, 2.08, y, ", ".join(map(str, words)), ha="left")
        heights = torch.rand(16, generator=stream(7, *words))
        for k, h in enumerate(heights):
            bar(ax, 3.0 + 0.15 * k, y - 0.25, 0.11, 0.5 * float(h), BLUE, alpha=0.7)


@opens("01_data")
def data():
    "Six images, and how many there are of each kind in mnist-mini."
    task, ax = mnist(), canvas(6.0, 2.0)
    for n, x in enumerate(one_of_each(task, 9)): image(ax, 0.55 + 0.6 * n, 1.5, 0.54, x)
    parts = [("training", task.y_train, BLUE), ("validation", task.y_valid, GREEN), ("test", task.y_test, RED)]
    left, whole = 0.28, sum(len(y) for _, y, _ in parts)
    for words, y, colour in parts:
        width = 5.35 * len(y) / whole
        bar(ax, left, 0.62, width - 0.03, 0.3, colour)
        note(ax, left + width / 2, 0.4, f"{words}\n{len(y):,}", colour, size=9)
        left += width


@opens("04_network")
def network():
    ax = canvas(5.6, 2.2)
    for n in (2, 1, 0):
        at = np.array([0.5 + 0.35 * n, 0.25 + 0.3 * n])
        ax.add_patch(plt.Rectangle(at, 1.7, 1.25, fc="white", ec=(INK, PALE, PALE)[n], lw=1.2, zorder=5 - n))
        if n: continue
        places = layers(ax, 1.35, (0.45, 0.87, 1.3), (4, 3, 2), 0.38)
        for below, above in zip(places, places[1:]): joined(ax, below, above, zorder=6)
        for row in places:
            for x, y in row: ax.plot(x, y, "o", ms=8, mfc="white", mec=INK, zorder=7)
    for n in range(3):
        note(ax, 0.56 + 0.35 * n, 1.42 + 0.3 * n, f"seed {n}", INK if n == 0 else PALE, ha="left", size=9, zorder=9)
    arrow(ax, (3.2, 1.1), (3.7, 1.1))
    note(ax, 4.65, 1.35, "one tensor", BLUE)
    note(ax, 4.65, 1.05, "(replicas, out, in)", BLUE, family="monospace", size=9.5)
    note(ax, 4.65, 0.75, "one product for all", size=9)


@opens("07_records")
def records():
    ax = canvas(6.0, 1.9)
    tree(ax, [(0, "run/", "", INK), (1, "history.csv", "1f3a…  as it was written", GREEN),
              (1, "model.safetensors", "88c0…  as it was written", GREEN),
              (1, "results.csv", "not 5be1…: a digit was changed", RED),
              (1, "proof.sha256", "the checksums of all of them, and its own", INK)])


@opens("08_files")
def files():
    ax = canvas(5.8, 2.2)
    for y, words in ((1.8, "birds.csv"), (1.1, "birds.npz"), (0.4, "birds/robin/01.png\nbirds/wren/07.png")):
        note(ax, 1.0, y, words, family="monospace", size=9.5)
        arrow(ax, (1.9, y), (2.6, 1.1 + (y - 1.1) * 0.3), BLUE)
    box(ax, 3.3, 1.1, 1.3, 0.9, "a task:\nimages, labels,\nparts", BLUE)
    for y, words, colour in ((1.8, "certain", GREEN), (1.1, "or said", INK), (0.4, "or refused", RED)):
        arrow(ax, (4.0, 1.1 + (y - 1.1) * 0.3), (4.6, y), colour)
        note(ax, 4.7, y, words, colour, ha="left")


SETS = {"usps": 7291, "mnist": 60000, "kmnist": 60000, "qmnist": 60000, "fashion-mnist": 60000,
        "emnist-balanced": 112800, "emnist-letters": 124800, "emnist-digits": 240000, "emnist-byclass": 697932}


@opens("09_sets")
def sets():
    "Training images, as the page's table and torchvision count them."
    ax = chart(5.4, 2.5)
    colours = [INK if name in ("mnist", "fashion-mnist") else BLUE for name in SETS]
    ax.barh(list(SETS), list(SETS.values()), color=colours, height=0.62)
    ax.set(xscale="log", xlim=(3000, 2e6), xlabel="training images (logarithmic)")
    for n, v in enumerate(SETS.values()): ax.text(v * 1.08, n, f"{v:,}", va="center", size=9)


# ---------------------------------------------------------------- training

@opens("21_monitors")
def monitors():
    "First weights of networks that have learnt, and of some that haven't."
    ax = canvas(5.8, 2.0)
    for row, (name, words, colour) in enumerate((("backprop", "every unit looks for\nsomething else", GREEN),
                                                 ("hebb", "collapsed: one picture,\nup to its sign", RED))):
        W = trained(name, lr=0.01 if name == "hebb" else None).rule.net.weights[0].detach()[0]
        for n in range(6): image(ax, 0.55 + 0.65 * n, 1.5 - row, 0.56, W[n], **signed(W[n]))
        note(ax, 4.25, 1.5 - row, words, colour, ha="left")


@opens("22_training")
def training():
    history = trained("backprop").history
    ax = chart(5.0, 2.2)
    for _, one in history.groupby("replica"): ax.plot(one.epoch, one.valid_accuracy, color=BLUE, lw=1, alpha=0.6)
    ax.plot(history.groupby("epoch").valid_accuracy.mean(), color=BLUE, lw=2.2)
    ax.axvline(4, color=RED, ls=":")
    ax.text(4.1, 0.25, "killed here,\ngoes on from here", color=RED, size=9)
    ax.set(xlabel="epoch", ylabel="accuracy on validation images", ylim=(0, 1))
    ax.yaxis.label.set_size(9)
    percent_axis(ax)


@opens("23_updates")
def updates():
    "Steps towards a minimum: what may be wrong with them."
    ax, g = canvas(5.8, 2.1), np.random.default_rng(3)
    kinds = (("bias:\npoints elsewhere", 0.7, 0.06, 0.9), ("variance:\nright on average", 0, 0.5, 0.9),
             ("norm: right, and\nfar too long", 0, 0.06, 1.55))
    for x, (words, turn, spread, size) in zip((1.0, 2.9, 4.8), kinds):
        start = np.array([x - 0.5, 0.75])
        for _ in range(7):
            angle = np.pi / 4.5 + turn + spread * g.standard_normal()
            arrow(ax, start, start + size * np.array([np.cos(angle), np.sin(angle)]) * 0.85, RED, lw=0.9, alpha=0.7)
        arrow(ax, start, start + 0.85 * np.array([np.cos(np.pi / 4.5), np.sin(np.pi / 4.5)]), BLUE, lw=2.4)
        note(ax, x, 0.3, words, size=9)
    note(ax, 0.2, 1.95, "backprop", BLUE, ha="left", size=9)
    note(ax, 0.95, 1.95, "a rule", RED, ha="left", size=9)


@opens("24_estimator")
def estimator():
    ax = canvas(5.8, 1.5)
    flow(ax, 1.0, [(0.8, "features"), (2.5, "StandardScaler"), (4.6, "RuleClassifier")], 1.35, 0.5, [INK, INK, GREEN])
    note(ax, 4.6, 0.45, "where LogisticRegression stood", GREEN, size=9)
    note(ax, 2.5, 0.45, "your pipeline", size=9)


@opens("26_trackers")
def trackers():
    ax = canvas(5.8, 2.0)
    box(ax, 0.8, 1.0, 1.1, 0.5, "fit(...)", BLUE)
    arrow(ax, (1.4, 1.0), (2.35, 1.0), words="each epoch")
    box(ax, 2.95, 1.0, 1.1, 0.5, "tracker", GREEN)
    for y, words in ((1.65, "TensorBoard"), (1.0, "MLflow"), (0.35, "what you use")):
        arrow(ax, (3.55, 1.0 + (y - 1.0) / 4), (4.25, y), GREEN)
        note(ax, 4.35, y, words, ha="left")


# ---------------------------------------------------------------- numbers and pictures

@opens("30_stats")
def stats():
    "Ten seeds under two rules, on noisy MNIST: from the full study."
    found = of_full_study().query("perturbation == 'gaussian' and level == 0.3")
    a, b = (found[found.rule == rule].set_index("seed").accuracy.sort_index() for rule in ("backprop", "dfa"))
    _, (left, right) = plt.subplots(1, 2, figsize=(5.6, 2.4), layout="constrained", width_ratios=(3, 2))
    for one, other in zip(a, b): left.plot([0, 1], [one, other], "o-", color=BLUE if one > other else RED, ms=4, lw=1)
    left.set(xticks=[0, 1], xticklabels=["backprop", "dfa"], xlim=(-0.3, 1.3), title="the same seed, twice")
    percent_axis(left)
    difference = (b - a) * 100
    from bioplaus.stats import interval
    mean, half = interval(difference.to_numpy())
    right.errorbar([0], [mean], [half], fmt="s", color=GREEN, capsize=5, lw=2)
    right.plot(np.full(len(difference), -0.25), difference, "o", color=PALE, ms=4)
    right.axhline(0, color=INK, ls=":")
    right.set(xlim=(-0.6, 0.5), xticks=[], title="difference, in points")
    for ax in (left, right): ax.title.set_size(10)


@opens("31_plots")
def plots():
    from bioplaus.plots import style_of
    ax = canvas(5.8, 2.0)
    names = ("backprop", "fa", "dfa", "hebb", "hebb-clamp", "softhebb", "dfc-ssa", "frozen", "my-rule")
    for n, name in enumerate(names):
        x, y, style = 0.35 + 1.9 * (n // 3), 1.6 - 0.6 * (n % 3), style_of(name)
        ax.plot([x, x + 0.5], [y, y], color=style["color"], lw=2.2)
        ax.plot(x + 0.25, y, style["marker"], color=style["color"], ms=8)
        note(ax, x + 0.6, y, name, ha="left")


# ---------------------------------------------------------------- robustness

SHORT = {"backprop": "backprop", "kolen-pollack": "kolen-pollack", "dfa": "dfa",
         "dfc-ssa:feedback=local,leak=10.0": "dfc-ssa", "frozen": "frozen"}


def of_full_study():
    "Accuracies of the full study on ten digits of MNIST, with the rules' short names."
    found = stored("hypothesis_results").query("task == 'mnist' and classes == 10")
    return found[found.rule.isin(SHORT)].replace({"rule": SHORT})


def cells_with_numbers(ax, table, colour="Blues"):
    "Accuracies as shades, with their percentages in them."
    ax.imshow(table, cmap=colour, vmin=0, vmax=2.2, aspect="auto")
    for r, c in np.ndindex(table.shape): note(ax, c, r, f"{100 * table.iloc[r, c]:.0f}%", "#333333")
    ax.set(xticks=range(table.shape[1]), xticklabels=table.columns, yticks=range(len(table)), yticklabels=table.index)
    ax.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    ax.spines[:].set_visible(False)


@opens("43_robustness")
def robustness():
    shown = {"clean": ("clean", 0), "noise 0.3": ("gaussian", 0.3), "salt 0.2": ("salt-and-pepper", 0.2),
             "FGSM 0.05": ("fgsm", 0.05), "PGD 0.1": ("pgd", 0.1)}
    found = of_full_study().groupby(["perturbation", "level", "rule"]).accuracy.mean()
    table = pd.DataFrame({words: found[key] for words, key in shown.items()}).loc[list(SHORT.values())]
    cells_with_numbers(chart(5.6, 2.2), table)


@opens("44_matched")
def matched():
    ax, level = chart(5.2, 2.3), 0.5
    for name, colour in (("backprop", BLUE), ("frozen", GREEN)):
        curve = trained(name).history.groupby("epoch").valid_accuracy.mean()
        ax.plot(curve, "o-", color=colour, ms=3)
        after = int((curve >= level).idxmax())
        at = after - (curve[after] - level) / (curve[after] - curve[after - 1])
        ax.plot([at, at], [0, level], ":", color=colour)
        ax.plot(at, level, "o", color=colour, ms=8, mfc="none", mew=2)
        ax.text(8.1, curve.iloc[-1], name, color=colour, va="center")
    ax.axhline(level, color=RED, ls="--", lw=1)
    ax.text(8.0, level - 0.12, "the same accuracy", color=RED, ha="right", size=9)
    ax.set(xlabel="epoch", ylabel="clean accuracy", ylim=(0, 1), xlim=(0, 9.6))
    percent_axis(ax)


@opens("45_loops")
def loops():
    from bioplaus.noise import corrupted
    ax = canvas(5.8, 1.9)
    image(ax, 0.75, 0.85, 0.95, corrupted(mnist().x_test[3:4], "gaussian:0.3", shape=(28, 28), at=3)[0])
    box(ax, 2.6, 0.85, 1.3, 0.6, "network", BLUE)
    arrow(ax, (1.3, 0.85), (1.9, 0.85))
    arrow(ax, (3.3, 0.85), (4.1, 0.85))
    note(ax, 4.2, 0.85, "first answer", ha="left")
    arrow(ax, (4.5, 1.05), (2.6, 1.2), GREEN, bend=0.5)
    note(ax, 3.55, 1.72, "back into the layers", GREEN)
    arrow(ax, (3.3, 0.7), (4.1, 0.4), GREEN)
    note(ax, 4.15, 0.38, "second one: better?", GREEN, ha="left")


@opens("53_mediators")
def mediators():
    ax, x = canvas(5.6, 2.3), np.linspace(0.7, 5.2, 60)
    for steep, colour, words in ((0.75, RED, "steep"), (0.36, GREEN, "flat")):
        y = 1.9 - steep * (x - 0.7)
        ax.plot(x[y > 0.25], y[y > 0.25], color=colour)
        ax.plot(0.7 + 1.2 / steep, 0.7, "o", color=colour, ms=7)
        note(ax, 0.7 + 1.2 / steep, 0.98, words, colour, ha="left")
    ax.plot([0.7, 5.3], [0.7, 0.7], color=INK, ls=":")
    ax.plot(0.7, 1.9, "o", color=INK, ms=8)
    note(ax, 0.85, 2.1, "the image: the right answer leads", ha="left", size=9)
    arrow(ax, (0.7, 0.42), (0.7 + 1.2 / 0.36, 0.42), GREEN, head="<|-|>")
    note(ax, 3.0, 0.22, "the way to the boundary", GREEN, size=9)
    note(ax, 5.3, 0.55, "a wrong one leads", ha="right", size=9)


@opens("03_robustness_that_is_not_there")
def not_there():
    "A network of feedback alignment, attacked along its feedback weights, and along its gradient."
    from bioplaus.sensitivity import input_gradient
    x, y, eps = digits().x_test[:60], digits().y_test[:60], 0.2
    rule, ax = trained("fa", hidden=(30, 30), epochs=20).rule, canvas(5.8, 2.2)
    phases = rule.phases(rule.transform(x), y)
    wires = torch.randn(3, 30, 64, generator=torch.Generator().manual_seed(0))  # to the pixels: never used in training
    slope = input_gradient(rule, x.expand(3, -1, -1), y)
    ways = {"its own wires": -(phases[0].drive @ wires), "the true gradient": slope}
    seen = {words: (x + eps * way[0].sign()).clamp(0, 1).detach() for words, way in ways.items()}
    says = {words: rule.predict(images).argmax(-1)[0] for words, images in seen.items()}
    right = (says["its own wires"] == y) & (says["the true gradient"] != y) & (y == 7)
    n = int(right.nonzero()[0, 0])
    for k, (words, images) in enumerate(seen.items()):
        image(ax, 1.0 + 2.9 * k, 1.2, 1.4, images[n])
        note(ax, 1.0 + 2.9 * k, 2.07, f"along {words}", size=9.5)
        left = (says[words] == y).float().mean()
        note(ax, 1.0 + 2.9 * k, 0.27, f"“{says[words][n]}”: {left:.0%} of 60 are left", RED if k else INK)


@opens("06_the_hypothesis")
def hypothesis():
    from bioplaus.plots import style_of
    from bioplaus.stats import interval
    ax, found = chart(5.4, 2.5), of_full_study().query("perturbation in ('clean', 'gaussian')")
    for name, words in (("backprop", "backprop"), ("dfc-ssa", "feedback control"), ("frozen", "random hidden layers")):
        curves = found[found.rule == name].pivot_table(index="level", columns="seed", values="accuracy")
        mean, half = interval(curves.to_numpy())
        colour = INK if name == "frozen" else style_of(name)["color"]
        ax.plot(curves.index, mean, color=colour, marker=style_of(name)["marker"], ms=4)
        ax.fill_between(curves.index, mean - half, mean + half, color=colour, alpha=0.2, lw=0)
        aside = {"backprop": 0.03, "dfc-ssa": -0.04}.get(name, 0)  # or two names lie on each other
        ax.text(0.51, mean[-1] + aside, words, color=colour, va="center", size=9)
    ax.set(xlabel="noise σ, in units of the pixel range", ylabel="accuracy", xlim=(0, 0.72), ylim=(0, 1))
    percent_axis(ax)


# ---------------------------------------------------------------- representations

def sorted_digits(each=3):
    "Images of the small digits, `each` of every class, sorted by class."
    x, y = digits().x_test, digits().y_test
    return torch.cat([x[(y == c).nonzero()[:each, 0]] for c in range(10)])


def distances(rule, x, seed=0, layer=1):
    "How far apart a layer holds images, (N, N), on a scale up to 1."
    from bioplaus.representations import activities, rdm
    d = rdm(list(activities(rule, x).values())[layer]).d[seed]
    return d / d.max()


def squares(ax, drawn, y=1.15, size=1.4, step=1.8):
    "Distances of several networks beside each other: [(words, numbers, colour), ...]."
    for n, (words, d, colour) in enumerate(drawn):
        x = size / 2 + 0.2 + step * n
        image(ax, x, y, size, d, cmap="viridis")
        note(ax, x, y - size / 2 - 0.22, words, colour, size=9)


@opens("50_representations")
def representations():
    ax, x = canvas(5.8, 3.0), sorted_digits()
    image(ax, 2.1, 1.35, 2.3, distances(trained("backprop").rule, x), cmap="viridis")
    for c in range(10):
        image(ax, 1.065 + 0.23 * c, 2.65, 0.2, x[3 * c])
        image(ax, 0.8, 2.385 - 0.23 * c, 0.2, x[3 * c])
    note(ax, 3.5, 1.8, "dark: held close together\n\nbright: held far apart", ha="left")
    note(ax, 3.5, 0.8, "compare the squares,\nnot the units", GREEN, ha="left")


@opens("51_similarity")
def similarity():
    x, run, other = sorted_digits(), trained("backprop").rule, trained("softhebb").rule
    first, again, hebb = distances(run, x), distances(run, x, seed=1), distances(other, x)
    pairs = torch.ones(len(x), len(x)).triu(1).bool()
    alike = lambda d: float(np.corrcoef(first[pairs], d[pairs])[0, 1])
    squares(canvas(5.8, 2.1), [("backprop", first, INK), (f"another seed: {alike(again):.2f}", again, GREEN),
                               (f"softhebb: {alike(hebb):.2f}", hebb, RED)], step=1.95)


@opens("52_geometry")
def geometry():
    from bioplaus.representations import activities
    x, y = digits().x_test, digits().y_test
    kept = y < 4
    hidden = list(activities(trained("backprop").rule, x[kept]).values())[1][0]
    _, axes = plt.subplots(1, 2, figsize=(5.4, 2.4), layout="constrained")
    for ax, a, title in zip(axes, (x[kept], hidden), ("pixels", "a trained hidden layer")):
        centred = a - a.mean(0)
        xy = centred @ torch.linalg.svd(centred, full_matrices=False).Vh[:2].T
        for c, colour in enumerate((BLUE, RED, GREEN, INK)):
            ax.plot(*xy[y[kept] == c].T, "o", color=colour, ms=3.5, label=str(c))
        ax.set(xticks=[], yticks=[], title=title)
        ax.title.set_size(10)
    plt.gcf().legend(*axes[0].get_legend_handles_labels(), loc="outside right center", title="digit")


@opens("54_brains")
def brains():
    "Made-up people, who go by the class and by their mood; the pixels; two networks."
    x, g = sorted_digits(2), torch.Generator().manual_seed(0)
    classes = (torch.arange(20)[:, None] // 2 != torch.arange(20) // 2).float()
    mood = torch.rand(20, 20, generator=g)
    pixels = torch.cdist(x, x)
    people = classes * (0.6 + 0.4 * (mood + mood.T) / 2)
    squares(canvas(6.0, 1.9), [("people", people, GREEN), ("pixels", pixels / pixels.max(), INK),
                               ("backprop", distances(trained("backprop").rule, x), BLUE),
                               ("softhebb", distances(trained("softhebb").rule, x), BLUE)], 1.05, 1.2, 1.45)


@opens("04_do_they_learn_the_same")
def the_same():
    names, x = ("backprop", "fa", "softhebb", "frozen"), sorted_digits()
    drawn = [(name, distances(trained(name).rule, x), INK) for name in names]
    squares(canvas(6.0, 1.9), drawn, 1.05, 1.2, 1.45)


@opens("55_wrap")
def wrap():
    ax = canvas(5.8, 2.1)
    box(ax, 2.6, 1.05, 1.9, 1.5, "", GREEN)
    note(ax, 2.6, 1.6, "wrap", GREEN)
    box(ax, 2.6, 0.95, 1.3, 0.5, "nn.Module", BLUE)
    image(ax, 0.6, 1.05, 0.8, digits().x_test[0])
    arrow(ax, (1.05, 1.05), (1.6, 1.05))
    for y, words in ((1.65, "answers"), (1.05, "gradient of the pixels"), (0.45, "what layers do")):
        arrow(ax, (3.6, 1.05 + (y - 1.05) * 0.7), (4.05, y), GREEN)
        note(ax, 4.12, y, words, ha="left", size=9.5)


# ---------------------------------------------------------------- tools

@opens("70_widgets")
def widgets():
    from bioplaus.noise import corrupted
    ax = canvas(5.6, 2.5)
    sheet(ax, 0.3, 0.1, 5.0, 2.3)
    box(ax, 1.1, 2.05, 1.3, 0.34, "softhebb  ▾", BLUE, size=9.5)
    ax.plot([2.3, 3.8], [2.05, 2.05], color=PALE, lw=3)
    ax.plot(3.1, 2.05, "o", color=BLUE, ms=10)
    note(ax, 3.95, 2.05, "noise", ha="left", size=9)
    box(ax, 4.85, 2.05, 0.6, 0.34, "train", GREEN, size=9.5)
    noisy = corrupted(digits().x_test[:1], "gaussian:0.25", shape=(8, 8))
    image(ax, 1.2, 0.9, 1.3, noisy[0])
    for k, name in enumerate(("backprop", "softhebb")):
        shares = torch.softmax(trained(name).rule.predict(noisy)[0, 0], -1).tolist()
        for c, share in enumerate(shares):
            bar(ax, 2.3 + 1.55 * k + 0.13 * c, 0.5, 0.1, 0.85 * share, (BLUE, GREEN)[k])
            note(ax, 2.35 + 1.55 * k + 0.13 * c, 0.38, c, size=7.5)
        note(ax, 2.95 + 1.55 * k, 1.55, name, (BLUE, GREEN)[k], size=9)


@opens("71_play")
def play():
    ax = canvas(5.8, 1.6)
    boxes = [(0.9, "a trained\nnetwork"), (2.9, "HTML: weights\n+ a script"), (4.9, "any browser")]
    flow(ax, 1.0, boxes, 1.4, 0.62, [BLUE, INK, GREEN])
    below = ("in your notebook", "one piece of a page", "no kernel, no server")
    for (x, _), words in zip(boxes, below): note(ax, x, 0.4, words, size=9)


@opens("80_bench")
def bench():
    "From the bench's own record of backprop, relative to one network in plain PyTorch."
    ax, rows = chart(5.4, 2.2), stored("bench")["rows"]
    times = {r["replicas"]: r["times_plain"] for r in rows if r["rule"] == "backprop"}
    for k, (n, faster) in enumerate(times.items()):
        ax.barh(k - 0.19, n, 0.36, color=PALE)
        ax.barh(k + 0.19, n / faster, 0.36, color=BLUE)
        ax.text(n * 1.08, k - 0.19, "one after the other, plain PyTorch" if k == 0 else f"{n}", va="center", size=9)
        ax.text(n / faster * 1.08, k + 0.19, f"as a stack: {n / faster:.2g}", color=BLUE, va="center", size=9)
    ax.set(xscale="log", xlim=(0.5, 400), yticks=range(len(times)),
           yticklabels=[f"{n} network{'s' * (n > 1)}" for n in times],
           xlabel="time, in that of one network in plain PyTorch")
    ax.invert_yaxis()


@opens("90_cli")
def cli():
    ax = canvas(5.8, 2.1)
    sheet(ax, 0.3, 0.15, 3.7, 1.8)
    words = "$ bioplaus study\n\n* On clean images no rule\n  reaches backprop ...\n\nreport: report.html"
    note(ax, 0.5, 1.05, words, ha="left", family="monospace", size=9.5, linespacing=1.35)
    for k, word in enumerate(("data", "rules", "train", "evaluate", "study", "search", "report", "verify", "bench")):
        note(ax, 4.3, 1.9 - 0.21 * k, word, BLUE if word == "study" else INK, ha="left", family="monospace", size=9.5)


# ---------------------------------------------------------------- how to

@opens("80_own_rule")
def own_rule():
    "The example of the page, trained as there is said."
    from bioplaus.plots import style_of
    from bioplaus.products import mean_outer
    from bioplaus.rule import Backprop, Rule
    def sign_delta(drive, pre_taught): return mean_outer(drive.sign(), pre_taught)
    rule = Rule(MLP((64, 30, 10), replicas=3), Backprop(), sign_delta)
    own = fit(rule, digits(), epochs=8, lr=0.03, progress=False, warn=False)
    curves = {"sign-delta, your own": (own.history, GREEN),
              "backprop": (trained("backprop").history, style_of("backprop")["color"])}
    ax = chart(5.2, 2.2)
    for words, (history, colour) in curves.items():
        for n, one in history.groupby("replica"):
            ax.plot(one.epoch, one.valid_accuracy, color=colour, lw=1.2, label=None if n else words)
    ax.legend(loc="lower center")
    ax.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1))
    percent_axis(ax)


@cache
def three_rules():
    "Accuracies of five seeds of three rules, clean and noisy."
    from bioplaus.study import compare
    return compare(["backprop", "softhebb", "frozen"], "digits", seeds=5, epochs=5, perturbations=["gaussian:0.3"],
                   progress=False)


@opens("81_run_a_study")
def run_a_study():
    from bioplaus.stats import interval
    ax, found = chart(5.2, 2.2), three_rules()
    for kind, words, aside, style in (("clean", "clean", -0.08, "s"), ("gaussian", "noise, σ = 0.3", 0.08, "o")):
        rows = found[found.perturbation == kind]
        rows = rows.pivot_table(index="rule", columns="seed", values="accuracy", sort=False)
        mean, half = interval(rows.to_numpy())
        colour = BLUE if kind == "clean" else RED
        ax.errorbar(np.arange(len(rows)) + aside, mean, half, fmt=style, color=colour, capsize=4, label=words)
    ax.set(xticks=range(len(rows)), xticklabels=rows.index, ylabel="accuracy", ylim=(0, 1), xlim=(-0.5, 2.5))
    ax.legend(loc="lower left")
    percent_axis(ax)


@opens("82_read_the_report")
def read_the_report():
    ax = canvas(5.6, 1.9)
    note(ax, 0.9, 1.2, "my-rule", size=13)
    parts = ((2.2, "61.4", 2.0, "mean of\nthe seeds", BLUE), (3.3, "± 1.2", 3.3, "half of its\n95% interval", GREEN),
             (4.25, "†", 4.75, "the attack saw no\ngradient: flattered", RED))
    for x, mark, below, words, colour in parts:
        note(ax, x, 1.2, mark, colour, size=18)
        note(ax, below, 0.45, words, colour, size=9.5)
        arrow(ax, (below, 0.68), (x, 1.0), colour, lw=1)


@opens("83_scale_out")
def scale_out():
    ax, cells = canvas(5.8, 2.1), [0.6] * 9
    note(ax, 0.3, 1.9, "one worker: nine cells, one after the other", ha="left")
    spread_on(ax, cells, [1.58], 0.95)
    note(ax, 0.3, 1.22, "three workers: the same cells, the same numbers", ha="left")
    spread_on(ax, cells, [0.9, 0.56, 0.22], 0.95)


@opens("84_gpu")
def gpu():
    ax = canvas(5.6, 2.3)
    for x, full, words in ((0.6, 1, "one network"), (3.3, 100, "a hundred replicas")):
        for k in range(100):
            at = (x + 0.17 * (k % 10), 1.85 - 0.17 * (k // 10))
            ax.add_patch(plt.Rectangle(at, 0.14, 0.14, fc=GREEN if k < full else "none", ec=PALE, lw=0.6))
        note(ax, x + 0.84, 0.12, words, GREEN if full > 1 else INK)


@opens("85_own_data")
def own_data():
    "The first two test images of three digits, and what a network that has learnt these three says."
    ax, names = canvas(5.8, 1.7), ("nought", "one", "two")
    task = load_task("digits", classes=3, device="cpu")
    rule = fit(make_rule("softhebb", MLP((64, 20, 3))), task, epochs=5, progress=False, warn=False).rule
    says, y = rule.predict(task.x_test)[0].argmax(-1).tolist(), task.y_test
    chosen = [int((y == c).nonzero()[k, 0]) for k in range(2) for c in range(3)]
    for k, n in enumerate(chosen):
        x, right = 0.6 + 0.92 * k, says[n] == int(y[n])
        image(ax, x, 1.1, 0.75, task.x_test[n])
        note(ax, x, 0.5, names[int(y[n])], size=9)
        note(ax, x, 0.24, f"{'✓' if right else '✗'} {names[says[n]]}", GREEN if right else RED, size=9)


@opens("90_zoo")
def zoo():
    "From the full study: is the accuracy that of rules that see much?"
    from bioplaus.core import cards
    found = stored("hypothesis_results").query("task == 'mnist' and classes == 10 and perturbation == 'clean'")
    mean = found.groupby("rule").accuracy.mean()
    mean = mean[[not rule.endswith("noisy training") for rule in mean.index]].sort_values()
    ax = chart(5.6, 3.2)
    for n, (name, accuracy) in enumerate(mean.items()):
        much = "transported" in cards()[name.split(":")[0]].sees
        ax.plot([0, accuracy], [n, n], color=PALE, lw=1)
        ax.plot(accuracy, n, "o", color=RED if much else GREEN, ms=7)
        ax.text(accuracy + 0.02, n, f"{accuracy:.1%}", va="center", size=9)
    ax.set(yticks=range(len(mean)), yticklabels=[name.split(":")[0] for name in mean.index], xlim=(0, 1.12),
           xlabel="accuracy on MNIST")
    ax.tick_params("y", labelsize=9)
    percent_axis(ax, "x")
    for words, colour, x in (("● needs other synapses' weights", RED, 0.0), ("● does without", GREEN, 0.6)):
        ax.text(x, len(mean) - 0.2, words, color=colour, size=9)


# ---------------------------------------------------------------- filters, and images in colour

def framed(ax, x, y, size, n, row, column, side=3, colour=RED):
    "A frame around some pixels of an image of n x n around (x, y)."
    pixel, left, top = size / n, x - size / 2, y + size / 2
    at = (left + column * pixel, top - (row + side) * pixel)
    ax.add_patch(plt.Rectangle(at, side * pixel, side * pixel, fill=False, ec=colour, lw=1.8, zorder=5))
    return at[0] + side * pixel / 2, at[1] + side * pixel / 2


@opens("03a_convolution")
def convolution():
    "A real digit, a filter for horizontal edges, and what its units hear."
    ax, digit = canvas(5.8, 2.1), digits().x_test[3].view(8, 8)
    edge = torch.tensor([1.0, 1, 1, 0, 0, 0, -1, -1, -1])
    seen = torch.nn.functional.conv2d(digit.view(1, 1, 8, 8), edge.view(1, 1, 3, 3))[0, 0]
    image(ax, 1.0, 1.2, 1.5, digit)
    image(ax, 2.9, 1.2, 0.56, edge, **signed(edge))
    image(ax, 4.7, 1.2, 1.125, seen, **signed(seen))
    for (row, column), colour in zip(((0, 0), (2, 4), (5, 2)), (BLUE, GREEN, RED)):
        window = framed(ax, 1.0, 1.2, 1.5, 8, row, column, colour=colour)
        place = framed(ax, 4.7, 1.2, 1.125, 6, row, column, 1, colour)
        ax.plot([window[0] + 0.28, 2.6], [window[1], 1.2], color=colour, lw=1)
        arrow(ax, (3.2, 1.2), (place[0] - 0.09, place[1]), colour, lw=1)
    for x, words in ((1.0, "a digit"), (2.9, "one filter,\nat every place"), (4.7, "what its 36 units hear")):
        note(ax, x, 0.22, words, size=9)


@opens("04a_convnet")
def convnet():
    "What the layers of a small network that has learnt digits say to one of them."
    from bioplaus.convnet import ConvNet
    task, ax = digits(), canvas(6.4, 2.1)
    rule = make_rule("backprop", ConvNet(task.shape, "c4k3p1 pool2 c6k3p1 pool2 d16", 10))
    fit(rule, task, 5, 0.1, progress=False, warn=False)
    x = task.x_test[3:4]
    with torch.no_grad(): rates = [s.r[0].flatten() for s in rule.free(rule.transform(x))]
    image(ax, 0.6, 1.2, 0.9, x[0])
    for n, (side, size, x0) in enumerate(((8, 0.62, 1.75), (4, 0.46, 3.2))):
        maps = rates[n].view(side, side, -1).movedim(-1, 0)
        for k, one in enumerate(maps): image(ax, x0 + 0.13 * k, 1.42 - 0.13 * k, size, one / maps.max())
    for n, rate in enumerate(rates[2]): unit(ax, 4.72, 1.92 - 0.095 * n, fill=float(rate / rates[2].max()), size=0.042)
    says = rates[3].softmax(0)
    for c, share in enumerate(says):
        unit(ax, 5.6, 1.9 - 0.15 * c, fill=float(share), size=0.066, colour=GREEN)
        note(ax, 5.8, 1.9 - 0.15 * c, str(c), GREEN if c == says.argmax() else PALE, size=8)
    for a, b in ((1.1, 1.38), (2.58, 2.9), (4.2, 4.6), (4.85, 5.45)): arrow(ax, (a, 1.2), (b, 1.2), PALE)
    for at, words in ((0.6, "image"), (1.95, "c4k3p1 pool2"), (3.5, "c6k3p1 pool2"), (4.72, "d16"), (5.65, "answer")):
        note(ax, at, 0.2, words, size=9, **({} if words in ("image", "answer") else {"family": "monospace"}))


def photo_patch(side, at=(0, 0), which=1):
    "A patch of a photograph of scikit-learn, (side, side, 3), bytes."
    from bioplaus.photos import photographs
    row, column = at
    return photographs()[which][row:row + side, column:column + side]


@opens("07a_cifar")
def cifar():
    "A record in the binary layout, of a patch that is no image of CIFAR."
    patch, ax = np.ascontiguousarray(photo_patch(256, (90, 220))[::8, ::8]), canvas(6.0, 2.2)
    box(ax, 0.5, 1.75, 0.5, 0.4, "7", GREEN)
    note(ax, 0.5, 1.38, "label:\n1 byte", GREEN, size=9, va="top")
    for c, (name, colour) in enumerate((("red", RED), ("green", GREEN), ("blue", BLUE))):
        x, plane = 1.55 + 1.45 * c, patch[..., c]
        some = " ".join(f"{b:3d}" for b in plane.ravel()[:4])
        box(ax, x, 1.75, 1.4, 0.4, f"{some} …", colour, family="monospace", size=8.5)
        tinted = np.zeros_like(patch)
        tinted[..., c] = plane
        image(ax, x - 0.3, 0.72, 0.85, tinted)
        note(ax, x + 0.2, 0.72, f"{name}:\n1024\nbytes", colour, ha="left", size=9)
        arrow(ax, (x - 0.3, 1.52), (x - 0.3, 1.18), colour, lw=1)
    image(ax, 5.5, 1.0, 0.85, patch)
    note(ax, 5.5, 0.4, "32 × 32", size=9)
    note(ax, 5.5, 1.6, "=", size=14)


@opens("09a_photos")
def photos():
    "As the page blends them."
    from bioplaus.photos import blend
    digit = (mnist().x_test[3].view(28, 28) * 255).round().byte().numpy()
    ax = canvas(5.8, 2.0)
    patch = photo_patch(28, (150, 300), 0)
    both = blend(digit[None], patch.transpose(2, 0, 1)[None].copy())[0].transpose(1, 2, 0)
    shown = ((digit / 255, "digit $d$"), (patch, "patch of a photo $b$"), (both, "$|b - d|$"))
    for x, (pixels, words) in zip((0.9, 2.9, 4.9), shown):
        image(ax, x, 1.15, 1.4, pixels)
        note(ax, x, 0.2, words, GREEN if x > 4 else INK)
    for x, sign in ((1.9, "and"), (3.9, "→")): note(ax, x, 1.15, sign, size=12)


@opens("08_filters")
def filters():
    "One synapse of a filter, at all of its places."
    ax = canvas(6.3, 2.0)
    below, above = layers(ax, 2.2, (0.4, 1.5), (8, 6))
    for n, at in enumerate(above):
        for k in range(3): joined(ax, [below[n + k]], [at], RED if k == 2 else PALE, lw=2 if k == 2 else 0.8)
    for n, at in enumerate(below): unit(ax, *at, fill=(0, 0.2, 0.9, 1, 0.3, 0, 0.7, 0.4)[n], size=0.15)
    for n, at in enumerate(above): unit(ax, *at, fill=(0.7, 0.9, 0.3, 0.1, 0.6, 0.4)[n], size=0.15)
    note(ax, 4.25, 1.5, "units of one filter", ha="left", size=9.5)
    note(ax, 4.25, 0.98, "one weight, six synapses:\nwho tells each what\nthe others need?", RED, ha="left", size=9.5)
    note(ax, 4.25, 0.4, "image", ha="left", size=9.5)


# ---------------------------------------------------------------- energies

def energy_of(rule, z, rates, y=None, beta=0.0):
    "What settling goes down, of a tanh network that is read out: its energy, and with labels β times the loss, too."
    from bioplaus.rule import LOSSES
    below, total = [z, *rates], 0.0
    for layer, pre, r in zip(rule.net.layers[:-1], below, rates):
        own = (r * r.atanh() + 0.5 * (1 - r * r).log()).sum(-1)
        total = total + own - (r * layer.up(pre)).sum(-1)
    pull = 0.0 if y is None else beta * LOSSES["cross-entropy"].value(rates[-1], y)
    return (total + pull).item()


def settling(rule, z, y, sweeps, beta):
    "(energy, rates of the last hidden layer) after each sweep of a free phase, and of a nudged one."
    from bioplaus.clamping import Wires, swept
    from bioplaus.network import passes
    states, found = list(passes(rule, z)), ([], [])
    rates, somas, wires = [s.r for s in states], [(s.v_hat, s.v) for s in states], Wires(rule, states)
    pulled = {"y": y, "beta": beta}
    for phase, how in zip(found, ({}, pulled)):
        output = rule.teacher.output(rule, **how, **({"like": rates[-1]} if how else {}))
        for _ in range(sweeps + 1):
            phase.append((energy_of(rule, z[None], rates, **how), rates[-2].flatten()))
            rates, somas = swept(wires, rates, somas, output, rule.teacher.order)
    return found


@opens("18c_equilibrium")
@torch.no_grad()
def equilibrium():
    "A network that has learnt digits settles with an image, and is then nudged to another class."
    task, sweeps = digits(), 10
    rule = make_rule("equilibrium-propagation", MLP((64, 30, 20, 15, 10), act="tanh"))
    with torch.enable_grad(): fit(rule, task, 4, 0.002, optimizer="adam", progress=False, warn=False)
    z, y = rule.transform(task.x_test[3:4]).double(), (task.y_test[3:4] + 1) % 10
    free, nudged = settling(rule.double(), z, y, sweeps, beta=0.5)
    lower, upper = plt.subplots(1, 2, figsize=(6.4, 2.3), layout="constrained")[1]
    for phase, start, colour in ((free, 0, BLUE), (nudged, sweeps, RED)):
        at, rates = np.arange(sweeps + 1) + start, torch.stack([r for _, r in phase])
        lower.plot(at, [e for e, _ in phase], ".-", color=colour)
        upper.plot(at, rates[:, :8], color=colour, lw=1)
    lower.set(xlabel="sweep", ylabel="energy (+ β · loss)")
    upper.set(xlabel="sweep", ylabel="rates of eight units")
    lower.text(1.0, free[0][0], "the image alone", color=BLUE, size=9)
    lower.text(sweeps + 0.4, nudged[0][0] + 0.6, "nudged to\nanother class", color=RED, size=9)
    for ax in (lower, upper): ax.axvline(sweeps, color=PALE, lw=1, ls=":")


@opens("18d_family")
def family():
    "The points of the page's table: what each rule is set to."
    ax = chart(6.0, 3.0)
    ends = {0: -3, np.inf: 2}
    place = lambda v: ends[v] if v in ends else np.log10(v)
    points = (("backprop", 0, 0, 1, (8, 4)), ("dual propagation", 0.5, 0, 1, (8, 4)),
              ("feedback control", 0.1, np.inf, 1, (8, -4)), ("control, leaky", 0.1, 0.1, 1, (-8, 4)),
              ("contrastive Hebb", np.inf, 0.05, 2, (-2, 9)), ("equilibrium propagation", 0.1, 1, 2, (-8, 4)),
              ("equilibrium propagation, weak feedback", 0.1, 0.05, 2, (8, -8)))
    ax.plot(*[[place(v) for v in (0.01, 1, 10)]] * 2, "o-", color=BLUE, lw=1.5)
    ax.annotate("predictive coding", (place(10), place(10)), (8, -3), textcoords="offset points", color=BLUE, size=9)
    for name, nudge, gain, phases, aside in points:
        at = place(nudge), place(gain)
        ax.plot(*at, "o", ms=8, mec=RED if phases == 2 else BLUE, mfc="none" if phases == 2 else BLUE, mew=1.5)
        ax.annotate(name, at, aside, textcoords="offset points", color=RED if phases == 2 else BLUE, size=9,
                    ha="left" if aside[0] > 0 else "right")
    ticks = {"→ 0": 0, "0.01": 0.01, "0.1": 0.1, "1": 1, "10": 10, "∞": np.inf}
    ax.set_xticks([place(v) for v in ticks.values()], list(ticks))
    ax.set_yticks([place(v) for v in ticks.values()], ["0", *list(ticks)[1:]])
    ax.text(2.6, -2.75, "filled: one phase", color=BLUE, size=9, ha="right")
    ax.text(2.6, -3.15, "rings: two phases", color=RED, size=9, ha="right")
    ax.set(xlim=(-3.2, 2.6), ylim=(-3.3, 2.4), xlabel="nudge: how hard the label pulls",
           ylabel="gain: how far layers give way")


# ---------------------------------------------------------------- writing

def write(page: str, folder: Path) -> Path:
    "Draw one picture into `folder`."
    with matplotlib.rc_context(STYLE):
        plt.close("all")
        torch.manual_seed(0)
        PICTURES[page]()
        path = folder / f"{page}.svg"
        plt.gcf().savefig(path, transparent=True, metadata={"Date": None, "Creator": None})
    return path


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", nargs="+", choices=sorted(PICTURES), metavar="NAME", help="draw these; the names of pages")
    p.add_argument("--out", type=Path, default=ROOT / "nbs" / "images", help="where the pictures shall be")
    p.add_argument("--list", action="store_true", help="print the names of all pages with a picture, and stop")
    a = p.parse_args()
    if a.list: return print(json.dumps(sorted(PICTURES), indent=1))
    a.out.mkdir(parents=True, exist_ok=True)
    for page in a.only or sorted(PICTURES):
        path = write(page, a.out)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__": main()
