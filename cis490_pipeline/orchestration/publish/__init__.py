"""From finished runs to dashboards and alerts."""
