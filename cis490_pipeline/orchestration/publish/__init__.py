"""Publish finished runs to dashboards, and failures to an alert address."""
