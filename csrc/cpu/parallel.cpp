#include "cpu/parallel.hpp"

#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__linux__)
extern "C" __attribute__((weak)) void GOMP_parallel(void (*)(void*), void*, unsigned, unsigned);
#endif

namespace dml::cpu {
namespace {

struct Job {
    std::int64_t parts;
    const std::function<void(std::int64_t)>& work;
    std::atomic<std::int64_t> next{0};
    std::mutex mutex;
    std::exception_ptr failure;

    void take_parts() noexcept {
        for (std::int64_t part; (part = next.fetch_add(1)) < parts;) {
            try {
                work(part);
            } catch (...) {
                next = parts;  // the result is lost: start no further part
                const std::lock_guard<std::mutex> lock(mutex);
                if (!failure) failure = std::current_exception();
            }
        }
    }
};

void take_parts(void* job) noexcept { static_cast<Job*>(job)->take_parts(); }

// Runs on the threads of the OpenMP runtime that torch has loaded, if that runtime has the GNU interface. Its idle
// threads spin for milliseconds, during which other threads do not get their cores: with std::thread a call of 20 us
// was measured to take 4 ms. The reference is weak, so no second runtime is linked.
bool run_on_torch_threads([[maybe_unused]] Job& job, [[maybe_unused]] int threads) {
#if defined(__linux__)
    if (GOMP_parallel != nullptr) {
        GOMP_parallel(take_parts, &job, static_cast<unsigned>(threads), 0);
        return true;
    }
#endif
    return false;
}

void run_on_own_threads(Job& job, int threads) {
    std::vector<std::thread> workers;
    workers.reserve(static_cast<std::size_t>(threads - 1));
    try {
        while (static_cast<int>(workers.size()) < threads - 1) workers.emplace_back(take_parts, &job);
    } catch (const std::system_error&) {
        // The system has no more threads: the running ones do all parts.
    }
    job.take_parts();
    for (auto& worker : workers) worker.join();
}

}  // namespace

void run_parts(std::int64_t parts, int threads, const std::function<void(std::int64_t)>& work) {
    Job job{parts, work, {}, {}, {}};
    threads = static_cast<int>(std::min<std::int64_t>(threads, parts));
    if (threads <= 1) {
        job.take_parts();
    } else if (!run_on_torch_threads(job, threads)) {
        run_on_own_threads(job, threads);
    }
    if (job.failure) std::rethrow_exception(job.failure);
}

void run_parts(std::int64_t parts, int threads, void (*work)(void*, std::int64_t), void* context) {
    run_parts(parts, threads, [=](std::int64_t part) { work(context, part); });
}

}  // namespace dml::cpu
