"""The queue is bounded, loses the oldest, counts them, and never tears a line."""

from hypothesis import given
from hypothesis import strategies as st

from cis490_pipeline.collect.outputs.outbox import KEPT_NS, MAX_LINES, Outbox

S = 1_000_000_000


def lines(n: int, start: int = 0) -> list[bytes]:
    return [b"line %d\n" % i for i in range(start, start + n)]


def test_what_waited_ten_seconds_is_dropped_and_counted() -> None:
    outbox = Outbox()
    for second, line in enumerate(lines(25)):
        outbox.put(line, second * S)

    kept = outbox.piece(10_000)
    assert kept == b"".join(lines(11, 14))
    assert outbox.n_dropped == 14


def test_a_flood_within_ten_seconds_is_bounded_too() -> None:
    outbox = Outbox()
    for line in lines(MAX_LINES + 100):
        outbox.put(line, 0)

    assert (len(outbox), outbox.n_dropped) == (MAX_LINES, 100)


def test_a_line_that_is_half_sent_is_finished_before_any_other() -> None:
    outbox = Outbox()
    for second, line in enumerate(lines(3)):
        outbox.put(line, second * S)
    outbox.sent(4)

    outbox.expire(KEPT_NS + 2 * S)

    assert outbox.piece(100) == b" 0\n" + b"line 2\n"
    assert outbox.n_dropped == 1


def test_a_new_connection_gets_its_first_line_and_then_the_torn_one_whole() -> None:
    outbox = Outbox()
    for line in lines(2):
        outbox.put(line, 0)
    outbox.sent(3)

    outbox.begin_again(b"who\n", 0)

    assert outbox.piece(100) == b"who\n" + b"".join(lines(2))


def test_what_a_connection_begins_with_stays_first_however_long_it_waits() -> None:
    outbox = Outbox()
    outbox.put(b"line 0\n", 0)
    outbox.begin_again(b"who\n", KEPT_NS + 1)
    outbox.put(b"line 1\n", KEPT_NS + 2)
    outbox.expire(2 * KEPT_NS + 2)
    assert outbox.piece(100) == b"who\nline 1\n"

    outbox.expire(9 * KEPT_NS)
    outbox.begin_again(b"it is me\n", 9 * KEPT_NS)

    assert outbox.piece(100) == b"it is me\n"
    assert outbox.n_dropped == 2


@given(
    st.lists(st.one_of(st.just("put"), st.just("again"), st.integers(1, 40)), max_size=200),
    st.integers(1, 30),
)
def test_lines_arrive_whole_in_order_and_each_is_sent_dropped_or_waiting(
    acts: list[str | int], piece_bytes: int
) -> None:
    outbox, n_put, arrived = Outbox(), 0, b""

    for i, act in enumerate(acts):
        now = i * S // 4
        if act == "again":
            # A receiver leaves out what was torn.
            arrived = arrived[: arrived.rfind(b"\n") + 1]
            outbox.begin_again(b"who\n", now)
        elif isinstance(act, str):
            outbox.put(b"line %d\n" % n_put, now)
            n_put += 1
        else:
            outbox.expire(now)
            piece = outbox.piece(min(act, piece_bytes))
            arrived += piece
            outbox.sent(len(piece))
    arrived = (arrived + outbox.piece(1 << 20)).replace(b"who\n", b"")

    numbers = [int(line.split()[1]) for line in arrived.splitlines()]
    assert arrived == b"".join(b"line %d\n" % n for n in numbers)
    assert numbers == sorted(set(numbers))
    assert len(numbers) + outbox.n_dropped == n_put
