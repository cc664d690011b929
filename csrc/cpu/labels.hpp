// Labels of samples as the engine wants them, and in the range that tiles compare.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <limits>
#include <vector>

#include "cpu/problem.hpp"

namespace dml::cpu {

constexpr std::int64_t ignored = std::numeric_limits<std::int64_t>::min();

enum class Integer { int8, int16, int32, int64, uint8 };

// Copies labels, with `ignored` for the one to ignore. Returns whether every other one is in [0, classes) and there is
// one.
bool resolve_labels(Integer type, std::uintptr_t labels, std::int64_t rows, std::int64_t ignore_index,
                    std::int64_t classes, std::uintptr_t out);

// Tiles of float compare 32-bit labels and reserve the two lowest values. If a label of a row is outside that range,
// all labels are replaced by their rank among the labels of the rows.
class LabelIds {
  public:
    explicit LabelIds(const Vectors& rows) {
        constexpr std::int64_t lowest = std::numeric_limits<std::int32_t>::min() + std::int64_t{2};
        constexpr std::int64_t highest = std::numeric_limits<std::int32_t>::max();
        const auto* const labels = reinterpret_cast<const std::int64_t*>(rows.labels);
        if (labels == nullptr) return;
        const auto fits = [](std::int64_t label) { return label == ignored || (lowest <= label && label <= highest); };
        if (std::all_of(labels, labels + rows.size, fits)) return;
        std::copy_if(labels, labels + rows.size, std::back_inserter(ranked_), [](auto label) { return label != ignored; });
        std::sort(ranked_.begin(), ranked_.end());
        ranked_.erase(std::unique(ranked_.begin(), ranked_.end()), ranked_.end());
    }

    // The label to compare; -1 for a column's label that no row has, if labels are replaced.
    std::int64_t operator[](std::int64_t label) const {
        if (ranked_.empty()) return label;
        const auto found = std::lower_bound(ranked_.begin(), ranked_.end(), label);
        return found != ranked_.end() && *found == label ? found - ranked_.begin() : -1;
    }

  private:
    std::vector<std::int64_t> ranked_;
};

}  // namespace dml::cpu
