#include "net/dns_message.h"

#include <algorithm>

namespace berth::net {
namespace {

constexpr size_t kHeaderBytes = 12;
constexpr size_t kQuestionBytes = 4;  // behind its name: type, class
constexpr size_t kRecordBytes = 10;   // behind its name: type, class, TTL, length of its data
constexpr uint8_t kPointer = 0xc0;    // a name that ends with what stands elsewhere

// Reads from the front; once something is missing, everything is.
class Reader {
 public:
  explicit Reader(std::span<const uint8_t> rest) : rest_(rest) {}

  bool good() const { return good_; }

  void skip(size_t bytes) {
    good_ = good_ && bytes <= rest_.size();
    if (good_) rest_ = rest_.subspan(bytes);
  }

  uint32_t number(size_t bytes) {
    uint32_t value = 0;
    for (size_t i = 0; i < bytes; ++i) {
      value = value << 8 | (rest_.empty() ? 0u : rest_[0]);
      skip(1);
    }
    return value;
  }

  void skip_name() {
    while (good_) {
      const uint32_t length = number(1);
      if (length >= kPointer) skip(1);
      if (length == 0 || length >= kPointer) return;
      skip(length);
    }
  }

 private:
  std::span<const uint8_t> rest_;
  bool good_ = true;
};

}  // namespace

std::optional<Duration> least_ttl(std::span<const uint8_t> message) {
  Reader reader(message);
  reader.skip(4);  // its number and flags
  const uint32_t questions = reader.number(2);
  const uint32_t answers = reader.number(2);
  reader.skip(kHeaderBytes - 8);
  for (uint32_t i = 0; i < questions && reader.good(); ++i) {
    reader.skip_name();
    reader.skip(kQuestionBytes);
  }
  uint32_t least = UINT32_MAX;
  for (uint32_t i = 0; i < answers && reader.good(); ++i) {
    reader.skip_name();
    reader.skip(kRecordBytes - 6);
    least = std::min(least, reader.number(4));
    reader.skip(reader.number(2));
  }
  if (answers == 0 || !reader.good()) return std::nullopt;
  return std::chrono::seconds(least);
}

}  // namespace berth::net
