"""Test vectors as arrays, by their columns' names."""

import re

import numpy as np


def from_npz(path):
    """Each column of its own dtype; "about" says who gave the integers."""
    with np.load(path) as columns:
        return dict(columns)


def from_csv(path):
    """Each column as float64, which holds all of their numbers exactly."""
    table = np.genfromtxt(path, delimiter=",", names=True)
    return {name: table[name] for name in table.dtype.names}


def from_hex(path):
    """Each column's bits as unsigned integers: a scale's are those of its float64."""
    with open(path, encoding="utf-8") as file:
        _, bits, *words = file.read().splitlines()
    names = re.findall(r"(\w+) \d+", bits.removeprefix("// bits: "))
    rows = [[int(part, 16) for part in word.split("_")] for word in words]
    table = np.array(rows, np.uint64)
    return dict(zip(names, table.T, strict=True))
