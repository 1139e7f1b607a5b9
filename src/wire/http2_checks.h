// What RFC 9113, section 8 demands of messages: of the fields of one header block as they are
// decoded, and of the length of a body. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace berth::wire {

class Http2BlockCheck {
 public:
  enum class Kind { request, response, trailers };

  explicit Http2BlockCheck(Kind kind) : kind_(kind) {}

  // The fields in their order. nullptr, or what is wrong: then the message is malformed.
  const char* add(std::string_view name, std::string_view value);
  // After the last one.
  const char* finish() const;

  int status() const { return status_; }
  bool is_informational() const { return kind_ == Kind::response && status_ < 200; }
  std::optional<uint64_t> content_length() const { return content_length_; }

 private:
  // The pseudo-header fields that have been there.
  static constexpr unsigned kMethod = 1;
  static constexpr unsigned kScheme = 2;
  static constexpr unsigned kPath = 4;
  static constexpr unsigned kAuthority = 8;
  static constexpr unsigned kStatus = 16;

  unsigned which(std::string_view name) const;
  const char* add_pseudo(std::string_view name, std::string_view value);
  const char* add_regular(std::string_view name, std::string_view value);
  const char* take_status(std::string_view value);
  const char* take_length(std::string_view value);

  const Kind kind_;
  unsigned seen_ = 0;
  bool regular_ = false;
  bool is_connect_ = false;
  bool is_options_ = false;
  char path_begin_ = 0;
  int status_ = 0;
  std::optional<uint64_t> content_length_;
};

// The body against `content-length` (RFC 9113, section 8.1.1).
class Http2BodyCheck {
 public:
  // Until then any body will do.
  void expect(std::optional<uint64_t> length) { left_ = length.value_or(kAny); }
  bool take(uint64_t bytes) {
    if (left_ == kAny) return true;
    if (bytes > left_) return false;
    left_ -= bytes;
    return true;
  }
  bool finish() const { return left_ == kAny || left_ == 0; }

 private:
  static constexpr uint64_t kAny = UINT64_MAX;
  uint64_t left_ = kAny;
};

}  // namespace berth::wire
