// Sums over slabs, in the order of the slabs: the same bits every time, without atomics.

#pragma once

#include "primitives.cuh"

// result [elements] = the sum of partial [slabs, elements].
extern "C" __global__ void __launch_bounds__(256)
    reduce_partial(const T* partial, Scalar* result, int slabs, long long elements) {
    for (long long e = blockIdx.x * 256ll + threadIdx.x; e < elements; e += gridDim.x * 256ll) {
        T sum = 0;
        for (int slab = 0; slab < slabs; ++slab) sum += partial[slab * elements + e];
        result[e] = narrow(sum);
    }
}
