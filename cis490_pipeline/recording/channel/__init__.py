"""Lines from a guest, which are untrusted, and the map from its clock to this one."""
