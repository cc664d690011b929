// exp and power on packs. The error of exp is at most 2 units in the last place; that of power at most the larger of 2
// and 1 + |exponent|, since rounding the base by half a unit alone changes the result by up to |exponent| units
// (tests/native/test_math.py).
#pragma once

#include <cmath>
#include <limits>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "cpu/pack.hpp"

namespace dml::DML_ISA {

template <class Real>
struct Format;

template <>
struct Format<float> {
    static constexpr int mantissa_bits = 23, bias = 127, exp_degree = 7, log_terms = 5;
    static constexpr float round = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, in the low bits
    static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    static constexpr float exp_lowest = -104.0f, exp_highest = 89.0f;
    static constexpr double exactly = 4096.0;  // multiples of 1 / exactly up to 1 have exact products with exponents
};

template <>
struct Format<double> {
    static constexpr int mantissa_bits = 52, bias = 1023, exp_degree = 13, log_terms = 11;
    static constexpr double round = 6755399441055744.0;  // 1.5 * 2^52
    static constexpr double ln2_high = 6.93145751953125e-1, ln2_low = 1.42860682030941723212e-6;
    static constexpr double exp_lowest = -746.0, exp_highest = 710.0;
    static constexpr double exactly = 1099511627776.0;
};

// x * 2^n, where `shifted` is n + Format::round.
#if defined(__AVX512F__) && !defined(DML_SCALAR)
template <class Real>
DML_INLINE Pack<Real> scale(Pack<Real> x, Pack<Real> shifted) {
    const Pack<Real> n = shifted - Format<Real>::round;
    if constexpr (sizeof(Real) == sizeof(float)) {
        return _mm512_maskz_scalef_ps(static_cast<__mmask16>(-1), x, n);  // unmasked, GCC warns about its header
    } else {
        return _mm512_maskz_scalef_pd(static_cast<__mmask8>(-1), x, n);
    }
}
#else
template <class Real>
DML_INLINE Pack<Real> power_of_two(Bits<Real> exponent) {
    return reinterpret<Pack<Real>>(shift_left<Real>(exponent + Format<Real>::bias, Format<Real>::mantissa_bits));
}

// Two factors, since 2^n may be out of range where x * 2^n is representable.
template <class Real>
DML_INLINE Pack<Real> scale(Pack<Real> x, Pack<Real> shifted) {
    const Bits<Real> n = reinterpret<Bits<Real>>(shifted) - reinterpret<Bits<Real>>(broadcast(Format<Real>::round));
    const Bits<Real> half = n >> 1;
    return x * power_of_two<Real>(half) * power_of_two<Real>(n - half);
}
#endif

// e^r for |r| <= 0.35, from the Taylor series.
template <class Real>
DML_INLINE Pack<Real> exp_near_zero(Pack<Real> r) {
    constexpr int degree = Format<Real>::exp_degree;
    constexpr double inverse_factorials[] = {1.0,
                                             1.0,
                                             0.5,
                                             1.6666666666666666e-1,
                                             4.1666666666666664e-2,
                                             8.3333333333333332e-3,
                                             1.3888888888888889e-3,
                                             1.9841269841269841e-4,
                                             2.4801587301587302e-5,
                                             2.7557319223985893e-6,
                                             2.7557319223985888e-7,
                                             2.5052108385441720e-8,
                                             2.0876756987868100e-9,
                                             1.6059043836821613e-10};
    Pack<Real> sum = broadcast(static_cast<Real>(inverse_factorials[degree]));
    DML_UNROLL
    for (int k = degree - 1; k >= 0; --k) sum = sum * r + static_cast<Real>(inverse_factorials[k]);
    return sum;
}

template <class Real>
DML_INLINE Pack<Real> exp(Pack<Real> x) {
    using F = Format<Real>;
    x = clamp(x, broadcast(F::exp_lowest), broadcast(F::exp_highest));
    const Pack<Real> shifted = x * static_cast<Real>(1.4426950408889634) + F::round;
    const Pack<Real> n = shifted - F::round;
    const Pack<Real> r = (x - n * F::ln2_high) - n * F::ln2_low;
    return scale<Real>(exp_near_zero<Real>(r), shifted);
}

// x^exponent for normal x > 0; NaN for NaN.
template <class Real>
class Power {
  public:
    explicit Power(double exponent) {
        int scale = 0;
        const double fraction = std::frexp(exponent, &scale);
        const double high = std::ldexp(std::trunc(fraction * Format<Real>::exactly) / Format<Real>::exactly, scale);
        exponent_ = static_cast<Real>(exponent);
        high_ = static_cast<Real>(high);
        low_ = static_cast<Real>(exponent - high);
    }

    DML_INLINE Pack<Real> operator()(Pack<Real> x) const {
        using F = Format<Real>;
        const Bits<Real> bits = reinterpret<Bits<Real>>(x);
        const Bits<Real> sqrt_half = reinterpret<Bits<Real>>(broadcast(static_cast<Real>(0.70710678118654752)));
        const Bits<Real> exponent = (bits - sqrt_half) >> F::mantissa_bits;
        const Pack<Real> mantissa = reinterpret<Pack<Real>>(bits - shift_left<Real>(exponent, F::mantissa_bits));
        const Bits<Real> round = reinterpret<Bits<Real>>(broadcast(F::round));
        const Pack<Real> e = reinterpret<Pack<Real>>(exponent + round) - F::round;
        const Pack<Real> log = log2_of_mantissa(mantissa);
        // z = exponent_ * (e + log). Its integer part n is subtracted from the exact part first: r keeps its digits.
        constexpr Real most = 2 * F::bias - 4;
        const Pack<Real> z = clamp(exponent_ * (e + log), broadcast(-most), broadcast(most));
        const Pack<Real> shifted = z + F::round;
        const Pack<Real> n = shifted - F::round;
        Pack<Real> r = (high_ * e - n) + (low_ * e + exponent_ * log);
        r = clamp(r, broadcast<Real>(-1), broadcast<Real>(1));
        const Pack<Real> result = scale<Real>(exp_near_zero<Real>(r * static_cast<Real>(0.69314718055994531)), shifted);
        return where(x == x, result, x);
    }

  private:
    // log2(m) = 2 / ln 2 * artanh((m - 1) / (m + 1)), for m in [sqrt(1/2), sqrt(2)).
    DML_INLINE static Pack<Real> log2_of_mantissa(Pack<Real> m) {
        constexpr int terms = Format<Real>::log_terms;
        constexpr double two_over_ln2 = 2.8853900817779268;
        const Pack<Real> f = (m - 1) / (m + 1);
        const Pack<Real> square = f * f;
        Pack<Real> sum = broadcast(static_cast<Real>(two_over_ln2 / (2 * terms + 1)));
        DML_UNROLL
        for (int k = terms - 1; k >= 1; --k) sum = sum * square + static_cast<Real>(two_over_ln2 / (2 * k + 1));
        return f * static_cast<Real>(two_over_ln2) + f * square * sum;
    }

    Real exponent_, high_, low_;
};

}  // namespace dml::DML_ISA
