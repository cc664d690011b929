#include "cpu/labels.hpp"

#include "cpu/memory.hpp"

namespace dml::cpu {
namespace {

template <class Label>
bool resolve(const Label* labels, std::int64_t rows, std::int64_t ignore_index, std::int64_t classes, std::int64_t* out) {
    bool known = true;
    std::int64_t kept = 0;
    for (std::int64_t i = 0; i < rows; ++i) {
        const std::int64_t label = labels[i];  // as a uint8, -100 is class 156
        const bool keeps = label != ignore_index;
        known &= !keeps || (label >= 0 && label < classes);
        kept += keeps;
        out[i] = keeps ? label : ignored;
    }
    return known && kept > 0;
}

}  // namespace

bool resolve_labels(Integer type, std::uintptr_t labels, std::int64_t rows, std::int64_t ignore_index,
                    std::int64_t classes, std::uintptr_t out) {
    const auto of = [&](const auto* given) {
        return resolve(given, rows, ignore_index, classes, address<std::int64_t>(out));
    };
    switch (type) {
        case Integer::int8: return of(address<const std::int8_t>(labels));
        case Integer::int16: return of(address<const std::int16_t>(labels));
        case Integer::int32: return of(address<const std::int32_t>(labels));
        case Integer::int64: return of(address<const std::int64_t>(labels));
        case Integer::uint8: return of(address<const std::uint8_t>(labels));
    }
    return false;
}

}  // namespace dml::cpu
