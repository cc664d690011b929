// One function, compiled for several instruction sets; the loader picks the best one the processor has.
#pragma once

#if defined(__linux__)
#include <features.h>  // __GLIBC__: the choice needs ifunc, which musl lacks
#endif

#if defined(__x86_64__) && defined(__GLIBC__) && (!defined(__clang__) || __clang_major__ >= 17)
#define DML_MULTIVERSION __attribute__((target_clones("default", "arch=haswell", "arch=skylake-avx512")))
#else
#define DML_MULTIVERSION  // arm64 has NEON in its baseline; the rest run the plain version
#endif

#if defined(_MSC_VER)
#define DML_INLINE __forceinline
#else
#define DML_INLINE inline __attribute__((always_inline))
#endif
