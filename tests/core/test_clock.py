"""The decision clock against a plain look at all events."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bt_gym.core import clock
from bt_gym.core.env_state import env_dtype, settings_dtype
from bt_gym.core.tape import event_dtype

END = 10_000


@given(
    taken=st.lists(st.integers(0, 5), min_size=1, max_size=60),  # records of each event: an implied clear takes none
    received=st.integers(0, 60),
    count=st.integers(1, 40),
)
def test_records__come_with_the_first_event_that_has_them(taken: list[int], received: int, count: int):
    events = np.zeros(len(taken), event_dtype)
    events["source"] = np.cumsum(taken)
    events["ts_event"] = 10 * np.arange(1, len(taken) + 1)
    env, settings = np.zeros(1, env_dtype), np.zeros(1, settings_dtype)
    received = min(received, len(taken))
    env["market"]["event"] = received
    env["episode"]["end"] = END
    settings["clock"], settings["clock_step"] = clock.CLOCK_RECORDS, count
    due, number = clock.next_decision(env[0], events, settings[0])
    wanted = count + (int(events["source"][received - 1]) if received else 0)
    found = [index for index in range(received, len(taken)) if events["source"][index] >= wanted]
    if found:
        assert (due, number) == (events["ts_event"][found[0]], found[0])
    else:
        assert (due, number) == (END, received - 1)
