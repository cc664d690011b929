// Element types, and the tile sizes for each.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#include "cuda/lanes.cuh"

namespace dml::cuda {

template <class T>
inline constexpr bool is_half = sizeof(T) == 2;

// Accumulation type.
template <class T>
using RealOf = std::conditional_t<sizeof(T) == 8, double, float>;

// Operand type of slopes. Small slopes underflow in float16; tf32 has the exponent range of float and the digits of
// float16.
template <class T>
using OperandOf = std::conditional_t<std::is_same_v<T, __half>, float, T>;

constexpr int threads = 256, warp = 32, warps = threads / warp;

template <class T>
inline constexpr int tile = sizeof(T) == 8 ? 32 : 64;  // vectors on either side
template <class T>
inline constexpr int quad = 16 / static_cast<int>(sizeof(T));  // values read at once
template <class T>
inline constexpr int chunk = 128 / static_cast<int>(sizeof(T));  // values of a vector multiplied at a time
template <class T>
inline constexpr int slice = sizeof(T) == 8 ? 128 : 256;  // values of a gradient that a block accumulates
template <class T>
inline constexpr int stage = std::is_same_v<T, __nv_bfloat16> ? 16 : 8;  // vectors of the second product at a time

template <class T>
struct alignas(16) Quad {
    T values[quad<T>];
};

__device__ inline float real(__half x) { return __half2float(x); }
__device__ inline float real(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline float real(float x) { return x; }
__device__ inline double real(double x) { return x; }

template <class T>
__device__ inline T narrow(RealOf<T> x) {
    if constexpr (std::is_same_v<T, __half>) {
        return __float2half_rn(x);
    } else if constexpr (std::is_same_v<T, __nv_bfloat16>) {
        return __float2bfloat16_rn(x);
    } else {
        return x;
    }
}

// Values d, d + 1, ... of a vector; zeros beyond its end, and for a null vector.
template <class T>
__device__ inline Quad<T> read_quad(const T* vector, std::int64_t d, std::int64_t dim, bool aligned) {
    Quad<T> read;
    if (vector != nullptr && aligned && d < dim) return *reinterpret_cast<const Quad<T>*>(vector + d);
#pragma unroll
    for (int k = 0; k < quad<T>; ++k) {
        read.values[k] = vector != nullptr && d + k < dim ? vector[d + k] : narrow<T>(0);
    }
    return read;
}

}  // namespace dml::cuda
