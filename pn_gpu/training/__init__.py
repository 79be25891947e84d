"""Training: the loop, optimisers, learning-rate schedules, callbacks, checkpoints."""
