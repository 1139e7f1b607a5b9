#include "wire/crc32c.h"

#include <array>
#include <cstddef>

namespace berth::wire {
namespace {

// The polynomial, its bits in reverse.
constexpr uint32_t kPolynomial = 0x82f63b78;
// Eight bytes at a time: one table for each place that a byte can have among them.
constexpr size_t kStep = 8;
using Tables = std::array<std::array<uint32_t, 256>, kStep>;

constexpr Tables make_tables() {
  Tables tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t rest = byte;
    for (int bit = 0; bit < 8; ++bit) rest = (rest >> 1) ^ ((rest & 1) != 0 ? kPolynomial : 0);
    tables[0][byte] = rest;
  }
  for (size_t place = 1; place < kStep; ++place) {
    for (size_t byte = 0; byte < 256; ++byte) {
      const uint32_t before = tables[place - 1][byte];
      tables[place][byte] = (before >> 8) ^ tables[0][before & 0xff];
    }
  }
  return tables;
}

constexpr Tables kTables = make_tables();

constexpr uint8_t byte_at(std::string_view bytes, size_t at) {
  return static_cast<uint8_t>(bytes[at]);
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t sum = ~uint32_t{0};
  for (; bytes.size() >= kStep; bytes.remove_prefix(kStep)) {
    uint32_t next = 0;
    for (size_t i = 0; i < kStep; ++i) {
      const uint32_t of_sum = i < 4 ? sum >> (8 * i) & 0xff : 0;
      next ^= kTables[kStep - 1 - i][of_sum ^ byte_at(bytes, i)];
    }
    sum = next;
  }
  for (const char each : bytes) {
    sum = (sum >> 8) ^ kTables[0][(sum ^ static_cast<uint8_t>(each)) & 0xff];
  }
  return ~sum;
}

}  // namespace berth::wire
