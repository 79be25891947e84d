// What a forward block computes and where its sums go.

#pragma once

#include "primitives.cuh"

// The block's place in the grid, and the input particles it sums over.
struct ForwardBlock {
    int row0;     // of x and z
    int output0;  // column of z
    int split;
    int first, last;  // input particles [first, last), `first` a multiple of the depth

    __device__ ForwardBlock(unsigned block, int batch, int inputs, int outputs, int splits, int rows_per_block,
                            int outputs_per_block, int depth) {
        int output_tiles = (outputs + outputs_per_block - 1) / outputs_per_block;
        int batch_tiles = (batch + rows_per_block - 1) / rows_per_block;
        output0 = (int)(block % output_tiles) * outputs_per_block;
        block /= output_tiles;
        row0 = (int)(block % batch_tiles) * rows_per_block;
        split = (int)(block / batch_tiles);
        int steps = (inputs + depth - 1) / depth;
        first = (int)((long long)steps * split / splits) * depth;
        last = (int)((long long)steps * (split + 1) / splits) * depth;
        if (last > inputs) last = inputs;
    }
};

struct ForwardOutput {
    const T* bias;        // of the sets, or null
    long long bias_of_set;
    Scalar* z;            // [sets, batch, outputs]
    T* partial;           // [splits, sets, batch, outputs], or null where the sum is not split
    int set;
    int sets;
    unsigned block;       // of those of the set
    int batch;
    int outputs;
    int splits;

    // What is added to a sum at the end: the bias, in one of the parts.
    __device__ T last_term(int split, int output) const {
        return bias && split == 0 && output < outputs ? bias[bias_of_set + output] : T(0);
    }

    // Store what `each` has: it calls its argument with the row, the output and the sum of every element this thread
    // owns. The two cases are two loops, so that an element costs one branch.
    template <class Elements>
    __device__ void store(int split, Elements each) const {
        if (partial) {
            T* part = partial + ((long long)split * sets + set) * batch * outputs;
            each([&](int row, int output, T sum) {
                if (row < batch && output < outputs) part[(long long)row * outputs + output] = sum;
            });
        } else {
            Scalar* result = z + (long long)set * batch * outputs;
            each([&](int row, int output, T sum) {
                if (row < batch && output < outputs) result[(long long)row * outputs + output] = narrow(sum);
            });
        }
    }
};
