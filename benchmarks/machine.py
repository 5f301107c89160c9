"""What the figures depend on, and the most that one core of it can do."""

import importlib.metadata
import os
import platform
from datetime import date

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from timing import once

from fastmlp.cli.info import cpu_name, cpus, vectors
from fastmlp.devices.cpu.vectors import VECTOR_BYTES

PACKAGES = ("fastmlp", "numba", "numpy", "scipy", "scikit-learn", "torch")

#: Chains of multiply-adds side by side: as many as hide the latency, and fit into 16 registers.
CHAINS = 12
STEPS = 2_000_000


def record() -> dict:
    """Machine, versions, load, date, and the measured peak."""
    return {
        "date": date.today().isoformat(),
        "cpu": cpu_name(),
        "target": binding.get_host_cpu_name(),
        "vectors": vectors(),
        "cores": cpus(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "peak_gflops": {dtype.__name__: peak(dtype) for dtype in (np.float32, np.float64)},
    }


def version(package: str) -> str:
    """Installed version, or that there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


@intrinsic
def _chains(typingctx, x, steps):
    """x -> a x + b in every lane of `CHAINS` registers, `steps` times; returns the lanes' sum.

    Nothing but fused multiply-adds, none of which waits for memory: written in LLVM, since a loop
    over an array would load and store.
    """

    def codegen(context, builder, signature, args):
        b = builder
        bits = x.bitwidth
        lanes = 8 * VECTOR_BYTES // bits
        scalar = ir.FloatType() if bits == 32 else ir.DoubleType()
        vector = ir.VectorType(scalar, lanes)
        fma = cgutils.get_or_insert_function(
            b.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{lanes}f{bits}"
        )

        def filled(value):
            one = b.insert_element(ir.Constant(vector, ir.Undefined), value, ir.IntType(32)(0))
            mask = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
            return b.shuffle_vector(one, one, mask)

        # Not constants: LLVM must not know what comes out.
        factor, summand = filled(args[0]), filled(args[0])
        before, loop, after = b.block, b.append_basic_block(), b.append_basic_block()
        b.branch(loop)
        b.position_at_end(loop)
        step = b.phi(ir.IntType(64))
        sums = [b.phi(vector) for _ in range(CHAINS)]
        updated = [b.call(fma, [s, factor, summand]) for s in sums]
        following = b.add(step, ir.IntType(64)(1))
        step.add_incoming(ir.IntType(64)(0), before)
        step.add_incoming(following, loop)
        for i, (old, new) in enumerate(zip(sums, updated, strict=True)):
            start = ir.Constant(vector, [float(i * lanes + j) for j in range(lanes)])
            old.add_incoming(start, before)
            old.add_incoming(new, loop)
        b.cbranch(b.icmp_signed("<", following, args[1]), loop, after)
        b.position_at_end(after)
        total = updated[0]
        for other in updated[1:]:
            total = b.fadd(total, other)
        result = b.extract_element(total, ir.IntType(32)(0))
        for lane in range(1, lanes):
            result = b.fadd(result, b.extract_element(total, ir.IntType(32)(lane)))
        return result

    return x(x, types.int64), codegen


@njit
def _burn(x, steps):
    return _chains(x, steps)


def burn_flops(dtype) -> float:
    """Floating-point operations of one `burn`."""
    return 2.0 * CHAINS * (VECTOR_BYTES // np.dtype(dtype).itemsize) * STEPS


def burn(dtype) -> None:
    """Run multiply-adds at full speed for some milliseconds."""
    _burn(dtype(0.5), STEPS)


def peak(dtype) -> float:
    """GFLOP/s that one core reaches on fused multiply-adds alone; the best of some tries."""
    burn(dtype)
    return burn_flops(dtype) / min(once(lambda: burn(dtype)) for _ in range(10)) * 1e-9
