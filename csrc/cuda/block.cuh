// Shared memory of a thread block, and the vectors of its tile.
#pragma once

#include "cuda/problem.hpp"
#include "cuda/types.cuh"

namespace dml::cuda {

extern __shared__ __align__(128) unsigned char shared_memory[];

// One side of a tile. Vector v belongs to view v / (tile / views), and has label (v % (tile / views)) / group of its
// view.
template <class T>
struct Side {
    const T* vector[tile<T>];  // null if it takes no part
    std::int64_t index[tile<T>];  // in memory; -1 beyond the end
    std::int64_t label[tile<T>];
    RealOf<T> norm[tile<T>], weight[tile<T>];
};

constexpr int most(int a, int b) { return a > b ? a : b; }

template <class T>
struct Memory {
    using Real = RealOf<T>;
    using Operand = OperandOf<T>;
    static constexpr int size = tile<T>;
    static constexpr int ld = size + quad<Real>;  // leading dimension of scores and slopes
    static constexpr int chunk_ld = chunk<T> + quad<T>;
    static constexpr int factor_ld = size + quad<Operand>;
    static constexpr int stage_ld = slice<T> + quad<Operand>;
    static constexpr bool narrow_factor = sizeof(Operand) < sizeof(Real);
    static constexpr int factor_bytes = narrow_factor ? size * factor_ld * static_cast<int>(sizeof(Operand)) : 0;
    static constexpr int stage_bytes = stage<T> * stage_ld * static_cast<int>(sizeof(Operand));

    // First the operands of the scores, then the slopes.
    alignas(128) unsigned char first[most(2 * size * chunk_ld * static_cast<int>(sizeof(T)),
                                          size * ld * static_cast<int>(sizeof(Real)))];
    // First the scores, then the operands of the gradient.
    alignas(128) unsigned char second[most(factor_bytes + stage_bytes, size * ld * static_cast<int>(sizeof(Real)))];
    Real parts[threads];
    Side<T> owned, streamed;

    __device__ T* operands(int side) { return reinterpret_cast<T*>(first) + side * size * chunk_ld; }
    __device__ Real* slopes() { return reinterpret_cast<Real*>(first); }
    __device__ Real* scores() { return reinterpret_cast<Real*>(second); }
    // Slopes in the type of the second product: in place unless that type is narrower.
    __device__ Operand* factor() { return reinterpret_cast<Operand*>(narrow_factor ? second : first); }
    __device__ Operand* staged() { return reinterpret_cast<Operand*>(second + factor_bytes); }

    __device__ static Memory& here() { return *reinterpret_cast<Memory*>(shared_memory); }
};

// The sum of `value` over a warp, in every lane.
template <class Real>
__device__ inline Real warp_sum(Real value) {
    for (int distance = warp / 2; distance > 0; distance /= 2) {
        value += __shfl_xor_sync(0xffffffffu, value, distance);
    }
    return value;
}

// The norm of a vector times `scale`, computed by a warp.
template <class T>
__device__ inline double scaled_norm(const T* vector, std::int64_t dim, double scale) {
    double sum = 0;
    for (std::int64_t d = threadIdx.x % warp; d < dim; d += warp) {
        const double value = real(vector[d]) * scale;
        sum += value * value;
    }
    return std::sqrt(warp_sum(sum));
}

// 1 / max(norm, 1e-12), or NaN if the norm is not finite, computed by a warp. Squares are summed in double, in which
// only squares of doubles can overflow.
template <class T>
__device__ inline RealOf<T> reciprocal_norm(const T* vector, std::int64_t dim) {
    double norm = scaled_norm(vector, dim, 1), scale = 1;
    if (sizeof(T) == 8 && std::isinf(norm)) {
        scale = 0x1p-530;
        norm = scaled_norm(vector, dim, scale);
    }
    const double reciprocal = scale / (norm < 1e-12 ? 1e-12 : norm);
    return static_cast<RealOf<T>>(std::isinf(norm) ? std::numeric_limits<double>::quiet_NaN() : reciprocal);
}

// The address of a vector and its index.
template <class T>
struct Place {
    const T* vector;
    std::int64_t index;  // in memory, over all views
    std::int64_t label;
    const RealOf<T>* norm;
    RealOf<T> weight;
};

template <class T>
__device__ inline Place<T> locate(const Vectors& side, std::int64_t place, int view, int group) {
    using Real = RealOf<T>;
    Place<T> found{};
    if (place < side.border) {
        const auto* order = reinterpret_cast<const std::int64_t*>(side.order);
        const auto* labels = reinterpret_cast<const std::int64_t*>(side.point_labels);
        const std::int64_t point = order == nullptr ? place : order[place];
        found.index = view * side.border + point;
        found.vector = reinterpret_cast<const T*>(side.points) + view * side.view_stride + point * side.point_stride;
        found.label = labels == nullptr ? 0 : labels[point];
        found.norm = reinterpret_cast<const Real*>(side.point_norms) + found.index;
    } else {
        const auto* labels = reinterpret_cast<const std::int64_t*>(side.column_labels);
        const auto* weights = reinterpret_cast<const Real*>(side.weights);
        found.index = place - side.border;
        found.vector = reinterpret_cast<const T*>(side.columns) + found.index * side.column_stride;
        found.label = labels == nullptr ? found.index / group : labels[found.index / group];
        found.norm = reinterpret_cast<const Real*>(side.column_norms) + found.index;
        found.weight = weights == nullptr ? Real(0) : weights[found.index];
    }
    if (found.label == ignored) found.vector = nullptr;
    return found;
}

// Fills one side of a tile with the places [begin, end); synchronise before reading it. Norms that are computed here
// are also written to memory: those of points if `writes_points`, those of columns if `writes_columns`.
template <class T>
__device__ inline void describe(Side<T>& to, const Vectors& side, std::int64_t begin, std::int64_t end, int views,
                                int group, const Problem& problem, bool writes_points, bool writes_columns) {
    const int per_view = tile<T> / views;
    for (int v = threadIdx.x; v < tile<T>; v += threads) {
        const int view = v / per_view, i = v % per_view;
        Place<T> found{nullptr, -1, ignored, nullptr, 0};
        if (begin + i < end) found = locate<T>(side, begin + i, view, group);
        to.vector[v] = found.vector;
        to.index[v] = found.index;
        if (view == 0 && i % group == 0) {
            to.label[i / group] = found.label;
            to.weight[i / group] = found.weight;
        }
        if (!problem.find_norms) to.norm[v] = found.vector == nullptr ? 0 : *found.norm;
    }
    if (!problem.find_norms) return;
    __syncthreads();
    for (int v = threadIdx.x / warp; v < tile<T>; v += warps) {
        const T* const vector = to.vector[v];
        const RealOf<T> norm = vector == nullptr ? 0 : reciprocal_norm(vector, problem.dim);
        if (threadIdx.x % warp != 0) continue;
        to.norm[v] = norm;
        const std::int64_t place = begin + v % per_view;
        if (to.index[v] < 0 || !(place < side.border ? writes_points : writes_columns)) continue;
        auto* const norms = reinterpret_cast<RealOf<T>*>(place < side.border ? side.point_norms : side.column_norms);
        norms[to.index[v]] = norm;
    }
}

// A thread's part of the tile. The rows are the owned vectors (`rows_are_owned`) or the streamed ones, and `every_few`
// threads share a row.
template <class T>
struct View {
    using Real = RealOf<T>;
    int row, first, every;

    __device__ View(bool rows_are_owned, int views) {
        const int rows = tile<T> / views;
        every = threads / rows;
        // The threads of a warp read from different banks.
        row = rows_are_owned ? threadIdx.x / every : threadIdx.x % rows;
        first = rows_are_owned ? threadIdx.x % every : threadIdx.x / rows;
    }

    // `begin` has the first places of rows and columns; `columns_end` is the end of the columns.
    __device__ Row<Real> of(Memory<T>& memory, bool rows_are_owned, int views, const Problem& problem, const Job& job,
                            std::int64_t row_begin, std::int64_t column_begin, std::int64_t column_end) const {
        constexpr int ld = Memory<T>::ld;
        const Side<T>& rows = rows_are_owned ? memory.owned : memory.streamed;
        const Side<T>& columns = rows_are_owned ? memory.streamed : memory.owned;
        const Vectors& rows_side = rows_are_owned ? job.owned : job.streamed;
        const Vectors& columns_side = rows_are_owned ? job.streamed : job.owned;
        const int row_step = rows_are_owned ? ld : 1, column_step = rows_are_owned ? 1 : ld;
        const int group = problem.group, labels = static_cast<int>((column_end - column_begin) / group);
        const std::int64_t place = row_begin + row;

        Row<Real> seen;
        seen.scores = memory.scores() + row * row_step;
        seen.label_step = group * column_step;
        seen.stride = views > 1 ? tile<T> / views * row_step : column_step;
        seen.first = first;
        seen.every = every;
        seen.count = labels > first ? (labels - first + every - 1) / every : 0;
        seen.labels = columns.label;
        seen.weights = columns.weight;
        seen.label = rows.label[row];
        seen.values = reinterpret_cast<const Real*>(problem.row_values) + rows.index[row] * problem.row_value_count;
        const std::int64_t self = place - column_begin;
        seen.self = job.diagonal && self >= 0 && self < tile<T> ? static_cast<int>(self) : -1;
        seen.segment = segment_of(rows_side, place);
        for (int k = 0; k < 2; ++k) {
            const std::int64_t border = columns_side.segments[k] - column_begin;
            seen.segment_begin[k] = border < 0 ? 0 : border < tile<T> ? static_cast<int>(border) : tile<T>;
        }
        return seen;
    }

    __device__ static int segment_of(const Vectors& side, std::int64_t place) {
        return (place >= side.segments[0]) + (place >= side.segments[1]);
    }
};

}  // namespace dml::cuda
