import pytest

from cis490_pipeline.domain import is_episode_id, is_host_id


@pytest.mark.parametrize(
    "name", ["a", "garage-pi", "Lab-NUC", "pi.lab.example", "kvm_02", "7" * 63]
)
def test_names_that_machines_have_are_hosts(name: str) -> None:
    assert is_host_id(name)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".pi", "-pi", "_pi", "a/b", "a b", "müller-pi", "pi\n", "7" * 64, "a\0b"],
)
def test_names_that_are_no_folder_or_not_plain_text_are_no_hosts(name: str) -> None:
    assert not is_host_id(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "01m818wxrg33pwzsgrj7q6bec5",
        "01M818WXRG33PWZSGRJ7Q6BEC",
        "01M818WXRG33PWZSGRJ7Q6BEC5\n",
        "81M818WXRG33PWZSGRJ7Q6BEC5",
        "01M818WXRG33PWZSGRJ7Q6BECU",
    ],
)
def test_only_a_ulid_in_capitals_is_an_episode(name: str) -> None:
    assert is_episode_id("01M818WXRG33PWZSGRJ7Q6BEC5")
    assert not is_episode_id(name)
