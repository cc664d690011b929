// DML_MULTIVERSION compiles a function for several instruction sets, and the dynamic loader chooses the best that the
// processor supports. CMake defines DML_TARGET_CLONES if compiler, linker and C library support this. On arm64 the
// baseline includes NEON.
#pragma once

#if defined(DML_TARGET_CLONES) && !defined(__SANITIZE_THREAD__)  // resolvers crash under the thread sanitizer
#define DML_MULTIVERSION __attribute__((target_clones("default", "arch=haswell", "arch=skylake-avx512")))
#else
#define DML_MULTIVERSION
#endif

