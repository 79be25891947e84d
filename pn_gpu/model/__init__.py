"""What a network is made of: parameters, layers, node models, activations, losses; data and their mathematics."""
