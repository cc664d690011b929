// DML_MULTIVERSION: one function, compiled for several instruction sets; the loader picks the best one the processor has.
// DML_TARGET_CLONES comes from CMake, where compiler, linker and C library can all do it. arm64 has NEON in its baseline.
#pragma once

#if defined(DML_TARGET_CLONES) && !defined(__SANITIZE_THREAD__)  // the thread sanitizer crashes in the loader's choice
#define DML_MULTIVERSION __attribute__((target_clones("default", "arch=haswell", "arch=skylake-avx512")))
#else
#define DML_MULTIVERSION
#endif

