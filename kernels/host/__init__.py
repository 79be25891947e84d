"""What every room that computes on the CPU borrows: threads, memory, slices, and the Gaussian without subnormals."""
