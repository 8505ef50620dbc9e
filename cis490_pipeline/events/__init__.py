"""The event contract of the dashboard, and the publisher both producers and sensor use."""
