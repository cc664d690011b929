// dmlkernels/statistics/square.py
#pragma once

#include "statistics/vocabulary.hpp"

namespace dml::DML_ISA {

template <class Real>
class Square {
  public:
    static constexpr int column_values = 0, width = 1, views = 1;
    static constexpr bool pools = false;

    explicit Square(const Term&) {}

    DML_HD bool fold(const Row<Real>& row, const Folded<Real>& to) const {
        Sum<Real> sum;
        for (Index j = 0; j < row.count; j += lanes<Real>) {
            const Pack<Real> score = score_at(row, j);
            sum.add(counted_at(row, j), score * score * weight_at(row, j));
        }
        *to.state += sum.total();
        return true;
    }

    DML_HD Range slope(const Row<Real>& row, const Sloped<Real>& of) const {
        const Pack<Real> rate = broadcast(2 * of.gradient[0]);
        for (Index j = 0; j < row.count; j += lanes<Real>) {
            add_slope(row, of, j, rate * weight_at(row, j) * score_at(row, j));
        }
        return {0, row.count};
    }

    DML_HD static void empty(State<Real>* state) { *state = 0; }
    DML_HD static void merge_states(const State<Real>* from, State<Real>* state) { *state += *from; }
};

}  // namespace dml::DML_ISA
