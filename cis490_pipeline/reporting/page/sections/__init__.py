"""Sections of the report page, each from an evaluation report or leaderboard."""
