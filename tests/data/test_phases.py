"""The table of phases against the whole tape at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bt_gym.core import enums
from bt_gym.data.compiler import Compiler
from bt_gym.data.phases import PhaseTable
from tests.data.compiled import compile_array
from tests.reference.book import Record
from tests.reference.itch import hostile
from tests.reference.streams import TICK, any_streams, to_array

pytestmark = pytest.mark.kernel


@given(hostile(any_streams), st.lists(st.integers(0, 300), max_size=5))
def test_table__adds_up_what_the_tape_says(records: list[Record], cuts: list[int]) -> None:
    array = to_array(records)
    compiler, phases = Compiler(TICK), PhaseTable()
    for chunk in np.split(array, sorted(cuts)):
        for piece in compiler.feed(chunk):
            phases.feed(compiler, piece)
    for piece in compiler.finish():
        phases.feed(compiler, piece)
    phases.finish(compiler)
    tape = compile_array(array)
    names, times = np.array(tape.phases()), tape.events["ts_event"]
    table = phases.table()
    assert {name: row["events"] for name, row in table.items()} == {
        name: int((names == name).sum()) for name in np.unique(names)
    }
    for name, row in table.items():
        spent = np.diff(times)[names[:-1] == name].sum()
        assert row["seconds"] == pytest.approx(spent / 1e9, abs=1e-12)
    continuous = times[tape.events["flags"] & enums.PHASE_MASK == enums.PHASE_CONTINUOUS]
    assert phases.first_continuous == (continuous[0] if len(continuous) else None)
