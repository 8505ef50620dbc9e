import asyncio

import pytest

from cis490_pipeline.errors import RecordingError
from cis490_pipeline.recording.host.qmp import (
    Emulator,
    connect_monitor,
    read_block_statistics,
    read_emulator,
)
from cis490_pipeline_tests.recording.fake_machine import FakeMachine


def test_block_statistics_are_summed_over_devices(tmp_path):
    async def read():
        async with FakeMachine(tmp_path):
            monitor = await connect_monitor(tmp_path / "qmp")
            emulator = await read_emulator(monitor)
            reading = await read_block_statistics(monitor)
            await monitor.disconnect()
            return emulator, reading

    emulator, reading = asyncio.run(read())

    # The fourth command after capabilities, version and kvm, and a second disk that stays at 1.
    assert emulator == Emulator("7.2.22", "tcg")
    assert reading == {
        "blk_rd_bytes": 512 * 5,
        "blk_wr_bytes": 1024 * 5,
        "blk_rd_ops": 5,
        "blk_wr_ops": 2 * 5,
        "blk_flush_ops": 3 * 5,
    }


class Odd:
    async def execute(self, cmd):
        return [{"device": "disk"}]

    async def disconnect(self):
        pass


def test_an_answer_of_another_form_is_an_error():
    with pytest.raises(RecordingError, match="query-blockstats answered"):
        asyncio.run(read_block_statistics(Odd()))


def test_no_qemu_at_the_socket_is_an_error_that_names_it(tmp_path):
    with pytest.raises(RecordingError, match="qmp: no QEMU answers there"):
        asyncio.run(connect_monitor(tmp_path / "qmp"))
