"""Dashboard state: retained events, journal, fan-out."""
