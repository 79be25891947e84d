"""Networks: node sets, layers, losses, and what is added to a loss."""
