#include "config/retry_table.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <utility>

#include "base/nearest.h"
#include "channel/grpc_code.h"
#include "config/kinds.h"
#include "config/text.h"

namespace berth::config {
namespace {

using pool::RetrySettings;
using namespace std::chrono_literals;

constexpr int64_t kMostAttempts = 10;  // each may be a call that the server has carried out
constexpr Time kBackoff{1ms, 1min, ZeroIs::refused};

constexpr const auto& kCodes = channel::kGrpcCodeNames;
constexpr channel::GrpcCodes kUnavailable = channel::only(channel::GrpcCode::unavailable);

constexpr std::array kNames = std::to_array<std::string_view>({"attempts", "codes", "backoff"});
constexpr const char* kExample = "{attempts = 3, codes = [\"UNAVAILABLE\"], backoff = \"100ms\"}";

class RetryReader {
 public:
  RetryReader(const Value& value, Reading& reading) : value_(value), reading_(reading) {}

  std::optional<RetrySettings> run() {
    const Table* table = value_.get<Table>();
    if (table == nullptr) {
      reading_.wrong(value_, std::string("a table, such as ") + kExample);
      return std::nullopt;
    }
    for (const Entry& entry : *table) read_entry(entry);
    if (!reading_.failed()) check(*table);
    if (retry_.attempts > 1 && !has_codes_) retry_.codes = kUnavailable;
    return reading_.failed() ? std::nullopt : std::optional(retry_);
  }

 private:
  void read_entry(const Entry& entry) {
    const std::string name = std::string(reading_.name()) + ": " + entry.name;
    Reading part = reading_.part(name);
    if (entry.name == "attempts") {
      read_attempts(entry.value, part);
    } else if (entry.name == "codes") {
      has_codes_ = true;
      read_codes(entry.value, part);
    } else if (entry.name == "backoff") {
      retry_.backoff = kBackoff.read(entry.value, part).value_or(retry_.backoff);
    } else {
      const std::string meant = nearest(entry.name, std::span(kNames));
      reading_.refuse(entry.value, " has an unknown " + shown(entry.name) +
                                       (meant.empty() ? "; it may hold attempts, codes and backoff"
                                                      : "; did you mean " + shown(meant) + "?"));
    }
    reading_.take(part);
  }

  void read_attempts(const Value& value, Reading& part) {
    has_attempts_ = true;
    const auto* number = value.get<int64_t>();
    if (number != nullptr && *number == 0) {
      return part.refuse(value,
                         " = 0: the first call counts as an attempt, so 1 is never to repeat it");
    }
    const auto attempts = Whole{"calls", 1, kMostAttempts}.read(value, part);
    retry_.attempts = static_cast<uint32_t>(attempts.value_or(1));
  }

  void read_codes(const Value& value, Reading& part) {
    const Array* items = value.get<Array>();
    if (items == nullptr) {
      return part.wrong(value, "an array of statuses of gRPC, such as [\"UNAVAILABLE\"]");
    }
    for (const Value& item : *items) read_code(item, part);
    if (items->empty()) part.refuse(value, " is empty; name a status that is worth another call");
  }

  void read_code(const Value& value, Reading& part) {
    const auto* text = value.get<std::string>();
    if (text == nullptr) {
      return part.wrong(value, "an array of statuses of gRPC, such as [\"UNAVAILABLE\"]");
    }
    const auto* const found = std::find(kCodes.begin(), kCodes.end(), *text);
    const uint32_t bit = 1u << (found - kCodes.begin());
    if (found == kCodes.end()) {
      const std::string meant = nearest(*text, std::span(kCodes).subspan(1));
      return part.refuse(value, ": gRPC has no status " + shown(*text) +
                                    (meant.empty() ? "; they are called as UNAVAILABLE is"
                                                   : "; did you mean " + shown(meant) + "?"));
    }
    if (found == kCodes.begin()) return part.refuse(value, ": a call that ends with OK is over");
    if ((retry_.codes & bit) != 0) return part.refuse(value, " names " + *text + " twice");
    retry_.codes |= bit;
  }

  void check(const Table& table) {
    if (!has_attempts_) {
      reading_.refuse(
          value_, std::string(" needs attempts, which counts the first call, as in ") + kExample);
    } else if (retry_.attempts == 1 && table.size() > 1) {
      reading_.refuse(value_, ": with attempts = 1, which is the first call, " +
                                  std::string(has_codes_ ? "codes" : "backoff") +
                                  " is without effect");
    }
  }

  const Value& value_;
  Reading& reading_;
  RetrySettings retry_;
  bool has_attempts_ = false;
  bool has_codes_ = false;
};

std::string text_of(const RetrySettings& retry) {
  std::string text = "{attempts = " + std::to_string(retry.attempts);
  if (retry.attempts == 1) return text + "}";
  std::string codes;
  for (size_t number = 1; number < kCodes.size(); ++number) {
    if ((retry.codes & (1u << number)) == 0) continue;
    codes += (codes.empty() ? "" : ", ") + toml_string(kCodes[number]);
  }
  return text + ", codes = [" + codes +
         "], backoff = " + toml_string(duration_text(retry.backoff)) + "}";
}

}  // namespace

Kind<pool::ChannelSettings> retry_kind() {
  return {[](const Value& value, Reading& reading, pool::ChannelSettings& channels) {
            const size_t buffer = channels.retry.buffer;
            channels.retry = RetryReader(value, reading).run().value_or(channels.retry);
            channels.retry.buffer = buffer;
          },
          [](const pool::ChannelSettings& channels) { return text_of(channels.retry); },
          {}};
}

}  // namespace berth::config
