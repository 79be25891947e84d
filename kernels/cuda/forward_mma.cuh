// The forward product in float16 and bfloat16 on the tensor cores, as z^T = W^T x^T.
//
// The product's first operand is then W^T [outputs x inputs], and a lane computes just the eight weights of each
// 16 x 16 fragment that it must hold: weights never touch shared memory, let alone global. Positions, dipoles, the
// pairwise function and all sums are float32; a weight is rounded once, to the dtype of x.

#pragma once

#include "forward_output.cuh"
#include "matrix_tile.cuh"
#include "particles.cuh"

#if TENSOR_CORES

template <int ROWS>
__device__ inline void forward_mma(const Matrix& x, const NodeSet& in, const NodeSet out, const ForwardOutput output) {
    constexpr int THREADS = 128, DEPTH = 32;
    constexpr int FRAGMENTS = 2;  // of 16 outputs, per warp
    constexpr int OUTPUTS = THREADS / 32 * FRAGMENTS * 16;
    constexpr int PAD = 8;  // eight rows of a matrix for load_matrices then lie in eight different bank groups
    __shared__ __align__(16) Scalar x_tile[2][ROWS][DEPTH + PAD];
    __shared__ ParticleTile<DEPTH> particles[2];
    const ForwardBlock block(output.block, output.batch, in.count, out.count, output.splits, ROWS, OUTPUTS, DEPTH);

    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int group = lane / 4, in_group = lane % 4;  // g and t of multiply_add
    const int output0 = block.output0 + warp * FRAGMENTS * 16;

    Particle own[FRAGMENTS][2];  // of rows g and g + 8
    float sum[FRAGMENTS][ROWS / 8][4];
#pragma unroll
    for (int f = 0; f < FRAGMENTS; ++f) {
        own[f][0] = out.load(output0 + f * 16 + group);
        own[f][1] = out.load(output0 + f * 16 + group + 8);
#pragma unroll
        for (int c = 0; c < ROWS / 8; ++c)
#pragma unroll
            for (int e = 0; e < 4; ++e) sum[f][c][e] = 0;
    }

    auto stage = [&](int buffer, int i0) {
        if (i0 < block.last) {
            stage_tile<ROWS, DEPTH>(x_tile[buffer], x, block.row0, i0, THREADS);
            particles[buffer].stage(in, i0, THREADS);
        }
        commit_copies();
    };

    stage(0, block.first);
    for (int i0 = block.first, buffer = 0; i0 < block.last; i0 += DEPTH, buffer ^= 1) {
        wait_for_copies<0>();
        __syncthreads();
        stage(buffer ^ 1, i0 + DEPTH);
#pragma unroll
        for (int k0 = 0; k0 < DEPTH; k0 += 16) {
            unsigned w[FRAGMENTS][4];  // W^T [16 outputs x 16 inputs]
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const Particle left = particles[buffer][k0 + 8 * half + 2 * in_group];
                const Particle right = particles[buffer][k0 + 8 * half + 2 * in_group + 1];
#pragma unroll
                for (int f = 0; f < FRAGMENTS; ++f)
#pragma unroll
                    for (int row = 0; row < 2; ++row)
                        w[f][2 * half + row] = pack(weight(left, own[f][row]), weight(right, own[f][row]));
            }
#pragma unroll
            for (int c = 0; c < ROWS / 8; c += 2) {
                unsigned b[4];  // x^T [16 inputs x 16 rows of x]
                load_matrices(b, &x_tile[buffer][(c + lane / 16) * 8 + lane % 8][k0 + lane / 8 % 2 * 8]);
#pragma unroll
                for (int f = 0; f < FRAGMENTS; ++f) {
                    multiply_add(sum[f][c], w[f], b[0], b[1]);
                    multiply_add(sum[f][c + 1], w[f], b[2], b[3]);
                }
            }
        }
    }
    output.store(block.split, [&](auto put) {
#pragma unroll
        for (int f = 0; f < FRAGMENTS; ++f) {
            const int column = output0 + f * 16 + group;
            const T last[2] = {output.last_term(block.split, column), output.last_term(block.split, column + 8)};
#pragma unroll
            for (int c = 0; c < ROWS / 8; ++c)
#pragma unroll
                for (int e = 0; e < 4; ++e)
                    put(block.row0 + c * 8 + 2 * in_group + e % 2, column + e / 2 * 8, sum[f][c][e] + last[e / 2]);
        }
    });
}

#endif
