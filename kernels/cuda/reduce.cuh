// Sums over slabs, in the order of the slabs: the same bits every time, without atomics.

#pragma once

#include "primitives.cuh"

// z [rows, columns] = sum of partial [slabs, rows, columns] + bias [columns]; bias may be null.
extern "C" __global__ void __launch_bounds__(256)
    reduce_partial(const T* partial, const T* bias, Scalar* z, int slabs, long long rows, int columns) {
    long long elements = rows * columns;
    for (long long e = blockIdx.x * 256ll + threadIdx.x; e < elements; e += gridDim.x * 256ll) {
        T sum = bias ? bias[e % columns] : T(0);
        for (int slab = 0; slab < slabs; ++slab) sum += partial[slab * elements + e];
        z[e] = narrow(sum);
    }
}
