// A pack is a SIMD register of values, with the arithmetic operators of a scalar. If the compiler has no vector types,
// a pack is one scalar.
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

#if defined(__GNUC__) && !defined(DML_SCALAR)  // DML_SCALAR is for tests of scalar packs
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
using Bits = typename PackOf<Real>::Bits;  // integers of the same width, used for masks and labels
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
    return value - Pack<Real>{};  // x - 0 is x for every x, so no instruction is needed; 0 + x differs for x = -0
}

// Defined for negative values too.
template <class Real>
DML_INLINE Bits<Real> shift_left(Bits<Real> bits, int by) {
#if defined(__GNUC__) && !defined(DML_SCALAR)
    return bits << by;
#else
    return static_cast<Bits<Real>>(static_cast<std::make_unsigned_t<Bits<Real>>>(bits) << by);
#endif
}

// A comparison returns a mask; where(mask, a, b) is a where the mask is set, else b. Combine masks with `&` and `|`
// only: true is 1 in a scalar mask and -1 in a vector mask.
template <class Mask, class V>
DML_INLINE V where(Mask mask, V a, V b) {
    return mask ? a : b;
}

// The maximum, or `b` if `a` is NaN: clamp(x) is NaN for a NaN x, and a running maximum `b` skips a NaN score `a`.
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

// Lane i of the result is lane i ^ half of the pack.
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

// Reduces the lanes to one value, in log2(lanes) steps that each combine the two halves.
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
