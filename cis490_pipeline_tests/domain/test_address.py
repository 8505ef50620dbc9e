import pytest

from cis490_pipeline.domain import Address


@pytest.mark.parametrize(
    ("text", "protocol", "path"),
    [
        ("s3://lab/store", "s3", "lab/store"),
        (" s3://lab/store/ ", "s3", "lab/store"),
        ("file:///mnt/lab", "file", "/mnt/lab"),
        ("gs://lab", "gs", "lab"),
        ("s3://lab/a@b", "s3", "lab/a@b"),
    ],
)
def test_address_is_a_protocol_and_a_place(text: str, protocol: str, path: str) -> None:
    address = Address.parse(text)

    assert address == Address(protocol, path)
    assert str(address) == f"{protocol}://{path}"


@pytest.mark.parametrize(
    "text",
    [
        "data",
        "s3://",
        "s3:///",
        "S3 ://lab",
        "s3://lab/../other",
        "s3://lab//store",
        "s3://lab/./store",
        "s3://lab/\x1b[31m",
        "simplecache::s3://lab/store",
        "s3://lab::file://x",
        "https://lab/store?hunter2=1",
        "https://lab/store#hunter2",
        "s3://me:hunter2@lab/store",
        "ftp://hunter2@lab/store",
    ],
)
def test_what_is_no_plain_address_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError, match="must ") as refused:
        Address.parse(text)

    assert "hunter2" not in str(refused.value)
