// One side of a problem made ready for tiles, and its gradient brought back to the caller's vectors.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "cpu/norms.hpp"
#include "cpu/parallel.hpp"
#include "cpu/problem.hpp"

namespace dml::cpu {

constexpr std::int64_t ignored = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t lowest_label = std::numeric_limits<std::int32_t>::min() + std::int64_t{2};
constexpr std::int64_t highest_label = std::numeric_limits<std::int32_t>::max();

template <class T>
T* address(std::uintptr_t where) {
    return reinterpret_cast<T*>(where);
}

// Numbers whose memory is kept from use to use; what was there is lost. Even none have an address.
template <class Real>
class Numbers {
  public:
    Real* room(std::int64_t count) {
        if (count > count_ || values_ == nullptr) {
            values_.reset();
            values_.reset(new Real[count]);
            count_ = count;
        }
        return values_.get();
    }
    Real* get() const { return values_.get(); }

  private:
    std::unique_ptr<Real[]> values_;
    std::int64_t count_ = 0;
};

// The vectors that count, normalised, in the order of a tile: member k of every group before member k + 1 of any.
template <class Real>
class Operand {
  public:
    Operand(const Tile& tile, int views, std::int64_t group)
        : dim_(tile.dim), views_(views), group_(group), threads_(tile.threads) {}

    // Without labels, a label is its place plus `first_label`, unless that is negative.
    void take(const Vectors& from, std::int64_t first_label) {
        from_ = from;
        choose(first_label);
        Real* const units = units_.room(views_ * size() * dim_);
        Real* const inverse = inverse_.room(views_ * size());
        for (std::int64_t view = 0; view < views_; ++view) {
            Real* const to = units + view * size() * dim_;
            const Real* values = address<Real>(from.values) + view * from.view_stride;
            std::int64_t stride = from.stride;
            if (!in_place_) {
                for (std::int64_t i = 0; i < size(); ++i) std::copy_n(values + chosen_[i] * stride, dim_, to + i * dim_);
                values = to;
                stride = dim_;
            }
            normalise(values, to, inverse + view * size(), size(), dim_, stride, threads_);
        }
    }

    std::int64_t size() const { return static_cast<std::int64_t>(chosen_.size()); }
    const std::vector<std::int64_t>& chosen() const { return chosen_; }

    bool labels_fit() const {
        return std::all_of(labels_.begin(), labels_.end(),
                           [](std::int64_t label) { return lowest_label <= label && label <= highest_label; });
    }

    // Room for the gradient of the unit vectors: where it is to stay, if no vector is left out or moved; and apart from
    // that for each further part of the work.
    void allot_gradient(std::int64_t parts) {
        if (from_.gradient == 0) return;
        of_units_ = in_place_ ? address<Real>(from_.gradient) : moved_.room(count());
        if (parts > 1) further_.room((parts - 1) * count());
        parts_ = parts;
    }

    // Zeros, before a part adds to its gradient.
    void start_gradient(std::int64_t part) const {
        if (of_units_ != nullptr) std::fill_n(gradient_of(part), count(), Real(0));
    }

    // Describes the vectors [begin, end) and the gradient of a part of the work: all vectors, or some of one that is not
    // in groups.
    void show(Side& side, std::int64_t begin, std::int64_t end, std::int64_t part = 0) const {
        side.units = reinterpret_cast<std::uintptr_t>(units_.get() + begin * dim_);
        side.size = end - begin;
        side.view_stride = size() * dim_;
        side.labels = labels_.empty() ? 0 : reinterpret_cast<std::uintptr_t>(labels_.data() + begin);
        side.weights = from_.weights;
        side.of_units =
            of_units_ == nullptr ? 0 : reinterpret_cast<std::uintptr_t>(gradient_of(part) + begin * dim_);
    }

    void finish_gradient() const {
        if (of_units_ == nullptr) return;
        for (std::int64_t part = 1; part < parts_; ++part) {
            const Real* const more = gradient_of(part);
            for (std::int64_t k = 0; k < count(); ++k) of_units_[k] += more[k];
        }
        normalisation_backward(units_.get(), inverse_.get(), of_units_, views_ * size(), dim_, threads_);
        if (in_place_) return;
        std::fill_n(address<Real>(from_.gradient), views_ * from_.size * dim_, Real(0));
        for (std::int64_t view = 0; view < views_; ++view) {
            for (std::int64_t i = 0; i < size(); ++i) {
                std::copy_n(of_units_ + (view * size() + i) * dim_, dim_,
                            address<Real>(from_.gradient) + (view * from_.size + chosen_[i]) * dim_);
            }
        }
    }

  private:
    void choose(std::int64_t first_label) {
        const std::int64_t groups = from_.size / group_;
        const auto* const labels = address<const std::int64_t>(from_.labels);
        kept_.clear();
        labels_.clear();
        chosen_.clear();
        for (std::int64_t j = 0; j < groups; ++j) {
            if (labels != nullptr && labels[j] == ignored) continue;
            kept_.push_back(j);
            if (labels != nullptr) {
                labels_.push_back(labels[j]);
            } else if (first_label >= 0) {
                labels_.push_back(first_label + j);
            }
        }
        for (std::int64_t k = 0; k < group_; ++k) {
            for (const std::int64_t j : kept_) chosen_.push_back(j * group_ + k);
        }
        in_place_ = group_ == 1 && size() == from_.size;
    }

    std::int64_t count() const { return views_ * size() * dim_; }
    Real* gradient_of(std::int64_t part) const {
        return part == 0 ? of_units_ : further_.get() + (part - 1) * count();
    }

    Vectors from_;
    const std::int64_t dim_, views_, group_;
    const int threads_;
    bool in_place_ = false;
    std::vector<std::int64_t> kept_, chosen_, labels_;
    Numbers<Real> units_, inverse_, moved_, further_;
    Real* of_units_ = nullptr;
    std::int64_t parts_ = 1;
};

}  // namespace dml::cpu
