#include "cpu/memory.hpp"

#include <algorithm>
#include <array>
#include <new>

namespace dml::cpu {
namespace {

constexpr std::align_val_t line{64};
constexpr std::size_t page = 4096;  // sizes are multiples of it, so that a call finds what one of about its size has left
constexpr std::size_t most_kept = 8 << 20;  // bytes of each thread

struct Block {
    void* start = nullptr;
    std::size_t size = 0;
};

void free_block(Block block) { ::operator delete(block.start, line); }

// Blocks that a thread has no use for just now, the latest last.
class Idle {
  public:
    ~Idle() {
        for (std::size_t i = 0; i < count_; ++i) free_block(blocks_[i]);
    }

    // The smallest that is large enough but not twice as large; none if there is none.
    Block take(std::size_t size) {
        std::size_t best = count_;
        for (std::size_t i = 0; i < count_; ++i) {
            const std::size_t here = blocks_[i].size;
            if (here >= size && here < 2 * size && (best == count_ || here < blocks_[best].size)) best = i;
        }
        return best == count_ ? Block{} : remove(best);
    }

    void keep(Block block) {
        if (block.size > most_kept) return free_block(block);
        while (count_ == blocks_.size() || bytes_ + block.size > most_kept) free_block(remove(0));
        blocks_[count_++] = block;
        bytes_ += block.size;
    }

  private:
    Block remove(std::size_t place) {
        const Block block = blocks_[place];
        std::copy(blocks_.begin() + place + 1, blocks_.begin() + count_, blocks_.begin() + place);
        bytes_ -= block.size;
        --count_;
        return block;
    }

    std::array<Block, 32> blocks_;
    std::size_t count_ = 0, bytes_ = 0;
};

thread_local Idle idle;

}  // namespace

void* Memory::room(std::size_t bytes) {
    if (start_ != nullptr && bytes <= size_) return start_;
    end();  // first, so that it can be what is taken
    const std::size_t size = (std::max<std::size_t>(bytes, 1) + page - 1) / page * page;
    Block block = idle.take(size);
    if (block.start == nullptr) block = {::operator new(size, line), size};
    start_ = block.start;
    size_ = block.size;
    return start_;
}

void Memory::end() {
    if (start_ != nullptr) idle.keep({start_, size_});
    start_ = nullptr;
    size_ = 0;
}

Memory::~Memory() { end(); }

}  // namespace dml::cpu
