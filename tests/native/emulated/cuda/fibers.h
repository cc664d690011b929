// Jumps between stacks, of which the address sanitizer is told if it watches.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// In functions that jump: the sanitizer takes a jump for the end of all that is on the stack, and would no longer watch it.
#define UNWATCHED __attribute__((noinline, no_sanitize_address))

namespace emulation {

// Where to go on, and the stack that it is on.
struct Continuation {
    void* registers[5];  // of __builtin_setjmp; setjmp's are the sanitizer's
    const void* stack = nullptr;
    std::size_t stack_bytes = 0;
    void* watch = nullptr;
};

[[noreturn]] UNWATCHED inline void go_on(Continuation& at) { __builtin_longjmp(at.registers, 1); }

#if defined(__SANITIZE_ADDRESS__)

// Before a jump; null if the stack that is left is not needed any more.
inline void leave_for(const Continuation& next, Continuation* self) {
    __sanitizer_start_switch_fiber(self == nullptr ? nullptr : &self->watch, next.stack, next.stack_bytes);
}
// After a jump back.
inline void arrive(const Continuation& self) { __sanitizer_finish_switch_fiber(self.watch, nullptr, nullptr); }
// After the first jump to a stack.
inline void arrive_from(Continuation& last) {
    __sanitizer_finish_switch_fiber(nullptr, &last.stack, &last.stack_bytes);
}
inline void allow(void* memory, std::size_t bytes) { __asan_unpoison_memory_region(memory, bytes); }
inline void forbid(void* memory, std::size_t bytes) { __asan_poison_memory_region(memory, bytes); }

#else

inline void leave_for(const Continuation&, Continuation*) {}
inline void arrive(const Continuation&) {}
inline void arrive_from(Continuation&) {}
inline void allow(void*, std::size_t) {}
inline void forbid(void*, std::size_t) {}

#endif

}  // namespace emulation
