"""The forms of the report's JSON: typed here once, published as JSON Schema, checked when read."""
