#include "wire/shown.h"

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <vector>

#include "base/limits.h"

namespace berth::wire {
namespace {

// Fewer bytes of a secret tell nothing, and are likely something else.
constexpr size_t kLeastPiece = 4;

// Marks what of `bytes` is the secret, or may be its end or its beginning where `bytes` was cut.
void mark(std::string_view bytes, std::string_view secret, std::vector<bool>& hidden) {
  if (secret.empty()) return;
  const auto hide = [&](size_t at, size_t size) {
    std::fill_n(hidden.begin() + static_cast<std::ptrdiff_t>(at), size, true);
  };
  for (size_t at = bytes.find(secret); at != bytes.npos; at = bytes.find(secret, at + 1)) {
    hide(at, secret.size());
  }
  for (size_t size = std::min(secret.size(), bytes.size()); size >= kLeastPiece; --size) {
    if (bytes.starts_with(secret.substr(secret.size() - size))) hide(0, size);
    if (bytes.ends_with(secret.substr(0, size))) hide(bytes.size() - size, size);
  }
}

std::string escaped(char c) {
  switch (c) {
    case '\r': return "\\r";
    case '\n': return "\\n";
    case '\t': return "\\t";
    case '"': return "\\\"";
    case '\\': return "\\\\";
    default: break;
  }
  if (c >= 0x20 && c < 0x7f) return {c};
  char text[8];
  std::snprintf(text, sizeof text, "\\x%02x", static_cast<unsigned>(static_cast<unsigned char>(c)));
  return text;
}

}  // namespace

std::string shown(std::string_view bytes, Part part, std::span<const std::string_view> secrets) {
  std::vector<bool> hidden(bytes.size());
  for (const std::string_view secret : secrets) mark(bytes, secret, hidden);
  const size_t size = std::min(bytes.size(), kMaxStepBytesShown);
  const size_t begin = part == Part::first ? 0 : bytes.size() - size;
  std::string out = begin > 0 ? "…" : "";
  for (size_t i = begin; i < begin + size; ++i) {
    if (!hidden[i]) out += escaped(bytes[i]);
    if (hidden[i] && (i == begin || !hidden[i - 1])) out += "***";
  }
  if (begin + size < bytes.size()) out += "…";
  return '"' + out + '"';
}

}  // namespace berth::wire
