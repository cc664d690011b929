// Runs parts of the work on several threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>

namespace dml::cpu {

// Calls work(part) for every part in [0, parts), on up to `threads` threads including the caller's. Returns when all
// parts have ended, and rethrows the first exception.
void run_parts(std::int64_t parts, int threads, const std::function<void(std::int64_t)>& work);
void run_parts(std::int64_t parts, int threads, void (*work)(void* context, std::int64_t part), void* context);

// Values below which a further thread takes longer than it saves; torch's, which are used on Linux, need not be started.
#if defined(__linux__)
inline constexpr std::int64_t values_per_thread = 1 << 14;
#else
inline constexpr std::int64_t values_per_thread = 1 << 16;
#endif

// Calls body(part, begin, end) for `parts` ranges that cover [0, rows).
template <class Body>
void parallel_parts(std::int64_t rows, std::int64_t parts, int threads, const Body& body) {
    run_parts(parts, threads, [&](std::int64_t part) { body(part, rows * part / parts, rows * (part + 1) / parts); });
}

// Calls body(begin, end) for ranges that cover [0, rows) and have at least `grain` rows each. The ranges depend on the
// arguments only, not on which thread runs which range.
template <class Body>
void parallel_rows(std::int64_t rows, std::int64_t grain, int threads, const Body& body) {
    constexpr std::int64_t parts_per_thread = 4;  // balances the load if a thread is slow or starts late
    const std::int64_t most = rows / std::max<std::int64_t>(grain, 1);
    const std::int64_t parts = threads > 1 ? std::clamp<std::int64_t>(most, 1, parts_per_thread * threads) : 1;
    parallel_parts(rows, parts, threads, [&](std::int64_t, std::int64_t begin, std::int64_t end) { body(begin, end); });
}

}  // namespace dml::cpu
