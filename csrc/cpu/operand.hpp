// The rows, or a block of columns, of a problem as tiles take them, and the gradient of the caller's vectors.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "cpu/labels.hpp"
#include "cpu/memory.hpp"
#include "cpu/norms.hpp"
#include "cpu/parallel.hpp"
#include "cpu/problem.hpp"

namespace dml::cpu {

// Values in memory that is reused and grows; `room` may discard its contents. Not null even for a count of 0.
template <class Real>
class Buffer {
  public:
    Real* room(std::int64_t count) { return static_cast<Real*>(memory_.room(static_cast<std::size_t>(count) * sizeof(Real))); }
    Real* get() const { return static_cast<Real*>(memory_.start()); }

  private:
    Memory memory_;
};

// A block of vectors, all in one segment.
struct Block {
    std::int64_t begin, end;
    std::size_t segment;
};

// The normalised vectors, without ignored ones, in the order of a tile: first vector 0 of every group, then vector 1 of
// every group, and so on.
template <class Real>
class Operand {
  public:
    Operand(const Shape& shape, int views, std::int64_t group)
        : dim_(shape.dim), views_(views), group_(group), threads_(shape.threads) {}

    // Reads and normalises the vectors. If these have no labels, vector j gets the label first_label + j, or none if
    // `first_label` is negative. With `by_class` the vectors of each segment are sorted by label.
    void take(const Vectors& from, const LabelIds& ids, std::int64_t first_label, bool by_class) {
        from_ = from;
        choose(ids, first_label, by_class);
        Real* const units = units_.room(views_ * size() * dim_);
        Real* const inverse = inverse_.room(views_ * size());
        for (std::int64_t view = 0; view < views_; ++view) {
            Real* const to = units + view * size() * dim_;
            const Real* values = to;
            if (in_place_) {
                values = address<Real>(from.values) + view * from.view_stride;
            } else {
                for_vectors([&](std::int64_t i) {
                    read(from.type, from.values, view * from.view_stride + chosen_[i] * from.stride, dim_, to + i * dim_);
                });
            }
            normalise(values, to, inverse + view * size(), size(), dim_, in_place_ ? from.stride : dim_, threads_);
        }
    }

    std::int64_t size() const { return static_cast<std::int64_t>(chosen_.size()); }
    // The index of each vector among the caller's.
    const std::vector<std::int64_t>& chosen() const { return chosen_; }

    // Splits vectors without groups into blocks of at most `length`.
    std::vector<Block> blocks(std::int64_t length) const {
        std::vector<Block> found;
        std::int64_t begin = 0;
        for (std::size_t segment = 0; segment < ends_.size(); ++segment) {
            for (const std::int64_t end = ends_[segment]; begin < end; begin = found.back().end) {
                found.push_back({begin, std::min(begin + length, end), segment});
            }
        }
        return found;
    }

    // Allocates the gradients of the unit vectors, one for each part of the work. The first is the caller's memory if
    // the layout is the same.
    void allot_gradient(std::int64_t parts) {
        if (from_.gradient == 0) return;
        of_units_ = in_place_ ? address<Real>(from_.gradient) : moved_.room(count());
        if (parts > 1) further_.room((parts - 1) * count());
        parts_ = parts;
    }

    // Fills the gradient of a part with zeros.
    void start_gradient(std::int64_t part) const {
        if (of_units_ != nullptr) std::fill_n(gradient_of(part), count(), Real(0));
    }

    // Sets the addresses of the vectors [begin, end) and of a part's gradient; vectors in groups all at once only.
    void show(Side& side, std::int64_t begin, std::int64_t end, std::int64_t part = 0) const {
        side.units = reinterpret_cast<std::uintptr_t>(units_.get() + begin * dim_);
        side.size = end - begin;
        side.view_stride = size() * dim_;
        side.labels = labels_.empty() ? 0 : reinterpret_cast<std::uintptr_t>(labels_.data() + begin);
        side.weights = weights_.empty() ? from_.weights : reinterpret_cast<std::uintptr_t>(weights_.data());
        side.of_units =
            of_units_ == nullptr ? 0 : reinterpret_cast<std::uintptr_t>(gradient_of(part) + begin * dim_);
    }

    // Sums the gradients of the parts and writes the gradient of the caller's vectors, zeros for ignored ones.
    void finish_gradient() const {
        if (of_units_ == nullptr) return;
        for (std::int64_t part = 1; part < parts_; ++part) {
            const Real* const more = gradient_of(part);
            for (std::int64_t k = 0; k < count(); ++k) of_units_[k] += more[k];
        }
        normalisation_backward(units_.get(), inverse_.get(), of_units_, views_ * size(), dim_, threads_);
        if (in_place_) return;
        if (size() < from_.size) {
            std::memset(address<void>(from_.gradient), 0, views_ * from_.size * dim_ * bytes_of(from_.type));
        }
        for (std::int64_t view = 0; view < views_; ++view) {
            for_vectors([&](std::int64_t i) {
                write(of_units_ + (view * size() + i) * dim_, from_.type, from_.gradient,
                      (view * from_.size + chosen_[i]) * dim_, dim_);
            });
        }
    }

  private:
    void choose(const LabelIds& ids, std::int64_t first_label, bool by_class) {
        const auto* const labels = address<const std::int64_t>(from_.labels);
        const std::int64_t groups = from_.size / group_;
        kept_.clear();
        ends_.clear();
        std::int64_t j = 0;
        for (std::size_t segment = 0; segment <= from_.boundaries.size(); ++segment) {
            const std::int64_t end = segment < from_.boundaries.size() ? from_.boundaries[segment] : groups;
            const auto first = static_cast<std::ptrdiff_t>(kept_.size());
            for (; j < end; ++j) {
                if (labels == nullptr || labels[j] != ignored) kept_.push_back(j);
            }
            if (by_class && labels != nullptr) {
                std::stable_sort(kept_.begin() + first, kept_.end(), [=](auto a, auto b) { return labels[a] < labels[b]; });
            }
            ends_.push_back(static_cast<std::int64_t>(kept_.size()));
        }
        labels_.clear();
        for (const std::int64_t kept : kept_) {
            if (labels != nullptr) {
                labels_.push_back(ids[labels[kept]]);
            } else if (first_label >= 0) {
                labels_.push_back(ids[first_label + kept]);
            }
        }
        chosen_.clear();
        for (std::int64_t k = 0; k < group_; ++k) {
            for (const std::int64_t kept : kept_) chosen_.push_back(kept * group_ + k);
        }
        const bool moved = group_ > 1 || (by_class && !std::is_sorted(kept_.begin(), kept_.end()));
        const bool as_given = size() == from_.size && !moved;
        in_place_ = as_given && from_.type == type_of<Real>;
        weights_.clear();
        if (from_.weights == 0 || as_given) return;
        for (const std::int64_t i : chosen_) weights_.push_back(address<Real>(from_.weights)[i]);
    }

    // Calls body(i) for every vector, on several threads if there is enough to copy.
    template <class Body>
    void for_vectors(const Body& body) const {
        parallel_rows(size(), values_per_thread / std::max<std::int64_t>(dim_, 1), threads_,
                      [&](std::int64_t begin, std::int64_t end) {
                          for (std::int64_t i = begin; i < end; ++i) body(i);
                      });
    }

    std::int64_t count() const { return views_ * size() * dim_; }
    Real* gradient_of(std::int64_t part) const {
        return part == 0 ? of_units_ : further_.get() + (part - 1) * count();
    }

    Vectors from_;
    const std::int64_t dim_, views_, group_;
    const int threads_;
    bool in_place_ = false;  // no vector is ignored, moved or of another type
    std::vector<std::int64_t> kept_, chosen_, labels_, ends_;
    std::vector<Real> weights_;
    Buffer<Real> units_, inverse_, moved_, further_;
    Real* of_units_ = nullptr;
    std::int64_t parts_ = 1;
};

}  // namespace dml::cpu
