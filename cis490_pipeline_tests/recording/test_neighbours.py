import random
import time

from cis490_pipeline.recording.host.neighbours import SHARE, compete, neighbours


def test_a_neighbour_keeps_to_its_share_of_a_core():
    began_s, used_s = time.monotonic(), time.process_time()
    compete(random.Random(1), 0.2, seconds=3.0)
    share = (time.process_time() - used_s) / (time.monotonic() - began_s)

    # Bursts of up to .3 s: three seconds hold few of them.
    assert 0.05 < share < 0.4


def test_neighbours_run_while_the_block_does_and_their_use_is_measured():
    with neighbours(2, seed=7) as use:
        until_s = time.monotonic() + 20.0
        while not all(each["cpu_s"] > 0.05 for each in use()):
            assert time.monotonic() < until_s
            time.sleep(0.05)
        measured = use()

    assert [each["share"] for each in measured] == [SHARE, SHARE]
    assert all(0 < each["cpu_s"] <= each["duration_s"] for each in measured)


def test_a_machine_without_neighbours_has_none():
    with neighbours(0, seed=7) as use:
        assert use() == []
