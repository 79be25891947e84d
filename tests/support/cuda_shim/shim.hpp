// Runs CUDA kernels on a CPU: the threads of a block are fibers that switch at barriers, blocks run one after another.
//
// What is checked on the way: every thread of a block reaches every barrier, every lane of a warp every collective,
// and vectors are aligned. Shared memory is static memory of the process, so the address sanitizer sees its bounds.

#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include <sys/mman.h>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define SHIM_ASAN 1
#endif

#define __device__
#define __global__
#define __shared__ static
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))

struct ShimIndex {
    unsigned x;
};
static ShimIndex threadIdx, blockIdx, gridDim;

template <class A, class B>
inline auto min(A a, B b) -> decltype(a + b) {
    return a < b ? a : b;
}

namespace shim {

[[noreturn]] inline void fail(const char* message) {
    std::fprintf(stderr, "cuda shim: %s (block %u, thread %u)\n", message, blockIdx.x, threadIdx.x);
    std::fflush(stderr);
    std::abort();
}

// ---- switching between stacks

#if defined(__x86_64__)
struct Context {
    void* stack_pointer;
};
extern "C" void shim_switch(void** save, void* load);
asm(R"(
.text
.local shim_switch
.type shim_switch, @function
shim_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size shim_switch, .-shim_switch
)");
inline void switch_context(Context& from, Context& to) { shim_switch(&from.stack_pointer, to.stack_pointer); }
inline void make_context(Context& context, char* stack, size_t size, void (*entry)()) {
    void** top = reinterpret_cast<void**>(stack + size) - 2;  // entry finds the stack as after a call
    *top = reinterpret_cast<void*>(entry);
    top -= 6;
    std::memset(top, 0, 6 * sizeof(void*));
    context.stack_pointer = top;
}
#else
typedef ucontext_t Context;
inline void switch_context(Context& from, Context& to) { swapcontext(&from, &to); }
inline void make_context(Context& context, char* stack, size_t size, void (*entry)()) {
    getcontext(&context);
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = size;
    makecontext(&context, entry, 0);
}
#endif

// ---- threads

constexpr size_t STACK_BYTES = 256 * 1024;
constexpr unsigned MAX_THREADS = 1024, WARP = 32;

enum State { READY, AT_WARP_BARRIER, AT_BLOCK_BARRIER, DONE };

struct PendingCopy {
    void* target;
    const void* source;
    size_t bytes;
    size_t zeros;
    long group;
};

struct Thread {
    Context context;
    char* stack;
    State state;
    unsigned collectives;  // how many this thread has taken part in
    long groups;           // of asynchronous copies it has committed
    std::vector<PendingCopy> copies;
#if SHIM_ASAN
    void* fake_stack;
#endif
};

struct LaneMessage {
    unsigned char bytes[32];
};

static Thread threads[MAX_THREADS];
static LaneMessage messages[2][MAX_THREADS];
static Context scheduler;
static void (*entry)(void**);
static void** entry_arguments;
#if SHIM_ASAN
static const void* scheduler_stack;
static size_t scheduler_stack_size;
static void* scheduler_fake_stack;
#endif

inline void yield(State state) {
    Thread& self = threads[threadIdx.x];
    self.state = state;
#if SHIM_ASAN
    __sanitizer_start_switch_fiber(state == DONE ? nullptr : &self.fake_stack, scheduler_stack, scheduler_stack_size);
#endif
    switch_context(self.context, scheduler);
#if SHIM_ASAN
    __sanitizer_finish_switch_fiber(self.fake_stack, &scheduler_stack, &scheduler_stack_size);
#endif
}

static void thread_main() {
#if SHIM_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_stack_size);
#endif
    entry(entry_arguments);
    yield(DONE);
    fail("a finished thread went on");
}

inline void resume(unsigned index) {
    threadIdx.x = index;
    Thread& thread = threads[index];
#if SHIM_ASAN
    __sanitizer_start_switch_fiber(&scheduler_fake_stack, thread.stack, STACK_BYTES);
#endif
    switch_context(scheduler, thread.context);
#if SHIM_ASAN
    __sanitizer_finish_switch_fiber(scheduler_fake_stack, nullptr, nullptr);
#endif
}

// Run a warp until all its lanes are at a block barrier or done.
inline void run_warp(unsigned first, unsigned last, bool reversed) {
    for (;;) {
        for (unsigned lane = first; lane < last; ++lane) {
            unsigned index = reversed ? last - 1 - (lane - first) : lane;
            if (threads[index].state == READY) resume(index);
        }
        unsigned waiting = 0;
        for (unsigned lane = first; lane < last; ++lane) waiting += threads[lane].state == AT_WARP_BARRIER;
        if (waiting == 0) return;
        if (waiting != WARP) fail("lanes diverged at a collective of the warp");
        for (unsigned lane = first; lane < last; ++lane) threads[lane].state = READY;
    }
}

inline void run_block(unsigned block, bool reversed) {
    for (unsigned t = 0; t < block; ++t) {
        Thread& thread = threads[t];
        if (!thread.stack) {
            void* stack = mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (stack == MAP_FAILED) fail("no memory for a stack");
            thread.stack = static_cast<char*>(stack);
        }
        make_context(thread.context, thread.stack, STACK_BYTES, thread_main);
        thread.state = READY;
        thread.collectives = 0;
        thread.groups = 0;
        thread.copies.clear();
    }
    const unsigned warps = (block + WARP - 1) / WARP;
    for (;;) {
        for (unsigned w = 0; w < warps; ++w) {
            unsigned warp = reversed ? warps - 1 - w : w;
            run_warp(warp * WARP, min(block, (warp + 1) * WARP), reversed);
        }
        unsigned waiting = 0;
        for (unsigned t = 0; t < block; ++t) waiting += threads[t].state == AT_BLOCK_BARRIER;
        if (waiting == 0) return;
        if (waiting != block) fail("not every thread reached __syncthreads");
        for (unsigned t = 0; t < block; ++t) threads[t].state = READY;
    }
}

inline void run_grid(unsigned grid, unsigned block, bool reversed) {
    if (block > MAX_THREADS) fail("too many threads");
    gridDim.x = grid;
    for (unsigned b = 0; b < grid; ++b) {
        blockIdx.x = reversed ? grid - 1 - b : b;
        run_block(block, reversed);
    }
}

// ---- what primitives.cuh is made of

// Give `mine` to the warp and wait until every lane has given its own; `read` then sees them.
template <class Message>
inline unsigned give(const Message& mine) {
    static_assert(sizeof(Message) <= sizeof(LaneMessage), "too long a message");
    // Two buffers in turn: nobody is more than one collective ahead of anybody else in the warp.
    unsigned buffer = threads[threadIdx.x].collectives++ % 2;
    std::memcpy(messages[buffer][threadIdx.x].bytes, &mine, sizeof(Message));
    yield(AT_WARP_BARRIER);
    return buffer;
}

template <class Message>
inline Message read(unsigned buffer, unsigned lane) {
    Message message;
    std::memcpy(&message, messages[buffer][threadIdx.x / WARP * WARP + lane].bytes, sizeof(Message));
    return message;
}

// The copy happens when it is waited for; until then the target holds NaN, so that a read too early, or an issue
// while somebody still reads the target, shows in the result.
inline void issue_copy(void* target, const void* source, size_t bytes, size_t zeros) {
    Thread& self = threads[threadIdx.x];
    std::memset(target, 0xff, bytes + zeros);
    self.copies.push_back({target, source, bytes, zeros, self.groups});
}

inline void commit() { ++threads[threadIdx.x].groups; }

inline void wait(long pending) {
    Thread& self = threads[threadIdx.x];
    std::vector<PendingCopy> left;
    for (const PendingCopy& copy : self.copies) {
        if (copy.group >= self.groups - pending) {
            left.push_back(copy);
            continue;
        }
        std::memcpy(copy.target, copy.source, copy.bytes);
        std::memset(static_cast<char*>(copy.target) + copy.bytes, 0, copy.zeros);
    }
    self.copies.swap(left);
}

// ---- calling a kernel with the addresses of its arguments, as cuLaunchKernel does

template <class... A, size_t... I>
inline void unpack(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<A*>(arguments[I])...);
}
template <class... A>
inline void call(void (*kernel)(A...), void** arguments) {
    unpack(kernel, arguments, std::index_sequence_for<A...>());
}
template <class... A>
inline int sizes(void (*)(A...), int* result) {
    for (int size : {(int)sizeof(A)...}) *result++ = size;
    return sizeof...(A);
}

}  // namespace shim

inline void __syncthreads() { shim::yield(shim::AT_BLOCK_BARRIER); }

// The two functions that a test sees of a kernel. All else stays hidden in its library: the shared memory of the same
// kernel in another dtype has the same name.
#define SHIM_VISIBLE extern "C" __attribute__((visibility("default")))
#define SHIM_EXPORT(kernel)                                                                                    \
    static void shim_entry_##kernel(void** arguments) { shim::call(kernel, arguments); }                       \
    SHIM_VISIBLE void shim_run_##kernel(unsigned grid, unsigned block, void** arguments, int reversed) {       \
        shim::entry = shim_entry_##kernel;                                                                     \
        shim::entry_arguments = arguments;                                                                     \
        shim::run_grid(grid, block, reversed != 0);                                                            \
    }                                                                                                          \
    SHIM_VISIBLE int shim_sizes_##kernel(int* result) { return shim::sizes(kernel, result); }
