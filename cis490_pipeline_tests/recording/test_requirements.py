from cis490_pipeline.recording.requirements import lacking_here


def test_every_program_that_is_missing_is_named_with_its_package(tmp_path):
    lacks = {lack.what: lack.remedy for lack in lacking_here(boot=tmp_path, path=str(tmp_path))}

    assert lacks["qemu-system-x86_64"] == "apt-get install qemu-system-x86"
    assert lacks["busybox"] == "apt-get install busybox-static"
    assert lacks["a cloud kernel"] == "apt-get install linux-image-cloud-amd64"
    assert "user namespaces" in lacks["network namespaces"]


def test_what_is_there_is_not_named(tmp_path):
    for name in ("qemu-system-x86_64", "busybox", "mke2fs", "ip", "unshare"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "vmlinuz-6.1.0-1-cloud-amd64").touch()
    named = {lack.what for lack in lacking_here(boot=tmp_path, path=str(tmp_path))}

    assert named <= {"qemu.qmp", "/dev/net/tun", "a synchronised clock"}
