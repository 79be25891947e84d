"""The operator on torch CUDA tensors, as Triton kernels that make the weights in registers.

``forward`` and ``backward`` are those of every room of `pn_gpu.kernels`; who calls them has checked their arguments.
They take stacked sets, too (`pn_gpu.kernels.sets`), and launch each kernel once for all.

launch          the two functions
potentials      k(s) and k'(s)
tables          both node sets as the kernels read them       rows       x and dz as the kernels read them
weights         one tile of squared distances and dipole products: what all kernels share
factors         the same of the Gaussian on tensor cores, from tables of halves
exponentials    powers of two on two units
forward         z = x W + b, and dx with the node sets exchanged;  few_rows  the same for a handful of wide numbers
gradient        launches the particle gradient:  moments  on tensor cores,  differences  exact
fused           dx and moments from one pass, for a small batch
chunks          how the tiles of a gradient are dealt out
outer_product   one tile of G = x^T dz
sets            how far sets lie apart
tiles, device   sizes of tiles as data, and the device they are for
"""

from pn_gpu.kernels.triton.launch import backward, forward

__all__ = ["backward", "forward"]
