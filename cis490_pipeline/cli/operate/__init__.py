"""Commands that run, serve and maintain the pipeline."""
