#include "failure.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/limits.h"

namespace berth::client {
namespace {

// The daemon's longest message, and what this library puts before it.
constexpr size_t kMaxWords = kMaxMessageBytes + 512;

// Plain bytes: no allocation on failure, no destructor when a thread ends or the library unloads.
struct LastError {
  Code code = Code::kOk;
  char words[kMaxWords + 1] = "";
};

thread_local LastError last_error;

Code nearest_code(int error) {
  switch (error) {
    case EINVAL: return Code::kInvalid;
    case EACCES:
    case EPERM: return Code::kNotPermitted;
    case ETIMEDOUT: return Code::kTimedOut;
    case EAGAIN:
    case EMFILE:
    case ENFILE:
    case ENOMEM: return Code::kQueueFull;
    case EPROTO: return Code::kInternal;
    default: return Code::kShuttingDown;
  }
}

}  // namespace

Failure refused(Code code, std::string words) {
  if (code == Code::kOk) code = Code::kInternal;
  if (words.empty()) words = code_name(code);
  return {code_errno(code), code, std::move(words)};
}

Failure invalid(std::string words) {
  return {EINVAL, Code::kInvalid, std::move(words)};
}

Failure failed(int error, std::string words) {
  return {error, nearest_code(error), std::move(words)};
}

std::string with_reason(std::string_view what, int error) {
  char buffer[128];
  return std::string(what) + ": " + strerror_r(error, buffer, sizeof buffer);
}

int report(const Failure& failure) noexcept {
  last_error.code = failure.code;
  keep_words(failure.words);
  return -failure.error;
}

int report_out_of_memory() noexcept {
  last_error.code = Code::kQueueFull;
  keep_words("out of memory");
  return -ENOMEM;
}

const char* keep_words(std::string_view words) noexcept {
  const size_t size = std::min(words.size(), kMaxWords);
  std::memcpy(last_error.words, words.data(), size);
  last_error.words[size] = '\0';
  return last_error.words;
}

const char* last_words() noexcept {
  return last_error.words;
}

Code last_code() noexcept {
  return last_error.code;
}

}  // namespace berth::client
