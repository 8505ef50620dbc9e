"""How a network is trained: configuration, schedule, batches and one loop; knows no model."""
