// sum [ROWS x COLUMNS] += a^T b for a [depth x ROWS] and b [depth x COLUMNS] in shared memory, by fused multiply-adds.
// A thread owns PER_THREAD_ROWS x PER_THREAD_COLUMNS elements, in groups of 16 bytes that lie far apart, so that the
// lanes of a warp read neighbouring groups and no two of them the same bank.

#pragma once

#include "primitives.cuh"

template <int TILE_ROWS, int TILE_COLUMNS, int PER_THREAD_ROWS, int PER_THREAD_COLUMNS>
struct FmaProduct {
    static constexpr int ROWS = TILE_ROWS, COLUMNS = TILE_COLUMNS;
    static constexpr int VECTOR = 16 / sizeof(T);
    static constexpr int THREADS_ACROSS = COLUMNS / PER_THREAD_COLUMNS;
    static constexpr int THREADS_DOWN = ROWS / PER_THREAD_ROWS;
    static constexpr int THREADS = THREADS_ACROSS * THREADS_DOWN;
    static_assert(PER_THREAD_ROWS % VECTOR == 0 && PER_THREAD_COLUMNS % VECTOR == 0, "whole vectors");

    struct __align__(16) Vector {
        T element[VECTOR];
    };

    T sum[PER_THREAD_ROWS][PER_THREAD_COLUMNS];

    __device__ FmaProduct() {
#pragma unroll
        for (int r = 0; r < PER_THREAD_ROWS; ++r)
#pragma unroll
            for (int c = 0; c < PER_THREAD_COLUMNS; ++c) sum[r][c] = 0;
    }

    // Where in the tile sum[r][c] belongs.
    __device__ static int row(int r) {
        return r / VECTOR * (THREADS_DOWN * VECTOR) + (int)threadIdx.x / THREADS_ACROSS * VECTOR + r % VECTOR;
    }
    __device__ static int column(int c) {
        return c / VECTOR * (THREADS_ACROSS * VECTOR) + (int)threadIdx.x % THREADS_ACROSS * VECTOR + c % VECTOR;
    }

    template <int DEPTH, int STRIDE_A, int STRIDE_B>
    __device__ void add(const T (&a)[DEPTH][STRIDE_A], const T (&b)[DEPTH][STRIDE_B]) {
#pragma unroll 2  // more of it spills, under NVRTC 13.0 or 13.5
        for (int k = 0; k < DEPTH; ++k) {
            T a_k[PER_THREAD_ROWS], b_k[PER_THREAD_COLUMNS];
#pragma unroll
            for (int r = 0; r < PER_THREAD_ROWS; r += VECTOR) *(Vector*)&a_k[r] = *(const Vector*)&a[k][row(r)];
#pragma unroll
            for (int c = 0; c < PER_THREAD_COLUMNS; c += VECTOR) *(Vector*)&b_k[c] = *(const Vector*)&b[k][column(c)];
#pragma unroll
            for (int r = 0; r < PER_THREAD_ROWS; ++r)
#pragma unroll
                for (int c = 0; c < PER_THREAD_COLUMNS; ++c) sum[r][c] += a_k[r] * b_k[c];
        }
    }

    template <int STRIDE>
    __device__ void store(T (&tile)[ROWS][STRIDE]) const {
#pragma unroll
        for (int r = 0; r < PER_THREAD_ROWS; ++r)
#pragma unroll
            for (int c = 0; c < PER_THREAD_COLUMNS; ++c) tile[row(r)][column(c)] = sum[r][c];
    }
};
