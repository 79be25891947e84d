// Tiles of a row-major matrix, copied to shared memory with zeros where the tile hangs over the matrix's edges.

#pragma once

#include "primitives.cuh"

struct Matrix {
    const Scalar* data;
    long long stride;  // between rows, in elements
    int rows;
    int columns;
    bool aligned;  // every row starts at a multiple of 16 bytes

    __device__ const Scalar* at(int row, int column) const { return data + row * stride + column; }
};

// tile[ROWS][STRIDE] = matrix[row0 ..][column0 ..], COLUMNS of it.
template <int ROWS, int COLUMNS, int STRIDE>
__device__ inline void stage_tile(Scalar (&tile)[ROWS][STRIDE], const Matrix matrix, int row0, int column0, int threads) {
    constexpr int VECTOR = 16 / sizeof(Scalar);
    constexpr int LOADS_AT_ONCE = sizeof(Scalar) == 8 ? 1 : 2;  // registers are short in double
    static_assert(COLUMNS % VECTOR == 0 && STRIDE % VECTOR == 0 && COLUMNS <= STRIDE, "rows of whole vectors");
    if (matrix.aligned) {
#pragma unroll 1
        for (int e = threadIdx.x; e < ROWS * (COLUMNS / VECTOR); e += threads) {
            int row = e / (COLUMNS / VECTOR), column = e % (COLUMNS / VECTOR) * VECTOR;
            int left = row0 + row < matrix.rows ? matrix.columns - column0 - column : 0;
            int count = left < 0 ? 0 : left < VECTOR ? left : VECTOR;
            const Scalar* source = count ? matrix.at(row0 + row, column0 + column) : matrix.data;
            copy_vector_async(&tile[row][column], source, count);
        }
    } else {
#pragma unroll LOADS_AT_ONCE
        for (int e = threadIdx.x; e < ROWS * COLUMNS; e += threads) {
            int row = e / COLUMNS, column = e % COLUMNS;
            bool inside = row0 + row < matrix.rows && column0 + column < matrix.columns;
            tile[row][column] = inside ? *matrix.at(row0 + row, column0 + column) : Scalar();
        }
    }
}

#if !TENSOR_CORES
// tile[COLUMNS][STRIDE] = the transpose of matrix[row0 ..][column0 ..], ROWS of it.
template <int ROWS, int COLUMNS, int STRIDE>
__device__ inline void stage_transposed(T (&tile)[COLUMNS][STRIDE], const Matrix matrix, int row0, int column0, int threads) {
#pragma unroll 2
    for (int e = threadIdx.x; e < ROWS * COLUMNS; e += threads) {
        int row = e / COLUMNS, column = e % COLUMNS;
        if (row0 + row < matrix.rows && column0 + column < matrix.columns) {
            copy_async(&tile[column][row], matrix.at(row0 + row, column0 + column));
        } else {
            tile[column][row] = 0;
        }
    }
}
#endif
