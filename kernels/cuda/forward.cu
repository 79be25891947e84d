// The forward product with weights that are never stored,
//
//     z_bj = sum_i x_bi w_ij + bias_j,    w_ij = (v_i . v_j) k(|r_i - r_j|^2),
//
// for x [B, N], N input and M output particles, z [B, M]. With the two node sets exchanged and dz in place of x it is
// dL/dx.
//
// A block owns a tile of z and walks over the input particles, DEPTH at a time: the tile of x comes to shared memory
// by asynchronous copies, one step ahead; the tile of weights is made on chip, is used once for every row of x in the
// block, and is gone. Three ways, by what the numbers are and how many rows there are to spread a weight's cost over:
//
//     few rows (float, double)        a weight lives in one register of the thread that owns its output
//     many rows (float, double)       weights go through shared memory into a register-blocked FMA product
//     any rows (float16, bfloat16)    weights are made in the registers where mma.sync wants its operand
//
// Where the tiles of z are too few to fill the device, the input particles are split over `splits` blocks, each of
// which writes its part of the sum to partial [splits, sets, B, M]; reduce.cuh adds the parts in a fixed order. So it
// does where the sets share x, and dL/dx is the sum of theirs.
//
// Of several sets every array has one after the other, x_set, r_in_set, ... elements apart: 0 where they share one.
//
// Kernels are named forward_<rows of x per block>; their tiles are listed once more in tiles.py, which makes the grid:
// block = ((set * splits + split) * batch tiles + batch tile) * output tiles + output tile.

#include "forward_fma.cuh"
#include "forward_mma.cuh"
#include "reduce.cuh"

#define FORWARD_PARAMETERS                                                                                     \
    const Scalar *x, long long x_set, long long x_stride, int aligned, const T *r_in, long long r_in_set,      \
        const T *v_in, long long v_in_set, const T *r_out, long long r_out_set, const T *v_out,                \
        long long v_out_set, const T *bias, long long bias_set, Scalar *z, T *partial, int sets, int batch,    \
        int inputs, int outputs, int splits

// Where the set of a block has its inputs is read once a step, so it waits in shared memory: registers are short.
#define FORWARD(...)                                                                                           \
    {                                                                                                          \
        __shared__ Matrix x_of_set;                                                                            \
        __shared__ NodeSet in_of_set;                                                                          \
        const int set = set_of_block(sets);                                                                    \
        if (threadIdx.x == 0) {                                                                                \
            x_of_set = {x + set * x_set, x_stride, batch, inputs, aligned != 0};                               \
            in_of_set = {r_in + set * r_in_set, v_in + set * v_in_set, inputs};                                \
        }                                                                                                      \
        __syncthreads();                                                                                       \
        __VA_ARGS__(x_of_set, in_of_set, {r_out + set * r_out_set, v_out + set * v_out_set, outputs},          \
                    {bias, set * bias_set, z, partial, set, sets, block_of_set(sets), batch, outputs, splits});\
    }

#if TENSOR_CORES
extern "C" __global__ void __launch_bounds__(128, RESIDENT(4)) forward_16(FORWARD_PARAMETERS) {
    FORWARD(forward_mma<16>)
}
extern "C" __global__ void __launch_bounds__(128, RESIDENT(3)) forward_64(FORWARD_PARAMETERS) {
    FORWARD(forward_mma<64>)
}
extern "C" __global__ void __launch_bounds__(128, RESIDENT(2)) forward_128(FORWARD_PARAMETERS) {
    FORWARD(forward_mma<128>)
}
#else
extern "C" __global__ void __launch_bounds__(128, RESIDENT(4)) forward_4(FORWARD_PARAMETERS) {
    FORWARD(forward_few<4>)
}
extern "C" __global__ void __launch_bounds__(128, RESIDENT(2)) forward_16(FORWARD_PARAMETERS) {
    FORWARD(forward_few<16>)
}
#if defined(SCALAR_FLOAT64)
extern "C" __global__ void __launch_bounds__(256, RESIDENT(2)) forward_64(FORWARD_PARAMETERS) {
    FORWARD(forward_fma<64, 64, 4, 4>)
}
#else
extern "C" __global__ void __launch_bounds__(256, RESIDENT(2)) forward_64(FORWARD_PARAMETERS) {
    FORWARD(forward_fma<64, 128, 4, 8>)
}
extern "C" __global__ void __launch_bounds__(256, RESIDENT(2)) forward_128(FORWARD_PARAMETERS) {
    FORWARD(forward_fma<128, 128, 8, 8>)
}
#endif
#endif
