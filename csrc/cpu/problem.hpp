// A whole problem, tile after tile: each pass is one call from Python, since where tiles are small a call for each of them
// would take as long as the tile.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "cpu/convert.hpp"
#include "cpu/tile.hpp"

namespace dml::cpu {

// Vectors as the caller has them. Zero stands for "none" in every address.
struct Vectors {
    Type type = Type::float32;
    std::uintptr_t values = 0;  // (views, size, dim), those of a vector adjacent
    std::int64_t size = 0;
    std::int64_t stride = 0;  // from vector to vector
    std::int64_t view_stride = 0;
    std::vector<std::int64_t> boundaries;  // labels at which the segments after the first begin
    std::uintptr_t labels = 0;             // int64, one for each group of vectors
    std::uintptr_t weights = 0;            // one for each vector
    std::uintptr_t row_values = 0;         // (size, Shape::row_values), of rows
    std::uintptr_t gradient = 0;           // written; (views, size, dim), contiguous, of the same type
};

struct Problem : Shape {
    Vectors rows, columns;
    // The terms of the tiles of each row segment with each segment that it meets: the row segments if `within`, then the
    // column segments. Without terms there are no tiles.
    std::vector<std::vector<Term>> terms;
    bool implicit_labels = false;  // columns without labels have their index as label
    bool within = false;           // rows meet each other too
    bool symmetric = false;        // a pair of rows is visited once, for both ends
    std::int64_t block_rows = 0, block_labels = 0;  // of a tile at most: rows, and labels of columns
    std::int64_t part_columns = 1;  // columns that are worth a part of one thread; with fewer, all threads work on each tile
    std::uintptr_t empty = 0;       // double (width): the state of a row before any column
    std::uintptr_t statistics = 0;  // (rows, width), zeros for ignored rows; forward writes it
    std::uintptr_t gradient = 0;    // of the statistics; backward reads it
    std::uintptr_t saved = 0;       // has_grad of each tile of rows with rows; forward writes it, backward reads it
};

// Both call `pause` between tiles, which may throw to end the work.
using Pause = std::function<void()>;
void forward(const Problem& problem, const Kernels& kernels, const Pause& pause);
void backward(const Problem& problem, const Kernels& kernels, const Pause& pause);

}  // namespace dml::cpu
