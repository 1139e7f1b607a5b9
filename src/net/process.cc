#include "net/process.h"

#include <fcntl.h>
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
  std::vector<char> buffer(1024);
  passwd entry;
  passwd* found = nullptr;
  while (getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) == ERANGE &&
         buffer.size() < kMaxPasswdBytes) {
    buffer.resize(buffer.size() * 2);
  }
  return found != nullptr ? found->pw_name : std::to_string(uid);
}

}  // namespace berth::net
