#include "wire/http2_checks.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace berth::wire {
namespace {

using Table = std::array<bool, 256>;

// A token in lower case: RFC 9110, section 5.6.2; RFC 9113, section 8.2.
constexpr Table name_characters() {
  Table table{};
  for (int c = 'a'; c <= 'z'; ++c) table[static_cast<size_t>(c)] = true;
  for (int c = '0'; c <= '9'; ++c) table[static_cast<size_t>(c)] = true;
  for (const char c : std::string_view("!#$%&'*+-.^_`|~")) table[static_cast<size_t>(c)] = true;
  return table;
}

// RFC 9110, section 5.5.
constexpr Table value_characters() {
  Table table{};
  for (size_t c = 0x20; c < 256; ++c) table[c] = c != 0x7f;
  table['\t'] = true;
  return table;
}

constexpr Table kNameCharacters = name_characters();
constexpr Table kValueCharacters = value_characters();

bool consists_of(std::string_view text, const Table& table) {
  for (const char c : text) {
    if (!table[static_cast<unsigned char>(c)]) return false;
  }
  return true;
}

bool is_blank(char c) {
  return c == ' ' || c == '\t';
}

// Whether one of eight characters is below a space or DEL: what the table would have to judge.
bool has_control(uint64_t eight) {
  constexpr uint64_t kEach = 0x0101010101010101;
  const uint64_t control = (eight - kEach * 0x20) & ~eight;
  const uint64_t masked = eight ^ kEach * 0x7f;
  const uint64_t del = (masked - kEach) & ~masked;
  return ((control | del) & kEach * 0x80) != 0;
}

bool is_value(std::string_view value) {
  if (value.empty()) return true;
  if (is_blank(value.front()) || is_blank(value.back())) return false;
  if (value.size() < 8) return consists_of(value, kValueCharacters);
  // The last eight may overlap those before.
  const char* const last = value.data() + value.size() - 8;
  uint64_t eight = 0;
  for (const char* at = value.data(); at < last; at += 8) {
    std::memcpy(&eight, at, 8);
    if (has_control(eight)) return consists_of(value, kValueCharacters);
  }
  std::memcpy(&eight, last, 8);
  return !has_control(eight) || consists_of(value, kValueCharacters);
}

// RFC 9113, section 8.2.2.
bool is_of_a_connection(std::string_view name, std::string_view value) {
  switch (name.size()) {
    case 2: return name == "te" && value != "trailers";
    case 7: return name == "upgrade";
    case 10: return name == "connection" || name == "keep-alive";
    case 16: return name == "proxy-connection";
    case 17: return name == "transfer-encoding";
    default: return false;
  }
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

}  // namespace

const char* Http2BlockCheck::add(std::string_view name, std::string_view value) {
  if (!is_value(value)) return "a field value has characters that none may have";
  if (name.empty()) return "a field has no name";
  return name[0] == ':' ? add_pseudo(name, value) : add_regular(name, value);
}

unsigned Http2BlockCheck::which(std::string_view name) const {
  switch (kind_) {
    case Kind::request:
      if (name == ":method") return kMethod;
      if (name == ":scheme") return kScheme;
      if (name == ":path") return kPath;
      return name == ":authority" ? kAuthority : 0;
    case Kind::response: return name == ":status" ? kStatus : 0;
    case Kind::trailers: return 0;
  }
  return 0;
}

const char* Http2BlockCheck::add_pseudo(std::string_view name, std::string_view value) {
  const unsigned which = this->which(name);
  if (which == 0) return "a pseudo-header field is unknown here";
  if (regular_) return "a pseudo-header field comes after others";
  if ((seen_ & which) != 0) return "a pseudo-header field comes twice";
  seen_ |= which;
  switch (which) {
    case kMethod:
      is_connect_ = value == "CONNECT";
      is_options_ = value == "OPTIONS";
      return value.empty() ? "the method is empty" : nullptr;
    case kScheme: return value.empty() ? "the scheme is empty" : nullptr;
    case kPath:
      path_begin_ = value.empty() ? '\0' : value[0];
      if (value.size() > 1 && value[0] == '*') path_begin_ = '\0';
      return nullptr;
    case kStatus: return take_status(value);
    default: return nullptr;
  }
}

const char* Http2BlockCheck::add_regular(std::string_view name, std::string_view value) {
  regular_ = true;
  if (!consists_of(name, kNameCharacters)) return "a field name has characters that none may have";
  if (is_of_a_connection(name, value)) return "a field is of connections, not of messages";
  if (name == "content-length" && kind_ != Kind::trailers) return take_length(value);
  return nullptr;
}

const char* Http2BlockCheck::take_status(std::string_view value) {
  if (value.size() != 3 || !std::all_of(value.begin(), value.end(), is_digit)) {
    return "the status is no number of three digits";
  }
  status_ = (value[0] - '0') * 100 + (value[1] - '0') * 10 + (value[2] - '0');
  // 101 does not exist here: RFC 9113, section 8.6.
  return status_ < 100 || status_ == 101 ? "there is no such status" : nullptr;
}

const char* Http2BlockCheck::take_length(std::string_view value) {
  constexpr size_t kMostDigits = 18;  // so that no sum overflows
  if (content_length_.has_value() || value.empty() || value.size() > kMostDigits ||
      !std::all_of(value.begin(), value.end(), is_digit)) {
    return "the content-length is no number";
  }
  uint64_t length = 0;
  for (const char c : value) length = length * 10 + static_cast<uint64_t>(c - '0');
  content_length_ = length;
  return nullptr;
}

const char* Http2BlockCheck::finish() const {
  if (kind_ == Kind::trailers) return nullptr;
  if (kind_ == Kind::response) return seen_ == 0 ? "the response has no status" : nullptr;
  if (is_connect_) {  // RFC 9113, section 8.5
    return seen_ == (kMethod | kAuthority) ? nullptr : "CONNECT has a scheme or a path";
  }
  constexpr unsigned kNeeded = kMethod | kScheme | kPath;
  if ((seen_ & kNeeded) != kNeeded) return "the request lacks a pseudo-header field";
  const bool good = path_begin_ == '/' || (path_begin_ == '*' && is_options_);
  return good ? nullptr : "the path does not begin with a slash";
}

}  // namespace berth::wire
