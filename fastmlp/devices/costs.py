"""What training and predicting cost on the CPU and on a GPU: how ``device="auto"`` decides.

A rough model: a step costs its launches and its arithmetic, a GPU also has to be started and to be
sent the rows. The CPU's constants are those of one core, from benchmarks/results/fit.md. The GPU's
are what its data sheet and the costs of launches let expect, held on the careful side:
``benchmarks/gpu.py`` prints what a machine at hand has.
"""

from typing import NamedTuple

#: Seconds a step besides its arithmetic, and floating-point operations a second.
CPU_STEP, CPU_RATE = 5e-6, 60e9
GPU_STEP, GPU_RATE = 30e-6, 10e12
#: Seconds until a GPU has its first kernels compiled and loaded, and bytes a second to it.
GPU_START, GPU_BANDWIDTH = 5.0, 8e9
#: Epochs that a fit is taken to last, where more are allowed.
EPOCHS = 20
#: The file in benchmarks/results that records the first run of the CUDA tests on a GPU which all of
#: them passed: machine, date, versions. Until there is one, "auto" is the CPU.
GPU_RECORD: str | None = None


class Work(NamedTuple):
    """What is to be done: passes over rows by a network."""

    size: int  # parameters
    rows: int
    features: int
    batch_rows: int
    epochs: int  # 0 for a prediction
    itemsize: int


def gpu_pays(work: Work) -> bool:
    """Whether a GPU would likely be done sooner than one core, its start included."""
    epochs = min(work.epochs, EPOCHS)
    steps = max(1, epochs) * -(-work.rows // work.batch_rows)
    # Two operations forward for each parameter and row, and four back.
    operations = max(1, epochs) * work.rows * work.size * (6 if epochs else 2)
    sent = work.rows * work.features * work.itemsize / GPU_BANDWIDTH
    on_cpu = steps * CPU_STEP + operations / CPU_RATE
    return GPU_START + sent + steps * GPU_STEP + operations / GPU_RATE < on_cpu
