// sum [128 x 64] += a^T b for a [depth x 128] and b [depth x 64] of 16-bit numbers in shared memory, on the tensor
// cores, by four warps of 32 rows each.

#pragma once

#include "primitives.cuh"

#if TENSOR_CORES

struct MmaProduct {
    static constexpr int ROWS = 128, COLUMNS = 64, THREADS = 128;
    static constexpr int FRAGMENTS = ROWS / 16 / (THREADS / 32);  // of 16 rows, per warp

    float sum[FRAGMENTS][COLUMNS / 8][4];

    __device__ MmaProduct() {
#pragma unroll
        for (int f = 0; f < FRAGMENTS; ++f)
#pragma unroll
            for (int c = 0; c < COLUMNS / 8; ++c)
#pragma unroll
                for (int e = 0; e < 4; ++e) sum[f][c][e] = 0;
    }

    template <int DEPTH, int STRIDE_A, int STRIDE_B>
    __device__ void add(const Scalar (&a)[DEPTH][STRIDE_A], const Scalar (&b)[DEPTH][STRIDE_B]) {
        const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
        for (int k0 = 0; k0 < DEPTH; k0 += 16) {
            unsigned a_k[FRAGMENTS][4];
#pragma unroll
            for (int f = 0; f < FRAGMENTS; ++f)
                load_matrices_transposed(
                    a_k[f], &a[k0 + lane / 16 * 8 + lane % 8][(warp * FRAGMENTS + f) * 16 + lane / 8 % 2 * 8]);
#pragma unroll
            for (int c = 0; c < COLUMNS / 8; c += 2) {
                unsigned b_k[4];
                load_matrices_transposed(b_k, &b[k0 + lane / 8 % 2 * 8 + lane % 8][(c + lane / 16) * 8]);
#pragma unroll
                for (int f = 0; f < FRAGMENTS; ++f) {
                    multiply_add(sum[f][c], a_k[f], b_k[0], b_k[1]);
                    multiply_add(sum[f][c + 1], a_k[f], b_k[2], b_k[3]);
                }
            }
        }
    }

    template <int STRIDE>
    __device__ void store(T (&tile)[ROWS][STRIDE]) const {
        const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
        for (int f = 0; f < FRAGMENTS; ++f)
#pragma unroll
            for (int c = 0; c < COLUMNS / 8; ++c)
#pragma unroll
                for (int e = 0; e < 4; ++e)
                    tile[(warp * FRAGMENTS + f) * 16 + lane / 4 + e / 2 * 8][c * 8 + lane % 4 * 2 + e % 2] = sum[f][c][e];
    }
};

#endif
