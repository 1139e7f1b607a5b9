#include "config/accounts.h"

#include <grp.h>
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

// Calls one of the functions of getpwnam_r(3) and getgrnam_r(3) with a buffer that is large enough;
// 0 or an errno value. `entry` and what it points to hold only until `buffer` changes.
template <class Lookup, class Entry>
int look_up(Lookup&& lookup, std::vector<char>& buffer, Entry& entry, bool& found) {
  for (buffer.resize(kFirstBuffer);; buffer.resize(buffer.size() * 2)) {
    Entry* result = nullptr;
    const int error = lookup(&entry, buffer.data(), buffer.size(), &result);
    found = result != nullptr;
    if (error != ERANGE || buffer.size() >= kLargestBuffer) return error;
  }
}

struct Answer {
  int error = 0;
  std::optional<uint32_t> id;
};

Answer ask(Accounts::Kind kind, const std::string& name) {
  std::vector<char> buffer;
  bool found = false;
  if (kind == Accounts::Kind::user) {
    passwd entry{};
    const int error =
        look_up([&](auto... to) { return getpwnam_r(name.c_str(), to...); }, buffer, entry, found);
    return {error, found ? std::optional(entry.pw_uid) : std::nullopt};
  }
  group entry{};
  const int error =
      look_up([&](auto... to) { return getgrnam_r(name.c_str(), to...); }, buffer, entry, found);
  return {error, found ? std::optional(entry.gr_gid) : std::nullopt};
}

// getpwnam(3) lists these as ways to say "nobody".
bool means_nobody(int error) {
  return error == 0 || error == ENOENT || error == ESRCH || error == EBADF || error == EPERM;
}

std::optional<uint32_t> as_number(std::string_view text) {
  int64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  const bool is_id = number >= 0 && number <= kMaxAccountId;
  if (error != std::errc{} || rest != end || !is_id) return std::nullopt;
  return static_cast<uint32_t>(number);
}

FoundId resolve(Accounts::Kind kind, const std::string& name) {
  const std::string title = word_for(kind) + " " + shown(name);
  // The C library would look up what stands before the zero byte.
  if (name.find('\0') != name.npos) return "unknown " + title;
  const Answer answer = ask(kind, name);
  if (answer.id) return *answer.id;
  if (const std::optional<uint32_t> number = as_number(name)) return *number;
  if (means_nobody(answer.error)) return "unknown " + title;
  return title + " cannot be looked up: " + std::strerror(answer.error);
}

}  // namespace

FoundId Accounts::find(Kind kind, std::string_view name) {
  std::pair key(kind, std::string(name));
  const auto known = known_.find(key);
  if (known != known_.end()) return known->second;
  FoundId answer = resolve(kind, key.second);
  known_.emplace(std::move(key), answer);
  return answer;
}

std::string word_for(Accounts::Kind kind) {
  return kind == Accounts::Kind::user ? "user" : "group";
}

std::string name_of(Accounts::Kind kind, uint32_t id) {
  std::vector<char> buffer;
  bool found = false;
  if (kind == Accounts::Kind::user) {
    passwd entry{};
    look_up([&](auto... to) { return getpwuid_r(id, to...); }, buffer, entry, found);
    return found ? entry.pw_name : "";
  }
  group entry{};
  look_up([&](auto... to) { return getgrgid_r(id, to...); }, buffer, entry, found);
  return found ? entry.gr_name : "";
}

}  // namespace berth::config
