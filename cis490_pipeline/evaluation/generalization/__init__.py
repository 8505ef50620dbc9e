"""What scores are worth beyond the test side: time decay, novelty, corrupted inputs."""
