from ipaddress import ip_address

import pytest

from cis490_pipeline.collect.recorded.device import Device, Strangers


def packed(address):
    return ip_address(address).packed


def test_a_device_is_all_that_was_named_and_nothing_else():
    device = Device(["192.0.2.7, 198.51.100.0/30", "2001:db8::/64", "52:54:00:AB:cd:ef"])

    for address in ("192.0.2.7", "198.51.100.3", "2001:db8::1:2"):
        assert device(packed(address))
    for address in ("192.0.2.8", "198.51.100.4", "2001:db8:0:1::", "::"):
        assert not device(packed(address))
    assert device(bytes.fromhex("525400abcdef"))
    assert not device(bytes.fromhex("525400abcdee"))
    assert (device.has_ip, device.has_mac) == (True, True)


def test_a_prefix_with_host_bits_is_its_network():
    assert Device(["192.0.2.77/24"])(packed("192.0.2.1"))


def test_a_prefix_of_one_version_is_none_of_the_other():
    assert not Device(["0.0.0.0/1"])(packed("::1"))


def test_a_mac_alone_has_no_ip():
    assert (Device(["52-54-00-12-34-56"]).has_ip, Device(["10.0.0.0/8"]).has_mac) == (False, False)


def test_what_is_remembered_of_addresses_is_bounded():
    device = Device(["10.0.0.0/8"])

    assert all(device((10 << 24 | n).to_bytes(4, "big")) for n in range(70_000))
    assert len(device._remembered) < 65_537


@pytest.mark.parametrize("name", ["router", "192.0.2.0/33", "52:54:00:12:34", "192.0.2.300"])
def test_what_is_no_address_is_refused_with_examples(name):
    with pytest.raises(ValueError, match=f"'{name}' is no address of a device; wanted an IP"):
        Device([name])


def test_naming_nothing_is_refused():
    with pytest.raises(ValueError, match="no address of the device"):
        Device([" , "])


def test_the_most_frequent_strangers_are_named_and_few_are_held():
    strangers = Strangers()
    for n in range(1000):
        strangers.add(packed("192.0.2.1"), n.to_bytes(4, "big"))
    strangers.add(packed("0.0.0.3"))

    assert str(strangers).startswith("192.0.2.1 (1,000), 0.0.0.3 (2), ")
    assert len(strangers._counts) == 256
