// As many values as a register holds, with the arithmetic of one number. Where the compiler has no vector types a pack
// is a single number, and the same code is scalar.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "cpu/isa.hpp"

#if defined(__has_builtin) && !defined(DML_SCALAR)
#if __has_builtin(__builtin_shufflevector)
#define DML_SHUFFLES
#endif
#endif

namespace dml::DML_ISA {

#if defined(__GNUC__) && !defined(DML_SCALAR)  // DML_SCALAR: to test the other case
using FloatPack = float __attribute__((vector_size(DML_PACK_BYTES)));
using FloatBits = std::int32_t __attribute__((vector_size(DML_PACK_BYTES)));
using DoublePack = double __attribute__((vector_size(DML_PACK_BYTES)));
using DoubleBits = std::int64_t __attribute__((vector_size(DML_PACK_BYTES)));
#else
using FloatPack = float;
using FloatBits = std::int32_t;
using DoublePack = double;
using DoubleBits = std::int64_t;
#endif

template <class Real>
struct PackOf;

template <>
struct PackOf<float> {
    using type = FloatPack;
    using Bits = FloatBits;
    using Label = std::int32_t;
};

template <>
struct PackOf<double> {
    using type = DoublePack;
    using Bits = DoubleBits;
    using Label = std::int64_t;
};

template <class Real>
using Pack = typename PackOf<Real>::type;
template <class Real>
using Bits = typename PackOf<Real>::Bits;  // integers of the same width; also masks, and labels
template <class Real>
using Label = typename PackOf<Real>::Label;
template <class Real>
inline constexpr int lanes = sizeof(Pack<Real>) / sizeof(Real);

template <class To, class From>
DML_INLINE To reinterpret(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof(To));
    return to;
}

template <class Real>
DML_INLINE Pack<Real> load(const Real* from) {
    Pack<Real> pack;
    std::memcpy(&pack, from, sizeof(pack));
    return pack;
}

template <class Real>
DML_INLINE Bits<Real> load_labels(const Label<Real>* from) {
    Bits<Real> bits;
    std::memcpy(&bits, from, sizeof(bits));
    return bits;
}

template <class Real>
DML_INLINE void store(Real* to, Pack<Real> pack) {
    std::memcpy(to, &pack, sizeof(pack));
}

template <class Real>
DML_INLINE Pack<Real> broadcast(Real value) {
    return value - Pack<Real>{};  // not a sum: 0 + x is no x where x is -0, and would be computed
}

// Values of any sign.
template <class Real>
DML_INLINE Bits<Real> shift_left(Bits<Real> bits, int by) {
#if defined(__GNUC__) && !defined(DML_SCALAR)
    return bits << by;
#else
    return static_cast<Bits<Real>>(static_cast<std::make_unsigned_t<Bits<Real>>>(bits) << by);
#endif
}

// Comparisons give a mask; where(mask, a, b) takes a where it is set. Of masks only `&`
// and `|` give masks: a scalar one is 0 or 1, a vector one 0 or -1.
template <class Mask, class V>
DML_INLINE V where(Mask mask, V a, V b) {
    return mask ? a : b;
}

// The larger one; `b` if `a` is NaN, so that clamp(x) of a NaN x stays NaN and a maximum over scores skips NaN.
template <class V>
DML_INLINE V larger(V a, V b) {
    return where(a > b, a, b);
}

template <class V>
DML_INLINE V smaller(V a, V b) {
    return where(a < b, a, b);
}

template <class V>
DML_INLINE V clamp(V x, V low, V high) {
    return smaller(high, larger(low, x));
}

// Lane i has what lane i ^ half had.
template <class Real, int half, int... lane>
DML_INLINE Pack<Real> swap_lanes(Pack<Real> pack, std::integer_sequence<int, lane...>) {
#if defined(DML_SHUFFLES)
    return __builtin_shufflevector(pack, pack, (lane ^ half)...);
#else
    Real values[lanes<Real>];
    std::memcpy(values, &pack, sizeof(pack));
    const Real swapped[] = {values[lane ^ half]...};
    return load(swapped);
#endif
}

// The lanes combined pairwise, half of them with the other half, until one is left.
template <class Real, int half = lanes<Real> / 2, class Combine>
DML_INLINE Real reduce_lanes(Pack<Real> pack, const Combine& combine) {
    if constexpr (half > 0) {
        const auto all = std::make_integer_sequence<int, lanes<Real>>();
        return reduce_lanes<Real, half / 2>(combine(swap_lanes<Real, half>(pack, all), pack), combine);
    } else {
        Real first;
        std::memcpy(&first, &pack, sizeof(first));
        return first;
    }
}

template <class Real>
DML_INLINE Real sum_lanes(Pack<Real> pack) {
    return reduce_lanes<Real>(pack, [](Pack<Real> a, Pack<Real> b) { return a + b; });
}

template <class Real>
DML_INLINE Real largest_lane(Pack<Real> pack) {
    return reduce_lanes<Real>(pack, [](Pack<Real> a, Pack<Real> b) { return larger(a, b); });
}

template <class Real>
DML_INLINE bool any(Bits<Real> mask) {
    Label<Real> values[lanes<Real>];
    std::memcpy(values, &mask, sizeof(mask));
    Label<Real> all = 0;
    for (const Label<Real> value : values) all |= value;
    return all != 0;
}

}  // namespace dml::DML_ISA
