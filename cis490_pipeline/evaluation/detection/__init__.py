"""Detection: alarms fitted on val, replayed on test, reported as rates and delays."""
