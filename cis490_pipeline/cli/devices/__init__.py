"""Commands for a device: ``calibrate``, ``bundle``, ``live``."""
