// dmlkernels/statistics/square.py
#pragma once

#include "cpu/row.hpp"
#include "cpu/tile.hpp"

namespace dml::DML_ISA {

template <class Real>
class Square {
  public:
    static constexpr int column_numbers = 0;

    explicit Square(const cpu::Term&) {}

    DML_INLINE bool fold(const Row<Real>& row, const Folded<Real>& to) const {
        Sum<Real> sum;
        for (std::int64_t j = 0; j < row.count; j += lanes<Real>) {
            const Pack<Real> score = load(row.scores + j);
            sum.add(load_labels<Real>(row.labels + j) != no_label<Real>, score * score * load(row.weights + j));
        }
        *to.state += sum.total();
        return true;
    }

    DML_INLINE Range slope(const Row<Real>& row, const Sloped<Real>& of) const {
        const Pack<Real> rate = broadcast(2 * of.gradient[0]);
        for (std::int64_t j = 0; j < row.count; j += lanes<Real>) {
            const Pack<Real> slope = rate * load(row.weights + j) * load(row.scores + j);
            store(of.slopes + j, load(of.slopes + j) + slope);
        }
        return {0, row.count};
    }
};

}  // namespace dml::DML_ISA
