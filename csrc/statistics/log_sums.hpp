// What statistics that are logarithms of sums of exponentials share.
#pragma once

#include "statistics/vocabulary.hpp"

namespace dml::DML_ISA {

// An empty set's -inf made safe to subtract.
template <class Real>
DML_HD Real finite_shift(Real maximum) {
    return maximum == -std::numeric_limits<Real>::infinity() ? Real(0) : maximum;
}

// What no logit, new or folded before, exceeds.
template <class Real>
DML_HD Real shift_for(Real highest, State<Real> state) {
    return finite_shift(larger(static_cast<Real>(state), highest));
}

// state = log(e^state + sum e^shift)
template <class Real>
DML_HD void add_sum(State<Real> sum, State<Real> shift, State<Real>& state) {
    if (sum != 0) state = shift + std::log(std::exp(state - shift) + sum);
}

}  // namespace dml::DML_ISA
