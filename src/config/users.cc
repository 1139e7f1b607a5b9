#include "config/users.h"

#include <pwd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <vector>

#include "config/text.h"

namespace berth::config {
namespace {

constexpr size_t kFirstBuffer = 1024;
constexpr size_t kLargestBuffer = 1024 * 1024;

// Calls getpwnam_r or getpwuid_r with a buffer that is large enough; 0 or an errno value.
// `entry` and what it points to hold only until `buffer` changes.
template <class Lookup>
int look_up(Lookup&& lookup, std::vector<char>& buffer, passwd& entry, bool& found) {
  for (buffer.resize(kFirstBuffer);; buffer.resize(buffer.size() * 2)) {
    passwd* result = nullptr;
    const int error = lookup(&entry, buffer.data(), buffer.size(), &result);
    found = result != nullptr;
    if (error != ERANGE || buffer.size() >= kLargestBuffer) return error;
  }
}

// getpwnam(3) lists these as ways to say "nobody".
bool means_nobody(int error) {
  return error == 0 || error == ENOENT || error == ESRCH || error == EBADF || error == EPERM;
}

std::optional<uint32_t> as_number(std::string_view text) {
  int64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc{} || rest != end || number < 0 || number > kMaxUid) return std::nullopt;
  return static_cast<uint32_t>(number);
}

std::variant<uint32_t, std::string> resolve(const std::string& name) {
  // The C library would look up what stands before the zero byte.
  if (name.find('\0') != name.npos) return "unknown user " + shown(name);
  std::vector<char> buffer;
  passwd entry{};
  bool found = false;
  const int error =
      look_up([&](passwd* to, char* text, size_t size,
                  passwd** result) { return getpwnam_r(name.c_str(), to, text, size, result); },
              buffer, entry, found);
  if (found) return entry.pw_uid;
  if (const std::optional<uint32_t> number = as_number(name)) return *number;
  if (means_nobody(error)) return "unknown user " + shown(name);
  return "user " + shown(name) + " cannot be looked up: " + std::strerror(error);
}

}  // namespace

std::variant<uint32_t, std::string> Users::find(std::string_view name) {
  const auto known = known_.find(name);
  if (known != known_.end()) return known->second;
  std::string key(name);
  auto answer = resolve(key);
  known_.emplace(std::move(key), answer);
  return answer;
}

std::string user_name(uint32_t uid) {
  std::vector<char> buffer;
  passwd entry{};
  bool found = false;
  look_up([&](passwd* to, char* text, size_t size,
              passwd** result) { return getpwuid_r(uid, to, text, size, result); },
          buffer, entry, found);
  return found ? entry.pw_name : "";
}

}  // namespace berth::config
