"""What the recorder is worth: rates, lateness, throughput, labels against behaviour."""
