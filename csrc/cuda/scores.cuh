// The first product: a tile of cosines. Halves are multiplied raw, on tensor cores, and the scores scaled; wider values
// are normalised first, so that no score overflows.
#pragma once

#include <mma.h>

#include "cuda/block.cuh"

namespace dml::cuda {

// A chunk of the vectors of a tile, between memory and shared memory.
template <class T>
class Chunk {
    static constexpr int row = chunk<T> / quad<T>;  // quads of a chunk
    static constexpr int count = tile<T> * row / threads;
    static_assert(tile<T> * row % threads == 0);
    Quad<T> quads_[2][count];

  public:
    __device__ void read(Memory<T>& memory, std::int64_t begin, const Problem& problem) {
#pragma unroll
        for (int side = 0; side < 2; ++side) {
            const Side<T>& from = side == 0 ? memory.owned : memory.streamed;
#pragma unroll
            for (int k = 0; k < count; ++k) {
                const int at = threadIdx.x + k * threads;
                quads_[side][k] =
                    read_quad(from.vector[at / row], begin + at % row * quad<T>, problem.dim, problem.aligned);
            }
        }
    }

    __device__ void write(Memory<T>& memory) {
#pragma unroll
        for (int side = 0; side < 2; ++side) {
            const Side<T>& from = side == 0 ? memory.owned : memory.streamed;
#pragma unroll
            for (int k = 0; k < count; ++k) {
                const int at = threadIdx.x + k * threads, v = at / row;
                if constexpr (!is_half<T>) {
                    const T norm = from.norm[v];
#pragma unroll
                    for (int i = 0; i < quad<T>; ++i) quads_[side][k].values[i] *= norm;
                }
                T* const to = memory.operands(side) + v * Memory<T>::chunk_ld + at % row * quad<T>;
                *reinterpret_cast<Quad<T>*>(to) = quads_[side][k];
            }
        }
    }
};

// The part of one thread, of 16 x 16: every sixteenth vector of either side.
template <class T>
class PlainScores {
    static constexpr int across = 16, size = tile<T> / across;
    T sums_[size][size] = {};

  public:
    __device__ void add(Memory<T>& memory) {
        constexpr int ld = Memory<T>::chunk_ld;
        const T* const owned = memory.operands(0) + threadIdx.x / across * ld;
        const T* const other = memory.operands(1) + threadIdx.x % across * ld;
#pragma unroll 2
        for (int k = 0; k < chunk<T>; k += quad<T>) {
            Quad<T> left[size], right[size];
#pragma unroll
            for (int i = 0; i < size; ++i) {
                left[i] = *reinterpret_cast<const Quad<T>*>(owned + i * across * ld + k);
                right[i] = *reinterpret_cast<const Quad<T>*>(other + i * across * ld + k);
            }
#pragma unroll
            for (int n = 0; n < quad<T>; ++n) {
#pragma unroll
                for (int i = 0; i < size; ++i) {
#pragma unroll
                    for (int j = 0; j < size; ++j) sums_[i][j] += left[i].values[n] * right[j].values[n];
                }
            }
        }
    }

    __device__ void write(Memory<T>& memory) {
        T* const to = memory.scores() + threadIdx.x / across * Memory<T>::ld + threadIdx.x % across;
#pragma unroll
        for (int i = 0; i < size; ++i) {
#pragma unroll
            for (int j = 0; j < size; ++j) to[i * across * Memory<T>::ld + j * across] = sums_[i][j];
        }
    }
};

// The part of one warp: 16 owned by 32 streamed vectors.
template <class T>
class TensorScores {
    static constexpr int fragments = 2;
    using Sums = nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, 16, float>;
    Sums sums_[fragments];

    __device__ static int owned() { return threadIdx.x / warp / 2 * 16; }
    __device__ static int other() { return threadIdx.x / warp % 2 * 32; }

  public:
    __device__ TensorScores() {
#pragma unroll
        for (Sums& sums : sums_) nvcuda::wmma::fill_fragment(sums, 0.0f);
    }

    __device__ void add(Memory<T>& memory) {
        namespace wmma = nvcuda::wmma;
        constexpr int ld = Memory<T>::chunk_ld;
#pragma unroll
        for (int k = 0; k < chunk<T>; k += 16) {
            wmma::fragment<wmma::matrix_a, 16, 16, 16, T, wmma::row_major> left;
            wmma::load_matrix_sync(left, memory.operands(0) + owned() * ld + k, ld);
#pragma unroll
            for (int j = 0; j < fragments; ++j) {
                wmma::fragment<wmma::matrix_b, 16, 16, 16, T, wmma::col_major> right;
                wmma::load_matrix_sync(right, memory.operands(1) + (other() + j * 16) * ld + k, ld);
                wmma::mma_sync(sums_[j], left, right, sums_[j]);
            }
        }
    }

    __device__ void write(Memory<T>& memory) {
        constexpr int ld = Memory<T>::ld;
        float* const to = memory.scores() + owned() * ld + other();
#pragma unroll
        for (int j = 0; j < fragments; ++j) {
            nvcuda::wmma::store_matrix_sync(to + j * 16, sums_[j], ld, nvcuda::wmma::mem_row_major);
        }
        __syncwarp();
        const int lane = threadIdx.x % warp;
        const float norm = memory.streamed.norm[other() + lane];
#pragma unroll
        for (int i = 0; i < 16; ++i) to[i * ld + lane] *= memory.owned.norm[owned() + i] * norm;
    }
};

// Synchronise before the first call; the function synchronises at its end.
template <class T>
__device__ inline void score(Memory<T>& memory, const Problem& problem) {
    std::conditional_t<is_half<T>, TensorScores<T>, PlainScores<T>> sums;
    Chunk<T> next;
    next.read(memory, 0, problem);
    for (std::int64_t begin = 0; begin < problem.dim; begin += chunk<T>) {
        next.write(memory);
        __syncthreads();
        if (begin + chunk<T> < problem.dim) next.read(memory, begin + chunk<T>, problem);
        sums.add(memory);
        __syncthreads();
    }
    sums.write(memory);
    __syncthreads();
}

}  // namespace dml::cuda
