// A tile of scores, and the kernels that compute it. Values are float, or double if `wide`.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "cpu/memory.hpp"
#include "statistics/kinds.hpp"

namespace dml::cpu {

#define DML_KIND(kind, Class) kind,
enum class Kind { DML_STATISTICS(DML_KIND) };
#undef DML_KIND

// A statistic, and for which end of a tile's pairs it counts.
struct Term {
    Kind kind{};
    std::array<double, 5> parameters{};
    std::int64_t first = 0;  // its first value in the statistics of a row
    bool from_rows = true;   // pairs count for the rows; for the columns if `from_columns`
    bool from_columns = false;
};

// The rows or the columns of a tile. An address of 0 means that there is none.
struct Side {
    std::uintptr_t units = 0;  // (views, size, dim), each view contiguous
    std::int64_t size = 0;
    std::int64_t view_stride = 0;
    // int64 (size / group). Those of rows fit int32, and are not among its two lowest values.
    std::uintptr_t labels = 0;
    std::uintptr_t weights = 0;  // (size), of columns
    std::uintptr_t row_values = 0;  // (size, row_values), of rows
    // Forward updates the states, double (size, width). Backward reads the statistics and their gradient, (size,
    // width).
    std::uintptr_t states = 0;
    std::uintptr_t statistics = 0;
    std::uintptr_t gradient = 0;
    std::uintptr_t of_units = 0;  // backward adds to it; layout as of units
};

// Properties that all tiles of a problem share.
struct Shape {
    bool wide = false;
    std::int64_t dim = 0;
    int views = 1;
    std::int64_t group = 1;       // columns of a label
    std::int64_t width = 1;       // of the statistics of a row
    std::int64_t row_values = 0;  // for each row
    int threads = 1;
};

struct Tile : Shape {
    Side rows, columns;     // column k of label j is k * (columns.size / group) + j
    bool diagonal = false;  // rows and columns are the same points. A point is not paired with itself; pairs that count
                            // for both ends are visited once
    const Term* terms = nullptr;
    int term_count = 0;
};

// Centres, in groups of one class each; their distances within each class are summed.
struct Centers {
    bool wide = false;
    std::int64_t classes = 0, group = 1, dim = 0;
    std::int64_t stride = 0;     // from centre to centre
    std::uintptr_t values = 0;  // centre k of class c is vector c * group + k
    double slack = 0;            // added to the squared distance
    std::uintptr_t gradient = 0;    // of the sum: one value
    std::uintptr_t of_values = 0;  // output of backward: (classes * group, dim), contiguous
    int threads = 1;
};

// Memory that one tile after the other uses.
class Workspace {
  public:
    enum Use { scores, columns_by_dim, columns_by_row, rows_by_row, labels, column_side, parts, ranges, use_count };

    // Memory for this use, aligned to a cache line. Contents are lost if it has to grow.
    void* room(Use use, std::int64_t bytes);

    std::uintptr_t packed_rows = 0;  // units that rows_by_row holds; they must not change in between

  private:
    std::array<Memory, use_count> memory_;
};

// The engine for one instruction set.
struct Kernels {
    const char* name;
    // Folds the tile into the states. Returns whether any slope may be non-zero.
    bool (*fold)(const Tile&, Workspace&);
    // Adds the contribution of the tile to the gradients of the units.
    void (*slope)(const Tile&, Workspace&);
    // Merges the states `from` into `states`, both (rows, width).
    void (*merge)(const Tile&, const double* from, double* states, std::int64_t rows);
    double (*spread)(const Centers&, Workspace&);
    void (*spread_backward)(const Centers&, Workspace&);
    // For tests: out = exp(x) and out = pow(x, exponent).
    void (*exp)(bool wide, std::uintptr_t x, std::uintptr_t out, std::int64_t count);
    void (*power)(bool wide, double exponent, std::uintptr_t x, std::uintptr_t out, std::int64_t count);
};

// The kernels that this processor can run, the fastest first.
const std::vector<Kernels>& kernels();

}  // namespace dml::cpu
