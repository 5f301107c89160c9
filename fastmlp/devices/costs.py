"""The cost of training and predicting on the CPU and on a GPU: how ``device="auto"`` decides.

A rough model: a step costs its launches and its arithmetic; a GPU must also be started and receive
the rows. The CPU's constants are those of one core, from benchmarks/results/fit.md. The GPU's are
those of an H100, from benchmarks/results/gpu.md, rounded to its disadvantage.
"""

from typing import NamedTuple

#: Seconds per step besides its arithmetic, and floating-point operations per second.
CPU_STEP, CPU_RATE = 5e-6, 60e9
GPU_STEP, GPU_RATE = 40e-6, 10e12
#: Seconds until a GPU's first kernels are loaded, some of them perhaps compiled, and bytes per
#: second sent to it.
GPU_START, GPU_BANDWIDTH = 5.0, 6e9
#: The number of epochs that a fit is assumed to take, if more are allowed.
EPOCHS = 20
#: The file in benchmarks/results that records a run of the CUDA tests on a GPU in which all of them
#: passed, with the kernels as they are: machine, date, versions. Without one, "auto" is the CPU.
GPU_RECORD: str | None = None


class Work(NamedTuple):
    """The work to be done: passes of a network over rows."""

    size: int  # parameters
    rows: int
    features: int
    batch_rows: int
    epochs: int  # 0 for a prediction
    itemsize: int


def gpu_pays(work: Work) -> bool:
    """Check whether a GPU would likely be faster than one core, its start included."""
    epochs = min(work.epochs, EPOCHS)
    steps = max(1, epochs) * -(-work.rows // work.batch_rows)
    # Two operations forward for each parameter and row, and four back.
    operations = max(1, epochs) * work.rows * work.size * (6 if epochs else 2)
    sent = work.rows * work.features * work.itemsize / GPU_BANDWIDTH
    on_cpu = steps * CPU_STEP + operations / CPU_RATE
    return GPU_START + sent + steps * GPU_STEP + operations / GPU_RATE < on_cpu
