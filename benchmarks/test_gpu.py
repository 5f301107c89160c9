"""The GPU's benchmark without one: all of it on the CPU but what only CUDA has."""

import importlib.util
import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

if not importlib.util.find_spec("torch"):
    pytest.skip("PyTorch is not installed", allow_module_level=True)

import gpu
import gpu_report
import torch
from gpu_sides import EAGER, TORCH_SIDES, Task, build, check
from grid import OURS

TINY = Task(40, 5, (7, 6), 3, 10, epochs=1)


def options(folder=None, quick=False, budget=1e6):
    return gpu.Options(
        ours="cpu", where="cpu", rounds=2, seconds=0.01, quick=quick, out=folder,
        budget=gpu.Budget(budget),
    )  # fmt: skip


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_one_line_says_so():
    command = [sys.executable, Path(gpu.__file__)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("No GPU: ")
    assert done.stderr.count("\n") == 1


def test_one_line_says_what_a_machine_with_a_gpu_lacks(monkeypatch):
    def load(name):
        raise ImportError("numba-cuda is missing:\ninstall it")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu.devices, "load", load)
    assert gpu.missing().endswith("not usable: ImportError: numba-cuda is missing: install it")


def test_everything_but_cuda(monkeypatch, tmp_path):
    wanted = [((5, 7, 3), 10, dtype, {EAGER: 5}) for dtype in (np.float32, np.float64)]
    monkeypatch.setattr(gpu, "cases", lambda options: wanted)
    monkeypatch.setattr(gpu, "SIZES", [((5, 7, 2), 10), ((9, 20, 3), 50)])
    monkeypatch.setattr(gpu, "ceilings", partial(gpu.ceilings, elements=1000, width=32))
    monkeypatch.setitem(gpu.PARTS, "predictions", partial(gpu.predictions, count=100))
    monkeypatch.setitem(gpu.PARTS, "together", partial(gpu.together, count=3))
    # Minutes, where nothing is compiled yet:
    monkeypatch.setitem(gpu.PARTS, "startup", lambda options: [])
    gpu.measure(options(tmp_path))
    content = json.loads((tmp_path / "gpu.json").read_text())
    results = content["results"]
    assert set(results) == {"machine", "ceilings", "left_out", *gpu.PARTS}
    assert results["left_out"] == []
    for row, limit in zip(results["steps"], (1e-5, 1e-9), strict=True):
        assert max(row["apart"].values()) < limit
        assert set(row["us"]) == {OURS, EAGER}
        assert set(row["left_out"]) == set(TORCH_SIDES) - {EAGER}
    page = (tmp_path / "gpu.md").read_text()
    assert f"Left out: {gpu.GRAPH} (needs CUDA), torch.compile" in page
    assert page.count("5 times PyTorch eager ") == 2
    assert ", 3 networks " in page
    assert "TB/s" in gpu_report.ceilings_line(results["ceilings"])[0]
    assert EAGER in gpu_report.headline(results)[0]


def test_a_quick_run_has_the_cases_with_aims():
    wanted = gpu.cases(options(quick=True))
    assert [(units, batch) for units, batch, *_ in wanted] == [(gpu.SMALL, 200), (gpu.WIDE, 256)]
    assert all(set(aims) == {EAGER, gpu.GRAPH} for *_, aims in wanted)


def test_what_there_is_no_time_for_is_left_out_and_said(monkeypatch, tmp_path, capsys):
    """Even the ceilings take some; nothing is begun that would not end in time."""
    monkeypatch.setattr(gpu, "ceilings", partial(gpu.ceilings, elements=1000, width=32))
    for quick in (True, False):
        late = options(tmp_path, quick=quick, budget=0)
        page = gpu.measure(late)
        said = capsys.readouterr().err
        assert len(late.budget.left_out) == (5 if quick else 12)
        for what in late.budget.left_out:
            assert f"{what}: left out, 0 s are left" in said
            assert what in page


def test_a_start_up_that_takes_too_long_is_left_out(monkeypatch):
    monkeypatch.setattr(gpu, "FIRST_FIT", "import time; time.sleep(60)")
    monkeypatch.setattr(gpu, "START_UP", 0)
    hurried = options(quick=True, budget=time.perf_counter() - gpu.BEGAN + 0.3)
    assert gpu.startup(hurried) == []
    assert hurried.budget.left_out == ["start-up of 32-100-2"]


def test_a_side_that_differs_stops_everything():
    X, labels = TINY.data(np.float64)
    sides, left_out = build(TINY, X, labels, "cpu", "cpu", TORCH_SIDES)
    assert set(left_out) == set(TORCH_SIDES) - {EAGER}
    sides[EAGER].optimizer.param_groups[0]["eps"] = 1e-6
    with pytest.raises(SystemExit, match=EAGER):
        check(TINY, X, labels, sides)


def test_regimes_are_of_the_cuda_device_alone():
    assert gpu.regimes(options()) == []
    row = {"case": "tiny", "us": {"SingleBlock": 2.0, "Layered": 3.0}}
    *_, last = gpu_report.regimes_table({"regimes": [row]})
    assert last == "| tiny | 2.00 | 3.00 |"


def test_start_up_is_measured_in_a_process():
    program = gpu.FIRST_FIT.format(5, 3, (7,), "reference")
    seconds = gpu.process(program, {})
    assert seconds["import"] > seconds["fit"] > 0


def test_cost_is_fitted():
    work = np.array([1e3, 1e5, 1e7])
    assert gpu.fitted(work, 12 + work / 400) == pytest.approx(
        {"overhead_us": 12, "work_per_us": 400}
    )
