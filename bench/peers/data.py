"""The data that ours and the peers' cases read, made once a run with fixed seeds; needs numpy only.

tables: 20 normal and 20 lognormal float32 columns, 10 of 20 categories; in the second table two means are moved by .3,
two scales by 1.2, and one column's categories. answers: calibrated probabilities of a binary model in 100 windows of
equal size, with eight inputs; from window 60 to 79 the mix is harder (covariate shift), from 80 on a fifth of the labels are
turned round (concept shift). embeddings: 384 correlated normal numbers, moved a little in `now`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

WINDOWS, WIDTH, INPUTS = 100, 384, 8
LEVELS = np.array([f"L{i:02d}" for i in range(20)])
SHARES = np.arange(20, 0, -1, dtype=float) / 210
NUMBERS, CATEGORIES = [f"n{i:02d}" for i in range(40)], [f"c{i:02d}" for i in range(10)]
SHIFTED = {"n00", "n01", "n20", "n21", "c00"}


def make(folder: Path, rows: int, answers: int, embeddings: int) -> None:
    for name, seed, shift in (("reference", 1, False), ("current", 2, True)):
        np.savez(folder / f"table_{name}.npz", **_table(seed, shift, rows))
    for name, seed, drift in (("reference", 3, False), ("current", 4, True)):
        np.savez(folder / f"answers_{name}.npz", **_answers(seed, drift, answers))
    rng = np.random.default_rng(5)
    mix = rng.standard_normal((WIDTH, WIDTH), np.float32) / np.float32(WIDTH**0.5)
    good = rng.standard_normal((embeddings, WIDTH), np.float32) @ mix
    now = (rng.standard_normal((embeddings // 10, WIDTH), np.float32) + np.float32(0.05)) @ mix
    same = rng.standard_normal((embeddings // 10, WIDTH), np.float32) @ mix
    np.savez(folder / "embeddings.npz", reference=good, current=now, same=same)


def _table(seed: int, shift: bool, n: int) -> dict[str, np.ndarray]:
    rng, columns = np.random.default_rng(seed), {}
    for i, name in enumerate(NUMBERS):
        x = rng.standard_normal(n, dtype=np.float32)
        x = x if i < 20 else np.exp(np.float32(0.5) * x)
        columns[name] = (
            x + np.float32(0.3) if shift and i < 2 else x * np.float32(1.2) if shift and i in (20, 21) else x
        )
    for i, name in enumerate(CATEGORIES):
        p = SHARES[::-1] * 0.3 + SHARES * 0.7 if shift and i == 0 else SHARES
        columns[name] = rng.choice(20, size=n, p=p).astype(np.int8)
    return columns


def _answers(seed: int, drift: bool, n: int) -> dict[str, np.ndarray]:
    rng, window = np.random.default_rng(seed), np.arange(n) // (n // WINDOWS)
    score = rng.beta(2.0, 3.0, n)
    if drift:
        harder = (window >= 60) & (window < 80)
        score[harder] = rng.beta(6.0, 6.0, harder.sum())
    target = (rng.random(n) < score).astype(np.int64)
    if drift:
        turned = (window >= 80) & (rng.random(n) < 0.2)
        target[turned] = 1 - target[turned]
    inputs = {f"x{i}": rng.standard_normal(n, dtype=np.float32) for i in range(1, INPUTS)}
    inputs["x0"] = np.log(score / (1 - score)).astype(np.float32)
    return {"score": score, "target": target, "predicted": (score >= 0.5).astype(np.int64), **inputs}


def load(folder: str | Path, name: str) -> dict[str, np.ndarray]:
    with np.load(Path(folder) / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def table(folder: str | Path, name: str) -> dict[str, np.ndarray]:
    """With categories as text objects, as they stand in a frame."""
    words = LEVELS.astype(object)
    return {key: words[x] if key[0] == "c" else x for key, x in load(folder, f"table_{name}").items()}


def parts(columns: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """The 100 windows."""
    cut = {name: np.array_split(x, WINDOWS) for name, x in columns.items()}
    return [{name: pieces[i] for name, pieces in cut.items()} for i in range(WINDOWS)]
