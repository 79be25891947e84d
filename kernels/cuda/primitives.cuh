// The machine's own instructions, each behind one name: elementary functions, 16-bit conversions, asynchronous
// copies, lane exchange and the tensor cores. Only this file contains assembly, so a test that wants the kernels to
// run elsewhere replaces this file alone.
//
// The compiler gets one of SCALAR_FLOAT32, SCALAR_FLOAT64, SCALAR_FLOAT16, SCALAR_BFLOAT16. `Scalar` is what x, z and
// dz are stored in; `T` is what particles are stored in and all sums run in.

#pragma once

#if defined(SCALAR_FLOAT64)
typedef double Scalar;
typedef double T;
#elif defined(SCALAR_FLOAT32)
typedef float Scalar;
typedef float T;
#elif defined(SCALAR_FLOAT16) || defined(SCALAR_BFLOAT16)
#define TENSOR_CORES 1
struct Scalar {
    unsigned short bits;
};
typedef float T;
#else
#error "define one of SCALAR_FLOAT32, SCALAR_FLOAT64, SCALAR_FLOAT16, SCALAR_BFLOAT16"
#endif

#if defined(SCALAR_BFLOAT16) && defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#error "bfloat16 needs compute capability 8.0 or higher"
#endif

// Blocks that __launch_bounds__ asks to have resident on a multiprocessor: compute capability 7.5 has too little shared
// memory for more than one of the large ones, and gives it more registers.
#if __CUDA_ARCH__ >= 800
#define RESIDENT(blocks) blocks
#else
#define RESIDENT(blocks) 1
#endif

// ---- elementary functions, which the expressions of a potential may use

#if defined(SCALAR_FLOAT64)
__device__ inline T exp_(T a) { return exp(a); }
__device__ inline T sqrt_(T a) { return sqrt(a); }
__device__ inline T rsqrt_(T a) { return rsqrt(a); }
__device__ inline T rcp_(T a) { return 1.0 / a; }
#else
// Errors of these: 2 units in the last place at most; the subnormal range of exp_ is flushed to 0.
__device__ inline T exp_(T a) {
    T result;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(a * 1.4426950408889634f));
    return result;
}
__device__ inline T sqrt_(T a) {
    T result;
    asm("sqrt.approx.f32 %0, %1;" : "=f"(result) : "f"(a));
    return result;
}
__device__ inline T rsqrt_(T a) {
    T result;
    asm("rsqrt.approx.f32 %0, %1;" : "=f"(result) : "f"(a));
    return result;
}
__device__ inline T rcp_(T a) {
    T result;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(a));
    return result;
}
#endif

// ---- 16-bit numbers

#if defined(SCALAR_FLOAT16)
__device__ inline T widen(Scalar a) {
    T result;
    asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(a.bits));
    return result;
}
__device__ inline Scalar narrow(T a) {
    Scalar result;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(a));
    return result;
}
#elif defined(SCALAR_BFLOAT16)
__device__ inline T widen(Scalar a) { return __uint_as_float((unsigned)a.bits << 16); }
__device__ inline Scalar narrow(T a) {
    Scalar result;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(a));
    return result;
}
#else
__device__ inline T widen(Scalar a) { return a; }
__device__ inline Scalar narrow(T a) { return a; }
#endif

#if TENSOR_CORES
// Two numbers in one register, `low` in its lower half.
__device__ inline unsigned pack(T low, T high) {
#if defined(SCALAR_BFLOAT16)
    unsigned result;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
    return result;
#elif __CUDA_ARCH__ >= 800
    unsigned result;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
    return result;
#else
    return (unsigned)narrow(high).bits << 16 | narrow(low).bits;
#endif
}
#endif

// ---- copies from global to shared memory that need not be waited for at once

#if __CUDA_ARCH__ >= 800
__device__ inline unsigned shared_address(const void* pointer) { return (unsigned)__cvta_generic_to_shared(pointer); }
#endif

// Copy one number of 4 or 8 bytes.
__device__ inline void copy_async(T* target, const T* source) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(shared_address(target)), "l"(source),
                 "n"(sizeof(T))
                 : "memory");
#else
    *target = *source;
#endif
}

// Copy the first `count` of the 16 / sizeof(Scalar) numbers at `source`, and zeros in place of the others. Both
// pointers are multiples of 16 bytes.
__device__ inline void copy_vector_async(Scalar* target, const Scalar* source, int count) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(target)), "l"(source),
                 "r"(count * (int)sizeof(Scalar))
                 : "memory");
#else
    if (count == 16 / (int)sizeof(Scalar)) {
        *(uint4*)target = *(const uint4*)source;
    } else {
        for (int e = 0; e < 16 / (int)sizeof(Scalar); ++e) target[e] = e < count ? source[e] : Scalar();
    }
#endif
}

// The copies issued so far by this thread make one group.
__device__ inline void commit_copies() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Wait until at most `PENDING` of this thread's groups are still under way.
template <int PENDING>
__device__ inline void wait_for_copies() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
#endif
}

// ---- lanes of a warp

__device__ inline T exchange_lanes(T a, int distance) { return __shfl_xor_sync(0xffffffffu, a, distance); }

// ---- tensor cores

#if TENSOR_CORES
// Four 8 x 8 matrices from shared memory. Lane l names the address of row l % 8 of matrix l / 8 and receives, in
// register m, the elements (l / 4, 2 (l % 4)) and the one right of it of matrix m.
__device__ inline void load_matrices(unsigned (&registers)[4], const Scalar* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
                 : "r"((unsigned)__cvta_generic_to_shared(row))
                 : "memory");
}

// The same, every matrix transposed.
__device__ inline void load_matrices_transposed(unsigned (&registers)[4], const Scalar* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
                 : "r"((unsigned)__cvta_generic_to_shared(row))
                 : "memory");
}

// sum [16 x 8] += a [16 x 16] b [16 x 8]. With g = lane / 4 and t = lane % 4 a lane holds
//   a: rows g, g + 8, g, g + 8 and columns 2t, 2t, 2t + 8, 2t + 8, with the next column in the upper half;
//   b: rows 2t, 2t + 8 of column g, with the next row in the upper half;
//   sum: (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1).
__device__ inline void multiply_add(float (&sum)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
#if defined(SCALAR_BFLOAT16)
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#elif __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(b0));
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[2]), "r"(a[3]), "r"(b1));
#endif
}
#endif
