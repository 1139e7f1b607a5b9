#include "failure.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/limits.h"

namespace berth::client {
namespace {

// The daemon's longest message, and what this library puts before it.
constexpr size_t kMaxWords = kMaxMessageBytes + 512;
// More than /proc/PID/comm has.
constexpr size_t kMaxCommand = 63;
static_assert(BERTH_MAX_HOLDERS == kMaxHoldersShown);

// Plain bytes: no allocation on failure, no destructor when a thread ends or the library unloads.
struct LastError {
  Code code = Code::kOk;
  bool absence = false;
  char words[kMaxWords + 1] = "";
  bool has_why = false;
  berth_why why = {};
  char dial_error[kMaxMessageBytes + 1] = "";
  char commands[BERTH_MAX_HOLDERS][kMaxCommand + 1] = {};
};

thread_local LastError last_error;

const char* copy(std::string_view text, char* to, size_t most) {
  const size_t size = std::min(text.size(), most);
  std::memcpy(to, text.data(), size);
  to[size] = '\0';
  return to;
}

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

Failure refused(Code code, std::string words, std::optional<wire::Why> why) {
  if (code == Code::kOk) code = Code::kInternal;
  if (words.empty()) words = code_name(code);
  return {code_errno(code), code, std::move(words), std::move(why)};
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

// NO_SUCH_KEY has the errno of a socket that is not there, but another code.
bool is_absence(const Failure& failure) noexcept {
  if (failure.code != Code::kShuttingDown) return false;
  return failure.error == ENOENT || failure.error == ECONNREFUSED || failure.error == ECONNRESET ||
         failure.error == ESHUTDOWN;
}

int report(const Failure& failure) noexcept {
  last_error.code = failure.code;
  last_error.absence = is_absence(failure);
  keep_words(failure.words);
  keep_why(failure.why);
  return -failure.error;
}

int report_out_of_memory() noexcept {
  last_error.code = Code::kQueueFull;
  last_error.absence = false;
  keep_words("out of memory");
  keep_why({});
  return -ENOMEM;
}

const char* keep_words(std::string_view words) noexcept {
  return copy(words, last_error.words, kMaxWords);
}

const berth_why* keep_why(const std::optional<wire::Why>& why) noexcept {
  last_error.has_why = why.has_value();
  if (!why) return nullptr;
  berth_why& out = last_error.why;
  out = {};
  out.cause = static_cast<berth_cause>(why->cause);
  out.leased = why->leased;
  out.max_connections = why->max_connections;
  out.waiting = why->waiting;
  out.dial_failures = why->dial_failures;
  out.last_dial_error = copy(why->last_dial_error, last_error.dial_error, kMaxMessageBytes);
  for (const wire::Holder& holder : why->holders) {
    if (out.holder_count == BERTH_MAX_HOLDERS) break;
    const char* command = copy(holder.command, last_error.commands[out.holder_count], kMaxCommand);
    out.holders[out.holder_count++] = {holder.pid, holder.uid, holder.held_ms, command};
  }
  return &out;
}

const char* last_words() noexcept {
  return last_error.words;
}

const berth_why* last_why() noexcept {
  return last_error.has_why ? &last_error.why : nullptr;
}

bool last_is_absence() noexcept {
  return last_error.absence;
}

Code last_code() noexcept {
  return last_error.code;
}

}  // namespace berth::client
