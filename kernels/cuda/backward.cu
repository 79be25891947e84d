// Gradients of the particles and of the bias. With
//
//     G_ij = sum_b x_bi dz_bj,    q_ij = v_i . v_j,    k and k' at s_ij = |r_i - r_j|^2,
//
// a particle, of either side, gets from every particle of the other side
//
//     dr_i = sum_j 2 G_ij q_ij k'_ij (r_i - r_j)
//     dv_i = sum_j G_ij k_ij v_j
//
// (dL/dx is the forward product with the node sets exchanged.) G is never stored: a block makes one tile of it in
// shared memory, a product over the batch, and walks it twice, once a row per thread for the input particles and once
// a column per thread for the output particles, with one and the same function.
//
// Sums have a fixed order and there are no atomics, so results repeat to the bit. A block owns a chunk of tiles, some
// of them down and some across. The sums of a row stay in registers over the tiles across; those of a column are
// added up in global memory by the block itself, a tile down at a time. Every block has slabs of its own:
//
//     in_slabs [chunks across, sets, N, DIM + DIPOLE_DIM],    out_slabs [chunks down, sets, M, DIM + DIPOLE_DIM]
//
// and reduce_particles adds the slabs, those of several sets too where they share the particles. The grid is
// block = (set * chunks across + chunk across) * chunks down + chunk down; tiles.py plans it.

#include "matrix_tile.cuh"
#include "particles.cuh"
#include "product_fma.cuh"
#include "product_mma.cuh"
#include "reduce.cuh"

#if TENSOR_CORES
typedef MmaProduct Product;
constexpr int DEPTH = 32;  // rows of the batch per step
constexpr int PAD = 8;     // eight rows of a matrix for load_matrices then lie in eight different bank groups
#elif defined(SCALAR_FLOAT64)
typedef FmaProduct<64, 64, 4, 4> Product;
constexpr int DEPTH = 8, PAD = 0;
#else
typedef FmaProduct<128, 64, 8, 4> Product;
constexpr int DEPTH = 16, PAD = 0;
#endif
constexpr int THREADS = Product::THREADS;
constexpr int TILE_IN = Product::ROWS, TILE_OUT = Product::COLUMNS;
// Threads that share a row, or a column; they are neighbours in a warp.
constexpr int ROW_PARTS = THREADS / TILE_IN, COLUMN_PARTS = THREADS / TILE_OUT;
// With this stride, and a column's threads this many rows apart, no two lanes read the same bank.
constexpr int STRIDE = TILE_OUT + ROW_PARTS;
constexpr int ROW_GROUP = ROW_PARTS * COLUMN_PARTS < 32 ? 32 / (ROW_PARTS * COLUMN_PARTS) : 1;

// Independent pairs that a thread has under way; double has no registers for two.
constexpr int PAIRS_AT_ONCE = sizeof(T) == 8 ? 1 : 2;

// The gradient of one particle, as far as it is summed.
struct ParticleGradient {
    T r[DIM];
    T v[DIPOLE_DIM];

    __device__ void clear() {
#pragma unroll UNROLL
        for (int c = 0; c < DIM; ++c) r[c] = 0;
#pragma unroll UNROLL
        for (int c = 0; c < DIPOLE_DIM; ++c) v[c] = 0;
    }

    // What `own` gets from `other`, with g their element of G.
    __device__ void add(T g, const Particle& own, const Particle& other) {
        T s = squared_distance(own, other);
        T pull = g * dipole_product(own, other) * (T(2) * potential_derivative(s));
        T turn = g * potential_value(s);
#pragma unroll UNROLL
        for (int c = 0; c < DIM; ++c) r[c] += pull * (own.r[c] - other.r[c]);
#pragma unroll UNROLL
        for (int c = 0; c < DIPOLE_DIM; ++c) v[c] += turn * other.v[c];
    }

    // Add up the sums of `parts` neighbouring threads.
    __device__ void add_neighbours(int parts) {
#pragma unroll
        for (int distance = 1; distance < parts; distance *= 2) {
#pragma unroll UNROLL
            for (int c = 0; c < DIM; ++c) r[c] += exchange_lanes(r[c], distance);
#pragma unroll UNROLL
            for (int c = 0; c < DIPOLE_DIM; ++c) v[c] += exchange_lanes(v[c], distance);
        }
    }

    __device__ void store(T* slab, bool add_to_it) const {
#pragma unroll UNROLL
        for (int c = 0; c < DIM; ++c) slab[c] = add_to_it ? slab[c] + r[c] : r[c];
#pragma unroll UNROLL
        for (int c = 0; c < DIPOLE_DIM; ++c) slab[DIM + c] = add_to_it ? slab[DIM + c] + v[c] : v[c];
    }
};

// Tiles of x and dz on their way in, and the tile of G once they have been used.
union GradientTiles {
    struct {
        Scalar x[2][DEPTH][TILE_IN + PAD];
        Scalar dz[2][DEPTH][TILE_OUT + PAD];
    } staged;
    T g[TILE_IN][STRIDE];
};

// The tile of G = x^T dz at (i0, j0), to `tiles.g`.
__device__ inline void make_g(GradientTiles& tiles, const Matrix& x, const Matrix& dz, int i0, int j0) {
    auto stage = [&](int buffer, int b0) {
        if (b0 < x.rows) {
            stage_tile<DEPTH, TILE_IN>(tiles.staged.x[buffer], x, b0, i0, THREADS);
            stage_tile<DEPTH, TILE_OUT>(tiles.staged.dz[buffer], dz, b0, j0, THREADS);
        }
        commit_copies();
    };

    Product product;
    stage(0, 0);
    for (int b0 = 0, buffer = 0; b0 < x.rows; b0 += DEPTH, buffer ^= 1) {
        wait_for_copies<0>();
        __syncthreads();
        stage(buffer ^ 1, b0 + DEPTH);
        product.add(tiles.staged.x[buffer], tiles.staged.dz[buffer]);
    }
    __syncthreads();
    product.store(tiles.g);
    __syncthreads();
}

// Where the set of a block lies is read once a step, so it waits in shared memory: registers are short. With particles
// of many numbers in double it is the shared memory that is full.
#if defined(SCALAR_FLOAT64) && DIM + DIPOLE_DIM > 12
#define OF_BLOCK
constexpr bool IN_REGISTERS = true;
#else
#define OF_BLOCK __shared__
constexpr bool IN_REGISTERS = false;
#endif

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT(sizeof(T) == 8 ? 1 : THREADS == 128 ? 3 : 2))
    particle_gradient(const Scalar* x_data, long long x_set, long long x_stride, int x_aligned,
                      const Scalar* dz_data, long long dz_set, long long dz_stride, int dz_aligned, const T* r_in,
                      long long r_in_set, const T* v_in, long long v_in_set, const T* r_out, long long r_out_set,
                      const T* v_out, long long v_out_set, T* in_slabs, T* out_slabs, int sets, int batch, int inputs,
                      int outputs, int tiles_down, int tiles_across, int chunks_down) {
    __shared__ __align__(16) unsigned char storage[sizeof(GradientTiles)];
    __shared__ ParticleTile<TILE_IN> in_particles;
    __shared__ ParticleTile<TILE_OUT> out_particles;
    GradientTiles& tiles = *(GradientTiles*)storage;
    const int set = set_of_block(sets), block = block_of_set(sets);
    OF_BLOCK Matrix x, dz;
    OF_BLOCK NodeSet in, out;
    if (threadIdx.x == 0 || IN_REGISTERS) {
        x = {x_data + set * x_set, x_stride, batch, inputs, x_aligned != 0};
        dz = {dz_data + set * dz_set, dz_stride, batch, outputs, dz_aligned != 0};
        in = {r_in + set * r_in_set, v_in + set * v_in_set, inputs};
        out = {r_out + set * r_out_set, v_out + set * v_out_set, outputs};
    }
    __syncthreads();

    const int chunk_down = block % chunks_down, chunk_across = block / chunks_down;
    const int first_i = chunk_down * tiles_down * TILE_IN, first_j = chunk_across * tiles_across * TILE_OUT;
    const int last_i = min((long long)inputs, (long long)first_i + tiles_down * TILE_IN);
    const int last_j = min((long long)outputs, (long long)first_j + tiles_across * TILE_OUT);
    constexpr int COMPONENTS = DIM + DIPOLE_DIM;
    in_slabs += ((long long)chunk_across * sets + set) * inputs * COMPONENTS;
    out_slabs += ((long long)chunk_down * sets + set) * outputs * COMPONENTS;

    const int row = threadIdx.x / ROW_PARTS, row_part = threadIdx.x % ROW_PARTS;
    const int column = threadIdx.x / COLUMN_PARTS, column_part = threadIdx.x % COLUMN_PARTS;

    for (int i0 = first_i; i0 < last_i; i0 += TILE_IN) {
        ParticleGradient in_gradient;
        in_gradient.clear();
        for (int j0 = first_j; j0 < last_j; j0 += TILE_OUT) {
            in_particles.stage(in, i0, THREADS);
            out_particles.stage(out, j0, THREADS);
            make_g(tiles, x, dz, i0, j0);

            const Particle own_in = in_particles[row];
            const int columns = min(TILE_OUT, outputs - j0);
#pragma unroll PAIRS_AT_ONCE
            for (int c = row_part; c < columns; c += ROW_PARTS)
                in_gradient.add(tiles.g[row][c], own_in, out_particles[c]);

            const Particle own_out = out_particles[column];
            ParticleGradient out_gradient;
            out_gradient.clear();
            const int rows = min(TILE_IN, inputs - i0);
#pragma unroll PAIRS_AT_ONCE
            for (int e = 0; e < TILE_IN / COLUMN_PARTS; ++e) {
                int r = (e / ROW_GROUP * COLUMN_PARTS + column_part) * ROW_GROUP + e % ROW_GROUP;
                if (r < rows) out_gradient.add(tiles.g[r][column], own_out, in_particles[r]);
            }
            out_gradient.add_neighbours(COLUMN_PARTS);
            if (column_part == 0 && column < columns)
                out_gradient.store(out_slabs + (long long)(j0 + column) * COMPONENTS, i0 > first_i);
            __syncthreads();
        }
        in_gradient.add_neighbours(ROW_PARTS);
        if (row_part == 0 && i0 + row < inputs)
            in_gradient.store(in_slabs + (long long)(i0 + row) * COMPONENTS, false);
    }
}

// dr [count, DIM] and dv [count, DIPOLE_DIM], whichever is not null, from slabs [number, count, DIM + DIPOLE_DIM].
extern "C" __global__ void __launch_bounds__(256)
    reduce_particles(const T* slabs, T* dr, T* dv, int number, long long count) {
    constexpr int COMPONENTS = DIM + DIPOLE_DIM;
    long long elements = count * COMPONENTS;
    for (long long e = blockIdx.x * 256ll + threadIdx.x; e < elements; e += gridDim.x * 256ll) {
        T sum = 0;
        for (int slab = 0; slab < number; ++slab) sum += slabs[slab * elements + e];
        long long particle = e / COMPONENTS;
        int c = (int)(e % COMPONENTS);
        if (c < DIM) {
            if (dr) dr[particle * DIM + c] = sum;
        } else if (dv) {
            dv[particle * DIPOLE_DIM + c - DIM] = sum;
        }
    }
}

// partial [chunks, sets, outputs] = the sums of `rows_per_chunk` rows each of dz; reduce_partial makes dbias of them.
// The grid is block = (chunk * sets + set) * column blocks + column block.
extern "C" __global__ void __launch_bounds__(128) bias_gradient(const Scalar* dz, long long dz_set, long long dz_stride,
                                                                T* partial, int sets, int batch, int outputs,
                                                                int rows_per_chunk) {
    int column_blocks = (outputs + 127) / 128;
    int part = blockIdx.x / column_blocks;
    int chunk = part / sets;
    int column = blockIdx.x % column_blocks * 128 + threadIdx.x;
    if (column >= outputs) return;
    int first = chunk * rows_per_chunk;
    int last = min((long long)batch, (long long)first + rows_per_chunk);
    T sum = 0;
    dz += part % sets * dz_set;
#pragma unroll 4
    for (int b = first; b < last; ++b) sum += widen(dz[b * dz_stride + column]);
    partial[(long long)part * outputs + column] = sum;
}
