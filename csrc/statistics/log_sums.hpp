// Functions of statistics that are log-sum-exps.
#pragma once

#include "statistics/vocabulary.hpp"

namespace dml::DML_ISA {

// The maximum, or 0 instead of the -inf of an empty set: safe to subtract.
template <class Real>
DML_HD Real finite_shift(Real maximum) {
    return maximum == -std::numeric_limits<Real>::infinity() ? Real(0) : maximum;
}

// An upper bound of all logits: of the new ones, and of those in the state.
template <class Real>
DML_HD Real shift_for(Real highest, State<Real> state) {
    return finite_shift(larger(static_cast<Real>(state), highest));
}

// state = log(e^state + sum * e^shift)
template <class Real>
DML_HD void add_sum(State<Real> sum, State<Real> shift, State<Real>& state) {
    if (sum != 0) state = shift + std::log(std::exp(state - shift) + sum);
}

}  // namespace dml::DML_ISA
