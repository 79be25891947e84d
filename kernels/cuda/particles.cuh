// Particles, and the weight two of them make:
//
//     w_ij = (v_i . v_j) k(s_ij),    s_ij = |r_i - r_j|^2
//
// The compiler gets DIM, the components of a position, and DIPOLE_DIM, those of a dipole; potential.cuh holds
// potential_value(s) = k(s) and potential_derivative(s) = dk/ds. Differences of positions are taken as they stand,
// never expanded into |r_i|^2 + |r_j|^2 - 2 r_i . r_j, so particles far from the origin lose no digits.

#pragma once

#include "primitives.cuh"

// With exp_, sqrt_, rsqrt_ and rcp_ of primitives.cuh: what the expressions of a potential are written in.
__device__ inline T pow3_(T a) { return a * a * a; }
__device__ inline T pow4_(T a) { return (a * a) * (a * a); }

#include "potential.cuh"

// Short loops over components are unrolled whole, so that particles stay in registers.
constexpr int UNROLL = DIM + DIPOLE_DIM <= 16 ? 16 : 4;

struct __align__(16) Particle {
    T r[DIM];
    T v[DIPOLE_DIM];
};

__device__ inline T squared_distance(const Particle& a, const Particle& b) {
    T s = 0;
#pragma unroll UNROLL
    for (int c = 0; c < DIM; ++c) {
        T difference = a.r[c] - b.r[c];
        s += difference * difference;
    }
    return s;
}

__device__ inline T dipole_product(const Particle& a, const Particle& b) {
    T q = a.v[0] * b.v[0];
#pragma unroll UNROLL
    for (int c = 1; c < DIPOLE_DIM; ++c) q += a.v[c] * b.v[c];
    return q;
}

// w_ij: what every kernel of this folder makes its tiles of.
__device__ inline T weight(const Particle& a, const Particle& b) {
    return dipole_product(a, b) * potential_value(squared_distance(a, b));
}

// A node set in global memory: positions [count, DIM] and dipoles [count, DIPOLE_DIM].
struct NodeSet {
    const T* r;
    const T* v;
    int count;

    // Past the end it is the last particle again: its weights are as finite as the others, and nobody reads what
    // is made of them.
    __device__ Particle load(int index) const {
        long long last = index < count ? index : count - 1;
        Particle p;
#pragma unroll UNROLL
        for (int c = 0; c < DIM; ++c) p.r[c] = r[last * DIM + c];
#pragma unroll UNROLL
        for (int c = 0; c < DIPOLE_DIM; ++c) p.v[c] = v[last * DIPOLE_DIM + c];
        return p;
    }
};

// The place of a block in a grid of several sets: the grid of one set as often as there are sets.
__device__ inline int set_of_block(int sets) { return blockIdx.x / (gridDim.x / sets); }
__device__ inline unsigned block_of_set(int sets) { return blockIdx.x % (gridDim.x / sets); }

// Beside the tiles of x and dz, 48 KB of shared memory hold particles of so many components.
constexpr int MOST_SHARED_COMPONENTS = sizeof(T) == 8 ? 14 : 16;

// COUNT consecutive particles of a node set, for all threads of a block. Particles of many components would not fit
// in shared memory and are read from the node set itself.
template <int COUNT, bool IN_SHARED_MEMORY = (DIM + DIPOLE_DIM <= MOST_SHARED_COMPONENTS)>
struct ParticleTile {
    Particle particles[COUNT];

    // Issue the copies of this thread; they are there after wait_for_copies and a barrier.
    __device__ void stage(const NodeSet nodes, int first, int threads) {
        for (int e = threadIdx.x; e < COUNT * (DIM + DIPOLE_DIM); e += threads) {
            int k = e / (DIM + DIPOLE_DIM), c = e % (DIM + DIPOLE_DIM);
            long long last = first + k < nodes.count ? first + k : nodes.count - 1;
            if (c < DIM) {
                copy_async(&particles[k].r[c], nodes.r + last * DIM + c);
            } else {
                copy_async(&particles[k].v[c - DIM], nodes.v + last * DIPOLE_DIM + (c - DIM));
            }
        }
    }

    __device__ const Particle& operator[](int k) const { return particles[k]; }
};

template <int COUNT>
struct ParticleTile<COUNT, false> {
    NodeSet nodes;
    int first;

    __device__ void stage(const NodeSet all, int start, int) {
        if (threadIdx.x == 0) {
            nodes = all;
            first = start;
        }
    }

    __device__ Particle operator[](int k) const { return nodes.load(first + k); }
};
