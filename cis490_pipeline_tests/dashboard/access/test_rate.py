from cis490_pipeline.dashboard.access.rate import MAX_ADDRESSES, RateLimit


class Clock:
    def __init__(self):
        self.s = 0.0

    def __call__(self):
        return self.s


def test_a_bucket_holds_a_burst_and_fills_at_its_rate():
    clock = Clock()
    limit = RateLimit(2.0, 3.0, clock)

    assert [limit.allows("a") for _ in range(4)] == [True, True, True, False]
    clock.s = 0.4
    assert not limit.allows("a")
    clock.s = 0.5
    assert limit.allows("a")
    clock.s = 100
    assert [limit.allows("a") for _ in range(4)] == [True, True, True, False]


def test_one_address_does_not_use_anothers():
    limit = RateLimit(1, 1, Clock())

    assert limit.allows("a")
    assert not limit.allows("a")
    assert limit.allows("b")


def test_what_is_refused_costs_nothing():
    limit = RateLimit(1, 10, Clock())

    assert not limit.allows("a", 11)
    assert limit.allows("a", 10)


def test_addresses_are_bounded():
    limit = RateLimit(1, 1, Clock())

    for i in range(3 * MAX_ADDRESSES):
        limit.allows(str(i))

    assert len(limit._buckets) == MAX_ADDRESSES
