"""Times `ribosome lower` as a whole process and compares two binaries.

    python benches/lower_process.py target/release/ribosome OTHER_BINARY [--runs 30] [--what prot-t5-xxl]

The two run in turn (A B A B ...), so that load on the machine affects both, and write to separate folders. Prints the
medians of wall and processor time and of the ratio pair by pair, and whether the files are identical.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def run(binary, what, folder):
    """Wall and processor seconds of one process."""
    command = [binary, "lower", what, "--emit", "proto", "--output", str(folder / "step.hlo.pb")]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    return wall, usage.ru_utime + usage.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", help="the binary to time")
    parser.add_argument("other", help="the binary to compare it with")
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--what", default="prot-t5-xxl", help="the model or recipe")
    args = parser.parse_args()
    binaries = [str(Path(binary).resolve()) for binary in (args.binary, args.other)]
    with tempfile.TemporaryDirectory() as root:
        folders = [Path(root) / name for name in ("a", "b")]
        for binary, folder in zip(binaries, folders):
            folder.mkdir()
            run(binary, args.what, folder)
        pairs = [
            [run(binary, args.what, folder) for binary, folder in zip(binaries, folders)]
            for _ in range(args.runs)
        ]
        files = [[(folder / name).read_bytes() for name in ("step.hlo.pb", "step.json")] for folder in folders]
    for at, what in enumerate(("wall", "processor")):
        mine, others = ([pair[side][at] for pair in pairs] for side in (0, 1))
        ratio = statistics.median(a / b for a, b in zip(mine, others))
        print(
            f"{what}: {1e3 * statistics.median(mine):.1f} ms against {1e3 * statistics.median(others):.1f} ms, "
            f"ratio {ratio:.3f} (medians of {args.runs})"
        )
    same = files[0] == files[1]
    print("files:", "the same, byte for byte" if same else "DIFFERENT")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
