// Forward and backward of all tiles of a problem, each one call from Python: a call for each tile would take as long as
// a small tile.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "cpu/convert.hpp"
#include "cpu/tile.hpp"

namespace dml::cpu {

// The caller's vectors. An address of 0 means that there is none.
struct Vectors {
    Type type = Type::float32;
    std::uintptr_t values = 0;  // (views, size, dim), the values of a vector contiguous
    std::int64_t size = 0;
    std::int64_t stride = 0;  // from vector to vector
    std::int64_t view_stride = 0;
    std::vector<std::int64_t> boundaries;  // first label of each segment but the first
    std::uintptr_t labels = 0;             // int64 (size / group)
    std::uintptr_t weights = 0;            // Real (size)
    std::uintptr_t row_values = 0;         // Real (size, Shape::row_values), of rows only
    std::uintptr_t gradient = 0;           // output of backward: (views, size, dim), contiguous, of `type`
};

struct Problem : Shape {
    Vectors rows, columns;
    // The terms of each pair of segments. Row segments are the outer index; the inner one is over the row segments, if
    // `within`, and then the column segments. Pairs of segments without terms are skipped.
    std::vector<std::vector<Term>> terms;
    bool implicit_labels = false;  // column j without a label has label j
    bool within = false;           // rows are scored against rows too
    bool symmetric = false;        // a pair of rows is visited once and counts for both
    std::int64_t block_rows = 0, block_labels = 0;  // largest tile: rows, and labels of columns
    std::int64_t part_columns = 1;  // columns for each thread at which threads get parts of the columns
    std::uintptr_t empty = 0;       // double (width): the state of a row without columns
    std::uintptr_t statistics = 0;  // Real (rows, width), zeros for ignored rows; output of forward
    std::uintptr_t gradient = 0;    // Real (rows, width), of the statistics; input of backward
    std::uintptr_t saved = 0;       // Real, has_grad of the tiles of rows with rows; forward writes, backward reads
};

// `pause` is called between tiles, on the calling thread, and may throw to stop the work.
using Pause = std::function<void()>;
void forward(const Problem& problem, const Kernels& kernels, const Pause& pause);
void backward(const Problem& problem, const Kernels& kernels, const Pause& pause);

}  // namespace dml::cpu
