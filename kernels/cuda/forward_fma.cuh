// The forward product in float and double, by fused multiply-adds.

#pragma once

#include "forward_output.cuh"
#include "matrix_tile.cuh"
#include "particles.cuh"
#include "product_fma.cuh"

#if !TENSOR_CORES

// Few rows: a thread owns OUTPUTS columns of z, keeps their ROWS sums and makes each weight in a register.
template <int ROWS>
__device__ inline void forward_few(const Matrix& x, const NodeSet& in, const NodeSet out, const ForwardOutput output) {
    constexpr int THREADS = 128, OUTPUTS = 2, DEPTH = 32;
    __shared__ __align__(16) T x_tile[2][DEPTH][ROWS];
    __shared__ ParticleTile<DEPTH> particles[2];
    const ForwardBlock block(output.block, output.batch, in.count, out.count, output.splits, ROWS, THREADS * OUTPUTS, DEPTH);

    Particle own[OUTPUTS];
    T sum[OUTPUTS][ROWS];
#pragma unroll
    for (int o = 0; o < OUTPUTS; ++o) {
        own[o] = out.load(block.output0 + o * THREADS + threadIdx.x);
#pragma unroll
        for (int b = 0; b < ROWS; ++b) sum[o][b] = 0;
    }

    auto stage = [&](int buffer, int i0) {
        if (i0 < block.last) {
            stage_transposed<ROWS, DEPTH>(x_tile[buffer], x, block.row0, i0, THREADS);
            particles[buffer].stage(in, i0, THREADS);
        }
        commit_copies();
    };

    stage(0, block.first);
    for (int i0 = block.first, buffer = 0; i0 < block.last; i0 += DEPTH, buffer ^= 1) {
        wait_for_copies<0>();
        __syncthreads();
        stage(buffer ^ 1, i0 + DEPTH);
#pragma unroll 4
        for (int k = 0; k < DEPTH; ++k) {
            const Particle p = particles[buffer][k];
#pragma unroll
            for (int o = 0; o < OUTPUTS; ++o) {
                T w = weight(p, own[o]);
#pragma unroll
                for (int b = 0; b < ROWS; ++b) sum[o][b] += x_tile[buffer][k][b] * w;
            }
        }
    }
    output.store(block.split, [&](auto put) {
#pragma unroll
        for (int o = 0; o < OUTPUTS; ++o) {
            int column = block.output0 + o * THREADS + (int)threadIdx.x;
            T last = output.last_term(block.split, column);
#pragma unroll
            for (int b = 0; b < ROWS; ++b) put(block.row0 + b, column, sum[o][b] + last);
        }
    });
}

// Many rows: the block makes the tile of weights in shared memory and multiplies.
template <int ROWS, int COLUMNS, int PER_THREAD_ROWS, int PER_THREAD_COLUMNS>
__device__ inline void forward_fma(const Matrix& x, const NodeSet& in, const NodeSet out, const ForwardOutput output) {
    typedef FmaProduct<ROWS, COLUMNS, PER_THREAD_ROWS, PER_THREAD_COLUMNS> Product;
    constexpr int THREADS = Product::THREADS, DEPTH = 16;
    constexpr int PAD = 16 / sizeof(T);  // spreads the transposing writes over the banks
    __shared__ __align__(16) T x_tile[2][DEPTH][ROWS + PAD];
    __shared__ __align__(16) T w_tile[DEPTH][COLUMNS];
    __shared__ ParticleTile<DEPTH> particles[2];
    __shared__ ParticleTile<COLUMNS> own_particles;
    const ForwardBlock block(output.block, output.batch, in.count, out.count, output.splits, ROWS, COLUMNS, DEPTH);

    // A thread makes weights of one output only. That particle waits in shared memory: the product needs the registers.
    static_assert(THREADS % COLUMNS == 0 && DEPTH % (THREADS / COLUMNS) == 0, "whole columns of weights");
    const int w_column = threadIdx.x % COLUMNS;
    own_particles.stage(out, block.output0, THREADS);

    auto stage = [&](int buffer, int i0) {
        if (i0 < block.last) {
            stage_transposed<ROWS, DEPTH>(x_tile[buffer], x, block.row0, i0, THREADS);
            particles[buffer].stage(in, i0, THREADS);
        }
        commit_copies();
    };

    Product product;
    stage(0, block.first);
    for (int i0 = block.first, buffer = 0; i0 < block.last; i0 += DEPTH, buffer ^= 1) {
        wait_for_copies<0>();
        __syncthreads();
        stage(buffer ^ 1, i0 + DEPTH);
        const Particle own = own_particles[w_column];
#pragma unroll 2
        for (int k = threadIdx.x / COLUMNS; k < DEPTH; k += THREADS / COLUMNS)
            w_tile[k][w_column] = weight(particles[buffer][k], own);
        __syncthreads();
        product.add(x_tile[buffer], w_tile);
    }
    output.store(block.split, [&](auto put) {
#pragma unroll
        for (int c = 0; c < PER_THREAD_COLUMNS; ++c) {
            int column = block.output0 + Product::column(c);
            T last = output.last_term(block.split, column);
#pragma unroll
            for (int r = 0; r < PER_THREAD_ROWS; ++r)
                put(block.row0 + Product::row(r), column, product.sum[r][c] + last);
        }
    });
}

#endif
