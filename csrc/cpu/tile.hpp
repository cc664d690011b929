// One tile of scores, and what a set of kernels does with it. Values are float, or double if `wide`.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

namespace dml::cpu {

enum class Kind { circle, divergence, field, logsumexp, moments, row_logsumexp, soft_triple, square, sub_center };

// One statistic and which of a tile's pairs it counts.
struct Term {
    Kind kind{};
    std::array<double, 5> parameters{};
    std::int64_t first = 0;  // of its values among those of a row
    bool from_rows = true;   // each row sees the columns
    bool from_columns = false;
};

// The rows or the columns of a tile. Zero stands for "none" in every address.
struct Side {
    std::uintptr_t units = 0;  // (views, size, dim), adjacent values
    std::int64_t size = 0;
    std::int64_t view_stride = 0;
    std::uintptr_t labels = 0;   // int64, one for each group of columns; those of rows within int32, its two lowest values excepted
    std::uintptr_t weights = 0;  // one for each column
    std::uintptr_t row_values = 0;  // (size, row_values), of rows
    // Forward: double (size, width), read and written. Backward: statistics and their gradient, (size, width).
    std::uintptr_t states = 0;
    std::uintptr_t statistics = 0;
    std::uintptr_t gradient = 0;
    std::uintptr_t of_units = 0;  // added to; laid out as units
};

// What all tiles of a problem have in common.
struct Shape {
    bool wide = false;
    std::int64_t dim = 0;
    int views = 1;
    std::int64_t group = 1;       // columns of a label
    std::int64_t width = 1;       // of a row's statistics
    std::int64_t row_values = 0;  // values that each row has
    int threads = 1;
};

struct Tile : Shape {
    Side rows, columns;     // column k of label j is k * (columns.size / group) + j
    bool diagonal = false;  // rows and columns are the same points: a point does not meet itself, and where both ends of
                            // a pair count the pair is visited once
    const Term* terms = nullptr;
    int term_count = 0;
};

// Centres of classes, whose distances within each class are summed.
struct Centers {
    bool wide = false;
    std::int64_t classes = 0, group = 1, dim = 0;
    std::int64_t stride = 0;     // from centre to centre
    std::uintptr_t values = 0;  // centre k of class c is vector c * group + k
    double slack = 0;            // under the root
    std::uintptr_t gradient = 0;    // of the sum: one number
    std::uintptr_t of_values = 0;  // written; (classes * group, dim), adjacent
    int threads = 1;
};

// Memory that is kept from tile to tile.
class Workspace {
  public:
    enum Use { scores, columns_by_dim, columns_by_row, rows_by_row, labels, column_side, parts, ranges, use_count };

    // Aligned to a cache line. What was there is lost if it was made for less.
    void* room(Use use, std::int64_t bytes);

    std::uintptr_t packed_rows = 0;  // units whose rows_by_row is kept: they do not change while the workspace lives

  private:
    struct Buffer {
        std::unique_ptr<unsigned char[]> memory;
        std::size_t bytes = 0;
    };
    std::array<Buffer, use_count> buffers_;
};

// The engine for one instruction set.
struct Kernels {
    const char* name;
    // Folds the tile into the states; whether its slope may be anywhere non-zero.
    bool (*fold)(const Tile&, Workspace&);
    // Adds the tile's part to the gradients of the units.
    void (*slope)(const Tile&, Workspace&);
    // Merges the states of `rows` rows, (rows, width), into others.
    void (*merge)(const Tile&, const double* from, double* states, std::int64_t rows);
    double (*spread)(const Centers&, Workspace&);
    void (*spread_backward)(const Centers&, Workspace&);
    // For tests: out = e^x, out = x^exponent.
    void (*exp)(bool wide, std::uintptr_t x, std::uintptr_t out, std::int64_t count);
    void (*power)(bool wide, double exponent, std::uintptr_t x, std::uintptr_t out, std::int64_t count);
};

// All that this processor can run, the best one first.
const std::vector<Kernels>& kernels();

}  // namespace dml::cpu
