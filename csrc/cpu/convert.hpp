// Element types of the caller's vectors, and their conversion to and from float and double.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace dml::cpu {

enum class Type { float16, bfloat16, float32, float64 };

struct Float16 {
    std::uint16_t bits;
};

struct BFloat16 {
    std::uint16_t bits;
};

inline float float_of(std::uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
}

inline std::uint32_t bits_of(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    return bits;
}

inline float widen(float value) { return value; }
inline double widen(double value) { return value; }
inline float widen(BFloat16 value) { return float_of(std::uint32_t{value.bits} << 16); }
inline float widen(Float16 value) {
    const std::uint32_t sign = std::uint32_t{value.bits & 0x8000u} << 16, magnitude = value.bits & 0x7fffu;
    std::uint32_t bits;
    if (magnitude < 0x0400) {  // subnormal: a multiple of 2^-24
        bits = bits_of(static_cast<float>(magnitude) * 0x1p-24f);
    } else if (magnitude < 0x7c00) {
        bits = (magnitude << 13) + ((127u - 15u) << 23);
    } else {  // infinite or NaN
        bits = (magnitude << 13) | 0x7f800000u;
    }
    return float_of(sign | bits);
}

// Rounds to nearest, ties to even. A double becomes a half by way of float, as in PyTorch.
inline void narrow(double value, float& to) { to = static_cast<float>(value); }
inline void narrow(double value, double& to) { to = value; }
inline void narrow(float value, float& to) { to = value; }
inline void narrow(float value, double& to) { to = value; }
inline void narrow(float value, BFloat16& to) {
    const std::uint32_t bits = bits_of(value);
    const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    to.bits = static_cast<std::uint16_t>(nan ? 0x7fc0u : (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
inline void narrow(float value, Float16& to) {
    const std::uint32_t bits = bits_of(value), sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
    std::uint32_t half;
    if (magnitude > 0x7f800000u) {
        half = 0x7e00;  // NaN
    } else if (magnitude >= bits_of(65536.0f)) {
        half = 0x7c00;  // infinite; values below 65536 that round to it overflow to the same bits in the last branch
    } else if (magnitude < bits_of(0x1p-14f)) {
        half = bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f);  // subnormal: rounded to 2^-24
    } else {
        half = (magnitude - ((127u - 15u) << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
    }
    to.bits = static_cast<std::uint16_t>(sign | half);
}
template <class Half>
void narrow(double value, Half& to) {
    narrow(static_cast<float>(value), to);
}

inline std::int64_t bytes_of(Type type) {
    return type == Type::float64 ? 8 : type == Type::float32 ? 4 : 2;
}

template <class Real>
constexpr Type type_of = sizeof(Real) == sizeof(double) ? Type::float64 : Type::float32;

// Calls body with a null pointer whose type is the element type.
template <class Body>
void with_type(Type type, const Body& body) {
    switch (type) {
        case Type::float16: return body(static_cast<Float16*>(nullptr));
        case Type::bfloat16: return body(static_cast<BFloat16*>(nullptr));
        case Type::float32: return body(static_cast<float*>(nullptr));
        case Type::float64: return body(static_cast<double*>(nullptr));
    }
}

// Reads and writes the values [first, first + count) of an array of this element type.
template <class Real>
void read(Type type, std::uintptr_t array, std::int64_t first, std::int64_t count, Real* to) {
    with_type(type, [=](auto* null) {
        const auto* const from = reinterpret_cast<decltype(null)>(array) + first;
        for (std::int64_t k = 0; k < count; ++k) to[k] = static_cast<Real>(widen(from[k]));
    });
}

template <class Real>
void write(const Real* from, Type type, std::uintptr_t array, std::int64_t first, std::int64_t count) {
    with_type(type, [=](auto* null) {
        auto* const to = reinterpret_cast<decltype(null)>(array) + first;
        for (std::int64_t k = 0; k < count; ++k) narrow(from[k], to[k]);
    });
}

}  // namespace dml::cpu
