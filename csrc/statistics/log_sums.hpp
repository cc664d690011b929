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

}  // namespace dml::DML_ISA
