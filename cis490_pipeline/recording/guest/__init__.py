"""Programs that run in the guest: the load runner and its activities (standard library)."""
