"""Watching one device for months: one verdict, kept state, drift, a command on alarms."""
