"""Device time from row timestamps: order, clock offsets, clock jumps."""
