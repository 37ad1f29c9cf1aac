"""Every figure of the network in one command: the paths of deformable attention, then each size of the model.

    python benchmarks/network.py --device cuda    # a GPU: a few minutes
    python benchmarks/network.py --device cpu     # about half an hour on two cores, most of it base

On a GPU the Triton kernels are first compared with the torch path. Tables are printed, JSON with the hardware's name
goes to benchmarks/results. A step that fails is named at the end, the others run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
SIZES = ("base", "tiny", "nano")


def steps(device: str, sizes: list[str], repeats: int) -> list[list[str]]:
    """Command lines, in the order they run."""
    python, where = sys.executable, ["--device", device, "--repeats", str(repeats)]
    equality = [python, "-m", "pytest", "-q", str(ROOT / "test/model/test_ops_triton.py")]
    paths = [python, str(ROOT / "benchmarks/deformable_attention.py"), *where, "--models", *sizes, "--backward"]
    models = [[python, "-m", "rsd_offline.cli", "bench", "model", "--size", size, *where] for size in sizes]
    if device == "cuda":
        return [equality, [*paths, "--compiled"], *([*model, "--compiled"] for model in models)]
    return [paths, *models]


def main() -> int:
    """Run all; the number of steps that failed is the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), help="model configurations")
    parser.add_argument("--repeats", type=int, help="timed passes of each; default 50 on a GPU, 3 on a CPU")
    arguments = parser.parse_args()
    repeats = arguments.repeats or (50 if arguments.device == "cuda" else 3)
    failed = []
    for step in steps(arguments.device, arguments.sizes, repeats):
        print(f"\n$ {' '.join(step)}", flush=True)
        if subprocess.run(step, cwd=ROOT, check=False).returncode:
            failed.append(" ".join(step))
    print("\nevery step ran" if not failed else "\nfailed:\n" + "\n".join(failed))
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
