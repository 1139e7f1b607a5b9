// CRC-32C, Castagnoli's (RFC 3720, section 12.1 and appendix B.4). Pure.
#pragma once

#include <cstdint>
#include <string_view>

namespace berth::wire {

uint32_t crc32c(std::string_view bytes);

}  // namespace berth::wire
