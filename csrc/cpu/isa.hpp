// The instruction set that cpu/kernels.cpp is compiled for. CMake compiles that file once for each instruction set, and
// DML_ISA names the namespace of each copy; cpu/engine.cpp chooses one copy when the module is loaded.
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
