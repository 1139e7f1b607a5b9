// UTF-8 as proto3 strings demand it. Pure functions; no dependencies, because libberth uses them.
#pragma once

#include <cstddef>
#include <string_view>

namespace berth {

// Length of the well-formed UTF-8 sequence that `text` begins with; 0 if it begins with none.
constexpr size_t utf8_sequence(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = text.empty() ? 0x100u : byte(0);
  if (lead < 0x80) return 1;
  const size_t length = lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
  if (length == 0 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  const bool overlong = (lead == 0xE0 && byte(1) < 0xA0) || (lead == 0xF0 && byte(1) < 0x90);
  const bool surrogate = lead == 0xED && byte(1) >= 0xA0;
  const bool beyond = lead == 0xF4 && byte(1) >= 0x90;
  return overlong || surrogate || beyond ? 0 : length;
}

// Length of the longest prefix of whole, well-formed sequences, at most `limit` bytes.
constexpr size_t utf8_prefix(std::string_view text, size_t limit) {
  size_t good = 0;
  while (good < text.size() && good < limit) {
    const size_t step = utf8_sequence(text.substr(good));
    if (step == 0 || good + step > limit) break;
    good += step;
  }
  return good;
}

constexpr bool is_utf8(std::string_view text) {
  unsigned char all = 0;
  for (const char c : text) all |= static_cast<unsigned char>(c);
  return all < 0x80 || utf8_prefix(text, text.size()) == text.size();  // most texts are ASCII
}

}  // namespace berth
