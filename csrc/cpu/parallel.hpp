// Splits rows over threads. Plain std::thread: a second OpenMP runtime beside torch's would compete with its workers
// for the cores, and threads that end with the call survive a fork.
#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace dml::cpu {

// Calls body(begin, end) on contiguous ranges that cover [0, rows), at least `grain` rows each. The ranges depend only on
// the arguments. The first exception of any range is rethrown after all of them have ended.
template <class Body>
void parallel_rows(std::int64_t rows, std::int64_t grain, int threads, const Body& body) {
    grain = std::max<std::int64_t>(grain, 1);
    const std::int64_t parts = std::clamp<std::int64_t>(rows / grain, 1, std::max(threads, 1));
    if (parts == 1) {
        body(std::int64_t{0}, rows);
        return;
    }

    std::exception_ptr failure;
    std::mutex failure_mutex;
    const auto run_part = [&](std::int64_t part) noexcept {
        try {
            body(rows * part / parts, rows * (part + 1) / parts);
        } catch (...) {
            const std::lock_guard<std::mutex> lock(failure_mutex);
            if (!failure) failure = std::current_exception();
        }
    };

    std::vector<std::thread> workers;
    workers.reserve(static_cast<std::size_t>(parts - 1));
    for (std::int64_t part = 1; part < parts; ++part) {
        try {
            workers.emplace_back(run_part, part);
        } catch (const std::system_error&) {
            run_part(part);  // no thread to be had: do its share here
        }
    }
    run_part(0);
    for (auto& worker : workers) worker.join();
    if (failure) std::rethrow_exception(failure);
}

}  // namespace dml::cpu
