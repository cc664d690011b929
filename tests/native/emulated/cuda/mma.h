// A warp's matrices are held and multiplied by its first lane.
#pragma once

#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "cuda_runtime.h"

namespace nvcuda::wmma {

struct matrix_a {};
struct matrix_b {};
struct accumulator {};
struct row_major {};
struct col_major {};
namespace precision {
struct tf32 {};
}
enum layout_t { mem_row_major, mem_col_major };

template <class Use, int m, int n, int k>
struct Shape;
template <int m, int n, int k>
struct Shape<matrix_a, m, n, k> {
    static constexpr int rows = m, columns = k;
};
template <int m, int n, int k>
struct Shape<matrix_b, m, n, k> {
    static constexpr int rows = k, columns = n;
};
template <int m, int n, int k>
struct Shape<accumulator, m, n, k> {
    static constexpr int rows = m, columns = n;
};

template <class Use, int m, int n, int k, class T, class Layout = void>
struct fragment {
    static constexpr int rows = Shape<Use, m, n, k>::rows, columns = Shape<Use, m, n, k>::columns;
    static constexpr int num_elements = rows * columns;
    float x[num_elements];
};

inline float widen(float x) { return x; }
inline float widen(__half x) { return __half2float(x); }
inline float widen(__nv_bfloat16 x) { return __bfloat162float(x); }

inline bool leads() { return threadIdx.x % emulation::warp == 0; }

// Rounds to the nearest, ties away from zero.
inline float __float_to_tf32(float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof(bits));
    if ((bits & 0x7f800000u) != 0x7f800000u) bits = (bits + 0x1000u) & ~0x1fffu;
    std::memcpy(&x, &bits, sizeof(bits));
    return x;
}

template <class Number>
void require_aligned(const Number* address, unsigned ld) {
    if (reinterpret_cast<std::uintptr_t>(address) % 32 != 0) emulation::fail("a matrix must be aligned to 32 bytes");
    if (ld * sizeof(Number) % 16 != 0) emulation::fail("a matrix's stride must be a multiple of 16 bytes");
}

template <class Fragment>
void fill_fragment(Fragment& fragment, float value) {
    for (float& x : fragment.x) x = value;
}

template <class Use, int m, int n, int k, class T, class Layout, class Number>
void load_matrix_sync(fragment<Use, m, n, k, T, Layout>& to, const Number* from, unsigned ld) {
    require_aligned(from, ld);
    if (!leads()) return;
    constexpr bool by_row = std::is_same_v<Layout, row_major>;
    for (int i = 0; i < to.rows; ++i) {
        for (int j = 0; j < to.columns; ++j) {
            to.x[i * to.columns + j] = widen(from[by_row ? i * ld + j : j * ld + i]);
        }
    }
}

template <int m, int n, int k>
void store_matrix_sync(float* to, const fragment<accumulator, m, n, k, float>& from, unsigned ld, layout_t) {
    require_aligned(to, ld);
    if (!leads()) return;
    for (int i = 0; i < m; ++i) {
        for (int j = 0; j < n; ++j) to[i * ld + j] = from.x[i * n + j];
    }
}

template <int m, int n, int k, class T, class LayoutA, class LayoutB>
void mma_sync(fragment<accumulator, m, n, k, float>& sums, const fragment<matrix_a, m, n, k, T, LayoutA>& a,
              const fragment<matrix_b, m, n, k, T, LayoutB>& b, const fragment<accumulator, m, n, k, float>& before) {
    if (!leads()) return;
    for (int i = 0; i < m; ++i) {
        float row[n];
        for (int j = 0; j < n; ++j) row[j] = before.x[i * n + j];
        for (int l = 0; l < k; ++l) {
            for (int j = 0; j < n; ++j) row[j] += a.x[i * k + l] * b.x[l * n + j];
        }
        for (int j = 0; j < n; ++j) sums.x[i * n + j] = row[j];
    }
}

}  // namespace nvcuda::wmma
