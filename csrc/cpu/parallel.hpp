// Splits rows over threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>

namespace dml::cpu {

// Calls work(part) for every part in [0, parts), on up to `threads` threads, the caller's among them. Returns when all
// parts have ended; rethrows the first exception of any.
void run_parts(std::int64_t parts, int threads, const std::function<void(std::int64_t)>& work);
void run_parts(std::int64_t parts, int threads, void (*work)(void* context, std::int64_t part), void* context);

// Calls body(begin, end) on ranges that cover [0, rows), of at least `grain` rows each. The ranges depend on the
// arguments alone, which thread takes which does not matter.
template <class Body>
void parallel_rows(std::int64_t rows, std::int64_t grain, int threads, const Body& body) {
    constexpr std::int64_t parts_per_thread = 4;  // evens out threads that are slow or late
    const std::int64_t most = rows / std::max<std::int64_t>(grain, 1);
    const std::int64_t parts = threads > 1 ? std::clamp<std::int64_t>(most, 1, parts_per_thread * threads) : 1;
    run_parts(parts, threads, [&](std::int64_t part) { body(rows * part / parts, rows * (part + 1) / parts); });
}

}  // namespace dml::cpu
