"""What a model is worth where its report does not look: new profiles, each host, later, drifted."""
