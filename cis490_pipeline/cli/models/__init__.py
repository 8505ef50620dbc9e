"""Commands on models and their scores."""
