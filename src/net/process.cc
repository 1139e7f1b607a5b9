#include "net/process.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "base/unique_fd.h"

namespace berth::net {
namespace {

constexpr size_t kMaxPasswdBytes = 1 << 20;  // beyond any real entry; a bound for ERANGE

std::string printable(const char* bytes, size_t size) {
  std::string out(bytes, size);
  for (char& c : out) c = c >= ' ' && c < 0x7f ? c : '?';
  return out;
}

// False: nobody has the uid. What `entry` points to is in `buffer`.
bool find_user(uint32_t uid, passwd& entry, std::vector<char>& buffer) {
  buffer.resize(1024);
  passwd* found = nullptr;
  while (getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) == ERANGE &&
         buffer.size() < kMaxPasswdBytes) {
    buffer.resize(buffer.size() * 2);
  }
  return found != nullptr;
}

}  // namespace

std::string command_of(int32_t pid) {
  const std::string path = "/proc/" + std::to_string(pid) + "/comm";
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char bytes[64];
  ssize_t size = fd.valid() ? read(fd.get(), bytes, sizeof bytes) : 0;
  if (size > 0 && bytes[size - 1] == '\n') --size;
  return size > 0 ? printable(bytes, static_cast<size_t>(size)) : "?";
}

std::string user_name(uint32_t uid) {
  std::vector<char> buffer;
  passwd entry;
  return find_user(uid, entry, buffer) ? entry.pw_name : std::to_string(uid);
}

std::vector<uint32_t> groups_of(uint32_t uid) {
  std::vector<char> buffer;
  passwd entry;
  if (!find_user(uid, entry, buffer)) return {};
  std::vector<gid_t> groups(32);
  for (;;) {
    int count = static_cast<int>(groups.size());
    const int found = getgrouplist(entry.pw_name, entry.pw_gid, groups.data(), &count);
    groups.resize(static_cast<size_t>(count));
    if (found >= 0) return groups;
  }
}

}  // namespace berth::net
