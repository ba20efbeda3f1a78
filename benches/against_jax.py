#!/usr/bin/env python3
"""Compares with a ProtT5 step written in JAX (t5_jax.py): time to lower, time to compile, memory.

    cargo build --release && python3 benches/against_jax.py [--sizes xl xxl] [--rounds 1] [--target v3:16x32]

Both sides build the same step (dropout off, a momentum update, batch 2048, mesh data=64 x model=16), in turn on the same
machine, with the same libtpu. pip installs JAX and libtpu into a virtual environment, which is kept in --venv.
"""

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import venv

HERE = pathlib.Path(__file__).resolve().parent
PINNED = ["jax==0.10.2", "jaxlib==0.10.2", "libtpu==0.0.51", "numpy"]
# Lets libtpu compile without a TPU.
OFF_CLOUD = {
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_ACCELERATOR_TYPE": "v3-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "TPU_MIN_LOG_LEVEL": "3",
    "TPU_STDERR_LOG_LEVEL": "3",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


def python_with_jax(folder: pathlib.Path) -> str:
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PINNED], check=True)
    return str(python)


def jax(python: str, target: str, size: str) -> dict:
    command = [python, str(HERE / "t5_jax.py"), target, size, "64", "16", "2048"]
    out = subprocess.run(command, env=os.environ | OFF_CLOUD, check=True, capture_output=True, text=True).stdout
    figure = lambda pattern: float(re.search(pattern, out).group(1))
    return {
        "lower": figure(r"trace\+lower ([\d.]+)"),
        "compile": figure(r"compile ([\d.]+)"),
        "temporaries": figure(r"temp_size_in_bytes=(\d+)"),
    }


def ribosome(target: str, size: str) -> dict:
    binary = HERE.parent / "target" / "release" / "ribosome"
    command = [binary, "compile", f"prot-t5-{size}", "--on", target, "--mesh", "data=64,model=16", "--batch", "2048"]
    command += ["--set", "dropout=false", "--set", "optimizer.name=momentum", "--json"]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    seconds = report["seconds"]
    return {
        "lower": seconds["build"] + seconds["lower"],
        "compile": seconds["compile"],
        "temporaries": report["memory"]["temporaries"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["xl", "xxl"])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--target", default="v3:16x32")
    parser.add_argument("--venv", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "ribosome-jax")
    args = parser.parse_args()
    python = python_with_jax(args.venv)
    rows = [("lower", 1e3, "ms"), ("compile", 1, "s"), ("temporaries", 2**-30, "GiB")]
    print(f"{'size':5} {'figure':12} {'ribosome':>12} {'JAX':>12}  ribosome / JAX")
    for size in args.sizes:
        ours, theirs = [], []
        for _ in range(args.rounds):
            ours.append(ribosome(args.target, size))
            theirs.append(jax(python, args.target, size))
        for name, scale, unit in rows:
            a, b = (statistics.median(run[name] for run in side) * scale for side in (ours, theirs))
            print(f"{size:5} {name:12} {a:8.2f} {unit:3} {b:8.2f} {unit:3}  {a / b:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
