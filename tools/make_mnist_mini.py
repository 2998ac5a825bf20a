"""Make bioplaus/data_files/mnist-mini.npz from the full MNIST.   python tools/make_mnist_mini.py FOLDER

FOLDER holds the four idx files (torchvision's MNIST/raw, unpacked). Their md5 sums are checked. From each digit 1,000
training and 200 test images are drawn with a fixed seed; the order of the original files is kept.
"""
import hashlib, sys
from pathlib import Path

import numpy as np

MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
OUT = Path(__file__).parent.parent / "bioplaus" / "data_files" / "mnist-mini.npz"
SEED = 1998  # the year MNIST was published


def read(folder, name, header):
    raw = (folder / name).read_bytes()
    if hashlib.md5(raw).hexdigest() != MD5[name]:
        sys.exit(f"{folder / name}: this is not the published file (its md5 differs)")
    return np.frombuffer(raw, np.uint8, offset=header)


def draw(folder, part, per_class, rng):
    y = read(folder, f"{part}-labels-idx1-ubyte", 8)
    x = read(folder, f"{part}-images-idx3-ubyte", 16).reshape(len(y), 28, 28)
    chosen = np.sort(np.concatenate([rng.choice(np.flatnonzero(y == c), per_class, replace=False) for c in range(10)]))
    return x[chosen], y[chosen]


if __name__ == "__main__":
    folder, rng = Path(sys.argv[1]), np.random.default_rng(SEED)
    x, y = draw(folder, "train", 1000, rng)
    x_test, y_test = draw(folder, "t10k", 200, rng)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(OUT, x=x, y=y, x_test=x_test, y_test=y_test)
    print(f"{OUT.name}: {len(y)} + {len(y_test)} images, {OUT.stat().st_size / 1e6:.2f} MB")
