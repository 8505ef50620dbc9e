"""The report as a page: what each section says, worked out before any markup, and its templates."""
