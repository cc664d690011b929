// The instruction set that a file of kernels is compiled for. CMake compiles it once for each, with DML_ISA as the name
// of the namespace that keeps the results apart; cpu/engine.cpp picks one when the module is loaded.
#pragma once

#if !defined(DML_ISA)
#define DML_ISA baseline
#endif

#if defined(__AVX512F__)
#define DML_PACK_BYTES 64
#elif defined(__AVX2__)
#define DML_PACK_BYTES 32
#else
#define DML_PACK_BYTES 16  // SSE2 and NEON
#endif

#if defined(_MSC_VER)
#define DML_INLINE __forceinline
#else
#define DML_INLINE inline __attribute__((always_inline))
#endif

#if defined(__clang__)
#define DML_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define DML_UNROLL _Pragma("GCC unroll 32")
#else
#define DML_UNROLL
#endif
