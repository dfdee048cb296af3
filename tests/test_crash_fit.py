"""`kill -9` at random moments of a fit: it goes on, and ends with the weights of one that nobody touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

DRIVER = """
import json, os, random, signal, sys, time
from pathlib import Path

import torch
from luthier.models import training
from luthier.demo import assets
from luthier.names import get
from luthier.options import FitOptions, Requirement
from luthier.stages.fit import fit
from luthier.types import Split
import transformers
transformers.AutoModelForSequenceClassification, transformers.AutoTokenizer

torch.set_num_threads(1)
training._SAVE_EVERY = 0.2  # checkpoints inside epochs too
source, home, kills = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
tweets = assets.sentiment("tweets")
split = Split(tweets[:128], tweets[200:232], ())
task = get("task", "text_classification")(labels=("negative", "positive"))


def once(work):
    '''A child that fits; forked, as importing torch anew for every kill takes seconds.'''
    child = os.fork()
    if child == 0:
        code = 1
        try:
            options = FitOptions(epochs=3, threads=1, batch_size=8, rungs=("head", "full"), learning_rate=1e-3)
            fit(task, source, split, require={"accuracy": Requirement(at_least=0.999)}, options=options, work=work)
            code = 0
        finally:
            os._exit(code)
    return child


began = time.monotonic()
_, status = os.waitpid(once(home / "whole"), 0)
assert status == 0
whole = time.monotonic() - began
draw, killed, runs = random.Random(7), 0, 0
while killed < kills:
    work, runs, done = home / f"run-{runs}", runs + 1, False
    while not done:
        child = once(work)
        time.sleep(draw.uniform(0.02, whole * 0.8))
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid == 0:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            killed += 1
        else:
            done = True
            assert status == 0, status
print(json.dumps({"killed": killed, "runs": runs}))
"""
# the number asked of a release is 50; a few of them on every run
KILLS = int(os.environ.get("LUTHIER_KILLS", "5"))


def test_a_fit_killed_at_random_moments_ends_with_the_same_weights(tiny_model: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    call = [sys.executable, "-c", DRIVER, str(tiny_model), str(tmp_path), str(KILLS)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=500, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["killed"] >= KILLS
    for rung in ("head", "full"):
        whole = (tmp_path / "whole" / rung / "model" / "model.safetensors").read_bytes()
        for run in range(report["runs"]):
            folder = tmp_path / f"run-{run}" / rung
            assert (folder / "model" / "model.safetensors").read_bytes() == whole, f"run {run}, {rung}"
            assert not (folder / "checkpoints").exists()
            assert not (folder / "model.part").exists()
    rungs = [json.loads((tmp_path / name / "rungs.json").read_text())["rungs"] for name in ("whole", "run-0")]
    assert [rung["metrics"] for rung in rungs[0]] == [rung["metrics"] for rung in rungs[1]]
