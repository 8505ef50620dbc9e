"""Recorder side of the machine: QEMU, its readings, its network, the host's pressure."""
