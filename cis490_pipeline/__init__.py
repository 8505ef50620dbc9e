"""Tell from a device's telemetry which phase of a malware infection it is in, honestly scored."""

__version__ = "0.1.0"
