"""What tests look for in compiled CUDA kernels would be found there."""

import pytest
from cuda_compiler import AMPERE, HOPPER, compiled, missing
from numba import types

pytestmark = [
    pytest.mark.compiled,
    pytest.mark.slow,
    pytest.mark.no_cover,  # the simulator shows which lines run
    pytest.mark.skipif(bool(missing()), reason=missing()),
]

if not missing():
    from fastmlp.devices.cuda.toolkit import cuda

every_gpu = pytest.mark.parametrize("cc", [AMPERE, HOPPER], ids=["sm_80", "sm_90"])
SIGNATURE = (types.float32[::1],)


@every_gpu
def test_float64_and_local_memory_are_seen(cc):
    def kernel(x, y):
        near = cuda.local.array(64, types.float32)
        for i in range(64):
            near[i] = x[i] * 0.1
        for i in range(64):
            y[i] = near[int(x[i])]

    code = compiled(kernel, SIGNATURE * 2, cc)
    assert code.stack >= 256
    assert code.local > 0
    assert code.fp64 > 0


@every_gpu
def test_too_few_registers_are_seen(cc):
    def kernel(x):
        held = cuda.local.array(64, types.float32)
        i = cuda.grid(1)
        for k in range(64):
            held[k] = x[i + k]
        cuda.syncthreads()
        for k in range(64):
            x[i + k] = held[63 - k]

    free = compiled(kernel, SIGNATURE, cc)
    bound = compiled(cuda.jit(launch_bounds=(1024, 2))(kernel), SIGNATURE, cc)
    assert free.registers > 64
    assert (free.spills, free.local) == (0, 0)
    assert bound.registers == 32
    assert bound.spills > 0
    assert bound.local > 0
