// Losses that are formulas of row statistics, and the gradient of the statistics. Plain PyTorch takes a dozen operations
// each way, which for a small batch last longer than its tiles. All arithmetic is double.
#pragma once

#include <array>
#include <cstdint>

namespace dml::cpu {

enum class FormulaKind {
    anchor, angle, cross_entropy, decidability_inverse, decidability_neg, decidability_neg_log, difference, fused,
    fused_inverse, fused_neg, fused_neg_log, joint, last, magnified, turned
};

// An address of 0 means that there is none. Values are float, or double if `wide`.
struct Formula {
    FormulaKind kind{};
    std::array<double, 9> numbers{};
    bool wide = false, mean = true;  // weighted mean over the rows, or sum
    std::int64_t rows = 0, width = 1;
    int threads = 1;
    std::uintptr_t statistics = 0;     // (rows, width)
    std::uintptr_t labels = 0;         // int64 (rows): ignored rows do not count
    std::uintptr_t weights = 0;        // (rows)
    std::uintptr_t values = 0;         // (rows), for a formula that reads one of each
    std::uintptr_t loss = 0;           // one value; output of `evaluate`
    std::uintptr_t parts = 0;          // of a fused loss: decidability, field and ODBA; output of `evaluate`
    std::uintptr_t state = 0;          // double; output of `evaluate`, which `slopes` reads
    std::uintptr_t loss_gradient = 0;  // one value; input of `slopes`
    std::uintptr_t gradient = 0;       // (rows, width), of the statistics; output of `slopes`
    std::uintptr_t of_values = 0;      // (rows), gradient of the values; output of `slopes`, if there is one
};

void evaluate(const Formula& formula);
void slopes(const Formula& formula);

}  // namespace dml::cpu
