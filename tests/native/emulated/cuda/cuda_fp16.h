#pragma once

#include <cstdint>
#include <cstring>

struct __half {
    std::uint16_t bits;
};

inline float __half2float(__half x) {
    const std::uint32_t sign = (x.bits & 0x8000u) << 16, exponent = x.bits >> 10 & 31, fraction = x.bits & 1023;
    float value;
    if (exponent == 0) {
        value = static_cast<float>(fraction) * 0x1p-24f;
    } else {
        const std::uint32_t bits = (exponent == 31 ? 255u : exponent + 112) << 23 | fraction << 13;
        std::memcpy(&value, &bits, sizeof(value));
    }
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    bits |= sign;
    std::memcpy(&value, &bits, sizeof(bits));
    return value;
}

// To the nearest, ties to even.
inline __half __float2half_rn(float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof(bits));
    const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000u);
    bits &= 0x7fffffffu;
    if (bits > 0x7f800000u) return {static_cast<std::uint16_t>(sign | 0x7e00u)};
    if (bits >= 0x477ff000u) return {static_cast<std::uint16_t>(sign | 0x7c00u)};
    if (bits < 0x38800000u) {  // subnormal: adding 0.5 leaves multiples of 2^-24
        float magnitude;
        std::memcpy(&magnitude, &bits, sizeof(bits));
        magnitude += 0.5f;
        std::memcpy(&bits, &magnitude, sizeof(bits));
        return {static_cast<std::uint16_t>(sign | (bits - 0x3f000000u))};
    }
    bits += 0xfffu + (bits >> 13 & 1);
    return {static_cast<std::uint16_t>(sign | ((bits - 0x38000000u) >> 13))};
}
