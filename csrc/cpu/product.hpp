// The matrix product of a tile, out(m, n) += sum_k left[k][m] right[k][n], computed for sliver_rows x sliver_columns
// values of `out` at a time. Operands are packed into slivers, so that the inner loop reads contiguous memory.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#include "cpu/pack.hpp"

namespace dml::DML_ISA {

#if DML_PACK_BYTES == 64
inline constexpr int sliver_rows = 12, packs_per_row = 2;  // accumulators take 24 of 32 registers
#elif DML_PACK_BYTES == 32
inline constexpr int sliver_rows = 6, packs_per_row = 2;  // 12 of 16
#elif defined(__aarch64__)
inline constexpr int sliver_rows = 8, packs_per_row = 3;  // 24 of 32
#else
inline constexpr int sliver_rows = 4, packs_per_row = 2;  // 8 of 16
#endif

template <class Real>
inline constexpr int sliver_columns = packs_per_row * lanes<Real>;

DML_INLINE std::int64_t slivers(std::int64_t size, std::int64_t of) { return (size + of - 1) / of; }
DML_INLINE std::int64_t padded(std::int64_t size, std::int64_t to) { return slivers(size, to) * to; }

#if defined(DML_SHUFFLES)
// One step of a transposition: swaps the upper right and the lower left quarter of each diagonal block of 2 * half rows
// and columns.
template <class Real, int half, int... lane>
DML_INLINE void swap_quarters(Pack<Real>& upper, Pack<Real>& lower, std::integer_sequence<int, lane...>) {
    const Pack<Real> a = upper, b = lower;
    upper = __builtin_shufflevector(a, b, (lane & half ? lane - half + lanes<Real> : lane)...);
    lower = __builtin_shufflevector(a, b, (lane & half ? lane + lanes<Real> : lane + half)...);
}

template <class Real, int half = lanes<Real> / 2>
DML_INLINE void transpose(Pack<Real> (&rows)[lanes<Real>]) {
    if constexpr (half > 0) {
        DML_UNROLL
        for (int i = 0; i < lanes<Real>; ++i) {
            if ((i & half) == 0) {
                swap_quarters<Real, half>(rows[i], rows[i + half], std::make_integer_sequence<int, lanes<Real>>());
            }
        }
        transpose<Real, half / 2>(rows);
    }
}
#endif

// Packs a sliver of `width` vectors, zeros from vector `count` on. Vector i is the contiguous values at from + i *
// stride.
template <int width, class Real>
DML_INLINE void pack_vectors(const Real* from, std::int64_t stride, std::int64_t count, std::int64_t length, Real* to) {
    std::int64_t begin = 0;
#if defined(DML_SHUFFLES)
    for (; begin + lanes<Real> <= length; begin += lanes<Real>) {
        DML_UNROLL
        for (int first = 0; first < width; first += lanes<Real>) {
            constexpr int all = lanes<Real>;
            Pack<Real> square[all] = {};
            const int used = width - first < all ? width - first : all;
            DML_UNROLL
            for (int i = 0; i < all; ++i) {
                if (i < used && first + i < count) square[i] = load(from + (first + i) * stride + begin);
            }
            transpose<Real>(square);
            DML_UNROLL
            for (int k = 0; k < all; ++k) {
                Real* const row = to + (begin + k) * width + first;
                if (width <= all && begin + 2 * all <= length) {
                    store(row, square[k]);  // writes beyond the row; the next rows overwrite that
                } else {
                    std::memcpy(row, &square[k], used * sizeof(Real));
                }
            }
        }
    }
#endif
    for (; begin < length; ++begin) {
        for (int i = 0; i < width; ++i) to[begin * width + i] = i < count ? from[i * stride + begin] : 0;
    }
}

// The same, but value k of vector i is at from[k * stride + i].
template <int width, class Real>
DML_INLINE void pack_adjacent(const Real* from, std::int64_t stride, std::int64_t count, std::int64_t length,
                              Real* to) {
    for (std::int64_t k = 0; k < length; ++k, from += stride, to += width) {
        if (count >= width) {
            for (int i = 0; i < width; ++i) to[i] = from[i];
        } else {
            for (int i = 0; i < width; ++i) to[i] = i < count ? from[i] : 0;
        }
    }
}

// The left operand: value k of each of `sliver_rows` vectors; `advance` increments k.
template <class Real>
struct Adjacent {  // value k of all vectors is contiguous
    const Real* at;
    std::int64_t step;

    DML_INLINE Real operator[](int i) const { return at[i]; }
    DML_INLINE void advance() { at += step; }
};

template <class Real>
struct Rows {  // the values of each vector are contiguous
    static constexpr int every = 3;  // rows that one base register addresses: [base + {0, 1, 2} * stride]
    const Real* base[(sliver_rows + every - 1) / every];
    std::int64_t stride;

    DML_INLINE Rows(const Real* at, std::int64_t row_stride) : stride(row_stride) {
        DML_UNROLL
        for (int i = 0; i < sliver_rows; i += every) base[i / every] = at + i * stride;
    }
    DML_INLINE Real operator[](int i) const { return base[i / every][i % every * stride]; }
    DML_INLINE void advance() {
        DML_UNROLL
        for (int i = 0; i < sliver_rows; i += every) ++base[i / every];
    }
};

template <class Real>
struct Sums {
    Pack<Real> rows[sliver_rows][packs_per_row];
};

template <class Real, class Left>
DML_INLINE Sums<Real> multiply(Left left, const Real* right, std::int64_t length) {
    Sums<Real> sums = {};
    for (std::int64_t k = 0; k < length; ++k, left.advance(), right += sliver_columns<Real>) {
        Pack<Real> packs[packs_per_row];
        DML_UNROLL
        for (int j = 0; j < packs_per_row; ++j) packs[j] = load(right + j * lanes<Real>);
        DML_UNROLL
        for (int i = 0; i < sliver_rows; ++i) {
            const Pack<Real> value = broadcast(left[i]);
            DML_UNROLL
            for (int j = 0; j < packs_per_row; ++j) sums.rows[i][j] += value * packs[j];
        }
    }
    return sums;
}

// Writes all sliver_rows x sliver_columns values; `out` is padded.
template <class Real, class Left>
void write_product(Left left, const Real* right, std::int64_t length, Real* out, std::int64_t stride) {
    const Sums<Real> sums = multiply<Real>(left, right, length);
    DML_UNROLL
    for (int i = 0; i < sliver_rows; ++i) {
        DML_UNROLL
        for (int j = 0; j < packs_per_row; ++j) store(out + i * stride + j * lanes<Real>, sums.rows[i][j]);
    }
}

// Adds the first rows x columns values to `out`, which is not padded.
template <class Real, class Left>
void add_product(Left left, const Real* right, std::int64_t length, Real* out, std::int64_t stride,
                 std::int64_t rows, std::int64_t columns) {
    const Sums<Real> sums = multiply<Real>(left, right, length);
    if (rows >= sliver_rows && columns >= sliver_columns<Real>) {
        DML_UNROLL
        for (int i = 0; i < sliver_rows; ++i) {
            DML_UNROLL
            for (int j = 0; j < packs_per_row; ++j) {
                Real* const to = out + i * stride + j * lanes<Real>;
                store(to, load(to) + sums.rows[i][j]);
            }
        }
        return;
    }
    Real values[sliver_rows][sliver_columns<Real>];
    std::memcpy(values, &sums, sizeof(values));
    for (int i = 0; i < sliver_rows && i < rows; ++i) {
        for (int j = 0; j < sliver_columns<Real> && j < columns; ++j) out[i * stride + j] += values[i][j];
    }
}

}  // namespace dml::DML_ISA
