// The kernels for one instruction set; compiled once for each (isa.hpp). Use no function of the standard library that
// is not inlined: the linker keeps one copy of it, which may need instructions that the processor lacks.
#include <cstdint>

#include "cpu/spread.hpp"
#include "cpu/tile_fold.hpp"
#include "cpu/tile_slope.hpp"

namespace dml::DML_ISA {
namespace {

bool fold(const Tile& tile, Workspace& workspace) {
    return tile.wide ? TileFold<double>(tile, workspace).fold() : TileFold<float>(tile, workspace).fold();
}

void slope(const Tile& tile, Workspace& workspace) {
    tile.wide ? TileSlope<double>(tile, workspace).slope() : TileSlope<float>(tile, workspace).slope();
}

void merge(const Tile& tile, const double* from, double* states, std::int64_t rows) {
    for (int k = 0; k < tile.term_count; ++k) {
        const Term& term = tile.terms[k];
        with_statistic<double>(term, [&](const auto& statistic) {
            for (std::int64_t i = 0; i < rows; ++i) {
                const std::int64_t place = i * tile.width + term.first;
                statistic.merge_states(from + place, states + place);
            }
            return true;
        });
    }
}

// Calls body(spread, part, begin, end) for at most so many ranges of the classes.
template <class Real, class Body>
void for_classes(const cpu::Centers& centers, Workspace& workspace, std::int64_t most, const Body& body) {
    const std::int64_t room = Spread<Real>::room(centers), parts = most < centers.classes ? most : centers.classes;
    Real* const memory = static_cast<Real*>(workspace.room(Workspace::parts, parts * room * sizeof(Real)));
    parallel(centers.classes, parts, centers.threads, [&](std::int64_t part, std::int64_t begin, std::int64_t end) {
        body(Spread<Real>(centers, memory + part * room), part, begin, end);
    });
}

template <class Real>
double spread(const cpu::Centers& centers, Workspace& workspace) {
    constexpr std::int64_t parts = 64;
    double totals[parts] = {};
    for_classes<Real>(centers, workspace, parts,
                      [&](Spread<Real> of, std::int64_t part, std::int64_t begin, std::int64_t end) {
                          for (std::int64_t c = begin; c < end; ++c) totals[part] += of.sum(c);
                      });
    double total = 0;
    for (const double of_part : totals) total += of_part;
    return total;
}

template <class Real>
void spread_backward(const cpu::Centers& centers, Workspace& workspace) {
    for_classes<Real>(centers, workspace, parts_per_thread * centers.threads,
                      [&](Spread<Real> of, std::int64_t, std::int64_t begin, std::int64_t end) {
                          for (std::int64_t c = begin; c < end; ++c) of.backward(c);
                      });
}

double spread_of(const cpu::Centers& centers, Workspace& workspace) {
    return centers.wide ? spread<double>(centers, workspace) : spread<float>(centers, workspace);
}

void spread_of_backward(const cpu::Centers& centers, Workspace& workspace) {
    centers.wide ? spread_backward<double>(centers, workspace) : spread_backward<float>(centers, workspace);
}

template <class Real, class Function>
void map(const Function& function, std::uintptr_t x, std::uintptr_t out, std::int64_t count) {
    for (std::int64_t k = 0; k < count; ++k) {
        const Pack<Real> result = function(broadcast(address<Real>(x)[k]));
        std::memcpy(reinterpret_cast<Real*>(out) + k, &result, sizeof(Real));
    }
}

void map_exp(bool wide, std::uintptr_t x, std::uintptr_t out, std::int64_t count) {
    if (wide) {
        map<double>([](Pack<double> pack) { return exp<double>(pack); }, x, out, count);
    } else {
        map<float>([](Pack<float> pack) { return exp<float>(pack); }, x, out, count);
    }
}

void map_power(bool wide, double exponent, std::uintptr_t x, std::uintptr_t out, std::int64_t count) {
    if (wide) {
        map<double>(Power<double>(exponent), x, out, count);
    } else {
        map<float>(Power<float>(exponent), x, out, count);
    }
}

#define DML_NAME_OF(isa) #isa
#define DML_NAME(isa) DML_NAME_OF(isa)

}  // namespace

extern const cpu::Kernels kernels;
const cpu::Kernels kernels{DML_NAME(DML_ISA), fold, slope, merge, spread_of, spread_of_backward,
                           map_exp, map_power};

}  // namespace dml::DML_ISA
