// The second product, slopes times streamed vectors: a block accumulates a slice of the gradient of its vectors.
#pragma once

#include <mma.h>

#include "cuda/block.cuh"

namespace dml::cuda {

// A value in the operand type of the second product.
template <class T>
__device__ inline RealOf<T> rounded(RealOf<T> value) {
    if constexpr (std::is_same_v<T, __half>) {
        return nvcuda::wmma::__float_to_tf32(value);
    } else {
        return real(narrow<OperandOf<T>>(value));
    }
}

// The values [begin, begin + slice) of some streamed vectors, between memory and shared memory.
template <class T>
class Stage {
    static constexpr int row = slice<T> / quad<T>;
    static constexpr int count = stage<T> * row / threads;
    static_assert(stage<T> * row % threads == 0);
    Quad<T> quads_[count];

  public:
    __device__ void read(Memory<T>& memory, int first, std::int64_t begin, const Problem& problem) {
#pragma unroll
        for (int k = 0; k < count; ++k) {
            const int at = threadIdx.x + k * threads;
            quads_[k] = read_quad(memory.streamed.vector[first + at / row], begin + at % row * quad<T>, problem.dim,
                                  problem.aligned);
        }
    }

    __device__ void write(Memory<T>& memory) {
        using Operand = OperandOf<T>;
#pragma unroll
        for (int k = 0; k < count; ++k) {
            const int at = threadIdx.x + k * threads;
            Operand* const to = memory.staged() + at / row * Memory<T>::stage_ld + at % row * quad<T>;
            if constexpr (std::is_same_v<T, Operand>) {
                *reinterpret_cast<Quad<T>*>(to) = quads_[k];
            } else {
#pragma unroll
                for (int i = 0; i < quad<T>; ++i) to[i] = real(quads_[k].values[i]);
            }
        }
    }
};

// The part of one warp: every eighth vector, the whole slice.
template <class T>
class PlainGradient {
    static constexpr int vectors = tile<T> / warps, quads = slice<T> / warp / quad<T>;
    T sums_[vectors][quads][quad<T>] = {};

  public:
    __device__ void add(Memory<T>& memory, int first, std::int64_t) {
        const int lane = threadIdx.x % warp;
        const T* const factor = memory.factor() + threadIdx.x / warp * Memory<T>::factor_ld + first;
        const T* const staged = memory.staged() + lane * quad<T>;
#pragma unroll 2
        for (int n = 0; n < stage<T>; ++n) {
            Quad<T> right[quads];
#pragma unroll
            for (int j = 0; j < quads; ++j) {
                right[j] = *reinterpret_cast<const Quad<T>*>(staged + n * Memory<T>::stage_ld + j * warp * quad<T>);
            }
#pragma unroll
            for (int i = 0; i < vectors; ++i) {
                const T left = factor[i * warps * Memory<T>::factor_ld + n];
#pragma unroll
                for (int j = 0; j < quads; ++j) {
#pragma unroll
                    for (int k = 0; k < quad<T>; ++k) sums_[i][j][k] += left * right[j].values[k];
                }
            }
        }
    }

    // Calls body(vector, index of the value, sum) for each sum of this thread.
    template <class Body>
    __device__ void for_each(Memory<T>&, std::int64_t, const Body& body) const {
#pragma unroll
        for (int i = 0; i < vectors; ++i) {
#pragma unroll
            for (int j = 0; j < quads; ++j) {
#pragma unroll
                for (int k = 0; k < quad<T>; ++k) {
                    body(threadIdx.x / warp + i * warps, (j * warp + threadIdx.x % warp) * quad<T> + k, sums_[i][j][k]);
                }
            }
        }
    }
};

// The part of one warp: all vectors, 32 values of the slice, of which `width` exist. Operands are exact in their type:
// the factors are `rounded`, and the vectors are halves.
template <class T>
class TensorGradient {
    using Operand = OperandOf<T>;
    static constexpr bool tf32 = std::is_same_v<Operand, float>;
    static constexpr int rows = tile<T> / 16, columns = slice<T> / warps / 16, depth = tf32 ? 8 : 16;
    static_assert(depth == stage<T>);
    using Number = std::conditional_t<tf32, nvcuda::wmma::precision::tf32, Operand>;
    using Sums = nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, depth, float>;
    Sums sums_[rows][columns];

    __device__ static int begin() { return threadIdx.x / warp * columns * 16; }

  public:
    __device__ TensorGradient() {
#pragma unroll
        for (auto& row : sums_) {
#pragma unroll
            for (Sums& sums : row) nvcuda::wmma::fill_fragment(sums, 0.0f);
        }
    }

    __device__ void add(Memory<T>& memory, int first, std::int64_t width) {
        namespace wmma = nvcuda::wmma;
        if (begin() >= width) return;
        wmma::fragment<wmma::matrix_b, 16, 16, depth, Number, wmma::row_major> right[columns];
#pragma unroll
        for (int j = 0; j < columns; ++j) {
            wmma::load_matrix_sync(right[j], memory.staged() + begin() + j * 16, Memory<T>::stage_ld);
        }
#pragma unroll
        for (int i = 0; i < rows; ++i) {
            wmma::fragment<wmma::matrix_a, 16, 16, depth, Number, wmma::row_major> left;
            wmma::load_matrix_sync(left, memory.factor() + i * 16 * Memory<T>::factor_ld + first, Memory<T>::factor_ld);
#pragma unroll
            for (int j = 0; j < columns; ++j) wmma::mma_sync(sums_[i][j], left, right[j], sums_[i][j]);
        }
    }

    template <class Body>
    __device__ void for_each(Memory<T>& memory, std::int64_t width, const Body& body) const {
        constexpr int ld = 20;
        if (begin() >= width) return;
        float* const scratch = memory.scores() + threadIdx.x / warp * 16 * ld;
#pragma unroll
        for (int i = 0; i < rows; ++i) {
#pragma unroll
            for (int j = 0; j < columns; ++j) {
                nvcuda::wmma::store_matrix_sync(scratch, sums_[i][j], ld, nvcuda::wmma::mem_row_major);
                __syncwarp();
#pragma unroll 1
                for (int at = threadIdx.x % warp; at < 256; at += warp) {
                    body(i * 16 + at / 16, begin() + j * 16 + at % 16, scratch[at / 16 * ld + at % 16]);
                }
                __syncwarp();
            }
        }
    }
};

template <class T>
using Gradient = std::conditional_t<is_half<T>, TensorGradient<T>, PlainGradient<T>>;

// The gradient of a `value` of a raw vector from that of the unit vector. `bracket` is the product of the unit
// vector and its gradient. Zero at the norm floor.
template <class Real>
__device__ inline Real through_norm(Real of_unit, Real bracket, Real value, Real norm) {
    return norm >= Real(1e12) ? Real(0) : norm * (of_unit - bracket * (value * norm));
}

}  // namespace dml::cuda
