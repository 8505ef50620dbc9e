"""On-device alarm: forward filter and thresholds; needs only numpy."""
