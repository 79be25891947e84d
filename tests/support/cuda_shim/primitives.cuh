// What kernels/cuda/primitives.cuh offers, for a CPU: see there for what each function does.

#pragma once

#define RESIDENT(blocks) blocks

#if defined(SCALAR_FLOAT64)
typedef double Scalar;
typedef double T;
#elif defined(SCALAR_FLOAT32)
typedef float Scalar;
typedef float T;
#else
#define TENSOR_CORES 1
struct Scalar {
    unsigned short bits;
};
typedef float T;
#endif

inline T exp_(T a) { return std::exp(a); }
inline T sqrt_(T a) { return std::sqrt(a); }
inline T rsqrt_(T a) { return T(1) / std::sqrt(a); }
inline T rcp_(T a) { return T(1) / a; }

#if defined(SCALAR_FLOAT16)
inline T widen(Scalar a) {
    _Float16 half;
    std::memcpy(&half, &a, 2);
    return half;
}
inline Scalar narrow(T a) {
    _Float16 half = (_Float16)a;
    Scalar result;
    std::memcpy(&result, &half, 2);
    return result;
}
#elif defined(SCALAR_BFLOAT16)
inline T widen(Scalar a) {
    uint32_t bits = (uint32_t)a.bits << 16;
    T result;
    std::memcpy(&result, &bits, 4);
    return result;
}
inline Scalar narrow(T a) {
    uint32_t bits;
    std::memcpy(&bits, &a, 4);
    if (std::isnan(a)) return {0x7fff};
    return {(unsigned short)((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};  // to nearest, ties to even
}
#else
inline T widen(Scalar a) { return a; }
inline Scalar narrow(T a) { return a; }
#endif

inline void copy_async(T* target, const T* source) { shim::issue_copy(target, source, sizeof(T), 0); }

inline void copy_vector_async(Scalar* target, const Scalar* source, int count) {
    if ((uintptr_t)target % 16 || (uintptr_t)source % 16) shim::fail("a vector is not aligned");
    shim::issue_copy(target, source, count * sizeof(Scalar), 16 - count * sizeof(Scalar));
}

inline void commit_copies() { shim::commit(); }

template <int PENDING>
inline void wait_for_copies() {
    shim::wait(PENDING);
}

inline T exchange_lanes(T a, int distance) {
    unsigned buffer = shim::give(a);
    return shim::read<T>(buffer, threadIdx.x % shim::WARP ^ distance);
}

#if TENSOR_CORES
inline unsigned pack(T low, T high) { return (unsigned)narrow(high).bits << 16 | narrow(low).bits; }

inline void load_matrices(unsigned (&registers)[4], const Scalar* row) {
    if ((uintptr_t)row % 16) shim::fail("the row of a matrix is not aligned");
    unsigned buffer = shim::give(row), lane = threadIdx.x % shim::WARP;
    for (unsigned m = 0; m < 4; ++m) {
        const Scalar* source = shim::read<const Scalar*>(buffer, 8 * m + lane / 4);
        registers[m] = (unsigned)source[lane % 4 * 2 + 1].bits << 16 | source[lane % 4 * 2].bits;
    }
}

inline void load_matrices_transposed(unsigned (&registers)[4], const Scalar* row) {
    if ((uintptr_t)row % 16) shim::fail("the row of a matrix is not aligned");
    unsigned buffer = shim::give(row), lane = threadIdx.x % shim::WARP;
    for (unsigned m = 0; m < 4; ++m) {
        const Scalar* low = shim::read<const Scalar*>(buffer, 8 * m + lane % 4 * 2);
        const Scalar* high = shim::read<const Scalar*>(buffer, 8 * m + lane % 4 * 2 + 1);
        registers[m] = (unsigned)high[lane / 4].bits << 16 | low[lane / 4].bits;
    }
}

struct MmaOperands {
    unsigned a[4];
    unsigned b[2];
};

inline T half_of(unsigned word, int which) { return widen(Scalar{(unsigned short)(word >> 16 * which)}); }

inline void multiply_add(float (&sum)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    unsigned buffer = shim::give(MmaOperands{{a[0], a[1], a[2], a[3]}, {b0, b1}});
    unsigned lane = threadIdx.x % shim::WARP, group = lane / 4, in_group = lane % 4;
    for (int k = 0; k < 16; ++k) {
        MmaOperands row = shim::read<MmaOperands>(buffer, group * 4 + k % 8 / 2);
        for (int column = 0; column < 2; ++column) {
            MmaOperands other = shim::read<MmaOperands>(buffer, (in_group * 2 + column) * 4 + k % 8 / 2);
            T b = half_of(other.b[k / 8], k % 2);
            sum[column] += half_of(row.a[k / 8 * 2], k % 2) * b;
            sum[2 + column] += half_of(row.a[k / 8 * 2 + 1], k % 2) * b;
        }
    }
}
#endif
