"""What `-m gpu` runs on a machine with a GPU: few tests, in which every table is whole."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from conftest import OF_A_GPU, OF_ALL_DEVICES
from designs import named
from laws import ACTIVATIONS, LOSSES, PAIRS

from fastmlp import optimizers

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not find_spec("numba_cuda"), reason="numba-cuda is not installed"),
]
MOST = 150
COLLECT = """
import json, sys
import pytest
from designs import named

class Selected:
    def pytest_collection_finish(self, session):
        self.items = session.items

def flat(value):
    parts = value if type(value) in (tuple, list) else ()
    return [one for part in parts for one in flat(part)] or [named(value)]

selected, values = Selected(), {}
options = ["--collect-only", "-qq", "-p", "no:cacheprovider", "--benchmark-disable", "-m", "gpu"]
code = pytest.main([*options, *sys.argv[1:]], plugins=[selected])
for item in selected.items:
    for name, value in (item.callspec.params if hasattr(item, "callspec") else {}).items():
        values.setdefault(name, []).extend(flat(value))
names = [item.nodeid for item in selected.items]
print(json.dumps({"code": code, "names": names, "values": values}))
"""


@pytest.fixture(scope="module")
def selected():
    """The tests, and the values of their parameters, as a machine with a GPU has them."""
    tests = Path(__file__).parent
    paths = [str(tests), *filter(None, [os.environ.get("PYTHONPATH")])]
    # The simulator passes for a GPU; laws have the rows that they have compiled.
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": os.pathsep.join(paths)}
    environment.pop("NUMBA_DISABLE_JIT", None)
    files = [tests / name for name in (*OF_A_GPU, OF_ALL_DEVICES)]
    command = [sys.executable, "-c", COLLECT, *files]
    done = subprocess.run(
        command, env=environment, cwd=tests.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["code"] == 0, done.stdout
    return found


def test_it_is_few(selected):
    assert len(selected["names"]) <= MOST


def test_no_entry_of_a_table_is_left_out(selected):
    values = selected["values"]
    for parameter, table in {
        "four": ACTIVATIONS,
        "loss": LOSSES,
        "optimizer": optimizers.OPTIMIZERS,
        "dtype": [np.float32, np.float64],
        "regime": ["one block", "many blocks"],
        "output": [output for _, output in PAIRS],
    }.items():
        assert set(map(named, table)) <= set(values[parameter]), parameter


def test_every_law_about_the_device_is_in_it(selected):
    """Only their rows are fewer."""
    laws = {name.partition("[")[0] for name in selected["names"]}
    for file in OF_A_GPU:
        text = (Path(__file__).parent / file).read_text()
        written = re.findall(r"^def (test_\w+)", text, re.MULTILINE)
        assert {f"tests/{file}::{name}" for name in written} <= laws
