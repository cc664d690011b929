// The kernels: tiles of forward and backward, and the merge of the splits of a vector.
#pragma once

#include "cuda/gradient.cuh"
#include "cuda/scores.cuh"

namespace dml::cuda {

// The places [begin, end) of one of `count` splits, in whole tiles.
struct Span {
    std::int64_t begin, end;
    __device__ Span(std::int64_t size, std::int64_t per_tile, std::int64_t split, std::int64_t count) {
        const std::int64_t tiles = (size + per_tile - 1) / per_tile, each = (tiles + count - 1) / count * per_tile;
        begin = split * each;
        end = begin + each < size ? begin + each : size;
    }
};

__device__ inline std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

template <class T, template <class> class Statistic>
__global__ void __launch_bounds__(threads, 2) forward_kernel(const __grid_constant__ Problem problem,
                                                          const __grid_constant__ Statistic<RealOf<T>> statistic) {
    using Real = RealOf<T>;
    constexpr int width = Statistic<Real>::width, views = Statistic<Real>::views;
    static_assert(threads * width * sizeof(Real) <= sizeof(Memory<T>::first) + sizeof(Memory<T>::second));
    Memory<T>& memory = Memory<T>::here();
    const Job& job = problem.jobs[0];
    const std::int64_t split = blockIdx.x / job.blocks, block = blockIdx.x % job.blocks;
    const std::int64_t owned_begin = block * job.per_block, owned_end = smaller(owned_begin + job.per_block, job.owned.count);
    const int per_tile = tile<T> / problem.group * problem.group;
    describe(memory.owned, job.owned, owned_begin, owned_end, views, 1, problem, split == 0, false);

    const View<T> view(true, views);
    Real state[width];
    Statistic<Real>::empty(state);
    const Span span(job.streamed.count, per_tile, split, job.num_splits);
    for (std::int64_t begin = span.begin; begin < span.end; begin += per_tile) {
        const std::int64_t end = smaller(begin + per_tile, span.end);
        describe(memory.streamed, job.streamed, begin, end, 1, problem.group, problem, false, block == 0);
        __syncthreads();
        score(memory, problem);
        if (memory.owned.vector[view.row] != nullptr) {
            const Row<Real> row = view.of(memory, true, views, problem, job, owned_begin, begin, end);
            statistic.fold(row, Folded<Real>{state});
        }
        __syncthreads();
    }

    Real* const states = reinterpret_cast<Real*>(&memory);  // in the memory of the operands and the scores
    for (int k = 0; k < width; ++k) states[threadIdx.x * width + k] = state[k];
    __syncthreads();
    const int rows = tile<T> / views;
    if (threadIdx.x >= rows || memory.owned.index[threadIdx.x] < 0) return;
    Statistic<Real>::empty(state);
    for (int q = 0; q < view.every; ++q) {
        Statistic<Real>::merge_states(states + (threadIdx.x * view.every + q) * width, state);
    }
    const std::int64_t place = (job.num_splits == 1 ? 0 : split * job.owned.count) + memory.owned.index[threadIdx.x];
    Real* const out = reinterpret_cast<Real*>(job.num_splits == 1 ? job.out : job.partial) + place * width;
    const bool counts = memory.owned.vector[threadIdx.x] != nullptr;
    for (int k = 0; k < width; ++k) out[k] = counts ? state[k] : Real(0);
}

// Merges the statistics of the splits of each row, in a fixed order.
template <class T, template <class> class Statistic>
__global__ void __launch_bounds__(threads) merge_kernel(const __grid_constant__ Problem problem) {
    using Real = RealOf<T>;
    constexpr int width = Statistic<Real>::width;
    const Job& job = problem.jobs[0];
    const std::int64_t place = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
    if (place >= job.owned.count) return;
    const Place<T> row = locate<T>(job.owned, place, 0, 1);
    const Real* const partial = reinterpret_cast<const Real*>(job.partial);
    Real* const out = reinterpret_cast<Real*>(job.out) + row.index * width;
    Real state[width];
    Statistic<Real>::empty(state);
    for (std::int64_t split = 0; split < job.num_splits; ++split) {
        Statistic<Real>::merge_states(partial + (split * job.owned.count + row.index) * width, state);
    }
    for (int k = 0; k < width; ++k) out[k] = row.vector == nullptr ? Real(0) : state[k];
}

// Adds the slopes of the rows. Returns whether any may be non-zero.
template <class T, template <class> class Statistic>
__device__ inline bool add_slopes(Memory<T>& memory, const Statistic<RealOf<T>>& statistic, const Problem& problem,
                                  const Job& job, bool rows_are_owned, std::int64_t row_begin, std::int64_t column_begin,
                                  std::int64_t column_end) {
    using Real = RealOf<T>;
    constexpr int width = Statistic<Real>::width, views = Statistic<Real>::views;
    const View<T> view(rows_are_owned, views);
    const Side<T>& rows = rows_are_owned ? memory.owned : memory.streamed;
    const Vectors& side = rows_are_owned ? job.owned : job.streamed;
    if (rows.vector[view.row] == nullptr || row_begin + view.row >= side.border) return false;
    const Row<Real> row =
        view.of(memory, rows_are_owned, views, problem, job, row_begin, column_begin, column_end);
    if (row.count == 0) return false;
    const std::int64_t place = rows.index[view.row] * width;
    Real* const slopes = memory.slopes() + (row.scores - memory.scores());
    return !statistic.slope(row, Sloped<Real>{reinterpret_cast<const Real*>(problem.statistics) + place,
                                              reinterpret_cast<const Real*>(problem.gradient) + place, slopes})
                .empty();
}

// Converts slopes to factors of the streamed vectors. Returns this thread's part of the bracket of an owned vector,
// which is that of the rounded factors: their rounding errors along the owned vector then cancel, and may be all there
// is.
template <class T>
__device__ inline RealOf<T> make_factor(Memory<T>& memory) {
    using Real = RealOf<T>;
    constexpr int every = threads / tile<T>, count = tile<T> / every;
    const int owned = threadIdx.x / every, first = threadIdx.x % every;
    Real factors[count], bracket = 0;
#pragma unroll
    for (int k = 0; k < count; ++k) {
        const int at = owned * Memory<T>::ld + first + k * every;
        const Real norm = memory.streamed.norm[first + k * every];
        Real slope = memory.slopes()[at];
        factors[k] = rounded<T>(slope * norm);
        if constexpr (is_half<T>) slope = norm == 0 ? Real(0) : factors[k] / norm;
        bracket += slope * memory.scores()[at];
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < count; ++k) {
        memory.factor()[owned * Memory<T>::factor_ld + first + k * every] = narrow<OperandOf<T>>(factors[k]);
    }
    return bracket;
}

template <class T, template <class> class Statistic>
__global__ void __launch_bounds__(threads, 1) backward_kernel(const __grid_constant__ Problem problem,
                                                           const __grid_constant__ Statistic<RealOf<T>> statistic) {
    using Real = RealOf<T>;
    constexpr int views = Statistic<Real>::views;
    Memory<T>& memory = Memory<T>::here();
    const std::int64_t blocks_of_first = problem.jobs[0].blocks * problem.jobs[0].slices * problem.jobs[0].num_splits;
    const bool is_first = blockIdx.x < blocks_of_first;
    const Job& job = is_first ? problem.jobs[0] : problem.jobs[1];
    const std::int64_t index = is_first ? blockIdx.x : blockIdx.x - blocks_of_first;
    const std::int64_t split = index / (job.blocks * job.slices), rest = index % (job.blocks * job.slices);
    const std::int64_t slice_begin = rest / job.blocks * slice<T>, block = rest % job.blocks;
    const std::int64_t width = smaller(slice<T>, problem.dim - slice_begin);

    const bool rows_are_owned = job.role != Role::columns;
    const int owned_views = rows_are_owned ? views : 1, owned_group = rows_are_owned ? 1 : problem.group;
    const int other_views = rows_are_owned ? 1 : views, other_group = rows_are_owned ? problem.group : 1;
    const std::int64_t owned_begin = block * job.per_block, owned_end = smaller(owned_begin + job.per_block, job.owned.count);
    describe(memory.owned, job.owned, owned_begin, owned_end, owned_views, owned_group, problem, false, false);

    Gradient<T> gradient;
    Real bracket = 0;
    const int per_tile = tile<T> / other_views / other_group * other_group;
    const Span span(job.streamed.count, per_tile, split, job.num_splits);
    for (std::int64_t begin = span.begin; begin < span.end; begin += per_tile) {
        const std::int64_t end = smaller(begin + per_tile, span.end);
        describe(memory.streamed, job.streamed, begin, end, other_views, other_group, problem, false, false);
        __syncthreads();
        score(memory, problem);
        for (int at = threadIdx.x; at < tile<T> * Memory<T>::ld; at += threads) memory.slopes()[at] = 0;
        __syncthreads();
        bool has_grad = rows_are_owned
            ? add_slopes<T, Statistic>(memory, statistic, problem, job, true, owned_begin, begin, end)
            : add_slopes<T, Statistic>(memory, statistic, problem, job, false, begin, owned_begin, owned_end);
        if (job.role == Role::both) {
            __syncthreads();
            has_grad |= add_slopes<T, Statistic>(memory, statistic, problem, job, false, begin, owned_begin, owned_end);
        }
        if (__syncthreads_or(has_grad) == 0) continue;
        bracket += make_factor(memory);
        Stage<T> next;
        next.read(memory, 0, slice_begin, problem);
        for (int first = 0; first < tile<T>; first += stage<T>) {
            next.write(memory);
            __syncthreads();
            if (first + stage<T> < tile<T>) next.read(memory, first + stage<T>, slice_begin, problem);
            gradient.add(memory, first, width);
            __syncthreads();
        }
    }

    constexpr int every = threads / tile<T>;
    memory.parts[threadIdx.x] = bracket;
    __syncthreads();
    const std::int64_t vectors = job.owned.count * owned_views;
    gradient.for_each(memory, width, [&](int owned, int k, Real sum) {
        if (memory.owned.index[owned] < 0 || k >= width) return;
        const std::int64_t place = memory.owned.index[owned] * problem.dim + slice_begin + k;
        if (job.num_splits > 1) {
            reinterpret_cast<Real*>(job.partial)[split * vectors * problem.dim + place] = sum;
            return;
        }
        const T* const vector = memory.owned.vector[owned];
        Real found = 0;
        if (vector != nullptr) {
            Real whole = 0;
            for (int q = 0; q < every; ++q) whole += memory.parts[owned * every + q];
            found = through_norm(sum, whole, real(vector[slice_begin + k]), memory.owned.norm[owned]);
        }
        reinterpret_cast<T*>(job.out)[place] = narrow<T>(found);
    });
}

// Adds the splits of the gradient of a unit vector, in a fixed order, and applies the gradient of the normalisation;
// one warp for each vector.
template <class T>
__global__ void __launch_bounds__(threads) combine_kernel(const __grid_constant__ Problem problem, int which, int views,
                                                          int group) {
    using Real = RealOf<T>;
    const Job& job = problem.jobs[which];
    const std::int64_t vectors = job.owned.count * views;
    const std::int64_t v = static_cast<std::int64_t>(blockIdx.x) * warps + threadIdx.x / warp;
    if (v >= vectors) return;
    const Place<T> owned = locate<T>(job.owned, v % job.owned.count, static_cast<int>(v / job.owned.count), group);
    const Real* const partial = reinterpret_cast<const Real*>(job.partial) + owned.index * problem.dim;
    T* const out = reinterpret_cast<T*>(job.out) + owned.index * problem.dim;
    const Real norm = owned.vector == nullptr ? Real(0) : *owned.norm;
    const auto total = [&](std::int64_t d) {
        Real sum = 0;
        for (std::int64_t split = 0; split < job.num_splits; ++split) sum += partial[split * vectors * problem.dim + d];
        return sum;
    };
    Real bracket = 0;
    for (std::int64_t d = threadIdx.x % warp; d < problem.dim; d += warp) {
        if (owned.vector != nullptr) bracket += total(d) * (real(owned.vector[d]) * norm);
    }
    bracket = warp_sum(bracket);
    for (std::int64_t d = threadIdx.x % warp; d < problem.dim; d += warp) {
        const Real found = owned.vector == nullptr ? Real(0) : through_norm(total(d), bracket, real(owned.vector[d]), norm);
        out[d] = narrow<T>(found);
    }
}

template <class T>
__global__ void __launch_bounds__(threads) norms_kernel(const T* vectors, std::int64_t count, std::int64_t dim,
                                                        std::int64_t stride, RealOf<T>* out) {
    const std::int64_t v = static_cast<std::int64_t>(blockIdx.x) * warps + threadIdx.x / warp;
    if (v >= count) return;
    const RealOf<T> norm = reciprocal_norm(vectors + v * stride, dim);
    if (threadIdx.x % warp == 0) out[v] = norm;
}

}  // namespace dml::cuda
