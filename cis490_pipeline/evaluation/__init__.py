"""What predictions are worth: scores, intervals by episode, paired tests, probes, reports."""
