// The scheduler of cuda_runtime.h.
#include "cuda_runtime.h"

#include <pybind11/pybind11.h>
#include <ucontext.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <vector>

#include "fibers.h"

dim3 threadIdx, blockIdx;

namespace dml::cuda {
constexpr std::size_t shared_room = 48 * 1024, guard = 4096;
alignas(128) unsigned char shared_memory[shared_room + guard];
}  // namespace dml::cuda

namespace emulation {
namespace {

enum class State { ready, at_block, at_warp, done };

struct Fiber {
    State state;
    Site site;
    ucontext_t entry;
    Continuation resume;
    bool started;
};

constexpr std::size_t stack_bytes = 256 * 1024;
constexpr unsigned most_threads = 256;

Fiber fibers[most_threads];
std::unique_ptr<unsigned char[]> stacks;
std::uint64_t numbers[most_threads];
Continuation scheduler;
const std::function<void()>* body_of_all;
std::string error;
std::size_t shared_bytes;
int order = 0;  // 0 ascending, 1 descending, else the seed of a shuffle
std::mt19937 generator;

UNWATCHED void leave(State state, Site site) {
    Fiber& self = fibers[threadIdx.x];
    const dim3 here = threadIdx;
    self.state = state;
    self.site = site;
    leave_for(scheduler, &self.resume);
    if (__builtin_setjmp(self.resume.registers) == 0) go_on(scheduler);
    arrive(self.resume);
    threadIdx = here;
}

UNWATCHED void enter() {
    arrive_from(scheduler);
    (*body_of_all)();
    fibers[threadIdx.x].state = State::done;
    leave_for(scheduler, nullptr);
    go_on(scheduler);
}

UNWATCHED void step(unsigned thread) {
    Fiber& fiber = fibers[thread];
    threadIdx = dim3(thread);
    fiber.resume.stack = stacks.get() + thread * stack_bytes;
    fiber.resume.stack_bytes = stack_bytes;
    leave_for(fiber.resume, &scheduler);
    if (__builtin_setjmp(scheduler.registers) != 0) {
        arrive(scheduler);
        return;
    }
    if (fiber.started) go_on(fiber.resume);
    fiber.started = true;
    getcontext(&fiber.entry);
    fiber.entry.uc_stack.ss_sp = stacks.get() + thread * stack_bytes;
    fiber.entry.uc_stack.ss_size = stack_bytes;
    fiber.entry.uc_link = nullptr;
    makecontext(&fiber.entry, &enter, 0);
    setcontext(&fiber.entry);
}

// Lets the threads of [begin, end) go on if all wait for each other.
bool release(unsigned begin, unsigned end, State waiting) {
    for (unsigned thread = begin; thread < end; ++thread) {
        if (fibers[thread].state != waiting) return false;
    }
    for (unsigned thread = begin; thread < end; ++thread) {
        const Site first = fibers[begin].site, here = fibers[thread].site;
        if (first.line != here.line || std::strcmp(first.file, here.file) != 0) {
            error = "threads wait for each other in different places: " + std::string(first.file) + ":" +
                    std::to_string(first.line) + " and " + here.file + ":" + std::to_string(here.line);
            return false;
        }
        fibers[thread].state = State::ready;
    }
    return true;
}

std::vector<unsigned> ordered(unsigned count) {
    std::vector<unsigned> found(count);
    std::iota(found.begin(), found.end(), 0u);
    if (order == 1) std::reverse(found.begin(), found.end());
    if (order > 1) std::shuffle(found.begin(), found.end(), generator);
    return found;
}

}  // namespace

void wait_for_block(Site site) { leave(State::at_block, site); }
void wait_for_warp(Site site) { leave(State::at_warp, site); }
std::uint64_t* exchange() { return numbers; }

std::mutex& device() {
    static std::mutex mutex;
    return mutex;
}

UNWATCHED void fail(const std::string& message) {
    error = message;
    leave_for(scheduler, nullptr);
    go_on(scheduler);
}

void begin_launch(unsigned threads, std::size_t bytes) {
    if (threads != most_threads) throw std::runtime_error("blocks of 256 threads are emulated");
    if (stacks == nullptr) stacks.reset(new unsigned char[most_threads * stack_bytes]);
    allow(stacks.get(), most_threads * stack_bytes);  // which a launch that failed has left as they were
    shared_bytes = bytes;
    error.clear();
}

unsigned block_at(unsigned turn, unsigned blocks) { return order == 1 ? blocks - 1 - turn : turn; }

void run_block(unsigned threads, const std::function<void()>& body) {
    using dml::cuda::shared_memory;
    unsigned char* const beyond = shared_memory + shared_bytes;
    const std::size_t beyond_bytes = sizeof(shared_memory) - shared_bytes;
    allow(beyond, beyond_bytes);
    std::memset(shared_memory, 0xff, sizeof(shared_memory));  // NaN, and addresses of nothing
    forbid(beyond, beyond_bytes);
    for (unsigned thread = 0; thread < threads; ++thread) {
        fibers[thread].state = State::ready;
        fibers[thread].started = false;
    }
    body_of_all = &body;
    for (bool moved = true; moved;) {
        moved = false;
        for (const unsigned thread : ordered(threads)) {
            if (fibers[thread].state != State::ready) continue;
            step(thread);
            moved = true;
            if (!error.empty()) throw std::runtime_error("emulated CUDA: " + error);
        }
        for (unsigned first = 0; first < threads; first += warp) moved |= release(first, first + warp, State::at_warp);
        moved |= release(0, threads, State::at_block);
        if (!error.empty()) throw std::runtime_error("emulated CUDA: " + error);
    }
    for (unsigned thread = 0; thread < threads; ++thread) {
        if (fibers[thread].state != State::done) {
            throw std::runtime_error("emulated CUDA: a thread waits for others that do not come, at " +
                                     std::string(fibers[thread].site.file) + ":" +
                                     std::to_string(fibers[thread].site.line));
        }
    }
    allow(beyond, beyond_bytes);
    for (std::size_t k = 0; k < beyond_bytes; ++k) {
        if (beyond[k] != 0xff) throw std::runtime_error("emulated CUDA: shared memory was written beyond its end");
    }
}

}  // namespace emulation

void define_emulation(pybind11::module_& module) {
    module.def("set_order", [](int order) {
        emulation::order = order;
        emulation::generator.seed(static_cast<unsigned>(order));
    });
}
