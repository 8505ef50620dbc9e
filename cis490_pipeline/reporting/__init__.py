"""Draws what evaluation computed: the report page, tables, figures, LaTeX, JSON schemas."""
